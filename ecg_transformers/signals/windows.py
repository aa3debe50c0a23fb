"""Where the windows of a recording lie, and cutting them out."""

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
    """The first sample of each window that slides over a recording.

    Complete windows start at 0, stride, 2 stride, ... What the last complete window leaves over becomes one more
    window: `"pad"` starts it one stride later, so that it reaches beyond the end and has to be padded; `"align"`
    ends it at the end of the recording, overlapping its neighbor; `"drop"` leaves it out. A recording shorter than
    one window has one window at 0 (none with `"drop"`).

    Args:
        num_samples: length of the recording.
        window_size: length of a window.
        stride: distance of two starts, at most `window_size`; None: `window_size`.
        incomplete: what happens to the rest, as above.
        min_samples: with `"pad"`, a rest that would hold fewer samples than this is aligned instead: a window of a
            few samples says nothing about a heart, and would count like a whole one.

    Returns:
        int64 `(windows,)`, ascending.

    Raises:
        SignalError: a size is not positive, or the stride leaves gaps.

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
    """The windows at these starts; what lies beyond the end of the signal is zero.

    Args:
        signal: `(leads, samples)`.
        starts: first samples, `(windows,)`, each from 0 to samples - 1.
        window_size: length of a window.

    Returns:
        The windows `(windows, leads, window_size)` and how many samples of each are signal, int64 `(windows,)`.

    Raises:
        SignalError: a window would hold no sample.
    """
    num_leads, num_samples = signal.shape
    starts = np.asarray(starts, dtype=np.int64)
    if starts.size and not (0 <= starts.min() and starts.max() < num_samples):
        raise SignalError(f"windows start at samples {starts.tolist()}; expected starts from 0 to {num_samples - 1}.")
    lengths = np.minimum(num_samples - starts, window_size)
    if starts.size == 1 and starts[0] == 0 and num_samples == window_size:
        return signal[np.newaxis], lengths
    windows = np.zeros((starts.size, num_leads, window_size), dtype=signal.dtype)
    # A copy of a contiguous piece for each window is faster than one gather over all of them.
    for window, start, length in zip(windows, starts.tolist(), lengths.tolist(), strict=True):
        window[:, :length] = signal[:, start : start + length]
    return windows, lengths
