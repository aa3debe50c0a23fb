"""Sampling rate of a time column, with a check for constant steps, and the places of samples around gaps."""

import re
from datetime import datetime

import numpy as np

from ...errors import RecordFileError

__all__ = ["TIME_UNITS", "is_ramp", "parse_clock", "places_at_rate", "rate_of_times", "unwrapped_clock"]

# Seconds per unit.
TIME_UNITS = {
    name: seconds
    for names, seconds in (
        ("s sec secs second seconds", 1.0),
        ("ms msec msecs millisecond milliseconds", 1e-3),
        ("us usec \N{MICRO SIGN}s \N{GREEK SMALL LETTER MU}s microsecond microseconds", 1e-6),
        ("ns nsec nanosecond nanoseconds", 1e-9),
        ("min mins minute minutes", 60.0),
        ("h hr hrs hour hours", 3600.0),
    )
    for name in names.split()
}

# Hz. A time column without a unit is taken as seconds only if the rate is plausible for an ECG recorder:
# minutes at 100 Hz would be 6000 Hz.
_PLAUSIBLE_RATE = (20.0, 5_000.0)
# Rounded times have steps of two values, three with the rounding of their differences.
_MAX_ROUNDED_STEPS = 4
# Share by which the usual step may differ from the rate of the caller: clocks of recorders drift, rates are rounded.
_MAX_RATE_ERROR = 0.02


_CLOCK = re.compile(r"(\d+:){1,2}\d{1,2}([.,]\d+)?")
# A date before the clock time in the order of any country, and the half of the day after it.
_DATE_AND_CLOCK = re.compile(
    r"\d{1,4}([./-])\d{1,2}\1\d{1,4},?\s+(\d{1,2}:\d\d:\d\d(?:[.,]\d+)?)\s*([ap]\.?m\.?)?", re.I
)
_DAY = 86_400.0


def parse_clock(text: str) -> float | None:
    """Seconds of a clock time (`[[hh:]mm:]ss.fff`), also after a date; None for other text.

    An ISO date counts too. Other dates, whose order of day and month is not known, do not: see `unwrapped_clock`.

    Example:
        >>> parse_clock("0:01.500"), parse_clock("1:00:00"), parse_clock("MLII")
        (1.5, 3600.0, None)
    """
    if ":" not in text:
        return None
    if _CLOCK.fullmatch(text):
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
    found = _DATE_AND_CLOCK.fullmatch(text)
    if found is None:
        return None
    clock = parse_clock(found[2])
    if clock is not None and found[3]:
        return clock % (_DAY / 2) + (_DAY / 2 if found[3][0] in "pP" else 0.0)
    return clock


def unwrapped_clock(times: np.ndarray) -> np.ndarray:
    """Clock times in seconds with a day added after each midnight."""
    return times + _DAY * np.concatenate([[0], np.cumsum(np.diff(times) < -_DAY / 2)])


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
    if (packet := _packet_rate(times)) is not None:
        size, per_unit = packet
        scale = 1.0 if unit is None else TIME_UNITS.get(unit.casefold(), 1.0)
        raise RecordFileError(
            f"{where}: the time column does not rise with each sample: one time per packet of {size} samples, about "
            f"{per_unit / scale:.4g} Hz. Set sampling_rate= to the rate of the recorder."
        )
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
        falls = bool((steps < 0).any())
        cure = "Sort the rows by time" if falls else "Set sampling_rate= to the rate of the recorder"
        raise RecordFileError(
            f"{where}: the time column does not rise at sample {row} (step {steps[row - 1]:g} s). {cure}."
        )
    step = span / len(steps)
    deviations = (times - times[0]) * scale - step * np.arange(len(times))
    off = np.abs(deviations)
    # The first time is rounded, too: all others may deviate to one side.
    if np.ptp(deviations) > 1.001 * step or _gaps(steps).any():
        row = int(np.argmax(np.abs(steps - np.median(steps)))) + 1
        raise RecordFileError(
            f"{where}: the time column has no constant step: {steps[row - 1]:g} s before sample {row}, "
            f"{np.median(steps):g} s usually. Samples are missing or doubled; set sampling_rate= to read the file with "
            "its gaps as missing samples."
        )
    rate = 1 / step
    if unit is None and not _PLAUSIBLE_RATE[0] <= rate <= _PLAUSIBLE_RATE[1]:
        raise RecordFileError(
            f"{where}: the time column has steps of {step:g} without a unit, {rate:g} Hz if these are seconds. "
            "Name its unit in the header row, as in 'time (ms)', or set sampling_rate=."
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


def _packet_rate(times: np.ndarray) -> tuple[int, float] | None:
    """Samples per packet and per unit of time where a time is repeated or followed by empty fields; else None."""
    known = np.flatnonzero(np.isfinite(times))
    firsts = known[np.concatenate([[True], np.diff(times[known]) > 0])]
    if len(firsts) < 3 or len(firsts) > len(times) / 2 or (np.diff(times[known]) < 0).any():
        return None
    return int(np.median(np.diff(firsts))), float((firsts[-1] - firsts[0]) / (times[firsts[-1]] - times[firsts[0]]))


def _gaps(steps: np.ndarray) -> np.ndarray:
    """Which steps of a rising time column skip samples, bool `(steps,)`.

    Times that are rounded have steps of two values that differ by the unit of rounding; a step that exceeds the usual
    one by more than that, and by more than half, skips a sample.
    """
    median = np.median(steps)
    usual = steps <= 1.5 * median
    values = np.unique(np.round(steps[usual], 9))
    rounding = float(np.diff(values).min()) if 1 < len(values) <= _MAX_ROUNDED_STEPS else 0.0
    nominal = float(steps[usual].mean())
    # Where steps of 1, 2 and 3 ms are rounded ones of 2 ms, the mean of the usual ones is below that.
    return steps > max(1.5 * nominal, max(nominal, median) + 1.001 * rounding)


def places_at_rate(times: np.ndarray, rate: float, *, where: str) -> tuple[np.ndarray | None, list[str]]:
    """The place of each sample on the grid of a known rate, and notes on gaps.

    The column may have one time per sample, or one per packet of samples (repeated, or in the first row of the packet
    only). A jump that exceeds the samples since the last time by half a sample, or by half a packet, is a gap.

    Args:
        times: Seconds, NaN where the column is empty.
        rate: Sampling rate in Hz.
        where: File, for error messages.

    Returns:
        Ascending places int64 `(samples,)` from 0, None if the samples follow each other; and notes.

    Raises:
        RecordFileError: If the times fall, or contradict the rate.
    """
    known = np.flatnonzero(np.isfinite(times))
    firsts = known[np.concatenate([[True], np.diff(times[known]) != 0])]
    if len(firsts) < 2:
        return None, ["the time column has a single time and was not used"]
    jumps, sizes = np.diff(times[firsts]), np.diff(firsts)
    if (jumps < 0).any():
        row = int(firsts[np.flatnonzero(jumps < 0)[0] + 1])
        raise RecordFileError(f"{where}: the time column falls at sample {row}; expected ascending times.")
    usual = float(np.median(jumps / sizes))
    if abs(usual * rate - 1) > _MAX_RATE_ERROR:
        raise RecordFileError(
            f"{where}: the time column has a sample every {usual:.6g} s, {1 / usual:.6g} Hz, and "
            f"sampling_rate={rate:g} was passed. Leave one of them out."
        )
    packet = int(np.median(sizes))
    notes = [f"one time per packet of {packet} samples, taken at {rate:g} Hz"] if packet > 1 else []
    missing = _missing_samples(jumps * rate, sizes, 0.5 * packet)
    if not missing.any():
        return None, notes
    row = int(firsts[np.flatnonzero(missing)[0] + 1])
    notes.append(
        f"samples missing by the time column: {missing.sum()}, in {np.count_nonzero(missing)} places, first at {row}"
    )
    shift = np.zeros(len(times), dtype=np.int64)
    shift[firsts[1:]] = missing
    return np.arange(len(times)) + np.cumsum(shift), notes


def _missing_samples(jumps: np.ndarray, sizes: np.ndarray, least: float) -> np.ndarray:
    """Missing samples before each time but the first, int64, from the jumps of the times in samples.

    Times that come late and are early afterwards are no gap: after a gap all are late. And the clock of a recorder is
    a little faster or slower than its nominal rate.
    """
    surplus = jumps - sizes
    even = np.abs(surplus) <= least
    drift = surplus[even].sum() / max(sizes[even].sum(), 1)
    late = np.concatenate([[0.0], np.cumsum(surplus - drift * sizes)])
    before, after = np.maximum.accumulate(late), np.minimum.accumulate(late[::-1])[::-1]
    found = np.minimum(np.minimum(np.diff(before), np.diff(after)), surplus)
    return np.where(found > least, np.rint(found), 0).astype(np.int64)
