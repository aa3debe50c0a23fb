"""The card of a checkpoint: template, tables, plots, facts of its training."""
