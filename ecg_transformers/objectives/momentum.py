"""The momentum twin: a slowly following average of a network (He et al. 2020, equation 2)."""

import torch
from torch import nn
from transformers import initialization as init

__all__ = ["follow", "synchronize_twin"]


@torch.no_grad()
def follow(twin: nn.Module, online: nn.Module, momentum: float) -> None:
    """`twin = momentum * twin + (1 - momentum) * online`, over parameters only.

    Running statistics of BatchNorm are not averaged: the twin gathers its own in its own forward passes.
    """
    for average, parameter in zip(twin.parameters(), online.parameters(), strict=True):
        average.lerp_(parameter.to(average.dtype), 1.0 - momentum)


def synchronize_twin(twin: nn.Module, online: nn.Module) -> None:
    """Copy the online network into a twin and freeze the twin; tensors that came from a checkpoint stay.

    To be called from `_init_weights` of the model that owns both, after its children are initialized.
    """
    for average, parameter in zip(twin.parameters(), online.parameters(), strict=True):
        init.copy_(average, parameter)
        average.requires_grad_(False)
    for own, buffer in zip(twin.buffers(), online.buffers(), strict=True):
        init.copy_(own, buffer)
