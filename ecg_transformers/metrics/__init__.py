"""Metrics, bootstrap intervals, and their forms for the Trainer and for `evaluate`."""
