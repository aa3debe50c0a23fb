"""What the tests against recorded tensors share: where these are, their names, how near is near, weights by rule."""

import math
from pathlib import Path

import torch
from torch import nn

DATA = Path(__file__).parent / "data"
ECG_SELFSUPERVISED = DATA / "ecg_selfsupervised"


def part(tensors, prefix):
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def assert_near(result, expected, tolerance=1e-10):
    """Equal to an absolute tolerance, in the type of the result."""
    torch.testing.assert_close(result, expected.to(result.dtype), rtol=0, atol=tolerance)


def assert_near_largest(result, expected, tolerance=1e-6, floor=0.0, name=""):
    """Equal to `tolerance` of the expected tensor's largest value, or of `floor` if that is larger."""
    assert result.shape == expected.shape, name
    largest = max(expected.abs().max().item(), floor)
    difference = (result.detach().double() - expected.double()).abs().max().item()
    assert difference <= tolerance * largest, f"{name} differs by {difference / max(largest, 1e-300):.1e}"


def rule(count, layer):
    """`u(n, L)`: the numbers by which the full-size weights of ecg-selfsupervised were filled."""
    index = torch.arange(count, dtype=torch.float64)
    return (torch.sin(12.9898 * index + 78.233 * layer) * 43758.5453).remainder(1.0)


@torch.no_grad()
def fill_by_rule(network, damped=()):
    """Fill every tensor by the rule, each value rounded to float32 once; returns how many layers were numbered.

    The weights of the norms in `damped` are a quarter of the others'.
    """
    number = 0
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            number += 1
            bound = math.sqrt(6 / module.weight[0].numel())
            weight = (2 * rule(module.weight.numel(), number) - 1) * bound
            module.weight.copy_(weight.view_as(module.weight).float())
            if module.bias is not None:
                module.bias.copy_(((2 * rule(module.bias.numel(), number + 0.5) - 1) * 0.1).float())
        elif isinstance(module, nn.LSTM):
            for tensor in (module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0):
                number += 1
                filled = (2 * rule(tensor.numel(), number) - 1) * 2 / math.sqrt(module.hidden_size)
                tensor.copy_(filled.view_as(tensor).float())
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            channel = torch.arange(module.num_features, dtype=torch.float64)
            scale = (1 + 0.1 * torch.cos(channel)) * (0.25 if module in damped else 1.0)
            module.weight.copy_(scale.float())
            module.bias.copy_((0.05 * torch.sin(channel)).float())
            module.running_mean.copy_((0.05 * torch.cos(2 * channel)).float())
            module.running_var.copy_((1 + 0.3 * torch.sin(3 * channel)).float())
    return number


def two_sines():
    """The signal of the full-size outputs `(2, 12, 250)`, rounded to float32 once."""
    lead, time = torch.arange(12, dtype=torch.float64)[:, None], torch.arange(250, dtype=torch.float64)
    phases = torch.arange(2.0).double()[:, None, None]
    return (0.5 * torch.sin(2 * torch.pi * (1 + 0.1 * lead) * time / 100 + phases)).float().double()
