"""The saved preprocessing of a checkpoint, from recordings to model input."""
