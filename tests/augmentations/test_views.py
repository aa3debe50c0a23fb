"""Views: each record with its own draw, nothing changed in place, padding left alone."""

import pytest
import torch

from ecg_transformers.augmentations import functional
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.augmentations.views import MaeMocoViews


def draw(views, batch=64, leads=3, samples=200, seed=0):
    return views.draw(RowGenerator(batch, seed=seed), leads, samples)


@pytest.fixture
def signal():
    return torch.randn(64, 3, 200, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("policy", ["all", "pick_k"])
def test_views_differ_between_records_and_repeat_with_their_seed(signal, policy):
    views = MaeMocoViews(policy=policy)
    before = signal.clone()
    same = signal[:1].expand(64, -1, -1)
    first = views.apply(same, draw(views))
    assert len({tuple(row.flatten().tolist()) for row in first}) > 50
    assert torch.equal(first, views.apply(same, draw(views)))
    assert not torch.equal(first, views.apply(same, draw(views, seed=1)))
    assert first.shape == signal.shape
    assert first.dtype == signal.dtype
    assert first.isfinite().all()
    assert torch.equal(signal, before)


def test_probability_zero_is_identity(signal):
    views = MaeMocoViews(probability=0.0)
    assert torch.equal(views.apply(signal, draw(views)), signal)


def test_each_operation_touches_the_share_of_records_it_should():
    views = MaeMocoViews(probability=0.3)
    chosen = views._rounds(draw(views, batch=20_000, samples=2)["chance"])[0]
    assert (chosen.float().mean(0) - 0.3).abs().max() < 0.02


def test_pick_k_gives_k_distinct_operations():
    views = MaeMocoViews(policy="pick_k", picks=2)
    rounds = torch.stack(views._rounds(draw(views)["chance"]))
    assert rounds.sum(dim=(0, 2)).eq(2).all()
    assert rounds.sum(dim=0).max() == 1


def test_spans_stay_inside_the_record_and_reach_both_ends():
    draws = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.full((20_000,), 20)
    width, start = MaeMocoViews._span(draws, (0.0, 0.5), samples)
    assert width.min() == 0
    assert width.max() == 9
    assert (start + width).max() == 20
    assert start.min() == 0


def test_padding_stays_zero_and_a_crop_comes_from_the_signal(signal):
    mask = torch.ones(64, 200)
    mask[:, 120:] = 0
    padded = signal * mask[:, None]
    views = MaeMocoViews(probability=1.0, time_out_ratio=(0.0, 0.0), noise_ratio=(0.0, 0.0), drop_ratio=0.0)
    view = views.apply(padded, draw(views), mask)
    assert view[..., 120:].abs().max() == 0
    assert view[..., 119].abs().sum(1).gt(0).all()


def test_full_length_crop_is_exact(signal):
    length = torch.full((64,), 200)
    assert torch.equal(functional.resized_crop(signal, length, torch.zeros_like(length)), signal)


def test_single_lead_is_never_erased():
    signal = torch.ones(4, 1, 10)
    assert torch.equal(functional.erase_lead(signal, torch.zeros(4, dtype=torch.long)), signal)


def test_dropped_samples_are_exactly_as_many_as_asked(signal):
    uniform = torch.rand(64, 200, generator=torch.Generator().manual_seed(2))
    count = torch.arange(64)
    dropped = functional.drop_samples(signal, uniform, count) == 0
    assert torch.equal(dropped.all(1).sum(1), count)
