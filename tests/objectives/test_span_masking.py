"""Masks of spans: number of spans, starts, lengths, equal counts."""

import pytest
import torch

from ecg_transformers.objectives.span_masking import (
    equal_counts,
    longest_mask,
    masked_frames,
    span_counts,
    span_mask,
)

PUBLISHED = {"probability": 0.65, "length": 10, "least": 2}


def test_the_number_of_spans_is_rounded_at_random():
    frames = torch.tensor([156, 156, 120, 80, 5])
    assert span_counts(frames, torch.tensor(0.0), **PUBLISHED).tolist() == [10, 10, 7, 5, 2]
    assert span_counts(frames, torch.tensor([0.0, 0.9, 0.3, 0.9, 0.9]), **PUBLISHED).tolist() == [10, 11, 8, 6, 2]


def test_spans_follow_the_starts_with_the_smallest_noise():
    noise = torch.ones(2, 20)
    noise[0, [2, 4]] = 0
    noise[1, [0, 9]] = 0
    # Row 1 has 12 valid frames: a start at 9 lies behind the last place for one, 8.
    mask = span_mask(noise, torch.tensor([20, 12]), torch.tensor([2, 1]), length=3)
    assert mask[0].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]
    assert mask[1].nonzero()[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("frames", [2, 3, 11, 12, 20, 62])
def test_a_slow_loop_gives_the_same_masks(frames):
    generator = torch.Generator().manual_seed(frames)
    noise, valid = torch.rand(30, frames, generator=generator), torch.randint(2, frames + 1, (30,), generator=generator)
    spans = span_counts(valid, torch.rand(30, generator=generator), **PUBLISHED)
    mask = span_mask(noise, valid, spans, length=10)
    for row in range(30):
        last = spans[row] + 1 if valid[row] - 10 <= spans[row] else valid[row] - 10
        starts = noise[row, :last].argsort()[: spans[row]]
        wanted = torch.zeros(frames, dtype=torch.bool)
        for start in starts:
            wanted[start : start + 10] = True
        wanted[valid[row] :] = False
        assert torch.equal(mask[row], wanted)
        assert mask[row].sum() <= longest_mask(frames, **PUBLISHED)


def test_every_row_keeps_the_same_number_and_none_is_added():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(6, 40, generator=generator) < 0.5
    fewest = mask.sum(1).min()
    equal = equal_counts(mask, torch.rand(6, 40, generator=generator), fewest)
    assert (equal.sum(1) == fewest).all()
    assert not (equal & ~mask).any()
    tokens = torch.randn(6, 40, 3)
    selected = masked_frames(tokens, equal)
    assert selected.shape == (6, int(fewest), 3)
    assert torch.equal(selected[2], tokens[2, equal[2]])
