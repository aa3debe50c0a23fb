"""BeatGAN: abnormal beats by the error of an adversarially trained autoencoder."""
