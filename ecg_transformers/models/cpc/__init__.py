"""Contrastive predictive coding: convolutions, a recurrent context, and identification of the latents some steps ahead."""
