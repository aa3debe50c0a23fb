"""Neural building blocks that two architectures or more share."""
