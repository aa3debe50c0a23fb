"""SimCLR on any registered encoder, and what BYOL and SwAV share with it: views of records, projection, quirks."""
