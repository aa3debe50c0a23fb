"""Reconstruction of a masked model, over the recorded signal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import INK, PEN_LIMIT_MV, PRINT, Page, page_of_leads
from .paper import describe_patient, lead_rows, medians
from .paper import lead_names as names_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Overlay", "plot_overlay", "plot_reconstruction"]

MASKED = "#5b7fb0"
REBUILT = "#1146c7"


def plot_reconstruction(
    record: EcgRecord,
    original: Any,
    reconstruction: Any,
    patch_mask: Any,
    *,
    sampling_rate: float | None = None,
    lead_names: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    start: float = 0.0,
    show_visible: bool = False,
    speed: float = 25.0,
    gain: float = 10.0,
    title: str | None = None,
) -> "Figure":
    """Plot one window on ECG paper in mV: masked patches shaded, the reconstruction over the original.

    Args:
        record: Record of the window; provides name, patient and the defaults of rate and lead names.
        original: Window in mV (leads, samples).
        reconstruction: Output of the model in mV (leads, samples).
        patch_mask: (patches,), 1 = masked. A patch has `samples / patches` samples.
        sampling_rate: Sampling rate of both arrays in Hz. Default: that of the record.
        lead_names: Lead names of both arrays. Default: those of the record.
        leads: Leads to draw. Default: all.
        start: Start of the window in the record in seconds. Default: 0.
        show_visible: Whether to also draw the reconstruction of visible patches, which a loss over masked patches does
            not constrain. Default: False.
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: If the shapes are inconsistent.
        LeadError: If a lead is not in `lead_names`.
    """
    names = names_of(record) if lead_names is None else tuple(lead_names)
    original, reconstruction, removed = _checked(original, reconstruction, patch_mask, names)
    rate = record.sampling_rate if sampling_rate is None else sampling_rate
    samples, patches = original.shape[1], removed.size
    hidden = np.repeat(removed, samples // patches)
    difference = (original - reconstruction)[lead_rows(names, leads)][:, hidden]
    error = float(np.sqrt(np.nanmean(difference**2))) if hidden.any() else 0.0
    drawing = Overlay(
        drawn=reconstruction if show_visible else np.where(hidden, reconstruction, np.nan),
        shaded=[(first * samples // patches, last * samples // patches) for first, last in _runs(removed)],
        note=f"{removed.sum()} of {patches} patches masked; RMS error {error:.3f} mV",
        legend=("reconstructed", "masked"),
        name="reconstruction",
    )
    scale = {"sampling_rate": rate, "start": start, "speed": speed, "gain": gain}
    return plot_overlay(record, original, drawing, names, leads=leads, title=title, **scale)


@dataclass(frozen=True)
class Overlay:
    """Output of a model for a window.

    Args:
        drawn: In mV `(leads, samples)`, NaN where nothing is drawn.
        shaded: First sample and end (exclusive) of the stretches that are shaded.
        note: Remark in the header.
        legend: Names of the curve and of the shade.
        name: Prefix of the ids of the curves.
    """

    drawn: np.ndarray
    shaded: list[tuple[int, int]]
    note: str
    legend: tuple[str, str]
    name: str


def plot_overlay(
    record: EcgRecord,
    original: np.ndarray,
    drawing: Overlay,
    names: Sequence[str],
    *,
    leads: Sequence[str] | None = None,
    sampling_rate: float,
    start: float,
    speed: float,
    gain: float,
    title: str | None,
) -> "Figure":
    """Plot the output of a model for a window over the window; for the arguments see `plot_reconstruction`."""
    rows = lead_rows(names, leads)
    times, seconds = np.arange(original.shape[1]) / sampling_rate, original.shape[1] / sampling_rate
    # both are shifted by the median of the original, so that an offset of what is drawn remains visible
    middle = medians(original)
    original, drawn = (original - middle)[rows], (drawing.drawn - middle)[rows]
    shown = [names[row] for row in rows]
    page = page_of_leads(shown, np.stack([original, drawn], axis=1), times, seconds=seconds, speed=speed, gain=gain)
    for first, last in drawing.shaded:
        page.shade(first / sampling_rate, last / sampling_rate, color=MASKED, alpha=0.16)
    style = {"linewidth": 1.0, "color": REBUILT, "zorder": 4}
    clipped = []
    for index, name in enumerate(shown):
        over = page.trace(index, times, original[index], linewidth=0.6, gid=f"original {name}")
        over |= page.trace(index, times, drawn[index], gid=f"{drawing.name} {name}", **style)
        clipped += [name] if over else []
    remark = f"clipped at {PEN_LIMIT_MV:g} mV: {', '.join(clipped)}" if clipped else ""
    page.header(
        title if title is not None else record.name or "ECG",
        below="   ".join(filter(None, (describe_patient(record), remark))),
        right=drawing.note,
    )
    page.time_axis(start)
    page.footer(f"{speed:g} mm/s   {gain:g} mm/mV   {sampling_rate:g} Hz")
    _legend(page, *drawing.legend)
    return page.figure


def _checked(
    original: Any, reconstruction: Any, patch_mask: Any, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays as float64 and the mask as bool, with consistent shapes."""
    original = as_float_array(original, name="original", ndim=2)
    reconstruction = as_float_array(reconstruction, name="reconstruction", ndim=2)
    removed = as_float_array(patch_mask, name="patch_mask", ndim=1) > 0.5
    if original.shape != reconstruction.shape or len(names) != len(original):
        raise SignalError(
            f"original has shape {original.shape}, reconstruction {reconstruction.shape}, {len(names)} lead names; "
            "expected two arrays of (leads, samples) in mV. Pass lead_names=... if they are not the record's."
        )
    if original.shape[1] % removed.size:
        raise SignalError(
            f"{original.shape[1]} samples are not a multiple of {removed.size} patches; pass the patch_mask of this "
            "window."
        )
    return original, reconstruction, removed


def _runs(removed: np.ndarray) -> list[tuple[int, int]]:
    """First index and end (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], removed, [False]]).astype(int)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _legend(page: Page, curve: str, shade: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    page.axes.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=0.8, label="recorded"),
            Line2D([], [], color=REBUILT, linewidth=1.2, label=curve),
            Patch(color=MASKED, alpha=0.16, label=shade),
        ],
        loc="lower right",
        bbox_to_anchor=(page.right, 0.4),
        bbox_transform=page.axes.transData,
        ncols=3,
        fontsize=8,
        frameon=False,
        borderaxespad=0.0,
        labelcolor=PRINT,
    )
