"""Positions of the windows of a recording, sliding or around R peaks, and cutting."""

from typing import Literal

import numpy as np

from ..errors import SignalError

__all__ = ["beat_starts", "check_peaks", "cut_windows", "window_starts"]


def window_starts(
    num_samples: int,
    window_size: int,
    stride: int | None = None,
    *,
    incomplete: Literal["pad", "align", "drop"] = "pad",
    min_samples: int = 1,
) -> np.ndarray:
    """First sample of each sliding window over a recording.

    Complete windows start at 0, stride, 2 stride, ... The remainder after the last complete window becomes one more
    window: `"pad"` starts it one stride later, so that it extends beyond the end and must be padded; `"align"` ends it
    at the end of the recording, overlapping the previous one; `"drop"` omits it. A recording shorter than one window
    has one window at 0 (none with `"drop"`).

    Args:
        num_samples: Length of the recording in samples.
        window_size: Length of a window in samples.
        stride: Samples between two starts, at most `window_size`. Default: `window_size`.
        incomplete: Handling of the remainder: `"pad"` (default), `"align"` or `"drop"`.
        min_samples: With `"pad"`, a remainder with fewer samples than this is aligned instead: a window of a few
            samples carries no information, and would count as much as a complete one. Default: 1.

    Returns:
        int64 `(windows,)`, ascending.

    Raises:
        SignalError: If a size is not positive, or the stride leaves gaps.

    Example:
        >>> window_starts(25, 10), window_starts(25, 10, incomplete="align"), window_starts(25, 10, 5)
        (array([ 0, 10, 20]), array([ 0, 10, 15]), array([ 0,  5, 10, 15]))
    """
    stride = window_size if stride is None else stride
    if num_samples < 1 or not 1 <= stride <= window_size:
        raise SignalError(
            f"{num_samples} samples, window of {window_size}, stride {stride}; expected at least one sample and a "
            "stride from 1 to the window's length."
        )
    if incomplete not in ("pad", "align", "drop"):
        raise SignalError(f"incomplete is {incomplete!r}; expected 'pad', 'align' or 'drop'.")
    if num_samples < window_size:
        return np.zeros(0 if incomplete == "drop" else 1, dtype=np.int64)
    starts = np.arange(0, num_samples - window_size + 1, stride, dtype=np.int64)
    rest_start = int(starts[-1]) + stride
    if int(starts[-1]) + window_size == num_samples or incomplete == "drop":
        return starts
    if incomplete == "align" or num_samples - rest_start < min_samples:
        rest_start = num_samples - window_size
    return np.append(starts, np.int64(rest_start))


def check_peaks(peaks: object, num_samples: int, title: str = "the record") -> np.ndarray:
    """Validate R peaks and return them as int64 `(peaks,)`.

    Args:
        peaks: Samples of a recording, ascending.
        num_samples: Length of the recording in samples.
        title: The recording, for the message.

    Raises:
        SignalError: If they are not whole numbers, not strictly ascending, or not inside the recording.
    """
    found = np.asarray(peaks)
    if found.size == 0:
        return np.zeros(0, dtype=np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise SignalError(
            f"the R peaks of {title} have type {found.dtype} and shape {found.shape}; expected the numbers of samples, "
            "as whole numbers (peaks,). Times in seconds: pass np.rint(seconds * sampling_rate).astype(int)."
        )
    found = found.astype(np.int64)
    if (descents := np.flatnonzero(np.diff(found) <= 0)).size:
        place = int(descents[0])
        raise SignalError(
            f"the R peaks of {title} are not in ascending order: {found[place]} is followed by {found[place + 1]}. "
            "Pass np.unique(peaks)."
        )
    if found[0] < 0 or found[-1] >= num_samples:
        raise SignalError(
            f"the R peaks of {title} reach from sample {found[0]} to {found[-1]}; expected 0 to {num_samples - 1}. "
            "Pass the peaks of this recording, at its own sampling rate."
        )
    return found


def beat_starts(
    peaks: np.ndarray, num_samples: int, *, before: int, after: int, ratio: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """First sample of each beat that is completely inside a recording, and which beats those are.

    Args:
        peaks: R peaks as samples of the recording as it was recorded, int64 `(peaks,)`.
        num_samples: Length of the recording in samples, after resampling.
        before: Samples of a beat before its R peak, after resampling.
        after: Samples of a beat from its R peak on, after resampling.
        ratio: Rate after resampling divided by the rate of the recording. Default: 1 (not resampled).

    Returns:
        int64 `(beats,)` and bool `(peaks,)`.

    Example:
        >>> beat_starts(np.array([3, 50, 98]), 100, before=10, after=20)
        (array([40]), array([False,  True, False]))
    """
    starts = np.floor(np.asarray(peaks) * ratio + 0.5).astype(np.int64) - before
    kept = (starts >= 0) & (starts + before + after <= num_samples)
    return starts[kept], kept


def cut_windows(signal: np.ndarray, starts: np.ndarray, window_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut windows out of a signal, padded with zeros beyond its end.

    Args:
        signal: `(leads, samples)`.
        starts: First sample of each window `(windows,)`, from 0 to samples - 1.
        window_size: Length of a window in samples.

    Returns:
        The windows `(windows, leads, window_size)` and the number of signal samples in each, int64 `(windows,)`.

    Raises:
        SignalError: If a window would contain no sample.
    """
    num_leads, num_samples = signal.shape
    starts = np.asarray(starts, dtype=np.int64)
    places = starts.tolist()
    if places == [0] and num_samples == window_size:
        return signal[np.newaxis], np.array([window_size])
    if places and not (0 <= min(places) and max(places) < num_samples):
        raise SignalError(f"windows start at samples {places}; expected starts from 0 to {num_samples - 1}.")
    lengths = np.minimum(num_samples - starts, window_size)
    windows = np.zeros((starts.size, num_leads, window_size), dtype=signal.dtype)
    # Copying one contiguous piece per window is faster than a gather over all windows.
    for window, start, length in zip(windows, places, lengths.tolist(), strict=True):
        window[:, :length] = signal[:, start : start + length]
    return windows, lengths
