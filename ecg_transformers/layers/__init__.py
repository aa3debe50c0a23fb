"""Neural building blocks shared by several architectures."""
