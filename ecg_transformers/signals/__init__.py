"""Recordings and signals: numpy in, numpy out; neither torch nor transformers is imported here."""
