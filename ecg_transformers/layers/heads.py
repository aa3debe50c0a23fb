"""Heads that pretraining puts behind an encoder."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ProjectionHead"]


class _ProjectionLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, bias: bool, affine: bool):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.norm = nn.BatchNorm1d(outputs, affine=affine)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(hidden))


class ProjectionHead(nn.Module):
    """Linear, BatchNorm and ReLU, several times; `(batch, inputs)` to `(batch, outputs)`.

    Args:
        sizes: Width of the input and of every layer.
        bias: Whether the linear layers have a bias (BatchNorm makes it idle).
        last_relu: Whether ReLU follows the last layer too.
        last_affine: Whether the last BatchNorm has a scale and a shift.
    """

    def __init__(self, sizes: list[int], *, bias: bool = False, last_relu: bool = False, last_affine: bool = False):
        super().__init__()
        last = len(sizes) - 2
        self.last_relu = last_relu
        self.layers = nn.ModuleList(
            _ProjectionLayer(sizes[i], sizes[i + 1], bias=bias, affine=i < last or last_affine)
            for i in range(len(sizes) - 1)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project `(batch, sizes[0])` to `(batch, sizes[-1])`."""
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if number + 1 < len(self.layers) or self.last_relu:
                hidden = functional.relu(hidden)
        return hidden
