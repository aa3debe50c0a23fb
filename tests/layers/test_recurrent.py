"""Recurrent layers with the states of every layer, against torch's own stack."""

import pytest
import torch
from torch import nn

from ecg_transformers.layers.recurrent import RecurrentStack, mean_max_last


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("kind", "reference"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_equals_the_stack_of_torch(kind, reference):
    stack, whole = RecurrentStack(kind, 5, 7, num_layers=3), reference(5, 7, num_layers=3, batch_first=True)
    for name, value in whole.state_dict().items():
        tensor, _, layer = name.rpartition("_l")
        stack.state_dict()[f"{layer}.{tensor}_l0"].copy_(value)
    tokens = torch.randn(2, 11, 5, generator=torch.Generator().manual_seed(0))
    states = stack(tokens)
    assert [state.shape for state in states] == [(2, 11, 7)] * 3
    torch.testing.assert_close(states[-1], whole(tokens)[0])
    # Layers above the chosen one are not run.
    assert len(stack(tokens, num_layers=2)) == 2
    assert torch.equal(stack(tokens, num_layers=2)[-1], states[1])


def test_published_sizes():
    with torch.device("meta"):
        assert size(RecurrentStack("lstm", 512, 512, num_layers=2)) == 4_202_496
        assert size(RecurrentStack("gru", 512, 512, num_layers=2)) == 3_151_872


def test_a_state_depends_on_the_past_alone():
    stack = RecurrentStack("lstm", 5, 7, num_layers=2)
    tokens = torch.randn(2, 11, 5, generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 6:] += 1
    first, second = stack(tokens)[-1], stack(changed)[-1]
    assert torch.equal(first[:, :6], second[:, :6])
    assert (first[:, 6:] != second[:, 6:]).any(dim=-1).all()


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="lstm"):
        RecurrentStack("rnn", 5, 7, num_layers=2)


def test_pooling_is_mean_maximum_last():
    tokens = torch.tensor([[[1.0, 5], [2, -1], [6, 2]]])
    assert mean_max_last(tokens).tolist() == [[3, 2, 6, 5, 6, 2]]
