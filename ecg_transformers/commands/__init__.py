"""What the scripts of `training/` do."""
