"""Contrastive predictive coding: convolutions, a recurrent context, and the latents some steps ahead among others."""
