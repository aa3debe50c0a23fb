"""The corpora: how their records are found and read, and the meaning of their labels."""
