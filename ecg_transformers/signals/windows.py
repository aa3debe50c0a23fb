"""Positions of the windows of a recording, and cutting."""

from typing import Literal

import numpy as np

from ..errors import SignalError

__all__ = ["cut_windows", "window_starts"]


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
    if starts.size and not (0 <= starts.min() and starts.max() < num_samples):
        raise SignalError(f"windows start at samples {starts.tolist()}; expected starts from 0 to {num_samples - 1}.")
    lengths = np.minimum(num_samples - starts, window_size)
    if starts.size == 1 and starts[0] == 0 and num_samples == window_size:
        return signal[np.newaxis], lengths
    windows = np.zeros((starts.size, num_leads, window_size), dtype=signal.dtype)
    # Copying one contiguous piece per window is faster than a gather over all windows.
    for window, start, length in zip(windows, starts.tolist(), lengths.tolist(), strict=True):
        window[:, :length] = signal[:, start : start + length]
    return windows, lengths
