"""Readers of every file format but WFDB: `read_record` and what it calls."""
