"""Resampling with one rule for the length.

A signal of `n` samples at `source` Hz has `floor(n * target / source + 1/2)` samples at `target` Hz with every method,
so that the same recording at two rates has the same window edges.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np

from ..errors import SignalError
from .record import check_sampling_rate

__all__ = ["rate_ratio", "resample", "resampled_length"]

# Half width of the anti-aliasing filter in samples of the slower rate, and its window: those of SciPy's resample_poly.
HALF_WIDTH = 10
KAISER_BETA = 5.0

# Largest displacement of the last sample where a ratio of integers approximates the rates.
MAX_DRIFT_SAMPLES = 0.05

# The larger number of a ratio determines the filter length: 20 taps per unit.
USUAL_FACTOR = 10_000
MAX_FACTOR = 100_000


def _exact(rate: float) -> Fraction:
    """A rate as the decimal number that was written: 257.3 is 2573/10."""
    return Fraction(repr(float(rate)))


@lru_cache(maxsize=1024)
def resampled_length(num_samples: int, source_rate: float, target_rate: float) -> int:
    """Number of samples after resampling: `floor(n * target / source + 1/2)` in exact arithmetic.

    Example:
        >>> resampled_length(5000, 500, 360), resampled_length(2573, 257.3, 100), resampled_length(7, 500, 250)
        (3600, 1000, 4)
    """
    return math.floor(num_samples * _exact(target_rate) / _exact(source_rate) + Fraction(1, 2))


@lru_cache(maxsize=1024)
def rate_ratio(source_rate: float, target_rate: float, num_samples: int) -> tuple[int, int]:
    """Factors `(up, down)` of a polyphase resampler.

    Exact where the integers are small enough; otherwise the closest ratio that displaces the last of `num_samples`
    samples by at most 0.05 samples.

    Raises:
        SignalError: If no such ratio exists.

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
        f"resampling {num_samples} samples from {source_rate:g} to {target_rate:g} Hz needs a ratio of integers above "
        f"{MAX_FACTOR}; expected rates such as 257.3. Round sampling_rate to fewer digits."
    )


@lru_cache(maxsize=64)
def _antialias_filter(up: int, down: int, dtype: str) -> tuple[np.ndarray, int]:
    """Low-pass filter of SciPy's `resample_poly`, and the number of output samples to skip at the start.

    The leading zeros align the center of the filter with a retained sample.
    """
    # Imported on use, here and below: it takes a third of a second, which loading a model does not need.
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
    """Resample a signal.

    `"polyphase"` is `scipy.signal.resample_poly(signal, up, down, axis=-1, padtype="edge")` without the surplus sample
    at the end. The signal is extended by its edge values: SciPy's default of zeros distorts the first and last samples
    of a recording with an offset (by 0.11 mV at the start of the median PTB-XL record, instead of 0.02 mV).

    `"linear"` interpolates between neighbors without an anti-aliasing filter and maps end points to end points, for
    checkpoints that were trained this way (wav2vec 2.0 with CMSC, ECG-FM).

    Args:
        signal: `(..., samples)`.
        source_rate: Sampling rate of `signal` in Hz.
        target_rate: Desired sampling rate in Hz.
        method: `"polyphase"` (default) or `"linear"`.

    Returns:
        `(..., resampled_length(samples, source_rate, target_rate))` in the type of `signal` (float64 for integers); the
        array itself if the rates are equal.

    Raises:
        SignalError: If a rate is invalid, or no sample would remain.

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
            f"{num_samples} samples at {source_rate:g} Hz are less than one at {target_rate:g} Hz; expected a longer "
            "signal."
        )
    if method == "linear":
        return _interpolate(signal, length)
    up, down = rate_ratio(source_rate, target_rate, num_samples)
    if up == down:
        return signal
    from scipy.signal import upfirdn

    # As resample_poly, with a cached filter (its design takes a fifth of the time for a 10-s record).
    taps, surplus = _antialias_filter(up, down, signal.dtype.name)
    return upfirdn(taps, signal, up, down, axis=-1, mode="edge")[..., surplus : surplus + length]


def _interpolate(signal: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation at `length` positions evenly spaced from the first to the last sample."""
    num_samples = signal.shape[-1]
    if num_samples == 1 or length == 1:
        return np.repeat(signal[..., :1], length, axis=-1)
    place = np.arange(length) * ((num_samples - 1) / (length - 1))
    left = np.minimum(place.astype(np.int64), num_samples - 2)
    weight = (place - left).astype(signal.dtype)
    before, after = signal[..., left], signal[..., left + 1]
    return before + (after - before) * weight
