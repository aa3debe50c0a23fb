"""The momentum twin follows parameters, not running statistics."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecg_transformers.objectives.momentum import MomentumEncoderMixin, copy_and_freeze, ema_update
from ecg_transformers.objectives.progress import Progress

STEP = Progress(0, 10, 0.0)


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


class Network(nn.Linear):
    """An encoder of vectors, with the output that encoders have."""

    def forward(self, view, return_dict=True):
        return SimpleNamespace(pooler_output=super().forward(view))


class Base(nn.Module):
    """What a pretraining model has below the mixin."""

    def __init__(self, config):
        super().__init__()

    def _init_weights(self, module):
        pass


class Pair(MomentumEncoderMixin, Base):
    def __init__(self, moves_after_step):
        super().__init__(config=None)
        self.online, self.momentum_encoder = Network(3, 2), Network(3, 2)
        self.momentum_parts = {"momentum_encoder": "online"}
        self.momentum, self.moves_after_step = 0.75, moves_after_step
        self._init_weights(self)
        with torch.no_grad():
            self.online.weight.add_(1.0)

    @property
    def distance(self):
        """1 at the start; 0.75 after one move, and so on."""
        return (self.online.weight - self.momentum_encoder.weight).mean().item()


@pytest.fixture(params=[False, True])
def network(request):
    return Pair(moves_after_step=request.param).train()


def test_a_step_with_hooks_moves_once_however_many_micro_batches(network):
    view = torch.ones(4, 3)
    network.before_step(STEP)
    assert network.distance == pytest.approx(1.0 if network.moves_after_step else 0.75)
    before = network.distance
    for _ in range(3):
        [pooled] = network.encode_momentum(view)
        torch.testing.assert_close(pooled, network.momentum_encoder(view).pooler_output)
        assert not pooled.requires_grad
    assert network.distance == before
    network.after_step(STEP)
    assert network.distance == pytest.approx(0.75)


def test_without_hooks_a_pass_in_training_mode_moves_once_for_all_views(network):
    views = torch.ones(2, 4, 3)
    assert len(network.encode_momentum(*views)) == 2
    assert network.distance == pytest.approx(0.75)
    network.eval().encode_momentum(*views)
    assert network.distance == pytest.approx(0.75)
    # The hooks of an interrupted step leave the moves of a later loop as they were.
    network.train().before_step(STEP)
    network.after_step(STEP)
    network.encode_momentum(*views)
    assert network.distance == pytest.approx(0.75**3)


def test_the_momentum_may_change_and_followers_are_frozen(network):
    assert not any(parameter.requires_grad for parameter in network.momentum_encoder.parameters())
    assert all(parameter.requires_grad for parameter in network.online.parameters())
    network.momentum = 0.5
    network.momentum_update()
    network.momentum_update(0.0)
    assert network.distance == 0.0
    assert "start_marker" not in network.state_dict()
