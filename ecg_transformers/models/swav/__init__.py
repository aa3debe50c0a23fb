"""SwAV on any registered encoder."""
