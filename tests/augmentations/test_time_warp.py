"""Time warps of beats: length, R peak, leads, and the walk written out."""

import torch

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.augmentations.time_warp import draw_beat_warp, warp_beats, warp_places

SAMPLES, PEAK, COUNT = 40, 18, 3


def drawn(seed=0, views=1, rows=5):
    return draw_beat_warp(RowGenerator(rows, seed=seed), SAMPLES, PEAK, views=views)


def places(draws, view=0):
    return warp_places(draws["left"][:, view], draws["right"][:, view], COUNT, SAMPLES)


def beats(dtype=torch.float32):
    return torch.rand(5, 2, SAMPLES, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1


def test_draws_are_permutations_of_both_sides():
    draws = drawn(views=2)
    assert draws["left"].sort(dim=-1).values.tolist() == [[list(range(PEAK))] * 2] * 5
    assert draws["right"].sort(dim=-1).values.tolist() == [[list(range(PEAK, SAMPLES - 1))] * 2] * 5
    assert not torch.equal(draws["left"][:, 0], draws["left"][:, 1])
    again = drawn(views=2)
    assert all(torch.equal(draws[name], again[name]) for name in draws)
    assert not torch.equal(drawn(seed=1)["left"], drawn()["left"])


def test_equal_to_the_walk_over_the_samples():
    x, draws = beats(), drawn()
    got = warp_beats(x, places(draws))
    assert got.shape == x.shape
    assert got.min() >= x.min()
    assert got.max() <= x.max()
    for row in range(5):
        sides = (draws["left"][row, 0].tolist(), draws["right"][row, 0].tolist())
        doubled = {sample for side in sides for sample in side[:COUNT]}
        left_out = {sample for side in sides for sample in side[COUNT : 2 * COUNT]}
        walk = []
        for sample in range(SAMPLES):
            if sample in left_out:
                continue
            walk.append(x[row, :, sample])
            if sample in doubled:
                walk.append((x[row, :, sample] + x[row, :, sample + 1]) / 2)
        torch.testing.assert_close(got[row], torch.stack(walk, dim=1))


def test_the_r_peak_keeps_its_place():
    first = places(drawn(rows=200, seed=4)).first
    kept = first[:, PEAK] == PEAK
    # Unless its own sample is among those left out; then the next one that is not stands there.
    assert kept.float().mean() > 0.7
    assert (first[:, PEAK] >= PEAK).all()
    assert (first[:, PEAK - 1] < PEAK).all()


def test_without_samples_to_double_nothing_changes():
    draws = drawn()
    same = warp_places(draws["left"][:, 0], draws["right"][:, 0], 0, SAMPLES)
    assert torch.equal(warp_beats(beats(), same), beats())
