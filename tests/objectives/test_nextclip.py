"""Half cycles against SciPy's peak finder; clips, their starts and their loss against the definition."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.signal import find_peaks

from ecg_transformers.objectives.nextclip import HALF_CYCLE_RANGE, clip_loss, clip_starts, cut_clip, half_cycles
from ecg_transformers.signals.resample import resample
from ecg_transformers.signals.synthesis import synthesize_record

DEFAULT = 150 / 360


def reference(signal, rate):
    """One record, as it is written down: difference, energy, moving average, `find_peaks`, median."""
    lag, width = max(1, round(0.02 * rate)), max(1, round(0.1 * rate))
    energy = ((signal[:, lag:] - signal[:, :-lag]) ** 2).sum(axis=0)
    energy = np.convolve(energy, np.ones(width) / width, "same")
    peaks, _ = find_peaks(energy, distance=int(0.25 * rate), height=0.4 * np.quantile(energy, 0.98))
    intervals = np.diff(peaks) / rate
    intervals = intervals[(intervals >= 0.3) & (intervals <= 2.0)]
    return np.clip(0.5 * np.median(intervals) if len(intervals) >= 2 else DEFAULT, *HALF_CYCLE_RANGE)


def beating(beats_per_minute, noise, rate=360, samples=3600):
    """Twelve leads with a narrow R peak and a low, wide T wave at exactly equal distances."""
    random = np.random.default_rng(0)
    time = np.arange(samples)[:, None] / rate
    peaks = np.arange(0.2, samples / rate, 60 / beats_per_minute)
    wave = np.exp(-(((time - peaks) / 0.012) ** 2) / 2).sum(axis=1)
    wave += 0.2 * np.exp(-(((time - peaks - 0.25) / 0.05) ** 2) / 2).sum(axis=1)
    signal = np.linspace(0.3, 1.0, 12)[:, None] * wave
    return torch.from_numpy(signal + noise * random.normal(size=signal.shape))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("beats_per_minute", range(40, 200, 20))
def test_half_cycle_of_regular_beats(beats_per_minute, noise):
    half = half_cycles(beating(beats_per_minute, noise)[None], 360)
    assert half.item() * 360 == pytest.approx(30 / beats_per_minute * 360, abs=1)


@pytest.mark.parametrize("rate", [100, 360])
def test_half_cycles_equal_find_peaks(rate, ptbxl_records):
    records = [
        *ptbxl_records,
        *(synthesize_record(rhythm, seed=seed) for rhythm in ("SR", "AFIB", "PVC") for seed in (1, 2)),
    ]
    signals = [resample(record.signal, record.sampling_rate, rate).astype(np.float64) for record in records]
    signals = [signal[:, : 10 * rate] for signal in signals]
    half = half_cycles(torch.from_numpy(np.stack(signals)), rate)
    np.testing.assert_allclose(half, [reference(signal, rate) for signal in signals], rtol=0, atol=1e-12)


def test_the_scale_of_a_record_does_not_matter():
    signal = beating(75, 0.02)[None]
    torch.testing.assert_close(half_cycles(signal, 360), half_cycles(1000 * signal, 360), rtol=0, atol=0)
    assert half_cycles(signal.bfloat16(), 360).dtype == torch.float32


def test_a_record_without_beats_gets_the_default():
    zeros = torch.zeros(2, 12, 3600)
    assert (half_cycles(zeros, 360) * 360).tolist() == [150, 150]
    assert half_cycles(zeros, 360, default=0.3).tolist() == [pytest.approx(0.3)] * 2
    two_beats = beating(75, 0.0)[None, :, :500]
    assert half_cycles(two_beats, 360).item() == pytest.approx(DEFAULT)


def test_noise_stays_within_the_range():
    half = half_cycles(torch.randn(64, 12, 3600, generator=torch.Generator().manual_seed(0)), 360)
    assert (half * 360).min() >= 54
    assert (half * 360).max() <= 270


def test_padding_is_no_beat():
    signal = beating(75, 0.02)[None, :, :2400] + 3.0
    padded = torch.nn.functional.pad(signal, (0, 1200))
    mask = (torch.arange(3600) < 2400).long()[None]
    torch.testing.assert_close(half_cycles(padded, 360, mask), half_cycles(signal, 360), rtol=0, atol=1e-12)
    assert half_cycles(padded, 360, torch.zeros_like(mask)).item() == pytest.approx(DEFAULT)


def test_every_start_is_drawn_and_none_beyond():
    uniform = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    uniform[:2] = torch.tensor([0.0, 1 - 2**-24])
    sizes = torch.full((10_000,), 420)
    starts, clips = clip_starts(uniform, sizes, torch.full_like(sizes, 50), 360)
    assert starts.unique().tolist() == list(range(360, 371))
    assert clips.unique().tolist() == [50]
    assert (starts[0], starts[1]) == (360, 370)


def test_a_record_too_short_for_its_clip_does_not_count():
    valid, sizes = torch.tensor([410, 409, 0]), torch.tensor([50, 50, 50])
    starts, clips = clip_starts(torch.full((3,), 0.7), valid, sizes, 360)
    assert starts.tolist() == [360, 409, 0]
    assert clips.tolist() == [50, 0, 0]
    clip = cut_clip(torch.randn(3, 2, 420), starts, clips, 50)
    assert clip.target_mask.sum(dim=1).tolist() == [50, 0, 0]
    assert clip_loss(clip.target + 1, clip.target, clip.target_mask).item() == 1


def test_nothing_behind_the_start_reaches_the_input():
    x = torch.randn(2, 3, 100)
    starts, sizes = torch.tensor([40, 73]), torch.tensor([20, 20])
    behind = torch.arange(100) >= starts[:, None, None]
    changed = torch.where(behind, 1e6 * torch.randn_like(x), x)
    assert torch.equal(cut_clip(x, starts, sizes, 20).input_values, cut_clip(changed, starts, sizes, 20).input_values)
    before = x.clone()
    before[0, :, 39] += 1
    assert not torch.equal(
        cut_clip(x, starts, sizes, 20).input_values, cut_clip(before, starts, sizes, 20).input_values
    )


def test_what_lies_outside_the_mask_changes_neither_loss_nor_gradient():
    random = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 4, 3, 50, generator=random, dtype=torch.float64)
    mask = (torch.arange(50) < torch.tensor([50, 40, 1, 0])[:, None]).double()
    outside = (mask == 0)[:, None] * torch.randn(4, 3, 50, generator=random, dtype=torch.float64)
    results = []
    for values, wanted in ((prediction, target), (prediction + outside, target - 2 * outside)):
        values = values.clone().requires_grad_()
        loss = clip_loss(values, wanted, mask)
        (gradient,) = torch.autograd.grad(loss, values)
        results.append((loss.detach(), gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    written_out = sum(
        ((prediction[i, :, t] - target[i, :, t]) ** 2).sum() for i in range(4) for t in range(50) if mask[i, t]
    ) / (3 * mask.sum())
    torch.testing.assert_close(results[0][0], written_out, rtol=0, atol=1e-12)


def test_nothing_to_predict_gives_zero_and_no_nan():
    prediction = torch.randn(2, 3, 50, requires_grad=True)
    loss = clip_loss(prediction, torch.zeros(2, 3, 50), torch.zeros(2, 50))
    loss.backward()
    assert loss.item() == 0
    assert not prediction.grad.any()


def test_half_precision_is_compared_in_float32():
    prediction = torch.full((1, 1, 4), 256.0, dtype=torch.bfloat16)
    loss = clip_loss(prediction, torch.full((1, 1, 4), 255.0), torch.ones(1, 4))
    assert loss.dtype == torch.float32
    assert loss.item() == 1


@pytest.mark.slow
def test_half_cycles_of_ptbxl_hardly_depend_on_the_rate(shared, tmp_path):
    """Fold 9 at 100 Hz and resampled to 360 Hz: within 2 % in at least 99 % of the records."""
    command = [sys.executable, str(shared / "data" / "unpack.py"), str(tmp_path), "ptbxl", "--folds", "9", "--as-npy"]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    signals = np.load(tmp_path / "ptb-xl" / "npy100" / "fold9.npy").astype(np.float32)
    at_100, at_360 = [], []
    for part in np.array_split(signals, 9):
        at_100.append(half_cycles(torch.from_numpy(part), 100))
        at_360.append(half_cycles(torch.from_numpy(resample(part, 100, 360)), 360))
    at_100, at_360 = torch.cat(at_100), torch.cat(at_360)
    assert len(at_100) == 2183
    assert ((at_360 / at_100 - 1).abs() <= 0.02).float().mean() >= 0.99
    expected = [reference(signal.astype(np.float64), 100) for signal in signals]
    assert np.isclose(at_100, expected, rtol=0, atol=1e-6).mean() >= 0.999
