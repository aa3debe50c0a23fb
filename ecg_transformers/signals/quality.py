"""Signal quality: flat leads, missing samples, interpolation of short gaps."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LeadGaps", "fill_gaps", "find_gaps", "flat_leads"]


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
