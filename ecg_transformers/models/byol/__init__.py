"""BYOL on any registered encoder."""
