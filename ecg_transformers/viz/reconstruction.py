"""Reconstruction of a masked model, over the recorded signal."""

from collections.abc import Sequence
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

__all__ = ["plot_reconstruction"]

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
    rows = lead_rows(names, leads)
    samples, patches = original.shape[1], removed.size
    times, seconds = np.arange(samples) / rate, samples / rate
    hidden = np.repeat(removed, samples // patches)
    # both are shifted by the median of the original, so that an offset of the reconstruction remains visible
    middle = medians(original)
    original, reconstruction = (original - middle)[rows], (reconstruction - middle)[rows]
    drawn = reconstruction if show_visible else np.where(hidden, reconstruction, np.nan)
    shown = [names[row] for row in rows]
    page = page_of_leads(shown, np.stack([original, drawn], axis=1), times, seconds=seconds, speed=speed, gain=gain)
    for first, last in _runs(removed):
        page.shade(first * seconds / patches, last * seconds / patches, color=MASKED, alpha=0.16)
    style = {"linewidth": 1.0, "color": REBUILT, "zorder": 4}
    clipped = []
    for index, name in enumerate(shown):
        over = page.trace(index, times, original[index], linewidth=0.6, gid=f"original {name}")
        over |= page.trace(index, times, drawn[index], gid=f"reconstruction {name}", **style)
        clipped += [name] if over else []
    error = float(np.sqrt(np.nanmean((original - reconstruction)[:, hidden] ** 2))) if hidden.any() else 0.0
    remark = f"clipped at {PEN_LIMIT_MV:g} mV: {', '.join(clipped)}" if clipped else ""
    page.header(
        title if title is not None else record.name or "ECG",
        below="   ".join(filter(None, (describe_patient(record), remark))),
        right=f"{removed.sum()} of {patches} patches masked; RMS error {error:.3f} mV",
    )
    page.time_axis(start)
    page.footer(f"{speed:g} mm/s   {gain:g} mm/mV   {rate:g} Hz")
    _legend(page)
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


def _legend(page: Page) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    page.axes.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=0.8, label="recorded"),
            Line2D([], [], color=REBUILT, linewidth=1.2, label="reconstructed"),
            Patch(color=MASKED, alpha=0.16, label="masked"),
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
