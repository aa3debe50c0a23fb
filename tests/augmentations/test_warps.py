"""Warps of time against recordings of ecg-selfsupervised, and what holds for any draw."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.augmentations.warps import (
    cut_windows,
    down_sample,
    dynamic_time_warp,
    random_positions,
    random_time_warp,
    time_warp,
)

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
SAMPLES = 250


@pytest.fixture(scope="module")
def recorded():
    return load_file(FIXTURES / "augmentations.safetensors")


def same(result, expected):
    """Float32 of the largest value of the recording, 1e-6."""
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert float((result - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def mask(positions, samples=SAMPLES):
    """Recorded positions of one record as a batch of one."""
    kept = torch.zeros(1, samples, dtype=torch.bool)
    kept[0, positions.long()] = True
    return kept


@pytest.mark.parametrize("case", range(5))
def test_the_published_random_resized_crop_is_a_random_time_warp(recorded, case):
    name = f"random_resized_crop{case}"
    start = recorded[f"{name}/start"][None]
    result = random_time_warp(recorded["input"][None], mask(recorded[f"{name}/positions"]), start)
    same(result[0], recorded[f"{name}/output"])


@pytest.mark.parametrize("case", range(2))
def test_dynamic_time_warp(recorded, case):
    centers = recorded[f"dynamic_time_warp{case}/centers"].long()[None]
    result = dynamic_time_warp(recorded["input"][None], centers, radius=10, step=2)
    same(result[0], recorded[f"dynamic_time_warp{case}/output"])


def test_time_warp(recorded):
    result = time_warp(recorded["input"][None], recorded["time_warp/steps"][None], epsilon=10.0)
    same(result[0], recorded["time_warp/output"])


def test_down_sample(recorded):
    kept = ~mask(recorded["down_sample/dropped"])
    same(down_sample(recorded["input"][None], kept)[0], recorded["down_sample/output"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def signal():
    return torch.randn(32, 3, SAMPLES, generator=generator(1))


def kept_samples(batch, count):
    uniform = torch.rand(batch, SAMPLES, generator=generator(2))
    return random_positions(uniform, torch.full((batch,), count) if isinstance(count, int) else count)


WARPS = {
    "random_time_warp": lambda signal, rows: random_time_warp(
        signal, kept_samples(32, 100)[rows], torch.randint(0, 151, (32,), generator=generator(3))[rows]
    ),
    "dynamic_time_warp": lambda signal, rows: dynamic_time_warp(
        signal, torch.randint(30, 218, (32, 3), generator=generator(3))[rows]
    ),
    "time_warp": lambda signal, rows: time_warp(signal, torch.randn(32, SAMPLES, generator=generator(3))[rows]),
    "down_sample": lambda signal, rows: down_sample(signal, kept_samples(32, 50)[rows]),
}


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_a_batch_is_its_records_one_by_one_and_its_input_stays(signal, warp):
    before = signal.clone()
    together = warp(signal, slice(None))
    assert torch.equal(signal, before)
    assert together.shape == signal.shape
    assert not torch.equal(together, signal)
    alone = torch.cat([warp(signal[row : row + 1], slice(row, row + 1)) for row in range(len(signal))])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)
    assert warp(signal.bfloat16(), slice(None)).dtype == torch.bfloat16


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_leads_are_warped_alike(signal, warp):
    together = warp(signal[:, :1].expand(-1, 3, -1).contiguous(), slice(None))
    assert torch.equal(together[:, 0], together[:, 1])
    assert torch.equal(together[:, 0], together[:, 2])


def test_positions_hold_both_ends_and_so_many_samples():
    counts = torch.arange(2, SAMPLES + 1)
    kept = kept_samples(len(counts), counts)
    assert torch.equal(kept.sum(dim=1), counts)
    assert kept[:, 0].all()
    assert kept[:, -1].all()


def test_inner_positions_are_equally_likely():
    share = kept_samples(20_000, 52).float().mean(dim=0)
    assert float((share[1:-1] - 50 / 248).abs().max()) < 0.02


def test_all_positions_leave_the_signal_as_it_is(signal):
    kept = torch.ones(32, SAMPLES, dtype=torch.bool)
    assert torch.equal(random_time_warp(signal, kept, torch.zeros(32, dtype=torch.long)), signal)
    assert torch.equal(down_sample(signal, kept), signal)


def test_a_random_time_warp_begins_and_ends_with_the_ends_of_its_crop(signal):
    kept, start = kept_samples(32, 100), torch.arange(32)
    result = random_time_warp(signal, kept, start)
    rows = torch.arange(32)
    assert torch.equal(result[:, :, 0], signal[rows, :, start])
    assert torch.equal(result[:, :, -1], signal[rows, :, start + 99])


def test_a_dynamic_time_warp_changes_its_surroundings_alone(signal):
    result = dynamic_time_warp(signal, torch.full((32, 1), 100))
    changed = (result != signal).any(dim=0).any(dim=0)
    assert not changed[:71].any()
    assert not changed[130:].any()
    assert torch.equal(result[:, :, 100], signal[:, :, 100])
    # The center keeps every second sample.
    assert torch.equal(result[:, :, 90:111], signal[:, :, 80:121:2])


def test_constant_steps_leave_the_signal_as_it_is(signal):
    steady = torch.zeros(32, SAMPLES)
    torch.testing.assert_close(time_warp(signal, steady), signal, rtol=0, atol=1e-4)


def test_windows_are_cut_where_they_start(signal):
    start = torch.randint(0, 151, (32, 2), generator=generator(4))
    windows = cut_windows(signal, start, 100)
    assert windows.shape == (32, 2, 3, 100)
    for row, view in ((0, 0), (5, 1), (31, 0)):
        first = int(start[row, view])
        assert torch.equal(windows[row, view], signal[row, :, first : first + 100])
    whole = cut_windows(signal, torch.zeros(32, 1, dtype=torch.long), SAMPLES)
    assert torch.equal(whole[:, 0], signal)
