"""Scaling of gradients: values stay, gradients are multiplied."""

import pytest
import torch

from ecg_transformers.objectives.gradient_scale import scale_gradient


@pytest.mark.parametrize("factor", [0.1, 1.0, 0.0])
def test_values_stay_and_gradients_are_multiplied(factor):
    x = torch.randn(3, 4, requires_grad=True)
    scaled = scale_gradient(x, factor)
    assert torch.equal(scaled, x)
    (scaled**2).sum().backward()
    torch.testing.assert_close(x.grad, factor * 2 * x.detach())
