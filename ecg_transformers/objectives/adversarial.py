"""Losses of an autoencoder and a discriminator (Zhou et al. 2019, section 3.3, as their public code computes them)."""

from typing import NamedTuple

import torch
from torch.nn import functional

from .precision import at_least_float32

__all__ = ["Discrimination", "discriminator_loss", "mean_squared_error"]


class Discrimination(NamedTuple):
    """Loss of a discriminator.

    Args:
        real: Binary cross-entropy of the real rows with 1.
        fake: Binary cross-entropy of the generated rows with 0.
    """

    real: torch.Tensor
    fake: torch.Tensor

    @property
    def loss(self) -> torch.Tensor:
        """The sum of both, not their mean."""
        return self.real + self.fake


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> Discrimination:
    """Compute how badly real rows and generated ones are told apart; in at least float32, from logits.

    Args:
        real_logits: Of real rows `(batch,)`, before the sigmoid.
        fake_logits: Of generated rows `(batch,)`.
    """
    real, fake = at_least_float32(real_logits, fake_logits)
    # -log(sigmoid(x)) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x).
    return Discrimination(functional.softplus(-real).mean(), functional.softplus(fake).mean())


def mean_squared_error(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean square of the differences over all elements, in at least float32.

    Args:
        first: Of any shape: signals for the reconstruction, features of a discriminator for the feature matching.
        second: Of the same shape.
    """
    first, second = at_least_float32(first, second)
    return functional.mse_loss(first, second)
