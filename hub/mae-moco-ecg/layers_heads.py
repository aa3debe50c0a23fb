# ecg_transformers/layers/heads.py, copied beside the checkpoint with its imports made flat.
"""Heads behind an encoder: projections of pretraining, and the layers of a classifier."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ProjectionHead", "classification_layers"]


def classification_layers(
    inputs: int, outputs: int, *, hidden_sizes: Sequence[int] = (), dropout: float = 0.0, batch_norm: bool = False
) -> nn.Linear | nn.Sequential:
    """The layers of a classifier: per linear layer BatchNorm, Dropout, Linear, and ReLU behind all but the last.

    Source: the heads of ecg_ptbxl_benchmarking and ecg-selfsupervised (specification, 2.5).

    Args:
        inputs: Width of the pooled vector.
        outputs: Labels.
        hidden_sizes: Widths of the hidden layers.
        dropout: Before the last linear layer, and half of it before the earlier ones; a layer that drops nothing is
            left out.
        batch_norm: BatchNorm before each linear layer.

    Returns:
        `(batch, inputs)` to `(batch, outputs)`; a bare linear layer where nothing else is asked for.
    """
    sizes = [inputs, *hidden_sizes, outputs]
    layers: list[nn.Module] = []
    for number in range(len(sizes) - 1):
        last = number == len(sizes) - 2
        share = dropout if last else dropout / 2
        layers += [nn.BatchNorm1d(sizes[number])] if batch_norm else []
        layers += [nn.Dropout(share)] if share else []
        layers += [nn.Linear(sizes[number], sizes[number + 1])]
        layers += [] if last else [nn.ReLU()]
    return layers[0] if isinstance(layers[0], nn.Linear) and len(layers) == 1 else nn.Sequential(*layers)


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
