"""Losses as functions of tensors, and the state that they need."""
