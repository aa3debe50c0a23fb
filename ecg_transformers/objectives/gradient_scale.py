"""Scaling of gradients: part of a network learns more slowly than its loss says."""

from typing import Any

import torch

__all__ = ["scale_gradient"]


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """Return the tensor as it is; its gradient is multiplied (wav2vec 2.0, Baevski et al. 2020, public code).

    Args:
        tensor: Any tensor.
        factor: Factor of the gradient. 1 changes nothing, 0 stops it.
    """
    return tensor if factor == 1 else _ScaleGradient.apply(tensor, factor)
