"""Change of the sampling rate, with one rule for the length.

A signal of `n` samples at `source` Hz has `floor(n * target / source + 1/2)` samples at `target` Hz, whatever
the method: the same recording at two rates then has the same window edges.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np

from ..errors import SignalError
from .record import check_sampling_rate

__all__ = ["rate_ratio", "resample", "resampled_length"]

# Half width of the anti-alias filter in samples of the slower rate, and its window: SciPy's choice for resample_poly.
HALF_WIDTH = 10
KAISER_BETA = 5.0

# How far the last sample may drift from its true place where a rate is replaced by a ratio of whole numbers.
MAX_DRIFT_SAMPLES = 0.05

# The larger number of a ratio sets the length of the filter, 20 taps for each unit.
USUAL_FACTOR = 10_000
MAX_FACTOR = 100_000


def _exact(rate: float) -> Fraction:
    """A rate as the decimal number that its user wrote: 257.3 is 2573/10."""
    return Fraction(repr(float(rate)))


@lru_cache(maxsize=1024)
def resampled_length(num_samples: int, source_rate: float, target_rate: float) -> int:
    """The number of samples after resampling: `floor(n * target / source + 1/2)` in exact arithmetic.

    Example:
        >>> resampled_length(5000, 500, 360), resampled_length(2573, 257.3, 100), resampled_length(7, 500, 250)
        (3600, 1000, 4)
    """
    return math.floor(num_samples * _exact(target_rate) / _exact(source_rate) + Fraction(1, 2))


@lru_cache(maxsize=1024)
def rate_ratio(source_rate: float, target_rate: float, num_samples: int) -> tuple[int, int]:
    """The factors `(up, down)` of a polyphase resampler.

    Exact wherever the numbers stay usable; else the nearest ratio that displaces the last of `num_samples` samples by
    at most 0.05 samples.

    Raises:
        SignalError: no usable ratio is that near.

    Example:
        >>> rate_ratio(500, 360, 5000), rate_ratio(257.3, 100, 2573)
        ((18, 25), (1000, 2573))
    """
    exact = _exact(target_rate) / _exact(source_rate)
    for bound in (USUAL_FACTOR, MAX_FACTOR):
        # The bound holds for the larger of the two numbers, so the smaller ratio is the one that is approximated.
        small = min(exact, 1 / exact).limit_denominator(bound)
        ratio = small if exact <= 1 else 1 / small if small else Fraction(0)
        if ratio and abs(ratio - exact) * num_samples <= MAX_DRIFT_SAMPLES:
            return ratio.numerator, ratio.denominator
    raise SignalError(
        f"resampling {num_samples} samples from {source_rate:g} to {target_rate:g} Hz has no ratio of whole numbers up "
        f"to {MAX_FACTOR} that is near enough; expected rates such as 257.3. Round sampling_rate to fewer digits."
    )


@lru_cache(maxsize=64)
def _antialias_filter(up: int, down: int, dtype: str) -> tuple[np.ndarray, int]:
    """The low-pass filter of SciPy's `resample_poly`, and the number of output samples before the first wanted one.

    The zeros in front put the middle of the filter on a sample that is kept.
    """
    # Imported at use, here and below: a third of a second that loading a model need not wait for.
    from scipy.signal import firwin

    factor = max(up, down)
    half = HALF_WIDTH * factor
    taps = firwin(2 * half + 1, 1.0 / factor, window=("kaiser", KAISER_BETA)).astype(dtype) * np.asarray(up, dtype)
    front = down - half % down
    taps = np.concatenate([np.zeros(front, dtype), taps])
    taps.flags.writeable = False
    return taps, (half + front) // down


def resample(
    signal: np.ndarray,
    source_rate: float,
    target_rate: float,
    method: Literal["polyphase", "linear"] = "polyphase",
) -> np.ndarray:
    """The signal at another rate.

    `"polyphase"` is `scipy.signal.resample_poly(signal, up, down, axis=-1, padtype="edge")`, its surplus sample at
    the end trimmed. The edge value is repeated beyond the ends: SciPy's default of zeros bends the first and last
    samples of a recording whose baseline is not at zero (0.11 mV at the start of the median PTB-XL record, against 0.02
    mV).

    `"linear"` interpolates between neighbors without an anti-alias filter: end points stay end points. It is there
    for checkpoints that were trained so (Wav2Vec 2.0 with CMSC, ECG-FM).

    Args:
        signal: `(..., samples)`.
        source_rate: Hz of `signal`.
        target_rate: Hz wanted.
        method: as above.

    Returns:
        `(..., resampled_length(samples, source_rate, target_rate))` in the type of `signal` (float64 for whole
        numbers); at equal rates the array itself.

    Raises:
        SignalError: a rate is no positive number, or nothing is left of the signal.

    Example:
        >>> resample(np.ones((12, 5000), dtype=np.float32), 500, 360).shape
        (12, 3600)
    """
    source_rate, target_rate = check_sampling_rate(source_rate), check_sampling_rate(target_rate)
    if method not in ("polyphase", "linear"):
        raise SignalError(f"the resampling method is {method!r}; expected 'polyphase' or 'linear'.")
    if signal.dtype.kind != "f":
        signal = signal.astype(np.float64)
    if source_rate == target_rate:
        return signal
    num_samples = signal.shape[-1]
    length = resampled_length(num_samples, source_rate, target_rate)
    if length < 1:
        raise SignalError(
            f"{num_samples} samples at {source_rate:g} Hz become no sample at {target_rate:g} Hz; expected a longer "
            "signal."
        )
    if method == "linear":
        return _interpolate(signal, length)
    up, down = rate_ratio(source_rate, target_rate, num_samples)
    if up == down:
        return signal
    from scipy.signal import upfirdn

    # What resample_poly does, without designing its filter anew in each call (a fifth of its time on a 10-s record).
    taps, surplus = _antialias_filter(up, down, signal.dtype.name)
    return upfirdn(taps, signal, up, down, axis=-1, mode="edge")[..., surplus : surplus + length]


def _interpolate(signal: np.ndarray, length: int) -> np.ndarray:
    """The values between neighbors at `length` places evenly spaced from the first to the last sample."""
    num_samples = signal.shape[-1]
    if num_samples == 1 or length == 1:
        return np.repeat(signal[..., :1], length, axis=-1)
    place = np.arange(length) * ((num_samples - 1) / (length - 1))
    left = np.minimum(place.astype(np.int64), num_samples - 2)
    weight = (place - left).astype(signal.dtype)
    before, after = signal[..., left], signal[..., left + 1]
    return before + (after - before) * weight
