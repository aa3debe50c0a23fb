"""Detection of abnormal beats: baselines, scores of checkpoints, metrics and their table."""
