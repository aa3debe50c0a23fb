"""The momentum twin follows parameters, not running statistics."""

import copy

import torch
from torch import nn

from ecg_transformers.objectives.momentum import copy_and_freeze, ema_update


def pair():
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    twin = copy.deepcopy(online)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    return online.double(), twin.double()


def test_follows_by_the_formula():
    online, twin = pair()
    expected = [0.9 * k + 0.1 * q for k, q in zip(twin.parameters(), online.parameters(), strict=True)]
    ema_update(twin, online, 0.9)
    for parameter, value in zip(twin.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter, value, rtol=0, atol=1e-12)


def test_running_statistics_are_left_alone():
    online, twin = pair()
    online(torch.randn(8, 3).double())
    ema_update(twin, online, 0.5)
    assert twin[1].running_mean.abs().max() == 0
    assert twin[1].num_batches_tracked.item() == 0


def test_synchronizing_copies_and_freezes():
    online, twin = pair()
    with torch.no_grad():
        copy_and_freeze(twin, online)
    for ours, theirs in zip(twin.parameters(), online.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad
        assert theirs.requires_grad
