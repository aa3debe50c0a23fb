"""Momentum encoders: the exponential moving average of a network's weights (He et al. 2020, equation 2)."""

import torch
from torch import nn
from transformers import initialization as init

__all__ = ["copy_and_freeze", "ema_update"]


@torch.no_grad()
def ema_update(average: nn.Module, online: nn.Module, momentum: float) -> None:
    """`average = momentum * average + (1 - momentum) * online`, over parameters only.

    Running statistics of BatchNorm are not averaged: the momentum encoder collects its own in its own forward passes.

    Args:
        average: The momentum encoder, changed in place.
        online: The network that learns, of the same structure.
        momentum: Share of the old weights, 0 to 1.
    """
    for mean, parameter in zip(average.parameters(), online.parameters(), strict=True):
        mean.lerp_(parameter.to(mean.dtype), 1.0 - momentum)


def copy_and_freeze(average: nn.Module, online: nn.Module) -> None:
    """Copy the online network into a momentum encoder and freeze it; tensors that came from a checkpoint stay.

    To be called from `_init_weights` of the model that owns both, after its children are initialized.

    Args:
        average: The momentum encoder.
        online: The network that learns, of the same structure.
    """
    for mean, parameter in zip(average.parameters(), online.parameters(), strict=True):
        init.copy_(mean, parameter)
        mean.requires_grad_(False)
    for own, buffer in zip(average.buffers(), online.buffers(), strict=True):
        init.copy_(own, buffer)
