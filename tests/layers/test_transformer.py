"""Attention: kernels agree, masked tokens do not matter."""

from types import SimpleNamespace

import pytest
import torch

from ecg_transformers.layers.positions import interpolate_positions
from ecg_transformers.layers.transformer import TransformerStack


def stack(attention, **options):
    config = SimpleNamespace(
        layer_norm_eps=1e-6,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        qkv_bias=True,
        hidden_act="gelu",
        _attn_implementation=attention,
    )
    torch.manual_seed(0)
    return TransformerStack(config, num_layers=2, hidden_size=16, num_heads=4, intermediate_size=32, **options).eval()


@pytest.mark.parametrize("masked", [False, True])
def test_eager_and_sdpa_agree(masked):
    x = torch.randn(3, 9, 16)
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, 4:] = False
    outputs = [stack(name)(x, mask if masked else None)[0] for name in ("eager", "sdpa")]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


def test_masked_tokens_do_not_reach_others():
    x = torch.randn(2, 9, 16)
    other = x.clone()
    other[:, 6:] += 1
    mask = torch.arange(9).expand(2, -1) < 6
    a, b = (stack("eager")(values, mask)[0][:, :6] for values in (x, other))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@torch.no_grad()
def test_norms_after_their_parts():
    x = torch.randn(2, 9, 16)
    model = stack("eager", norm_first=False)
    assert model.state_dict().keys() == stack("eager").state_dict().keys()
    layer = model.layer[0]
    middle = layer.layernorm_before(x + layer.attention(x, None)[0])
    want = layer.layernorm_after(middle + layer.output(layer.intermediate(middle)))
    torch.testing.assert_close(layer(x)[0], want)
    assert not torch.allclose(stack("eager").layer[0](x)[0], want, atol=0.1)


def test_activations_of_the_mlp_are_dropped_in_training_alone():
    x = torch.randn(2, 9, 16)
    model = stack("eager", activation_dropout=1.0)
    torch.testing.assert_close(model(x)[0], stack("eager")(x)[0])
    layer = model.layer[0].train()
    middle = x + layer.attention(layer.layernorm_before(x), None)[0]
    torch.testing.assert_close(layer(x)[0], middle + layer.output.dense.bias)


def test_hidden_states_and_attentions_are_handed_out():
    _, states, attentions = stack("eager")(torch.randn(2, 9, 16))
    assert len(states) == 3
    assert len(attentions) == 2
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(2, 4, 9))


def test_interpolation_keeps_the_cls_row_and_the_ends():
    table = torch.randn(1, 9, 4)
    longer = interpolate_positions(table, 16, cls_token=True)
    assert longer.shape == (1, 17, 4)
    assert torch.equal(longer[:, 0], table[:, 0])
    torch.testing.assert_close(longer[:, 1], table[:, 1])
    torch.testing.assert_close(interpolate_positions(table, 8, cls_token=True), table)
