"""Reading and writing WFDB records, checked before and after the wfdb library."""
