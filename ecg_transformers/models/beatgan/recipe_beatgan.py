"""How the encoder of BeatGAN is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# Ours: BeatGAN was not published as a classifier. One cycle over 50 epochs as for other convolutional networks
# (Strodthoff et al. 2021), at a tenth of their rate, since its weights start as those of a GAN; a beat is not shifted
# off its R peak.
SUPERVISED_RECIPE: dict[str, Any] = {
    "num_train_epochs": 50.0,
    "per_device_train_batch_size": 128,
    "learning_rate": 1e-3,
    "one_cycle": True,
    "adam_beta2": 0.99,
    "weight_decay": 1e-2,
    "decay_norms_and_biases": True,
    "no_decay": [],
    "max_grad_norm": 0.0,
    "max_shift_seconds": 0.0,
    "early_stopping_patience": None,
}
