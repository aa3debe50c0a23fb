"""What a masked model rebuilt, over what was recorded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LeadError, SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import INK, LABEL_WIDTH_MM, PEN_LIMIT_MV, PRINT, Page, label_height, row_envelope
from .paper import describe_patient, medians
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
    """One window on ECG paper in mV: removed patches shaded, the model's reconstruction over the original.

    Args:
        record: Where the window is from; gives name, patient and, unless told otherwise, rate and lead names.
        original: The window in mV (leads, samples).
        reconstruction: What the model made of it, in mV (leads, samples).
        patch_mask: (patches,), 1 = removed. A patch is `samples / patches` samples long.
        sampling_rate: Hz of both arrays; the record's if not given (a model usually works at its own).
        lead_names: Names of the arrays' rows; the record's if not given.
        leads: Names of the leads to draw; all by default.
        start: Second of the record at which the window begins.
        show_visible: Also draw the reconstruction of patches that the model saw. Off by default: a loss over removed
            patches says nothing about them.
        speed: Paper speed in mm/s.
        gain: mm per mV.
        title: Printed instead of the record's name.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: Shapes that do not belong together.
        LeadError: A wanted lead is not in `lead_names`.
    """
    original = as_float_array(original, name="original", ndim=2)
    reconstruction = as_float_array(reconstruction, name="reconstruction", ndim=2)
    removed = as_float_array(patch_mask, name="patch_mask", ndim=1) > 0.5
    names = names_of(record) if lead_names is None else tuple(lead_names)
    if original.shape != reconstruction.shape or len(names) != len(original):
        raise SignalError(
            f"original has shape {original.shape}, reconstruction {reconstruction.shape}, {len(names)} lead names; "
            "expected two arrays of (leads, samples) in mV. Pass lead_names=... if they are not the record's."
        )
    samples, patches = original.shape[1], removed.size
    if samples % patches:
        raise SignalError(
            f"{samples} samples are no whole number of {patches} patches; pass the patch_mask of this window."
        )
    rate = record.sampling_rate if sampling_rate is None else sampling_rate
    shown = names if leads is None else tuple(leads)
    if absent := [name for name in shown if name not in names]:
        raise LeadError(f"no lead {', '.join(absent)} in this window; it has {', '.join(names)}.")
    rows = [names.index(name) for name in shown]
    times, seconds = np.arange(samples) / rate, samples / rate
    hidden = np.repeat(removed, samples // patches)
    # both are moved by the median of the original: a reconstruction that is too high stays too high
    middle = medians(original)
    original, reconstruction = original - middle, reconstruction - middle
    drawn = reconstruction if show_visible else np.where(hidden, reconstruction, np.nan)
    early = times < LABEL_WIDTH_MM / speed
    labels = [label_height(original[row][early], gain=gain) for row in rows]
    page = Page(
        seconds=seconds,
        speed=speed,
        gain=gain,
        envelopes=[
            row_envelope(
                np.tile(times, 2),
                np.concatenate([original[row], drawn[row]]),
                [(0.0, label)],
                page_seconds=seconds,
                speed=speed,
                gain=gain,
            )
            for row, label in zip(rows, labels, strict=True)
        ],
        min_pitch=15.0,
    )
    for first, last in _runs(removed):
        page.shade(first * seconds / patches, last * seconds / patches, color=MASKED, alpha=0.16)
    stopped = []
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        page.pulse(index)
        page.label(index, 0.0, names[row], height=label)
        over = page.trace(index, times, original[row], linewidth=0.6, gid=f"original {names[row]}")
        style = {"linewidth": 1.0, "color": REBUILT, "zorder": 4, "gid": f"reconstruction {names[row]}"}
        over |= page.trace(index, times, drawn[row], **style)
        stopped += [names[row]] if over else []
    error = float(np.sqrt(np.nanmean((original - reconstruction)[rows][:, hidden] ** 2))) if hidden.any() else 0.0
    remark = f"pen stopped at {PEN_LIMIT_MV:g} mV: {', '.join(stopped)}" if stopped else ""
    page.header(
        title if title is not None else record.name or "ECG",
        below="   ".join(filter(None, (describe_patient(record), remark))),
        right=f"{removed.sum()} of {patches} patches removed; error there {error:.3f} mV (RMS)",
    )
    page.time_axis(start)
    page.footer(f"{speed:g} mm/s   {gain:g} mm/mV   {rate:g} Hz")
    _legend(page)
    return page.figure


def _runs(removed: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], removed, [False]]).astype(int)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _legend(page: Page) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    page.axes.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=0.8, label="recorded"),
            Line2D([], [], color=REBUILT, linewidth=1.2, label="reconstructed"),
            Patch(color=MASKED, alpha=0.16, label="removed from the input"),
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
