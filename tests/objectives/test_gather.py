"""Gathering across processes: contrast of two real processes within the combined batch."""

import copy

import torch
from torch import nn

from ecg_transformers.objectives.gather import (
    all_gather,
    gather_with_gradient,
    process_slice,
    shuffled_key_pass,
    world_size,
)

from ..two_processes import run_in_two_processes


def assert_near(result, expected):
    torch.testing.assert_close(result.double(), expected.double(), rtol=0, atol=1e-10)


def contrast_of_rows(network, values, rows, gather):
    """Symmetric cross-entropy of the rows of one process against the rows of all."""
    first, second = (nn.functional.normalize(network(view), dim=1) for view in values.unbind(1))
    labels = torch.arange(16)[rows]
    logits = [one @ gather(other).T / 0.2 for one, other in ((first, second), (second, first))]
    return sum(nn.functional.cross_entropy(part, labels) for part in logits) / 2


def contrast_within_the_batch(rank):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    values = torch.randn(16, 2, 6, dtype=torch.float64)
    alone = copy.deepcopy(network)
    whole = contrast_of_rows(alone, values, slice(None), lambda rows: rows)
    whole.backward()

    rows = slice(8 * rank, 8 * rank + 8)
    own = values[rows].clone().requires_grad_()
    parallel = nn.parallel.DistributedDataParallel(network)
    loss = contrast_of_rows(parallel, own, rows, gather_with_gradient)
    loss.backward()
    both = all_gather(loss.detach()[None])
    assert_near(both.mean(), whole.detach())
    for name, parameter in alone.named_parameters():
        assert_near(network.get_parameter(name).grad, parameter.grad)
    # Without the gradient through the gathered rows, half of it would be missing.
    network.zero_grad()
    contrast_of_rows(parallel, values[rows], rows, all_gather).backward()
    assert (network[0].weight.grad - alone[0].weight.grad).norm() > 0.1 * alone[0].weight.grad.norm()


def test_two_processes_equal_one():
    run_in_two_processes(contrast_within_the_batch)


def test_one_process_gathers_only_itself():
    x = torch.randn(4, 2)
    assert world_size() == 1
    assert all_gather(x) is x
    assert gather_with_gradient(x) is x
    assert process_slice(x) is x
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(shuffled_key_pass(lambda rows: rows * 2, x, order), x * 2)
