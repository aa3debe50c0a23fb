"""The shifted-window transformer in one dimension: backbone of contrastive methods."""
