"""Strided convolutions over the samples of a window: the encoder of contrastive predictive coding."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ConvolutionEncoder"]


class _ConvolutionLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, stride: int, batch_norm: bool):
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.conv = nn.Conv1d(inputs, outputs, kernel_size, stride, padding=padding, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(outputs) if batch_norm else None

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        signal = self.conv(signal)
        return functional.relu(signal if self.norm is None else self.norm(signal), inplace=True)


class ConvolutionEncoder(nn.Sequential):
    """Convolution, BatchNorm and ReLU, several times: `(batch, sizes[0], samples)` to `(batch, sizes[-1], steps)`.

    Kernels of 1 map each sample for itself (the four fully connected layers of Mehari & Strodthoff 2022).

    Args:
        sizes: Channels of the input and of every layer.
        kernel_sizes: Samples of each kernel; the signal is padded by `(kernel_size - 1) // 2` on both sides.
        strides: Of each layer; the product is the number of samples per step.
        batch_norm: Whether BatchNorm follows each convolution, which then has no bias.
    """

    def __init__(
        self, sizes: Sequence[int], *, kernel_sizes: Sequence[int], strides: Sequence[int], batch_norm: bool = True
    ):
        layers = zip(sizes[:-1], sizes[1:], kernel_sizes, strides, strict=True)
        super().__init__(
            *(
                _ConvolutionLayer(inputs, outputs, kernel_size, stride=stride, batch_norm=batch_norm)
                for inputs, outputs, kernel_size, stride in layers
            )
        )
        self.kernel_sizes, self.strides = tuple(kernel_sizes), tuple(strides)

    def output_length(self, samples: int) -> int:
        """Steps of a window of so many samples; 0 where it is too short for one."""
        for kernel_size, stride in zip(self.kernel_sizes, self.strides, strict=True):
            padded = samples + 2 * ((kernel_size - 1) // 2)
            samples = max((padded - kernel_size) // stride + 1, 0)
        return samples
