"""The corpora: where their records are, how they are read, what their labels mean."""
