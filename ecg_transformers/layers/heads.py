"""Heads: projections for pretraining, and the layers of a classifier."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..errors import SignalError

__all__ = ["ProjectionHead", "classification_layers"]


def classification_layers(
    inputs: int, outputs: int, *, hidden_sizes: Sequence[int] = (), dropout: float = 0.0, batch_norm: bool = False
) -> nn.Linear | nn.Sequential:
    """The layers of a classifier: optional BatchNorm, Dropout, Linear, with ReLU between the linear layers.

    The heads of Strodthoff et al. 2021 (doi:10.1109/JBHI.2020.3022989, code: ecg_ptbxl_benchmarking) and Mehari and
    Strodthoff 2022 (doi:10.1016/j.compbiomed.2021.105114, code: ecg-selfsupervised).

    Args:
        inputs: Size of the pooled vector.
        outputs: Number of labels.
        hidden_sizes: Sizes of the hidden layers. Default: none.
        dropout: Dropout probability before the last linear layer; half of it before the others. Default: 0.
        batch_norm: Whether to apply BatchNorm before each linear layer. Default: False.

    Returns:
        A module from `(batch, inputs)` to `(batch, outputs)`; a bare linear layer with the defaults.
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
    def __init__(self, inputs: int, outputs: int, *, bias: bool, affine: bool, norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.norm = nn.BatchNorm1d(outputs, affine=affine) if norm else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(hidden))


class ProjectionHead(nn.Module):
    """Multilayer perceptron with BatchNorm after each linear layer and ReLU in between.

    Args:
        sizes: Sizes of the input and of every layer.
        bias: Whether the linear layers have a bias (redundant before BatchNorm). Default: False.
        last_relu: Whether ReLU follows the last layer, too. Default: False.
        last_affine: Whether the last BatchNorm has scale and shift. Default: False.
        last_norm: Whether there is a BatchNorm after the last linear layer. Default: True.
    """

    def __init__(
        self,
        sizes: list[int],
        *,
        bias: bool = False,
        last_relu: bool = False,
        last_affine: bool = False,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        last = len(sizes) - 2
        self.last_relu = last_relu
        self.layers = nn.ModuleList(
            _ProjectionLayer(
                sizes[i], sizes[i + 1], bias=bias, affine=i < last or last_affine, norm=i < last or last_norm
            )
            for i in range(len(sizes) - 1)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project `(batch, sizes[0])` to `(batch, sizes[-1])`.

        Raises:
            SignalError: A batch of one record in training.
        """
        if self.training and len(hidden) == 1:
            raise SignalError(
                "the batch has one record, of which BatchNorm has no statistics. Set per_device_train_batch_size to at "
                "least 2, or dataloader_drop_last=True where only the last batch is that small."
            )
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if number + 1 < len(self.layers) or self.last_relu:
                hidden = functional.relu(hidden)
        return hidden
