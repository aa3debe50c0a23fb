"""SimCLR in a hundred lines, over any registered encoder."""
