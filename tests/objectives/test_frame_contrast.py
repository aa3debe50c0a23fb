"""Contrast of masked frames against a slow loop, with equal targets, in half precision."""

import math

import pytest
import torch
from torch.nn import functional

from ecg_transformers.objectives.frame_contrast import frame_contrast, negative_frames


def inputs(rows=3, frames=6, negatives=9, codes=50):
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(codes, (rows, frames, 2), generator=generator)
    table = torch.randn(codes, codes, 4, generator=generator, dtype=torch.float64)
    return (
        torch.randn(rows, frames, 4, generator=generator, dtype=torch.float64),
        table[numbers[..., 0], numbers[..., 1]],
        negative_frames(torch.rand(rows, frames, negatives, generator=generator)),
        numbers,
    )


@pytest.mark.parametrize("codes", [50, 2])
def test_a_slow_loop_gives_the_same_losses(codes):
    contexts, targets, negatives, numbers = inputs(codes=codes)
    contrast = frame_contrast(contexts, targets, negatives, numbers, 0.1)
    for row in range(3):
        for frame in range(6):
            own = targets[row, frame]
            logits = [functional.cosine_similarity(contexts[row, frame], own, dim=0) / 0.1]
            for place in negatives[row, frame]:
                equal = torch.equal(targets[row, place], own)
                cosine = functional.cosine_similarity(contexts[row, frame], targets[row, place], dim=0) / 0.1
                logits.append(cosine.new_tensor(-math.inf) if equal else cosine)
            want = functional.cross_entropy(torch.stack(logits)[None], torch.tensor([0]))
            torch.testing.assert_close(contrast.losses[row, frame], want)


def test_equal_targets_leave_nothing_to_tell_apart():
    contexts, targets, negatives, numbers = inputs()
    contexts.requires_grad_()
    contrast = frame_contrast(contexts, targets[:, :1].expand_as(targets), negatives, torch.zeros_like(numbers), 0.1)
    assert contrast.loss == 0
    contrast.loss.backward()
    assert contexts.grad.abs().max() == 0
    assert contrast.accuracy == 1


def test_frames_that_all_look_alike_are_not_counted_as_right():
    contexts, targets, negatives, numbers = inputs()
    assert frame_contrast(contexts, torch.ones_like(targets), negatives, numbers, 0.1).accuracy == 0
    assert frame_contrast(targets, targets, negatives, numbers, 0.1).accuracy == 1


def test_gradients_in_float64():
    contexts, targets, negatives, numbers = inputs(rows=1, frames=3, negatives=2)
    tensors = [contexts.requires_grad_(), targets.requires_grad_()]
    assert torch.autograd.gradcheck(lambda a, b: frame_contrast(a, b, negatives, numbers, 0.5).loss, tensors)


def test_half_precision_is_computed_in_float32():
    contexts, targets, negatives, numbers = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        contrast = frame_contrast(contexts.bfloat16(), targets.bfloat16(), negatives, numbers, 0.1)
    assert contrast.logits.dtype == torch.float32
    exact = frame_contrast(contexts.bfloat16().double(), targets.bfloat16().double(), negatives, numbers, 0.1)
    torch.testing.assert_close(contrast.loss.double(), exact.loss, rtol=1e-5, atol=1e-5)


def test_negatives_are_others_with_equal_probability():
    uniform = torch.rand(1, 5, 40_000, generator=torch.Generator().manual_seed(1))
    negatives = negative_frames(uniform)[0]
    for frame in range(5):
        shares = torch.bincount(negatives[frame], minlength=5) / 40_000
        assert shares[frame] == 0
        assert (shares[torch.arange(5) != frame] - 0.25).abs().max() < 0.01
