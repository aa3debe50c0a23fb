"""MoCo v3 with selection of positives (SRCL, N-Sam, DS) on any registered encoder."""
