"""A corpus through an encoder or a classifier: windows, embeddings, scores of records."""
