"""ECG noise: baseline wander, power-line interference, muscle noise, baseline shifts.

The functions take a batch in mV, `(batch, leads, samples)`, and one set of draws per record, and return a new tensor of
the same shape and type. `PhysiologicalNoise` draws and applies all of them. Definitions follow Mehari and Strodthoff
2022 (arXiv:2103.12676) and their public code, ecg-selfsupervised. All frequencies are in Hz and all lengths in seconds;
the published values are for 100 Hz, where both agree.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..errors import SignalError
from .row_generator import RowGenerator

__all__ = [
    "PhysiologicalNoise",
    "baseline_shift",
    "baseline_wander",
    "electromyographic_noise",
    "powerline_noise",
]

# Baseline wander: multiples of 0.01 Hz up to 0.5 Hz.
WANDER_STEP = 0.01
WANDER_WAVES = 50
# Power-line frequency in Hz; the fundamental and two harmonics.
MAINS = 50.0
MAINS_WAVES = 3
# Baseline shifts: maximum number per second of signal, mean and standard deviation of their duration in seconds.
SHIFTS_PER_SECOND = 0.3
SHIFT_SECONDS = (3.0, 0.6)
# Sampling rate in Hz of the published standard deviation of the muscle noise.
PUBLISHED_RATE = 100.0

QUIRKS = ("Q12", "Q13")


def baseline_wander(
    signal: torch.Tensor,
    strength: torch.Tensor,
    phase: torch.Tensor,
    amplitude: torch.Tensor,
    gain: torch.Tensor | None,
    *,
    sampling_rate: float,
    first_wave: int = 1,
) -> torch.Tensor:
    """Add slow waves, `C g_l sum_k a_k cos(2 pi 0.01 k t + phi_k)` with t in seconds, to each lead l.

    Published code: k starts at 0, so that the first wave is an offset, and leads have no gains (Q12).

    Args:
        signal: `(batch, leads, samples)` in mV.
        strength: C in mV `(batch,)`.
        phase: phi in radians `(batch, waves)`.
        amplitude: a, dimensionless `(batch, waves)`.
        gain: g, dimensionless `(batch, leads)`; None: 1 for all leads.
        sampling_rate: Sampling rate in Hz.
        first_wave: First k. Default: 1.
    """
    waves = torch.arange(first_wave, first_wave + phase.shape[1], dtype=torch.float64)
    wander = strength[:, None] * _waves(phase, amplitude, WANDER_STEP * waves, signal.shape[-1], sampling_rate)
    return signal + _per_lead(wander, gain).to(signal.dtype)


def powerline_noise(
    signal: torch.Tensor,
    strength: torch.Tensor,
    phase: torch.Tensor,
    amplitude: torch.Tensor,
    gain: torch.Tensor,
    *,
    sampling_rate: float,
) -> torch.Tensor:
    """Add 50 Hz and harmonics, `C g_l sum_k a_k cos(2 pi 50 k t + phi)` with t in seconds, to each lead l.

    The waves are sampled without anti-aliasing, also above half the sampling rate: at 100 Hz the sum is an alternation
    between samples and an offset, as published.

    Args:
        signal: `(batch, leads, samples)` in mV.
        strength: C in mV `(batch,)`.
        phase: phi in radians `(batch,)`, the same for all waves.
        amplitude: a, dimensionless `(batch, waves)`.
        gain: g, dimensionless `(batch, leads)`.
        sampling_rate: Sampling rate in Hz.
    """
    waves = MAINS * torch.arange(1, amplitude.shape[1] + 1, dtype=torch.float64)
    line = strength[:, None] * _waves(phase[:, None], amplitude, waves, signal.shape[-1], sampling_rate)
    return signal + _per_lead(line, gain).to(signal.dtype)


def electromyographic_noise(signal: torch.Tensor, strength: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Add white noise, independent per lead and sample.

    Args:
        signal: `(batch, leads, samples)` in mV.
        strength: Standard deviation C in mV `(batch,)`.
        noise: Standard normal noise `(batch, leads, samples)`.
    """
    return signal + (strength[:, None, None] * noise).to(signal.dtype)


def baseline_shift(
    signal: torch.Tensor,
    strength: torch.Tensor,
    segments: torch.Tensor,
    middle: torch.Tensor,
    seconds: torch.Tensor,
    value: torch.Tensor,
    gain: torch.Tensor,
    *,
    sampling_rate: float,
) -> torch.Tensor:
    """Shift the baseline in segments of each record by `C g_l` times the value of the segment.

    Segments include both ends; where two overlap, the later one counts.

    Args:
        signal: `(batch, leads, samples)` in mV.
        strength: C in mV `(batch,)`.
        segments: Number of segments to use `(batch,)`; 0: no shift.
        middle: Middle sample of each segment `(batch, most)`.
        seconds: Duration of each segment in seconds `(batch, most)`.
        value: Value of each segment, dimensionless `(batch, most)`.
        gain: g, dimensionless `(batch, leads)`.
        sampling_rate: Sampling rate in Hz.
    """
    time = torch.arange(signal.shape[-1], device=signal.device)
    reach = seconds * (sampling_rate / 2)
    first, last = (middle - reach).long(), (middle + reach).long()
    level = value.new_zeros(signal.shape[0], signal.shape[-1])
    # A loop over the few segments of a record: later segments overwrite earlier ones.
    for number in range(middle.shape[1]):
        inside = (time >= first[:, number, None]) & (time <= last[:, number, None])
        level = torch.where(inside & (number < segments)[:, None], value[:, number, None], level)
    return signal + _per_lead(strength[:, None] * level, gain).to(signal.dtype)


def _waves(
    phase: torch.Tensor, amplitude: torch.Tensor, frequencies: torch.Tensor, samples: int, sampling_rate: float
) -> torch.Tensor:
    """`sum_k a_k cos(2 pi f_k t + phi_k)` `(batch, samples)`, as two matrix products (angle addition)."""
    # Angles reach hundreds of turns and need double precision, on the CPU, since not every device supports it.
    angle = 2 * math.pi * frequencies[:, None] * (torch.arange(samples, dtype=torch.float64) / sampling_rate)
    cosine, sine = (wave.to(device=amplitude.device, dtype=amplitude.dtype) for wave in (angle.cos(), angle.sin()))
    return (amplitude * phase.cos()) @ cosine - (amplitude * phase.sin()) @ sine


def _per_lead(noise: torch.Tensor, gain: torch.Tensor | None) -> torch.Tensor:
    """Noise `(batch, samples)` times the gain of each lead, `(batch, leads, samples)`, or `(batch, 1, samples)`."""
    return noise[:, None, :] if gain is None else gain[:, :, None] * noise[:, None, :]


def _numbers(
    rows: int,
    counts: tuple[int, int],
    noise_shape: tuple[int, int],
    generator: torch.Generator | Iterable[torch.Generator] | RowGenerator | None,
    device: torch.device | str | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Uniform on [0, 1) `(rows, counts[0])`, standard normal `(rows, counts[1])` and `(rows, *noise_shape)`."""
    if isinstance(generator, RowGenerator):
        return generator.uniform(counts[0]), generator.normal(counts[1]), generator.normal(*noise_shape)
    uniform, normal = (torch.empty(rows, count, device=device) for count in counts)
    noise = torch.empty(rows, *noise_shape, device=device)
    if generator is None or isinstance(generator, torch.Generator):
        _fill(uniform, normal, noise, generator)
    else:
        # A loop over the batch, since each record has its own generator.
        for row, own in enumerate(generator):
            _fill(uniform[row], normal[row], noise[row], own)
    return uniform, normal, noise


def _fill(uniform: torch.Tensor, normal: torch.Tensor, noise: torch.Tensor, generator: torch.Generator | None) -> None:
    """Fill three tensors from one generator: uniform on [0, 1), and standard normal twice."""
    uniform.uniform_(generator=generator)
    normal.normal_(generator=generator)
    noise.normal_(generator=generator)


@dataclass(frozen=True)
class PhysiologicalNoise:
    """All four types of noise with independent draws for each record: the published set `physio`.

    Each C in the functions above is drawn uniformly from 0 to its maximum.

    At a rate other than 100 Hz, the muscle noise keeps its spectral density instead of its standard deviation: white
    noise of the same source has C sqrt(rate / 100), so that its power below 50 Hz is the same at every rate. The
    published code supports only 100 Hz.

    Args:
        sampling_rate: Sampling rate of the signal in Hz.
        max_baseline_wander: Maximum of C in mV. Default: 0.1, as in the published training scripts, like the others.
        max_powerline: Maximum of C in mV. Default: 0.2.
        max_electromyographic: Maximum of C in mV at 100 Hz. Default: 0.5.
        max_baseline_shift: Maximum of C in mV. Default: 1.
        official_quirks: True, or some of `"Q12"` (wander with an offset, equal on all leads) and `"Q13"` (power-line
            noise scaled by the square of C), to reproduce the published code. Default: False.

    Raises:
        SignalError: If a quirk is unknown.
    """

    sampling_rate: float
    max_baseline_wander: float = 0.1
    max_powerline: float = 0.2
    max_electromyographic: float = 0.5
    max_baseline_shift: float = 1.0
    official_quirks: bool | tuple[str, ...] = False

    def __post_init__(self) -> None:
        """Reject unknown quirks."""
        unknown = () if isinstance(self.official_quirks, bool) else set(self.official_quirks) - set(QUIRKS)
        if unknown:
            raise SignalError(
                f"official_quirks names {', '.join(sorted(unknown))}; expected True, False or some of {QUIRKS}."
            )

    def _has(self, quirk: str) -> bool:
        return self.official_quirks if isinstance(self.official_quirks, bool) else quirk in self.official_quirks

    def most_segments(self, num_samples: int) -> int:
        """Maximum number of shifted segments in so many samples: 0.3 per second, rounded."""
        return int(SHIFTS_PER_SECOND * num_samples / self.sampling_rate + 0.5)

    def draw(
        self,
        batch_size: int,
        num_leads: int,
        num_samples: int,
        generator: torch.Generator | Iterable[torch.Generator] | RowGenerator | None,
        device: torch.device | str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Draw all random numbers for a batch.

        The noise per sample is drawn last, so that a record has the same waves and shifts at any rate.

        Args:
            batch_size: Number of records.
            num_leads: Number of leads.
            num_samples: Samples per lead.
            generator: Random generator for the batch (None: the global one); or a `RowGenerator`, or one generator for
                each record, so that its draws do not depend on the batch.
            device: Device of the draws. Default: CPU.

        Returns:
            Draws by name, each with the batch as first dimension.
        """
        turn, most = 2 * math.pi, self.most_segments(num_samples)
        # Shape per record, lower and upper bound.
        ranges: dict[str, tuple[tuple[int, ...], float, float]] = {
            "wander_strength": ((), 0.0, self.max_baseline_wander),
            "wander_phase": ((WANDER_WAVES,), 0.0, turn),
            "wander_amplitude": ((WANDER_WAVES,), 0.0, 1.0),
            "wander_gain": ((num_leads,), -1.0, 1.0),
            "powerline_strength": ((), 0.0, self.max_powerline),
            "powerline_phase": ((), 0.0, turn),
            "powerline_amplitude": ((MAINS_WAVES,), 0.0, 1.0),
            "powerline_gain": ((num_leads,), -1.0, 1.0),
            "shift_strength": ((), 0.0, self.max_baseline_shift),
            "shift_segments": ((), 0.0, most + 1.0),
            "shift_middle": ((most,), 0.0, float(num_samples)),
            "shift_value": ((most,), -1.0, 1.0),
            "shift_gain": ((num_leads,), -1.0, 1.0),
            "muscle_strength": ((), 0.0, self.max_electromyographic),
        }
        counts = [math.prod(shape) for shape, _, _ in ranges.values()]
        uniform, normal, noise = _numbers(
            batch_size, (sum(counts), 2 * num_leads + most), (num_leads, num_samples), generator, device
        )
        draws = {
            name: low + (high - low) * part.reshape(batch_size, *shape)
            for (name, (shape, low, high)), part in zip(ranges.items(), uniform.split(counts, dim=1), strict=True)
        }
        # The largest float below a bound may be rounded up to it.
        draws["shift_segments"] = draws["shift_segments"].long().clamp_max(most)
        draws["shift_middle"] = draws["shift_middle"].long().clamp_max(num_samples - 1)
        wander, shift, seconds = normal.split([num_leads, num_leads, most], dim=1)
        draws["shift_seconds"] = SHIFT_SECONDS[0] + SHIFT_SECONDS[1] * seconds
        for name, part in (("wander_gain", wander), ("shift_gain", shift)):
            # Minus or plus one, times N(1, 1).
            draws[name] = torch.where(draws[name] < 0, -1.0, 1.0) * (1 + part)
        return draws | {"muscle_noise": noise}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Add baseline wander, power-line, muscle noise and baseline shifts, leaving the signal unchanged.

        Args:
            signal: `(batch, leads, samples)` in mV.
            draws: Result of `draw`.
        """
        rate = self.sampling_rate
        offset = self._has("Q12")
        signal = baseline_wander(
            signal,
            draws["wander_strength"],
            draws["wander_phase"],
            draws["wander_amplitude"],
            None if offset else draws["wander_gain"],
            sampling_rate=rate,
            first_wave=0 if offset else 1,
        )
        strength = draws["powerline_strength"]
        signal = powerline_noise(
            signal,
            strength.square() if self._has("Q13") else strength,
            draws["powerline_phase"],
            draws["powerline_amplitude"],
            draws["powerline_gain"],
            sampling_rate=rate,
        )
        density = math.sqrt(rate / PUBLISHED_RATE)
        signal = electromyographic_noise(signal, density * draws["muscle_strength"], draws["muscle_noise"])
        return baseline_shift(
            signal,
            draws["shift_strength"],
            draws["shift_segments"],
            draws["shift_middle"],
            draws["shift_seconds"],
            draws["shift_value"],
            draws["shift_gain"],
            sampling_rate=rate,
        )
