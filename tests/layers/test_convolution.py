"""The strided convolutions of CPC's encoder: lengths, names, sizes."""

import pytest
import torch
from torch import nn

from ecg_transformers.layers.convolution import ConvolutionEncoder


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kernel_sizes", "strides", "samples", "steps"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1), 250, 250),
        ((10, 4, 4, 4), (2, 2, 2, 2), 250, 15),
        ((10, 4, 4, 4), (2, 2, 2, 2), 1000, 62),
        ((10, 4, 4, 4), (2, 2, 2, 2), 330, 20),
        ((5, 3), (2, 1), 33, 17),
    ],
)
def test_number_of_steps(kernel_sizes, strides, samples, steps):
    sizes = [12] + [8] * len(kernel_sizes)
    encoder = ConvolutionEncoder(sizes, kernel_sizes=kernel_sizes, strides=strides)
    assert encoder(torch.zeros(2, 12, samples)).shape == (2, 8, steps)
    assert encoder.output_length(samples) == steps


def test_published_sizes():
    with torch.device("meta"):
        full = ConvolutionEncoder([12] + [512] * 4, kernel_sizes=[1] * 4, strides=[1] * 4)
        strided = ConvolutionEncoder([12] + [512] * 4, kernel_sizes=[10, 4, 4, 4], strides=[2] * 4)
    assert (size(full), size(strided)) == (796_672, 3_211_264)


def test_without_norm_the_convolutions_have_a_bias():
    plain = ConvolutionEncoder([12, 8], kernel_sizes=[1], strides=[1], batch_norm=False)
    normed = ConvolutionEncoder([12, 8], kernel_sizes=[1], strides=[1])
    assert set(plain.state_dict()) == {"0.conv.weight", "0.conv.bias"}
    assert {"0.conv.weight", "0.norm.weight", "0.norm.running_mean"} <= set(normed.state_dict())
    assert "0.conv.bias" not in normed.state_dict()


def test_equals_the_layers_one_by_one():
    encoder = ConvolutionEncoder([3, 6, 4], kernel_sizes=[4, 3], strides=[2, 1]).eval()
    signal = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    expected = signal
    for layer in encoder:
        expected = nn.functional.relu(layer.norm(layer.conv(expected)))
    torch.testing.assert_close(encoder(signal), expected)


def test_a_signal_that_leaves_no_step_has_length_zero():
    encoder = ConvolutionEncoder([3, 6], kernel_sizes=[10], strides=[2])
    assert encoder.output_length(1) == 0
