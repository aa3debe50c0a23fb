"""The four noises against recordings of the published code, and what holds for any draw."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.augmentations.noise import (
    PhysiologicalNoise,
    baseline_shift,
    baseline_wander,
    electromyographic_noise,
    powerline_noise,
)
from ecg_transformers.errors import SignalError

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
MAXIMA = ("max_baseline_wander", "max_powerline", "max_electromyographic", "max_baseline_shift")
TURN = 6.2831855


@pytest.fixture(scope="module")
def recorded():
    return load_file(FIXTURES / "augmentations.safetensors")


def one(tensor):
    """A recorded draw as a batch of one record."""
    return tensor[None]


def same(result, expected):
    """Float32 of the largest value of the recording, 1e-6."""
    assert result.shape == expected.shape
    assert float((result - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def signed_gain(bit, normal):
    """The published lead gain `2 bit - N(1, 1)`, distributed as the intended one."""
    return one(2 * bit - normal)


@pytest.mark.parametrize("case", ["baseline_wander0", "baseline_wander1"])
def test_published_wander_has_an_offset_and_no_gains(recorded, case):
    draws = [one(recorded[f"{case}/{name}"]) for name in ("C", "phase", "amplitude")]
    signal = one(recorded["input"])
    result = baseline_wander(signal, *draws, None, sampling_rate=100, first_wave=0)
    same(result[0], recorded[f"{case}/output"])


def test_intended_wander_begins_at_the_first_wave_with_a_gain_for_each_lead(recorded):
    names = ("C", "phase", "amplitude")
    draws = [one(recorded[f"baseline_wander_np/{name}"]).double() for name in names]
    gain = one((2 * recorded["baseline_wander_np/sign_bit"] - 1) * recorded["baseline_wander_np/gauss"])
    result = baseline_wander(torch.zeros(1, 12, 250, dtype=torch.float64), *draws, gain, sampling_rate=100)
    same(result[0], recorded["baseline_wander_np/noise"])


@pytest.mark.parametrize("case", ["powerline0", "powerline1"])
def test_powerline_noise_by_c_and_as_published_by_its_square(recorded, case):
    strength, *draws = (one(recorded[f"{case}/{name}"]) for name in ("C", "phase", "amplitude", "channel_gain"))
    signal = one(recorded["input"])
    result = powerline_noise(signal, strength, *draws, sampling_rate=100)
    same(result[0], recorded[f"{case}/output_C_applied_once"])
    same(powerline_noise(signal, strength.square(), *draws, sampling_rate=100)[0], recorded[f"{case}/output_official"])


def test_electromyographic_noise(recorded):
    strength = one(recorded["em_noise/C"])
    noise = one(recorded["em_noise/noise"]) / strength
    same(electromyographic_noise(one(recorded["input"]), strength, noise)[0], recorded["em_noise/output"])


@pytest.mark.parametrize("case", ["baseline_shift0", "baseline_shift1"])
def test_baseline_shift(recorded, case):
    names = ("C", "segments", "mid", "length_seconds", "amplitude")
    draws = [one(recorded[f"{case}/{name}"]) for name in names]
    gain = signed_gain(recorded[f"{case}/gain_bit"], recorded[f"{case}/gain_normal"])
    signal = one(recorded.get(f"{case}/input", recorded["input"]))
    same(baseline_shift(signal, *draws, gain, sampling_rate=100)[0], recorded[f"{case}/output"])


@pytest.mark.parametrize("level", [1, 3, 6])
def test_the_published_chain_at_three_levels(recorded, level):
    def draw(name):
        return one(recorded[f"noise_level{level}/{name}"])

    draws = {
        "wander_strength": draw("bw_C"),
        "wander_phase": draw("bw_phase"),
        "wander_amplitude": draw("bw_amplitude"),
        "powerline_strength": draw("pl_C"),
        "powerline_phase": draw("pl_phase"),
        "powerline_amplitude": draw("pl_amplitude"),
        "powerline_gain": draw("pl_channel_gain"),
        "muscle_strength": draw("em_C"),
        "muscle_noise": draw("em_noise") / draw("em_C"),
        "shift_strength": draw("bs_C"),
        "shift_segments": torch.tensor([recorded[f"noise_level{level}/bs_mid"].numel()]),
        "shift_middle": draw("bs_mid"),
        "shift_seconds": draw("bs_length_seconds"),
        "shift_value": draw("bs_amplitude"),
        "shift_gain": signed_gain(
            recorded[f"noise_level{level}/bs_gain_bit"], recorded[f"noise_level{level}/bs_gain_normal"]
        ),
    }
    noise = PhysiologicalNoise(100, official_quirks=True)
    same(noise.apply(one(recorded["input"]), draws)[0], recorded[f"noise_level{level}/output_official"])


def draw(noise, *, batch=64, leads=3, samples=250, seed=0):
    return noise.draw(batch, leads, samples, torch.Generator().manual_seed(seed))


@pytest.fixture
def signal():
    return torch.randn(64, 3, 250, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("quirks", [False, True])
def test_noise_repeats_with_its_seed_and_leaves_its_input_alone(signal, quirks):
    noise = PhysiologicalNoise(100, official_quirks=quirks)
    before = signal.clone()
    first = noise.apply(signal, draw(noise))
    assert torch.equal(first, noise.apply(signal, draw(noise)))
    assert not torch.equal(first, noise.apply(signal, draw(noise, seed=1)))
    assert first.shape == signal.shape
    assert first.dtype == signal.dtype
    assert first.isfinite().all()
    assert torch.equal(signal, before)
    half = noise.apply(signal.bfloat16(), draw(noise))
    assert half.dtype == torch.bfloat16


def test_a_batch_is_its_records_one_by_one(signal):
    noise = PhysiologicalNoise(100)
    draws = draw(noise)
    alone = [
        noise.apply(signal[row : row + 1], {name: value[row : row + 1] for name, value in draws.items()})
        for row in range(len(signal))
    ]
    torch.testing.assert_close(torch.cat(alone), noise.apply(signal, draws), rtol=0, atol=1e-6)


def test_a_generator_for_each_record_makes_its_draws_independent_of_the_batch():
    noise = PhysiologicalNoise(100)
    generators = [torch.Generator().manual_seed(seed) for seed in range(5)]
    together = noise.draw(5, 12, 250, iter(generators))
    for row in range(5):
        alone = noise.draw(1, 12, 250, torch.Generator().manual_seed(row))
        assert all(torch.equal(together[name][row], value[0]) for name, value in alone.items())


def test_draws_stay_in_their_ranges_and_reach_across_them():
    noise = PhysiologicalNoise(100)
    draws = draw(noise, batch=4000, leads=2, samples=1000)
    ranges = {
        "wander_strength": (0, 0.1), "wander_phase": (0, TURN), "wander_amplitude": (0, 1),
        "powerline_strength": (0, 0.2), "powerline_phase": (0, TURN), "powerline_amplitude": (0, 1),
        "powerline_gain": (-1, 1), "muscle_strength": (0, 0.5), "shift_strength": (0, 1), "shift_value": (-1, 1),
        "shift_middle": (0, 999), "shift_segments": (0, 3),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values = draws[name].double()
        assert low <= float(values.min()) < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < float(values.max()) <= high, name
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.03 * (high - low)), name
    for name in ("wander_gain", "shift_gain"):
        # +-1 times N(1, 1) has mean 0 and second moment 2.
        assert float(draws[name].mean()) == pytest.approx(0, abs=0.05)
        assert float(draws[name].square().mean()) == pytest.approx(2, abs=0.1)
    assert float(draws["shift_seconds"].mean()) == pytest.approx(3, abs=0.05)
    assert float(draws["shift_seconds"].std()) == pytest.approx(0.6, abs=0.03)
    assert float(draws["muscle_noise"].std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("samples", "most"), [(250, 1), (1000, 3)])
def test_every_number_of_shifted_segments_is_equally_likely(samples, most):
    noise = PhysiologicalNoise(100)
    counts = draw(noise, batch=6000, leads=1, samples=samples)["shift_segments"].bincount()
    assert noise.most_segments(samples) == most
    assert len(counts) == most + 1
    share = counts / 6000
    assert float((share - 1 / (most + 1)).abs().max()) < 0.03


def test_without_segments_the_baseline_stays():
    noise = PhysiologicalNoise(100)
    draws = draw(noise)
    nothing = {name: torch.zeros_like(draws[f"{name}_strength"]) for name in ("wander", "powerline", "muscle")}
    silent = draws | {f"{name}_strength": value for name, value in nothing.items()}
    result = noise.apply(torch.zeros(64, 3, 250), silent)
    shifted = result.abs().amax(dim=(1, 2)) > 0
    assert not shifted[draws["shift_segments"] == 0].any()
    assert shifted[draws["shift_segments"] == 1].all()


def test_a_later_segment_overwrites_an_earlier_one_and_ends_are_included():
    middle, seconds = torch.tensor([[50, 60]]), torch.tensor([[0.4, 0.2]])
    value, gain = torch.tensor([[1.0, -1.0]]), torch.ones(1, 1)
    zeros, strength = torch.zeros(1, 1, 100), torch.tensor([2.0])
    both = baseline_shift(zeros, strength, torch.tensor([2]), middle, seconds, value, gain, sampling_rate=100)[0, 0]
    assert both.unique_consecutive(return_counts=True)[0].tolist() == [0, 2, -2, 0]
    assert both.nonzero()[:, 0].tolist() == list(range(30, 71))
    assert (both == -2).nonzero()[:, 0].tolist() == list(range(50, 71))
    first = baseline_shift(zeros, strength, torch.tensor([1]), middle, seconds, value, gain, sampling_rate=100)[0, 0]
    assert (first == 2).nonzero()[:, 0].tolist() == list(range(30, 71))


def test_maxima_of_zero_leave_the_signal_as_it_is(signal):
    noise = PhysiologicalNoise(100, **dict.fromkeys(MAXIMA, 0.0))
    assert torch.equal(noise.apply(signal, draw(noise)), signal)


def test_waves_and_shifts_of_a_record_are_the_same_at_another_rate():
    slow, fast = (PhysiologicalNoise(rate, max_powerline=0.0, max_electromyographic=0.0) for rate in (100, 500))
    coarse = slow.apply(torch.zeros(8, 3, 1000), draw(slow, batch=8, samples=1000))
    fine = fast.apply(torch.zeros(8, 3, 5000), draw(fast, batch=8, samples=5000))
    # A segment may begin and end a sample earlier or later.
    assert float(((fine[..., ::5] - coarse).abs() > 1e-4).float().mean()) < 0.01


def test_muscle_noise_keeps_its_density_at_another_rate():
    only = dict.fromkeys(MAXIMA, 0.0) | {"max_electromyographic": 1.0}
    power = {}
    for rate in (50, 100, 500):
        noise = PhysiologicalNoise(rate, **only)
        drawn = noise.apply(torch.zeros(64, 3, 10 * rate), draw(noise, samples=10 * rate))
        power[rate] = float(torch.fft.rfft(drawn)[..., 1:200].abs().square().mean()) / (10 * rate) / rate
    assert power[50] == pytest.approx(power[100], rel=0.05)
    assert power[500] == pytest.approx(power[100], rel=0.05)


def test_powerline_noise_is_at_50_hz_where_the_rate_allows_it():
    only = dict.fromkeys(MAXIMA, 0.0) | {"max_powerline": 1.0}
    noise = PhysiologicalNoise(500, **only)
    spectrum = torch.fft.rfft(noise.apply(torch.zeros(4, 2, 5000), draw(noise, batch=4, leads=2, samples=5000))).abs()
    frequencies = torch.fft.rfftfreq(5000, 1 / 500)
    strong = (spectrum > 1e-3 * spectrum.amax(-1, keepdim=True)).any(dim=1).any(dim=0)
    assert frequencies[strong].tolist() == pytest.approx([50, 100, 150])


def test_an_unknown_quirk_is_refused():
    with pytest.raises(SignalError, match="Q99"):
        PhysiologicalNoise(100, official_quirks=("Q99",))
