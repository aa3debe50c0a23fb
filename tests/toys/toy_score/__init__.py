"""A family without encoder, pretraining and classifier: its model returns a score and a reconstruction."""
