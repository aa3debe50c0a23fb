"""Beats: a rhythm strip whose abnormal beats are shaded by their score, and one beat with its reconstruction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import INK, PRINT, new_figure, page_of_leads
from .paper import describe_patient, lead_names, lead_rows, medians
from .reconstruction import REBUILT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_beats", "plot_heat"]

ABNORMAL = "#c2410c"
# Opacity of a beat at its threshold, and of one at several times its threshold.
FAINTEST, STRONGEST, FULL_AT = 0.12, 0.5, 4.0
# Height of the strip below the leads for the scores.
STRIP_MM = 5.0


def plot_beats(
    record: EcgRecord,
    beats: Sequence[Mapping[str, Any]],
    *,
    start: float = 0.0,
    seconds: float = 10.0,
    leads: Sequence[str] | None = None,
    speed: float = 25.0,
    gain: float = 10.0,
    title: str | None = None,
) -> "Figure":
    """Plot a rhythm strip on ECG paper; abnormal beats are shaded, the more the higher their score.

    Args:
        record: The recording.
        beats: Rows of the pipeline `ecg-anomaly-detection` (`start`, `end`, `peak`, `score`, `threshold`,
            `anomalous`).
        start: Start of the strip in the recording in seconds. Default: 0.
        seconds: Length of the strip. Default: 10.
        leads: Leads to draw. Default: all.
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: If the strip is not inside the recording.
        LeadError: If the recording lacks a lead.
    """
    stop = min(start + seconds, record.duration)
    piece = record.crop(start, stop)
    rows = lead_rows(lead_names(record), leads)
    shown = [lead_names(record)[row] for row in rows]
    signal = (piece.signal - medians(piece.signal))[rows]
    times = np.arange(piece.num_samples) / piece.sampling_rate
    scale = {"seconds": piece.duration, "speed": speed, "gain": gain}
    page = page_of_leads(shown, signal[:, np.newaxis], times, strip=STRIP_MM, **scale)
    for index, name in enumerate(shown):
        page.trace(index, times, signal[index], gid=f"lead {name}")
    inside = [beat for beat in beats if start <= beat["peak"] < stop]
    abnormal = [beat for beat in inside if beat["anomalous"]]
    for beat in abnormal:
        excess = min(max(beat["score"] / max(beat["threshold"], 1e-12) - 1.0, 0.0) / (FULL_AT - 1.0), 1.0)
        first, last = max(beat["start"] - start, 0.0), min(beat["end"] - start, piece.duration)
        page.shade(first, last, color=ABNORMAL, alpha=FAINTEST + (STRONGEST - FAINTEST) * excess)
    for beat in inside:
        color = ABNORMAL if beat["anomalous"] else PRINT
        place = (float(page.x(beat["peak"] - start)), page.strip_top - STRIP_MM / 2)
        text = f"{beat['score']:.2g}"
        page.axes.text(*place, text, fontsize=6.5, color=color, ha="center", va="center", zorder=5)
    page.header(
        title if title is not None else record.name or "ECG",
        below=describe_patient(record),
        right=f"{len(abnormal)} of {len(inside)} beats anomalous; numbers: score of each beat",
    )
    page.time_axis(start)
    page.footer(f"{speed:g} mm/s   {gain:g} mm/mV   {record.sampling_rate:g} Hz")
    return page.figure


def plot_heat(
    beat: Any,
    reconstruction: Any,
    error: Any,
    *,
    sampling_rate: float,
    samples_before: int,
    lead_name: str = "",
    title: str | None = None,
) -> "Figure":
    """Plot one beat, its reconstruction, and below them a band with the error of each sample.

    Args:
        beat: The beat as the model takes it `(samples,)`.
        reconstruction: Output of the model `(samples,)`.
        error: Squared error of each sample `(samples,)`.
        sampling_rate: Sampling rate in Hz.
        samples_before: Samples before the R peak, which is time zero.
        lead_name: Name of the lead. Default: none.
        title: Title. Default: the score, which is the mean error.

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: If the arrays differ in length.
    """
    arrays = {"beat": beat, "reconstruction": reconstruction, "error": error}
    values, rebuilt, heat = (as_float_array(array, name=name, ndim=1) for name, array in arrays.items())
    if not values.shape == rebuilt.shape == heat.shape:
        raise SignalError(
            f"beat has {len(values)} samples, reconstruction {len(rebuilt)}, error {len(heat)}; expected the same "
            "number. Pass one lead of one beat."
        )
    times = 1000 * (np.arange(len(values)) - samples_before) / sampling_rate
    figure = new_figure(figsize=(5.6, 4.0), facecolor="white")
    figure.subplots_adjust(left=0.14, bottom=0.13)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (8, 1), "hspace": 0.08})
    upper.plot(times, values, color=INK, linewidth=1.2, label="beat")
    upper.plot(times, rebuilt, color=REBUILT, linewidth=1.2, label="reconstruction")
    upper.set_ylabel(" ".join(filter(None, (lead_name, "(scaled)"))))
    upper.legend(frameon=False, fontsize=8)
    upper.set_title(f"score {heat.mean():.3g}" if title is None else title, fontsize=10)
    edges = (times[0], times[-1], 0.0, 1.0)
    band = lower.imshow(heat[np.newaxis], aspect="auto", extent=edges, cmap="magma_r", vmin=0.0)
    lower.set_yticks([])
    lower.set_xlabel("ms from the R peak")
    figure.colorbar(band, ax=(upper, lower), label="squared error", fraction=0.05)
    return figure
