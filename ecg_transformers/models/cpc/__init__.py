"""Contrastive predictive coding: convolutions, a recurrent context, and latents some steps ahead to be told apart."""
