"""Inference: windows of records through an encoder or a classifier, and back to records."""
