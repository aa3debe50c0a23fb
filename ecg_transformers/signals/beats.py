"""R peaks and beats: detection, refinement, comparison with annotations, cutting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import LeadError, SignalError
from .filters import fir_bandpass
from .leads import canonical_lead, listed
from .quality import fill_gaps, find_gaps
from .record import EcgRecord
from .resample import resample
from .windows import beat_starts, check_peaks, cut_windows

__all__ = [
    "BEAT_SYMBOLS",
    "DETECTORS",
    "Beats",
    "annotated_peaks",
    "beat_distance",
    "cut_beats",
    "detect_r_peaks",
    "find_peaks",
    "interval_ratio",
    "lead_index",
    "match_peaks",
    "nearest_places",
    "refine_peaks",
]

DETECTORS = ("gqrs", "sleepecg")

# Annotation symbols of the PhysioNet databases that stand for beats.
BEAT_SYMBOLS = frozenset("NLRejAaJSVEF/fQBrn?")

# s; the agreed tolerance between a detected and an annotated beat (ANSI/AAMI EC57).
MATCH_SECONDS = 0.15
# s; how far the R peak is from the mark of a detector. GQRS marks the start of a QRS complex.
REFINE_SECONDS = 0.05
# Band of a QRS complex in Hz, and length of the filter in s: those of BeatGAN's preparation.
QRS_BAND, QRS_FILTER_SECONDS = (3.0, 45.0), 0.3
# s; longer recordings are searched piece by piece, so that a day needs no more memory than an hour. A piece begins this
# much earlier than the marks that are taken from it: the thresholds of a detector settle within some beats.
BLOCK_SECONDS, LEAD_IN_SECONDS = 3600.0, 30.0
# Beats on either side whose RR intervals that of a beat is compared with.
NEIGHBORS = 5
# Units per mV in which GQRS, which computes with integers, gets the signal.
GQRS_GAIN = 1000


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of one recording.

    Args:
        signals: Float32 `(beats, leads, samples)` in mV.
        peaks: R peak of each beat as a sample of the recording, int64 `(beats,)`.
        dropped: R peaks whose beat is not completely inside the recording, int64.
        sampling_rate: Rate of `signals` in Hz.
        symbols: Symbol of the annotation at each beat, "" where there is none; None for a record without annotations.
    """

    signals: np.ndarray
    peaks: np.ndarray
    dropped: np.ndarray
    sampling_rate: float
    symbols: list[str] | None

    def __len__(self) -> int:
        """Number of beats."""
        return len(self.peaks)


def detect_r_peaks(
    record: EcgRecord,
    method: Literal["gqrs", "sleepecg"] = "gqrs",
    *,
    lead: str | None = None,
    refine: bool = True,
) -> np.ndarray:
    """Find the R peaks of a recording in one of its leads.

    On the 48 records of the MIT-BIH Arrhythmia Database (lead MLII, tolerance 150 ms) GQRS finds 99.7 % of the beats
    with 0.2 % false marks, SleepECG 99.1 % with 0.8 %, about seventy times as fast. Missing samples are bridged by
    straight lines; marks within them are left out. A flat lead has no peaks. SleepECG also marks peaks in mere noise.

    Args:
        record: Recording.
        method: `"gqrs"` (default; wfdb) or `"sleepecg"` (fast; extra `[beats]`).
        lead: Lead that is searched. Default: MLII or II if the record has one of them, else its first lead.
        refine: Move each mark to the R peak, see `refine_peaks`. Default: True.

    Returns:
        Samples of the R peaks, ascending, int64 `(peaks,)`.

    Raises:
        SignalError: If the method is unknown, or its package is not installed.
        LeadError: If the record has no lead of that name.
    """
    signal = record.signal[lead_index(record.leads, lead, record.name)]
    return find_peaks(
        lambda start, stop: signal[start:stop], len(signal), record.sampling_rate, method=method, refine=refine
    )


def find_peaks(
    read: Callable[[int, int], np.ndarray],
    num_samples: int,
    sampling_rate: float,
    *,
    method: Literal["gqrs", "sleepecg"] = "gqrs",
    refine: bool = True,
) -> np.ndarray:
    """Find the R peaks of one lead that is read piece by piece, see `detect_r_peaks`.

    Args:
        read: Returns the samples `(samples,)` in mV from the first number up to, not including, the second.
        num_samples: Length of the recording in samples.
        sampling_rate: Sampling rate in Hz.
        method: As in `detect_r_peaks`.
        refine: As in `detect_r_peaks`.
    """
    if method not in DETECTORS:
        raise SignalError(f"method is {method!r}; expected one of {', '.join(DETECTORS)}.")
    block, lead_in = round(BLOCK_SECONDS * sampling_rate), round(LEAD_IN_SECONDS * sampling_rate)
    found = []
    for start in range(0, num_samples, block):
        first = max(0, start - lead_in)
        piece = read(first, min(start + block + lead_in, num_samples))
        missing = ~np.isfinite(piece)
        if missing.all():
            continue
        piece = fill_gaps(piece[np.newaxis], find_gaps(piece[np.newaxis]))[0]
        marks = _marks(piece, sampling_rate, method)
        if refine and len(marks):
            marks = refine_peaks(piece, marks, sampling_rate)
        marks = marks[~missing[marks]] + first
        found.append(marks[(marks >= start) & (marks < start + block)])
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def lead_index(
    leads: Sequence[str] | None, lead: str | None, title: str = "", *, cure: str = "Set lead= to one of them."
) -> int:
    """Position of the lead in which beats are searched.

    Args:
        leads: Lead names of the recording.
        lead: The wanted one. Default: MLII or II if there is one of them, else the first lead.
        title: Name of the recording, for the message.
        cure: What to set, for the message.

    Raises:
        LeadError: If there is no such lead.
    """
    names = tuple(leads or ())
    if lead is None:
        return next((names.index(name) for name in ("MLII", "II") if name in names), 0)
    wanted = canonical_lead(lead)
    if wanted not in names:
        raise LeadError(
            f"record {title} has the leads {listed(names) or 'without names'} and no lead {wanted}, in which R "
            f"peaks were to be found. {cure}"
        )
    return names.index(wanted)


def _marks(signal: np.ndarray, rate: float, method: str) -> np.ndarray:
    """Marks of a detector in one lead without missing samples."""
    if np.ptp(signal) == 0 or len(signal) < 2 * rate:
        return np.zeros(0, dtype=np.int64)  # GQRS and SleepECG fail on less than they learn from
    if method == "sleepecg":
        try:
            from sleepecg import detect_heartbeats
        except ImportError:
            raise SignalError(
                "method is 'sleepecg', which is not installed: pip install 'ecg-transformers[beats]', or set "
                "method='gqrs'."
            ) from None
        return np.asarray(detect_heartbeats(signal.astype(np.float64), rate), dtype=np.int64)
    from wfdb.processing import gqrs_detect

    # A fixed gain: with a physical signal wfdb takes one that depends on its range.
    digital = np.rint(signal.astype(np.float64) * GQRS_GAIN).astype(np.int64)
    return np.unique(np.asarray(gqrs_detect(d_sig=digital, fs=rate, adc_gain=GQRS_GAIN, adc_zero=0), dtype=np.int64))


def refine_peaks(
    signal: np.ndarray, peaks: np.ndarray, sampling_rate: float, *, seconds: float = REFINE_SECONDS
) -> np.ndarray:
    """Move each mark to the largest absolute value of the band-passed signal (3 to 45 Hz) near it.

    Marks of GQRS lie about 36 ms before the R peak. Two marks that meet become one.

    Args:
        signal: One lead in mV `(samples,)`, without missing samples.
        peaks: Marks, ascending `(marks,)`.
        sampling_rate: Sampling rate in Hz.
        seconds: Largest distance from a mark in s. Default: 0.05.

    Returns:
        int64 `(peaks,)`, ascending.
    """
    peaks = check_peaks(peaks, len(signal))
    if not len(peaks):
        return peaks
    reach = round(seconds * sampling_rate)
    high = min(QRS_BAND[1], 0.45 * sampling_rate)
    taps = int(QRS_FILTER_SECONDS * sampling_rate) | 1
    filtered = np.abs(fir_bandpass(signal.astype(np.float64), sampling_rate, QRS_BAND[0], high, taps=taps))
    places = np.clip(peaks[:, np.newaxis] + np.arange(-reach, reach + 1), 0, len(signal) - 1)
    best = filtered[places].argmax(axis=1)
    return np.unique(places[np.arange(len(peaks)), best])


def annotated_peaks(record: EcgRecord) -> tuple[np.ndarray, list[str]]:
    """The annotated beats of a recording: their samples, ascending int64 `(beats,)`, and symbols.

    Raises:
        RecordFileError: If the record has no annotations.
    """
    marks = record.require_annotations()
    places = np.array([symbol in BEAT_SYMBOLS for symbol in marks.symbols], dtype=bool)
    samples, first = np.unique(marks.samples[places], return_index=True)
    symbols = [symbol for symbol in marks.symbols if symbol in BEAT_SYMBOLS]
    return samples, [symbols[index] for index in first]


def match_peaks(
    peaks: np.ndarray, reference: np.ndarray, sampling_rate: float, *, seconds: float = MATCH_SECONDS
) -> np.ndarray:
    """Pair detected with annotated beats: for each peak the number of its reference, -1 for none; int64 `(peaks,)`.

    A pair are two that are nearest to each other, at most `seconds` apart.

    Args:
        peaks: Samples, ascending `(peaks,)`.
        reference: Samples, ascending `(references,)`.
        sampling_rate: Sampling rate in Hz.
        seconds: Tolerance in s. Default: 0.15 (ANSI/AAMI EC57).

    Example:
        >>> match_peaks(np.array([100, 130, 500]), np.array([98, 900]), 360)
        array([ 0, -1, -1])
    """
    if not len(peaks) or not len(reference):
        return np.full(len(peaks), -1, dtype=np.int64)
    nearest, back = nearest_places(reference, peaks), nearest_places(peaks, reference)
    mutual = back[nearest] == np.arange(len(peaks))
    close = np.abs(reference[nearest] - peaks) <= seconds * sampling_rate
    return np.where(mutual & close, nearest, -1)


def nearest_places(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Number of the nearest of ascending places for each wanted one; the earlier of two equally near.

    Args:
        places: Samples, ascending, at least one `(places,)`.
        wanted: Samples `(wanted,)`.

    Returns:
        int64 `(wanted,)`.
    """
    right = np.clip(np.searchsorted(places, wanted), 1, max(len(places) - 1, 1))
    right = np.minimum(right, len(places) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted - places[left] <= places[right] - wanted, left, right).astype(np.int64)


def beat_distance(beats: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Mean squared distance of beats from the median beat of their recording, relative to its power, `(beats,)`.

    Args:
        beats: In mV `(beats, ...)`.
        median: In mV, one beat.
    """
    power = max(float(np.square(median).mean()), 1e-12)
    return np.square(beats - median).mean(axis=tuple(range(1, beats.ndim))) / power


def interval_ratio(peaks: np.ndarray) -> np.ndarray:
    """RR interval before each beat of a recording divided by the median of those of its neighbors, float64 `(beats,)`.

    Neighbors are the five beats before and the five after it. 1 where there is no interval.

    Args:
        peaks: R peaks, ascending `(beats,)`.

    Example:
        >>> interval_ratio(np.array([0, 300, 600, 750, 1200, 1500])).round(2).tolist()
        [1.0, 1.0, 1.0, 0.5, 1.5, 1.0]
    """
    if len(peaks) < 3:
        return np.ones(len(peaks))
    intervals = np.concatenate([[np.nan], np.diff(peaks)])
    padded = np.pad(intervals, NEIGHBORS, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBORS + 1).copy()
    around[:, NEIGHBORS] = np.nan
    return np.nan_to_num(intervals / np.nanmedian(around, axis=1), nan=1.0)


def cut_beats(record: EcgRecord, peaks: np.ndarray, before: int, after: int, resample_to: float | None = None) -> Beats:
    """Cut a recording around R peaks, as the feature extractor does before it scales.

    Args:
        record: Recording.
        peaks: R peaks as samples of the recording, ascending.
        before: Samples of a beat before its R peak, at the resulting rate.
        after: Samples of a beat from its R peak on.
        resample_to: Rate of the beats in Hz. Default: that of the recording.

    Returns:
        The beats that are completely inside the recording, and the peaks of those that are not.

    Raises:
        SignalError: If peaks are invalid.
    """
    rate = record.sampling_rate if resample_to is None else resample_to
    peaks = check_peaks(peaks, record.num_samples, f"record {record.name}")
    signal = record.signal if rate == record.sampling_rate else resample(record.signal, record.sampling_rate, rate)
    starts, kept = beat_starts(peaks, signal.shape[1], before=before, after=after, ratio=rate / record.sampling_rate)
    windows, _ = cut_windows(signal, starts, before + after)
    symbols = None
    if record.annotations is not None:
        samples, known = annotated_peaks(record)
        pairs = match_peaks(peaks[kept], samples, record.sampling_rate)
        symbols = ["" if pair < 0 else known[pair] for pair in pairs.tolist()]
    return Beats(windows, peaks[kept], peaks[~kept], rate, symbols)
