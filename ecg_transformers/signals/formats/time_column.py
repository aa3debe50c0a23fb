"""Sampling rate of a time column, with a check for constant steps."""

import re
from datetime import datetime

import numpy as np

from ...errors import RecordFileError

__all__ = ["TIME_UNITS", "is_ramp", "parse_clock", "rate_of_times"]

# Seconds per unit.
TIME_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3}
TIME_UNITS |= {"millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "microseconds": 1e-6, "min": 60.0, "h": 3600.0}

# Hz. A time column without a unit is taken as seconds only if the rate is plausible for an ECG recorder.
_PLAUSIBLE_RATE = (20.0, 20_000.0)


def parse_clock(text: str) -> float | None:
    """Seconds of a clock time (`[[hh:]mm:]ss.fff`) or an ISO date and time; None for other text.

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
        # Relative to a fixed day, so that a double resolves microseconds.
        return (moment.replace(tzinfo=None) - datetime(2000, 1, 1)).total_seconds()
    return None


def is_ramp(values: np.ndarray) -> bool:
    """Whether values increase by a constant step, unlike any ECG lead."""
    if len(values) < 10 or not np.isfinite(values).all():
        return False
    step = (values[-1] - values[0]) / (len(values) - 1)
    return bool(step > 0 and np.abs(values - values[0] - step * np.arange(len(values))).max() < 0.5 * step)


def rate_of_times(times: np.ndarray, unit: str | None, *, where: str) -> tuple[float, list[str]]:
    """Sampling rate of a time column, and notes.

    The rate is the number of steps divided by the total duration, rounded to an integer within the rounding error of
    the times. Times more than half a step off an even grid indicate lost or duplicated samples.

    Args:
        times: One time per sample.
        unit: Unit of the times as written, or None.
        where: File, for error messages.

    Raises:
        RecordFileError: If the step is not constant, or the unit is unknown.
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
    # Both ends are rounded by at most the largest observed deviation, and at least by half a unit in the last place.
    uncertainty = rate * (2 * off.max() + np.spacing(np.abs(times).max()) * scale) / span
    nearest = round(rate)
    if nearest and abs(rate - nearest) <= max(uncertainty, 1e-6 * rate):
        if abs(rate - nearest) > 1e-3 * rate:
            notes.append(f"{rate:.6g} Hz by rounded times, taken as {nearest} Hz")
        rate = float(nearest)
    if off.max() > 0.1 * step:
        notes.append(f"times deviate by up to {1000 * off.max():.2g} ms from an even step of {1000 * step:.4g} ms")
    return rate, notes
