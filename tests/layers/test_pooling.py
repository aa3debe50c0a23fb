"""Poolings against loops written out, with masks and with a [CLS] token."""

import math

import pytest
import torch

from ecg_transformers.layers.pooling import Pooling
from ecg_transformers.layers.token_reductions import AttentionPooling
from ecg_transformers.readout import POOLINGS


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 6, 16, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 1]]).bool()
    return tokens, mask, torch.randn(3, 16, generator=generator)


@pytest.mark.parametrize("cls_token", [True, False])
@pytest.mark.parametrize("kind", ["mean", "max"])
def test_mean_and_max_leave_out_cls_and_absent_tokens(outputs, kind, cls_token):
    tokens, mask, pooled = outputs
    result = Pooling(kind, 16, cls_token)(tokens, mask, pooled)
    for row in range(3):
        present = torch.stack([tokens[row, t] for t in range(int(cls_token), 6) if mask[row, t]])
        expected = present.mean(0) if kind == "mean" else present.max(0).values
        torch.testing.assert_close(result[row], expected)


@pytest.mark.parametrize("kind", POOLINGS)
def test_an_absent_token_has_no_influence(outputs, kind):
    tokens, mask, pooled = outputs
    torch.manual_seed(1)
    pooling = Pooling(kind, 16, True)
    changed = torch.where(mask.unsqueeze(-1), tokens, torch.full_like(tokens, 1e3))
    torch.testing.assert_close(pooling(changed, mask, pooled), pooling(tokens, mask, pooled))


@pytest.mark.parametrize("kind", POOLINGS)
def test_output_size_is_told_and_no_mask_means_all_present(outputs, kind):
    tokens, mask, pooled = outputs
    pooling = Pooling(kind, 16, True)
    assert pooling(tokens, None, pooled).shape == (3, pooling.output_size)
    torch.testing.assert_close(pooling(tokens, None, pooled), pooling(tokens, torch.ones_like(mask), pooled))


def test_cls_hands_on_the_pooler_output_of_another_width():
    pooling = Pooling("cls_mean", 16, False, pooled_size=40)
    pooled = torch.randn(2, 40)
    result = pooling(torch.ones(2, 5, 16), None, pooled)
    assert pooling.output_size == 56
    assert torch.equal(result[:, :40], pooled)
    assert torch.equal(result[:, 40:], torch.ones(2, 16))


def test_attention_equals_the_loop_over_heads_and_starts_as_the_mean(outputs):
    tokens, mask, _ = outputs
    torch.manual_seed(2)
    pooling = AttentionPooling(16)
    start = pooling.value(torch.stack([tokens[i][mask[i]].mean(0) for i in range(3)]))
    torch.testing.assert_close(pooling(tokens, mask), start)
    with torch.no_grad():
        pooling.query.normal_()
    result = pooling(tokens, mask)
    for row in range(3):
        present = tokens[row][mask[row]]
        parts = []
        for head in range(pooling.num_heads):
            weights = torch.softmax(present @ pooling.query[head] / math.sqrt(pooling.head_size), dim=0)
            parts.append(pooling.value(weights @ present)[head * pooling.head_size : (head + 1) * pooling.head_size])
        torch.testing.assert_close(result[row], torch.cat(parts))


def test_every_parameter_of_the_attention_pooling_learns_from_its_start(outputs):
    tokens, mask, _ = outputs
    torch.manual_seed(3)
    pooling = AttentionPooling(16)
    pooling(tokens, mask).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pooling.parameters())


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_a_window_without_a_token_gives_zeros(kind):
    result = Pooling(kind, 4, False)(torch.ones(1, 3, 4), torch.zeros(1, 3, dtype=torch.bool))
    assert torch.equal(result, torch.zeros(1, 4))


@pytest.mark.parametrize("kind", POOLINGS)
def test_half_precision_stays_half_and_close(outputs, kind):
    tokens, mask, pooled = outputs
    torch.manual_seed(4)
    pooling = Pooling(kind, 16, True)
    result = pooling(tokens.bfloat16(), mask, pooled.bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), pooling(tokens, mask, pooled), atol=0.03, rtol=0.03)


def test_an_unknown_pooling_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"median.*cls_mean"):
        Pooling("median", 4, True)
    with pytest.raises(ValueError, match="pooler_output"):
        Pooling("cls", 4, True)(torch.ones(1, 2, 4))
