"""Signal quality: flat leads, amplitude, missing samples, interpolation of short gaps."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .record import unit_scale

__all__ = ["LeadGaps", "amplitude_fault", "fill_gaps", "find_gaps", "flat_leads", "typical_swings"]

# Seconds; a swing is the range within a piece of this length, which holds a beat or two.
_SWING_SECONDS = 2.0
# mV. Of 19,601 records of PTB-XL, 290 of CinC 2017 and 48 of MIT-BIH the middle lead swings by at most 7.3 and the
# largest by at least 0.05 (0.58 in 12 leads). Values beyond these limits are in another unit, or no ECG.
_MAX_MIDDLE_SWING, _MIN_LARGEST_SWING = 20.0, 0.02
# mV; the swing of a usual lead, and how many millivolts other units are.
_USUAL_SWING = 1.0
_OTHER_UNITS = {"uV": 1e-3, "nV": 1e-6, "V": 1e3}
# Notes of a unit and of a gain that were given.
_CONVERTED, _GAIN = re.compile(r"converted ([^,]+)(?:, .*)? -> mV"), re.compile(r"gain \S+ set by the caller")


def flat_leads(signal: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    """Find constant leads: those whose range is below `epsilon`.

    Missing samples are ignored; a lead without any sample is flat.

    Args:
        signal: `(leads, samples)`.
        epsilon: Threshold in the unit of the signal. Default: 1e-6.

    Returns:
        bool `(leads,)`.

    Example:
        >>> flat_leads(np.array([[0.0, 1.0], [2.0, 2.0]]))
        array([False,  True])
    """
    if signal.shape[-1] == 0:
        return np.ones(signal.shape[:-1], dtype=bool)
    return ~(np.fmax.reduce(signal, axis=-1) - np.fmin.reduce(signal, axis=-1) >= epsilon)


def typical_swings(signal: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Median range of each lead within pieces of 2 s, ascending, without flat and missing leads.

    Pieces with missing samples are left out. Spikes, electrode offsets and slow drift hardly count. A signal shorter
    than a piece is one piece.

    Args:
        signal: `(leads, samples)`.
        sampling_rate: Hz.
    """
    piece = min(max(round(_SWING_SECONDS * sampling_rate), 1), signal.shape[1])
    count = signal.shape[1] // max(piece, 1)
    if not count or not len(signal):
        return np.zeros(0)
    pieces = signal[:, : count * piece].reshape(len(signal), count, piece)
    ranges = pieces.max(axis=2) - pieces.min(axis=2)
    finite = np.isfinite(ranges)
    if finite.all():
        ranges.sort(axis=1)  # np.median takes several times as long
        swings = (ranges[:, (count - 1) // 2] + ranges[:, count // 2]) / 2
    else:
        swings = np.nanmedian(ranges[finite.any(axis=1)], axis=1)
    return np.sort(swings[swings > 0])


def amplitude_fault(signal: np.ndarray, sampling_rate: float, notes: Sequence[str] = ()) -> str | None:
    """Why the values of a signal cannot be an ECG in millivolts, and in which unit they would be; None if they can.

    Args:
        signal: `(leads, samples)`, flat and missing leads allowed.
        sampling_rate: Hz.
        notes: Notes on the recording, which tell how its values became millivolts.

    Example:
        >>> beat = np.sin(np.arange(1000) / 10)[None]
        >>> amplitude_fault(beat, 100), amplitude_fault(1000 * beat, 100)
        (None, "half of the leads swing by 2e+03 or more within 2 s, an ECG in mV by 0.05 to 20: units='uV'?")
    """
    # No piece swings by more than the whole: most signals pass without a look at the pieces of all leads.
    if signal.size and signal.max() - signal.min() <= _MAX_MIDDLE_SWING:
        largest = typical_swings(signal[[signal.argmax() // signal.shape[1]]], sampling_rate)
        if largest.size and largest[-1] >= _MIN_LARGEST_SWING:
            return None
    swings = typical_swings(signal, sampling_rate)
    if not swings.size:
        return None
    middle, largest_swing = float(swings[(swings.size - 1) // 2]), float(swings[-1])
    if middle > _MAX_MIDDLE_SWING:
        found = f"half of the leads swing by {middle:.3g} or more"
    elif largest_swing < _MIN_LARGEST_SWING:
        found = f"no lead swings by more than {largest_swing:.2g}"
        middle = largest_swing
    else:
        return None
    factor = min(_OTHER_UNITS.values(), key=lambda factor: abs(np.log(middle * factor / _USUAL_SWING)))
    return f"{found} within 2 s, an ECG in mV by 0.05 to {_MAX_MIDDLE_SWING:g}: {_better_unit(factor, notes)}?"


def _better_unit(factor: float, notes: Sequence[str]) -> str:
    """The unit with which values are larger by a factor, or what else may be wrong."""
    if any(map(_GAIN.match, notes)):
        return "another gain="
    given = next((found[1] for note in notes if (found := _CONVERTED.fullmatch(note))), "mV")
    units = (
        unit for unit in ("nV", "uV", "mV", "V") if np.isclose(unit_scale(unit), factor * unit_scale(given), atol=0)
    )
    name = next(units, None)
    return "another unit" if name is None else f"units={name!r}"


@dataclass(frozen=True)
class LeadGaps:
    """The missing samples (NaN or infinite) of one lead.

    Args:
        lead: Index of the lead.
        count: Number of missing samples.
        first: Index of the first missing sample.
        longest: Length of the longest run of missing samples.
    """

    lead: int
    count: int
    first: int
    longest: int


def find_gaps(signal: np.ndarray) -> list[LeadGaps]:
    """Gaps of the leads of `(leads, samples)` that contain NaN or infinite samples; usually an empty list."""
    missing = np.isfinite(signal)
    if missing.all():
        return []
    missing = ~missing
    return [
        LeadGaps(lead, int(missing[lead].sum()), int(missing[lead].argmax()), int(_run_lengths(missing[lead]).max()))
        for lead in np.flatnonzero(missing.any(axis=-1)).tolist()
    ]


def _run_lengths(missing: np.ndarray) -> np.ndarray:
    """Lengths of the runs of True in a one-dimensional array."""
    edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
    return edges[1::2] - edges[::2]


def fill_gaps(signal: np.ndarray, gaps: list[LeadGaps]) -> np.ndarray:
    """Copy of the signal with missing samples interpolated linearly.

    At the ends the nearest sample is repeated. A lead without any sample becomes zero.

    Args:
        signal: `(leads, samples)`.
        gaps: Leads to interpolate, from `find_gaps`.
    """
    filled = signal.copy()
    places = np.arange(signal.shape[-1])
    for lead in (gap.lead for gap in gaps):
        finite = np.isfinite(signal[lead])
        filled[lead] = np.interp(places, places[finite], signal[lead, finite]) if finite.any() else 0.0
    return filled
