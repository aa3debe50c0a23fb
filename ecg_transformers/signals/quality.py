"""Signal quality: flat leads, amplitude, missing samples, interpolation of short gaps."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from .leads import listed
from .record import unit_scale

__all__ = [
    "MAX_JUMP",
    "MAX_MIDDLE_SWING",
    "MIN_LARGEST_SWING",
    "NO_ECG_JUMPS",
    "LeadGaps",
    "amplitude_fault",
    "amplitude_note",
    "fill_gaps",
    "find_gaps",
    "flat_leads",
    "flat_note",
    "how_taken",
    "jump_fault",
    "offset_finding",
    "typical_swings",
    "unit_fault",
    "unlike_note",
    "usual_amplitude",
]

# Seconds; a swing is the range within a piece of this length, which holds a beat or two.
_SWING_SECONDS = 2.0
# mV. Of 19,601 records of PTB-XL, 290 of CinC 2017 and 48 of MIT-BIH the middle lead swings by at most 7.3 and the
# largest by at least 0.05 (0.58 in 12 leads). Values beyond these limits are in another unit, or no ECG.
MAX_MIDDLE_SWING, MIN_LARGEST_SWING = 20.0, 0.02
# mV. In every second one of 19,601 PTB-XL records, the range within pieces of 2 s (median over the pieces) is at most
# 3.98 for the median lead and at least 0.58 for the largest. Beyond these bounds a wrong gain is more likely than such
# a heart. A single lead may be small, so that the lower bound needs six or more.
HIGH_MIDDLE_SWING = 4.2
LOW_LARGEST_SWING = 0.55
_MIN_LEADS_FOR_LOW = 6
# mV between neighboring samples. In the same 19,601 records, artifacts included, it is at most 12.9; the marks of
# missing samples of 16-bit converters are 32.768 with 1000 units per mV, and more with fewer.
MAX_JUMP = 25.0
NO_ECG_JUMPS = "no ECG jumps"
# mV from 0 to the median of a lead. In the same records, which were high-pass filtered once, the median over the leads
# is at most 1.20 (1.05 for any lead of MIT-BIH), any lead at most 20.02; in 8 records some lead is beyond 1.5, in two
# of these most of the limb leads.
_MAX_MIDDLE_OFFSET, _MAX_OFFSET = 1.5, 25.0
# Samples of a lead that show whether its median may be beyond a limit.
_GLANCE = 64
# Leads of one recording whose swings differ more are in different units, or disconnected.
_UNLIKE_LEADS = 100
# mV; the swing of a usual lead, and how many millivolts other units are.
_USUAL_SWING = 1.0
_OTHER_UNITS = {"uV": 1e-3, "nV": 1e-6, "V": 1e3}
# Notes of a unit and of a gain that were given.
_CONVERTED, _GAIN = re.compile(r"converted ([^,]+)(?:, .*)? -> mV"), re.compile(r"gain ([^/]+)/\S+ set by the caller")
# Steps of a 16-bit converter; integers that wrapped around jump by nearly as many.
_STEPS, _WRAPPED_SHARE = 65_536, 0.9
# Samples of one value that may mark missing ones.
_MIN_MARKS = 3
# A lead in another unit swings at least this many times as far as the others; its swing is the range of this
# middle part of its samples, which few marks or spikes do not change.
_MIN_UNIT_RATIO, _MIDDLE_PERCENT = 100.0, (2, 98)


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


def flat_note(leads: Sequence[str]) -> str | None:
    """A note on the leads that are flat in the whole recording; None if there is none."""
    return f"flat (constant) throughout: {', '.join(leads)}" if leads else None


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


def usual_amplitude(signal: np.ndarray, sampling_rate: float) -> bool:
    """Whether no sample is missing and the swings are certainly usual; quick.

    No other check of gaps or of the amplitude finds anything then.

    Args:
        signal: `(leads, samples)` in mV.
        sampling_rate: Hz.
    """
    if not signal.size:
        return False
    # No piece swings by more than the whole: most signals pass without a look at the pieces of all leads.
    reach = np.maximum.reduce(signal, axis=1) - np.minimum.reduce(signal, axis=1)
    lead, ranges = int(reach.argmax()), reach.tolist()  # the first NaN, if there is one
    if not ranges[lead] <= MAX_MIDDLE_SWING:
        return False
    ranges.sort()
    if ranges[0] < MIN_LARGEST_SWING or ranges[(len(ranges) - 1) // 2] > HIGH_MIDDLE_SWING:
        return False
    piece = min(max(round(_SWING_SECONDS * sampling_rate), 1), signal.shape[1])
    count = signal.shape[1] // piece
    end = count * piece
    if ranges[-1] > HIGH_MIDDLE_SWING:
        # A lead that is constant between few spikes does not count, and the middle one of the others may be large.
        moves = signal[:, :end:piece] != signal[:, piece // 2 : end : piece]
        if 2 * int(moves.sum(axis=1).min()) <= count:
            return False
    pieces = signal[lead, :end].reshape(count, piece)
    swings = (np.maximum.reduce(pieces, axis=1) - np.minimum.reduce(pieces, axis=1)).tolist()
    # The median is not smaller than what more than half of them reach.
    return 2 * sum(swing >= LOW_LARGEST_SWING for swing in swings) > count


def amplitude_fault(
    signal: np.ndarray, sampling_rate: float, notes: Sequence[str] = (), leads: Sequence[str] | None = None
) -> str | None:
    """Why the values of a signal cannot be an ECG in millivolts, and what may be wrong; None if they can.

    Args:
        signal: `(leads, samples)`, flat and missing leads allowed.
        sampling_rate: Hz.
        notes: Notes on the recording, which state how its values became millivolts.
        leads: Name of each lead. Default: None (their numbers).

    Example:
        >>> beat = np.sin(np.arange(1000) / 10)[None]
        >>> amplitude_fault(beat, 100), amplitude_fault(1000 * beat, 100)
        (None, "half of the leads swing by 2e+03 or more within 2 s, an ECG in mV by 0.05 to 20: units='uV'?")
    """
    if usual_amplitude(signal, sampling_rate):
        return None
    return unit_fault(signal, sampling_rate, notes) or jump_fault(signal, leads)


def unit_fault(signal: np.ndarray, sampling_rate: float, notes: Sequence[str] = ()) -> str | None:
    """Why a signal as a whole is too large or too small for millivolts; None if it is not.

    The arguments are those of `amplitude_fault`.
    """
    swings = typical_swings(signal, sampling_rate)
    if not swings.size:
        return None
    middle, largest_swing = float(swings[(swings.size - 1) // 2]), float(swings[-1])
    if middle > MAX_MIDDLE_SWING and _wraps_around(signal, notes):
        return (
            f"half of the leads swing by {middle:.3g} or more within 2 s, with jumps of about {_STEPS:,} counts: "
            "16-bit integers that wrapped around, such as signed ones stored as unsigned. Read them as int16."
        )
    if middle > MAX_MIDDLE_SWING:
        found = f"half of the leads swing by {middle:.3g} or more"
    elif largest_swing < MIN_LARGEST_SWING:
        found = f"no lead swings by more than {largest_swing:.2g}"
        middle = largest_swing
    else:
        return None
    factor = min(_OTHER_UNITS.values(), key=lambda factor: abs(np.log(middle * factor / _USUAL_SWING)))
    fault = f"{found} within 2 s, an ECG in mV by 0.05 to {MAX_MIDDLE_SWING:g}: {_better_unit(factor, notes)}?"
    others = int((swings < middle / _UNLIKE_LEADS).sum())
    return f"{fault} But {others} leads swing by a hundredth of it or less: are all in one unit?" if others else fault


def jump_fault(signal: np.ndarray, leads: Sequence[str] | None = None) -> str | None:
    """The first sample that no ECG reaches from its neighbor, such as a mark of missing samples; None without one.

    Args:
        signal: `(leads, samples)` in mV; missing samples are left out.
        leads: Name of each lead. Default: None (their numbers).

    Example:
        >>> jump_fault(np.array([[0.1, 0.2, 9999.0, 0.1]]), ["V2"]).split(",")[0]
        'lead V2 has 9999 mV at sample 2 next to 0.2 mV'
    """
    for lead, values in enumerate(signal):
        places = np.flatnonzero(np.isfinite(values))
        finite = values[places].astype(np.float64)
        jumps = np.flatnonzero(np.abs(np.diff(finite)) > MAX_JUMP)
        if jumps.size:
            far, near = jumps[0], jumps[0] + 1
            if np.abs(finite[far] - np.median(finite)) < np.abs(finite[near] - np.median(finite)):
                far, near = near, far
            name = str(leads[lead] if leads else lead)
            cause = _cause_of_jump(signal, leads, finite, (float(finite[far]), float(finite[near])))
            return (
                f"lead {name.removeprefix('lead ')} has {finite[far]:.6g} mV at sample {places[far]} "
                f"next to {finite[near]:.3g} mV, {NO_ECG_JUMPS} by {MAX_JUMP:g}: {cause}"
            )
    return None


def _cause_of_jump(
    signal: np.ndarray, leads: Sequence[str] | None, values: np.ndarray, sides: tuple[float, float]
) -> str:
    """What a jump that no ECG has may be, and what to do.

    Args:
        signal: `(leads, samples)` in mV.
        leads: Name of each lead, or None.
        values: The samples of the lead without missing ones.
        sides: The values on both sides of the jump.
    """
    mark = max(sides, key=lambda value: np.count_nonzero(values == value))
    rest = values[values != mark]
    # Integers in another unit repeat, too: a mark is what leaves an ECG when it is taken out.
    if values.size - rest.size >= _MIN_MARKS and np.ptp(np.percentile(rest, _MIDDLE_PERCENT)) <= MAX_MIDDLE_SWING:
        return (
            f"{values.size - rest.size} samples are {mark:.6g}; if it marks missing samples, replace it by NaN, in "
            f"files by missing_value={mark:.6g} (nan_policy= sets how those are handled)."
        )
    moving = np.flatnonzero(~flat_leads(signal))
    low, high = np.nanpercentile(signal[moving], _MIDDLE_PERCENT, axis=1)
    swings = high - low
    wide = swings > MAX_MIDDLE_SWING
    if wide.any() and not wide.all():
        ratio = np.median(swings[wide]) / max(np.median(swings[~wide]), np.finfo(np.float32).tiny)
        if ratio >= _MIN_UNIT_RATIO:
            names = listed([str(leads[lead] if leads else lead) for lead in moving[wide].tolist()])
            return (
                f"leads {names} swing {ratio:.0f} times as far as the others: another unit? Convert them to that of "
                "the others, or state the unit of each lead in the file (text files: in each name, as 'V4 (uV)')."
            )
    return "an artifact, or a mark of missing samples: replace it by NaN (nan_policy= sets how those are handled)."


def offset_finding(
    signal: np.ndarray, leads: Sequence[str], *, others: np.ndarray | None = None
) -> tuple[str, bool] | None:
    """Leads that are farther from 0 than a filtered recording, and whether too far for a model that keeps offsets.

    Too far is a lead beyond 25 mV, or a recording that was never filtered: the median over all of its leads is beyond
    1.5 mV. Flat leads do not count.

    Args:
        signal: `(leads, samples)` in mV.
        leads: Name of each lead.
        others: Further leads of the recording, `(leads, samples)`, which only show whether it was filtered: of few
            leads, one bad electrode would decide. Default: none.

    Example:
        >>> wave = np.sin(np.arange(100.0))[None]
        >>> offset_finding(wave, ["I"]), offset_finding(wave + 300, ["I"])[1]
        (None, True)
    """
    near = np.abs(signal[:, :: max(signal.shape[1] // _GLANCE, 1)]) <= _MAX_MIDDLE_OFFSET
    if 2 * int(near.sum(axis=1).min(initial=near.shape[1])) > near.shape[1]:  # and so is the median of each lead
        return None
    moving = np.flatnonzero(~flat_leads(signal))
    if not moving.size:
        return None
    offsets = np.abs(np.nanmedian(signal[moving], axis=1))
    far = [
        f"{leads[lead]} {value:.4g}"
        for lead, value in zip(moving.tolist(), offsets, strict=True)
        if value > _MAX_MIDDLE_OFFSET
    ]
    if not far:
        return None
    aside = np.empty(0) if others is None else np.abs(np.nanmedian(others[~flat_leads(others)], axis=1))
    middle = np.median([*offsets, *aside])
    return (
        f"unusual offset, the median is more than {_MAX_MIDDLE_OFFSET:g} mV from 0 in {', '.join(far)} (mV)",
        bool(middle > _MAX_MIDDLE_OFFSET or offsets.max() > _MAX_OFFSET),
    )


def amplitude_note(signal: np.ndarray, sampling_rate: float) -> str | None:
    """What suggests a wrong gain though the values can be millivolts; None if nothing does.

    Args:
        signal: `(leads, samples)` in mV.
        sampling_rate: Hz.
    """
    swings = typical_swings(signal, sampling_rate)
    if swings.size and (middle := swings[(swings.size - 1) // 2]) > HIGH_MIDDLE_SWING:
        return (
            f"implausible amplitude: half of the leads swing by {middle:.1f} mV or more, "
            f"usual are up to {HIGH_MIDDLE_SWING:g} mV; the gain may be wrong (override: gain=)"
        )
    if swings.size >= _MIN_LEADS_FOR_LOW and swings[-1] < LOW_LARGEST_SWING:
        return (
            f"implausible amplitude: the largest lead swings by {swings[-1]:.2g} mV, "
            f"usual is at least {LOW_LARGEST_SWING:g} mV; the gain may be wrong (override: gain=)"
        )
    return None


def unlike_note(signal: np.ndarray, leads: Sequence[str]) -> str | None:
    """Leads that move less than any ECG, as those in another unit do, where others move more; None without one.

    Args:
        signal: `(leads, samples)` in mV.
        leads: Name of each lead.
    """
    ranges = np.fmax.reduce(signal, axis=1) - np.fmin.reduce(signal, axis=1)
    faint = (ranges < MIN_LARGEST_SWING) & ~flat_leads(signal)
    if not faint.any() or not (ranges >= MIN_LARGEST_SWING).any():
        return None
    return (
        f"implausible amplitude: {listed(compress(leads, faint))} move by {ranges[faint].max():.2g} mV at most, others "
        "as an ECG does; in another unit, or not connected"
    )


def how_taken(notes: Sequence[str]) -> str:
    """How values became millivolts, for messages: by the unit or gain that was given, or without one."""
    given = next((note for note in notes if _CONVERTED.fullmatch(note) or _GAIN.match(note)), None)
    return f"({given})" if given else "is taken as millivolts"


def _wraps_around(signal: np.ndarray, notes: Sequence[str]) -> bool:
    """Whether neighbors are at opposite ends of the range of 16-bit integers, in the units that were given."""
    gains = [float(found[1]) for note in notes if (found := _GAIN.match(note))]
    units = [unit_scale(found[1]) for note in notes if (found := _CONVERTED.fullmatch(note))]
    counts = signal * ((gains or [1.0])[0] / (units or [1.0])[0])
    wide = np.fmax.reduce(counts, axis=None) - np.fmin.reduce(counts, axis=None)
    return bool(wide < _STEPS and np.fmax.reduce(np.abs(np.diff(counts)), axis=None) > _WRAPPED_SHARE * _STEPS)


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
