"""The sampling rate that a column of times states, checked for a constant step."""

import re
from datetime import datetime

import numpy as np

from ...errors import RecordFileError

__all__ = ["TIME_UNITS", "is_ramp", "parse_clock", "rate_of_times"]

# Seconds per unit.
TIME_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3}
TIME_UNITS |= {"millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "microseconds": 1e-6, "min": 60.0, "h": 3600.0}

# Hz. A time column without a unit is taken as seconds only if the rate is one of an ECG recorder.
_PLAUSIBLE_RATE = (20.0, 20_000.0)


def parse_clock(text: str) -> float | None:
    """Seconds of a time of day or elapsed time (`[[hh:]mm:]ss.fff`) or of an ISO date and time, None for other text.

    Example:
        >>> parse_clock("0:01.500"), parse_clock("1:00:00"), parse_clock("MLII")
        (1.5, 3600.0, None)
    """
    if re.fullmatch(r"(\d+:){1,2}\d{1,2}([.,]\d+)?", text):
        seconds = 0.0
        for part in text.replace(",", ".").split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    if re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        # From a fixed day on, so that a double keeps the microseconds.
        return (moment.replace(tzinfo=None) - datetime(2000, 1, 1)).total_seconds()
    return None


def is_ramp(values: np.ndarray) -> bool:
    """Whether values rise by a constant step, as no lead of an ECG does."""
    if len(values) < 10 or not np.isfinite(values).all():
        return False
    step = (values[-1] - values[0]) / (len(values) - 1)
    return bool(step > 0 and np.abs(values - values[0] - step * np.arange(len(values))).max() < 0.5 * step)


def rate_of_times(times: np.ndarray, unit: str | None, *, where: str) -> tuple[float, list[str]]:
    """The sampling rate that times state, and notes.

    The rate is the number of steps over the whole duration; a whole number within the rounding of the times is taken as
    meant. Times that lie more than half a step beside an even grid are lost or doubled samples.

    Args:
        times: one time per sample.
        unit: unit of the times as written, or None.
        where: the file, for messages.

    Raises:
        RecordFileError: the step is not constant, or the unit cannot be told.
    """
    if len(times) < 2:
        raise RecordFileError(f"{where}: the time column has one value; expected two or more. Set sampling_rate=.")
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        raise RecordFileError(f"{where}: the time column is empty at sample {row}; expected a time for each sample.")
    notes = []
    if unit is not None and unit.casefold() not in TIME_UNITS:
        raise RecordFileError(f"{where}: the time column is in {unit!r}; expected one of {', '.join(TIME_UNITS)}.")
    scale = 1.0 if unit is None else TIME_UNITS[unit.casefold()]
    span = float(times[-1] - times[0]) * scale
    steps = np.diff(times) * scale
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 1
        raise RecordFileError(f"{where}: the time column does not rise at sample {row} (step {steps[row - 1]:g} s).")
    step = span / len(steps)
    off = np.abs((times - times[0]) * scale - step * np.arange(len(times)))
    if off.max() > 0.5 * step:
        row = int(np.argmax(np.abs(steps - np.median(steps)))) + 1
        raise RecordFileError(
            f"{where}: the time column has no constant step: {steps[row - 1]:g} s before sample {row}, "
            f"{np.median(steps):g} s usually. Samples are missing or doubled; resample the file or drop the column."
        )
    rate = 1 / step
    if unit is None and not _PLAUSIBLE_RATE[0] <= rate <= _PLAUSIBLE_RATE[1]:
        raise RecordFileError(
            f"{where}: the time column has steps of {step:g} without a unit, {rate:g} Hz if these are seconds. "
            "Name its unit in the header row, as in 'time (ms)', or drop the column and set sampling_rate=."
        )
    if unit is None:
        notes.append(f"time column taken as seconds: {rate:.6g} Hz")
    # The ends are rounded by at most the largest deviation seen (two of them), half a unit of the last place at least.
    uncertainty = rate * (2 * off.max() + np.spacing(np.abs(times).max()) * scale) / span
    nearest = round(rate)
    if nearest and abs(rate - nearest) <= max(uncertainty, 1e-6 * rate):
        if abs(rate - nearest) > 1e-3 * rate:
            notes.append(f"{rate:.6g} Hz by rounded times, taken as {nearest} Hz")
        rate = float(nearest)
    if off.max() > 0.1 * step:
        notes.append(f"times deviate by up to {1000 * off.max():.2g} ms from an even step of {1000 * step:.4g} ms")
    return rate, notes
