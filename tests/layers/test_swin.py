"""The shifted-window transformer: what a token sees, counts and shapes of Swin-T, kernels agree."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ecg_transformers.layers.swin import PatchMerging, SwinLayer, SwinStack


def config(attention="eager", window=10):
    return SimpleNamespace(
        layer_norm_eps=1e-6,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        qkv_bias=True,
        hidden_act="gelu",
        attention_window_size=window,
        _attn_implementation=attention,
    )


def start(module, seed=0):
    """Random numbers everywhere, also where a start would be zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module.eval()


def layer(attention="eager", *, is_shifted=False, window=10):
    return start(SwinLayer(config(attention, window), hidden_size=12, num_heads=3, is_shifted=is_shifted).double())


def tokens(count=40, batch=2):
    return torch.randn(batch, count, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def changed_at(x, token):
    """Another vector there; not a shift, which the norm would take away."""
    other = x.clone()
    other[:, token] = other[:, token].flip(1)
    return other


def stack(attention="eager", embedding_size=12):
    return start(SwinStack(config(attention), embedding_size=embedding_size, depths=[2, 2], num_heads=[3, 6]).double())


@pytest.mark.parametrize(("window", "shift"), [(10, 0), (10, 5), (5, 0), (5, 2)])
def test_attention_is_the_one_that_is_written_out(window, shift):
    attention = layer(is_shifted=bool(shift), window=window).attention
    x = tokens(20, batch=1)
    place = [(i - shift) % 20 for i in range(20)]  # where a token stands once the sequence is rolled
    query, key, value = (part(x)[0].view(20, 3, 4) for part in (attention.query, attention.key, attention.value))
    rows = []
    for i in range(20):
        heads = []
        for head in range(3):
            scores = torch.full((20,), -torch.inf, dtype=torch.float64)
            for j in range(20):
                # After the roll the first `shift` tokens stand at the end, beside the last ones.
                apart = shift and (i < shift) != (j < shift) and place[i] // window == 20 // window - 1
                if place[i] // window == place[j] // window and not apart:
                    bias = attention.relative_position_bias[place[i] - place[j] + window - 1, head]
                    scores[j] = query[i, head] @ key[j, head] / 2 + bias
            heads.append(scores.softmax(dim=0) @ value[:, head])
        rows.append(torch.cat(heads))
    expected = attention.output(torch.stack(rows))
    torch.testing.assert_close(attention(x)[0][0], expected, rtol=0, atol=1e-12)


def test_a_layer_sees_its_window_and_nothing_else():
    x = tokens()
    for is_shifted, seen in ((False, range(10, 20)), (True, range(15, 25))):
        swin = layer(is_shifted=is_shifted)
        differs = (swin(x)[0] != swin(changed_at(x, 17))[0]).any(dim=2)[0]
        assert differs.nonzero()[:, 0].tolist() == list(seen)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_ends_of_the_sequence_share_a_window_but_do_not_see_each_other(attention):
    x = tokens()
    swin = layer(attention, is_shifted=True)
    before, after = swin(x)[0], swin(changed_at(x, 0))[0]
    assert torch.equal(before[:, 5:], after[:, 5:])
    assert (before[:, :5] != after[:, :5]).any(dim=2).all()


def test_a_single_window_is_not_shifted():
    x = tokens(10)
    swin = layer(is_shifted=True)
    assert (swin(x)[0] != swin(changed_at(x, 0))[0]).any(dim=2).all()


@pytest.mark.parametrize("is_shifted", [False, True])
def test_eager_and_sdpa_agree(is_shifted):
    x = tokens(batch=3)
    results = [layer(name, is_shifted=is_shifted)(x)[0] for name in ("eager", "sdpa")]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_merging_joins_neighbors():
    merging = start(PatchMerging(12, 1e-6).double())
    x = tokens(20)
    joined = torch.cat([x[:, 0::2], x[:, 1::2]], dim=2)
    torch.testing.assert_close(merging(x), merging.reduction(merging.layernorm(joined)), rtol=0, atol=0)
    assert merging.reduction.bias is None


def test_swin_t_has_its_counts_and_shapes():
    """Ten seconds at 256 Hz: a convolution of 4 samples and a norm before, a norm behind, 26,721,822 parameters."""
    swin = SwinStack(config(), embedding_size=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]).eval()
    around = (nn.Conv1d(12, 96, 4, 4), nn.LayerNorm(96), nn.LayerNorm(768))
    assert sum(p.numel() for module in (swin, *around) for p in module.parameters()) == 26_721_822
    with torch.no_grad():
        last, states, attentions = swin(torch.randn(1, 640, 96))
    assert [tuple(state.shape[1:]) for state in states] == [(640, 96), (640, 96), (320, 192), (160, 384), (80, 768)]
    assert torch.equal(last, states[-1])
    assert len(attentions) == 12
    assert attentions[0].shape == (64, 3, 10, 10)
    torch.testing.assert_close(attentions[1].sum(dim=-1), torch.ones(64, 3, 10))


def test_every_parameter_gets_a_gradient():
    model = stack().train()
    model(tokens(40))[0].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_a_truncated_stack_gives_the_state_of_its_last_stage():
    model = stack()
    x = tokens(40)
    states = model(x)[1]
    last, few, attentions = model(x, num_stages=1)
    assert torch.equal(last, states[1])
    assert (len(few), len(attentions)) == (2, 2)
    del model.stage[1:]
    assert torch.equal(model(x)[0], states[1])


def test_checkpointing_changes_no_gradient():
    x = tokens(40)
    gradients = []
    for checkpointing in (False, True):
        model = stack().train()
        for module in model.modules():
            if isinstance(module, SwinLayer):
                module.gradient_checkpointing = checkpointing
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        model(x.clone().requires_grad_())[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
