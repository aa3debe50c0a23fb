"""`read_record` and the readers of every file format except WFDB."""
