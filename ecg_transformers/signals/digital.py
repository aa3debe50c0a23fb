"""Integers of a converter as millivolts: one conversion for files and for corpora that store integers."""

import numpy as np

__all__ = ["INVALID_SAMPLE", "MAX_EXACT_BASELINE", "to_millivolts", "without_marks"]

# WFDB's mark of a missing sample in 16-bit signals, also that of ISHNE, MUSE and many exports.
INVALID_SAMPLE = -(1 << 15)
# float32 represents integers up to 2^24: the difference of a 16-bit sample and a smaller baseline is exact.
MAX_EXACT_BASELINE = 1 << 23


def to_millivolts(
    digital: np.ndarray, gains: np.ndarray, baselines: np.ndarray, invalid: int | None = INVALID_SAMPLE
) -> np.ndarray:
    """`(digital - baseline) / gain` as float32 `(leads, samples)`, NaN for missing samples.

    Args:
        digital: Integers `(leads, samples)`.
        gains: Units per mV, float64 `(leads,)`.
        baselines: Value that means 0 mV, `(leads,)`.
        invalid: Value of a missing sample; None: there is none. Default: -32768.
    """
    # float32 where its result is the correctly rounded one, which is faster; otherwise float64.
    exact = digital.dtype == np.int16 and int(np.abs(baselines).max()) < MAX_EXACT_BASELINE
    exact = exact and bool((gains.astype(np.float32) == gains).all())
    kind: type[np.floating] = np.float32 if exact else np.float64
    values = digital.astype(kind)
    if baselines.any():
        values -= np.asarray(baselines, kind)[:, np.newaxis]
    values /= np.asarray(gains, kind)[:, np.newaxis]
    if invalid is not None and digital.size and digital.min() <= invalid:
        values[digital == invalid] = np.nan
    return values.astype(np.float32, copy=False)


def without_marks(signal: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The samples of a file with NaN for the mark of 16-bit integers, and a note on them."""
    if signal.dtype != np.int16 or not signal.size or signal.min() != INVALID_SAMPLE:
        return signal, None
    values = np.ma.getdata(signal)
    marked = values == INVALID_SAMPLE
    missing = marked | np.ma.getmaskarray(signal)  # np.where alone would forget what is masked
    return np.where(missing, np.nan, values), f"{np.count_nonzero(marked)} samples marked as missing ({INVALID_SAMPLE})"
