"""Losses of an autoencoder and a discriminator (Zhou et al. 2019, section 3.3, as their public code computes them)."""

import torch
from torch.nn import functional

from .precision import at_least_float32

__all__ = ["discriminator_loss", "mean_squared_error"]


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Compute how badly real and generated rows are distinguished; in at least float32, from logits.

    The binary cross-entropies of real rows with 1 and of generated ones with 0: their sum, not their mean.

    Args:
        real_logits: Of real rows `(batch,)`, before the sigmoid.
        fake_logits: Of generated rows `(batch,)`.
    """
    real, fake = at_least_float32(real_logits, fake_logits)
    # -log(sigmoid(x)) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x).
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def mean_squared_error(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean square of the differences over all elements, in at least float32.

    Args:
        first: Of any shape: signals for the reconstruction, features of a discriminator for the feature matching.
        second: Of the same shape.
    """
    first, second = at_least_float32(first, second)
    return functional.mse_loss(first, second)
