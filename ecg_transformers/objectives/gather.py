"""Tensors of all processes in one, with and without gradient, and the shuffled key pass of momentum contrast."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["all_gather", "gather_with_gradient", "process_slice", "shuffled_key_pass", "world_size"]


def world_size() -> int:
    """Number of training processes; 1 outside distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_slice(tensor: torch.Tensor) -> torch.Tensor:
    """This process's rows of a tensor that holds the rows of all processes in rank order.

    Args:
        tensor: `(processes * batch, ...)`.

    Returns:
        `(batch, ...)`.
    """
    if world_size() == 1:
        return tensor
    rows = len(tensor) // world_size()
    return tensor[dist.get_rank() * rows : (dist.get_rank() + 1) * rows]


@torch.no_grad()
def all_gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the tensors of all processes in rank order, without gradient.

    Args:
        tensor: This process's `(batch, ...)`, of the same shape on every process.

    Returns:
        `(processes * batch, ...)`.
    """
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return all_gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        # Rows of this process entered the loss of every process.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return process_slice(gradient)


def gather_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the tensors of all processes in rank order; gradients return to the process that a row is from.

    For contrast within the batch, where each process computes the loss of its own rows against all rows. The gradient
    of a row is the sum over the losses of all processes; together with DDP, which averages parameter gradients over
    processes, the parameters get the gradient of the mean loss over the combined batch.

    Args:
        tensor: This process's `(batch, ...)`, of the same shape on every process.

    Returns:
        `(processes * batch, ...)`.
    """
    return tensor if world_size() == 1 else _Gather.apply(tensor)


@torch.no_grad()
def shuffled_key_pass(
    encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, shuffle_indices: torch.Tensor
) -> torch.Tensor:
    """Encode the keys of this process on other processes, so that BatchNorm cannot give positives away.

    All inputs are gathered and permuted, each process encodes its slice, the keys are gathered and put back in order
    (He et al. 2020, section 3.3, "shuffling BN").

    Args:
        encode: Maps inputs `(batch, ...)` to keys `(batch, size)`.
        inputs: This process's `(batch, ...)`.
        shuffle_indices: One permutation of all rows, the same on every process.

    Returns:
        The keys of this process's own inputs, `(batch, size)`.
    """
    shuffled = all_gather(inputs)[shuffle_indices]
    keys = all_gather(encode(process_slice(shuffled)))
    return process_slice(keys[shuffle_indices.argsort()])
