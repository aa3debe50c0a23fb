"""Reconstruction loss: what counts and what does not."""

import pytest
import torch

from ecg_transformers.objectives.reconstruction import masked_reconstruction_loss


def written_out(prediction, target, mask, weight):
    total = count = 0.0
    for record in range(len(target)):
        for patch in range(target.shape[1]):
            share = float(mask[record, patch] * weight[record, patch])
            total += share * float(((prediction[record, patch] - target[record, patch]) ** 2).mean())
            count += share
    return total / count


def test_equals_the_written_out_ratio():
    prediction, target = torch.randn(2, 3, 6, 5, dtype=torch.float64).unbind()
    mask, weight = torch.randint(0, 2, (2, 3, 6)).double().unbind()
    mask[0, 0] = weight[0, 0] = 1
    loss = masked_reconstruction_loss(prediction, target, mask, weight)
    assert loss.item() == pytest.approx(written_out(prediction, target, mask, weight), abs=1e-12)


def test_visible_patches_do_not_count_and_a_perfect_copy_is_zero():
    target = torch.randn(2, 4, 5)
    mask = torch.tensor([[1.0, 0, 1, 0]]).expand(2, -1)
    wrong_where_visible = target + (1 - mask)[:, :, None] * 9
    assert masked_reconstruction_loss(wrong_where_visible, target, mask).item() == 0


def test_nothing_that_counts_gives_zero_not_nan():
    target = torch.randn(2, 4, 5)
    assert masked_reconstruction_loss(target + 1, target, torch.zeros(2, 4)).item() == 0


def test_gradient_equals_finite_differences():
    prediction = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 1]], dtype=torch.float64)
    for normalize in (False, True):
        assert torch.autograd.gradcheck(
            lambda p, n=normalize: masked_reconstruction_loss(p, target, mask, normalize_patches=n), (prediction,)
        )


def test_half_precision_is_reduced_in_float32():
    target = torch.randn(2, 4, 5)
    loss = masked_reconstruction_loss(target.bfloat16(), target, torch.ones(2, 4))
    assert loss.dtype == torch.float32
