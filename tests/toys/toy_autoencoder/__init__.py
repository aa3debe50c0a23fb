"""A denoising autoencoder: a family with encoder and pretraining, and no classifier."""
