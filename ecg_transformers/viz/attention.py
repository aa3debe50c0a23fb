"""Where a transformer encoder looked, under the signal it looked at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LeadError, SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import LABEL_WIDTH_MM, PAPER, PRINT, Page, label_height, row_envelope
from .paper import describe_patient, lead_names, medians, shown_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_attention"]

HEAT = "#d9480f"
HEAD_MM = 4.0  # height of one head's band
STRONGEST = 0.5  # opacity of the patch with the most attention


def plot_attention(
    record: EcgRecord,
    attention: Any,
    *,
    patch_size: int,
    sampling_rate: float,
    cls_token: bool = True,
    query: int | None = None,
    leads: Sequence[str] | None = None,
    start: float = 0.0,
    speed: float = 25.0,
    gain: float = 10.0,
    title: str | None = None,
) -> "Figure":
    """The attention of one token to the patches: mean over heads as shading of the signal, each head as a band below.

    Attention says what was mixed into the token, not what decided; the picture is a hint for the eye, no explanation.

    Args:
        record: The record of which the model saw a window.
        attention: One layer's attention weights for one window (heads, tokens, tokens):
            `outputs.attentions[layer][index]`.
        patch_size: Samples of a patch at the model's rate.
        sampling_rate: The model's rate in Hz (the extractor's), not the record's.
        cls_token: Whether token 0 is [CLS]; the others are patches in the order of time.
        query: The token whose attention is shown: [CLS] (or, without one, the mean over all tokens) by default.
        leads: Names of the leads to draw; all by default.
        start: Second of the record at which the window begins.
        speed: Paper speed in mm/s.
        gain: mm per mV.
        title: Printed instead of the record's name.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: Shapes that do not belong together.
        LeadError: A wanted lead is not in the record.
    """
    weights = as_float_array(attention, name="attention", ndim=3)
    tokens = weights.shape[1]
    if weights.shape[2] != tokens or tokens <= cls_token:
        raise SignalError(
            f"attention has shape {weights.shape}; expected (heads, tokens, tokens) of one layer and window."
        )
    if query is not None and not -tokens <= query < tokens:
        raise SignalError(f"query is token {query}; this attention has {tokens} tokens.")
    if query is None:
        heads = weights[:, 0] if cls_token else weights.mean(axis=1)
        asked = "[CLS]" if cls_token else "all tokens"
    else:
        heads, asked = weights[:, query], f"token {query}"
    heads = heads[:, int(cls_token) :]  # (heads, patches)
    patch_seconds = patch_size / sampling_rate
    # a padded window is longer than what is left of the record
    signal, first = shown_part(record, start=start, duration=heads.shape[1] * patch_seconds, speed=speed)
    seconds = signal.shape[1] / record.sampling_rate
    heads = heads[:, : max(1, int(np.ceil(seconds / patch_seconds - 1e-6)))]
    names = lead_names(record)
    shown = names if leads is None else tuple(leads)
    if absent := [name for name in shown if name not in names]:
        raise LeadError(f"no lead {', '.join(absent)} in this record; it has {', '.join(names)}.")
    rows = [names.index(name) for name in shown]
    signal = signal - medians(signal)
    times = np.arange(signal.shape[1]) / record.sampling_rate
    early = times < LABEL_WIDTH_MM / speed
    labels = [label_height(signal[row][early], gain=gain) for row in rows]
    page = Page(
        seconds=seconds,
        speed=speed,
        gain=gain,
        envelopes=[
            row_envelope(times, signal[row], [(0.0, label)], page_seconds=seconds, speed=speed, gain=gain)
            for row, label in zip(rows, labels, strict=True)
        ],
        min_pitch=15.0,
        strip=len(heads) * HEAD_MM + 6.0,
    )
    mean = heads.mean(axis=0)
    for patch, share in enumerate(mean / max(mean.max(), np.finfo(float).tiny)):
        stop = min((patch + 1) * patch_seconds, seconds)
        page.shade(patch * patch_seconds, stop, color=HEAT, alpha=STRONGEST * share)
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        page.pulse(index)
        page.label(index, 0.0, names[row], height=label)
        page.trace(index, times, signal[row], gid=f"trace {names[row]}")
    _draw_heads(page, heads, patch_seconds)
    page.header(
        title if title is not None else record.name or "ECG",
        below=describe_patient(record),
        right=f"attention of {asked}, mean of {len(heads)} heads; darkest patch {100 * mean.max():.2g} %",
    )
    page.time_axis(first)
    page.footer(
        f"{speed:g} mm/s   {gain:g} mm/mV   {record.sampling_rate:g} Hz", "bands below: one head each, own scale"
    )
    return page.figure


def _draw_heads(page: Page, heads: np.ndarray, patch_seconds: float) -> None:
    """A band for every head, each scaled to its own strongest patch."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patheffects import withStroke

    scaled = heads / np.maximum(heads.max(axis=1, keepdims=True), np.finfo(float).tiny)
    halo = [withStroke(linewidth=2.0, foreground=PAPER)]
    colors = LinearSegmentedColormap.from_list("attention", ["#fff6f0", HEAT, "#5c1a00"])
    top = page.strip_top - 3.0
    x = page.x(np.minimum(np.arange(heads.shape[1] + 1) * patch_seconds, page.seconds))
    y = top - np.arange(len(heads) + 1) * HEAD_MM
    page.axes.pcolormesh(x, y, scaled, cmap=colors, vmin=0.0, vmax=1.0, zorder=3, gid="heads", edgecolors="none")
    for head in range(len(heads)):
        style: dict[str, Any] = {
            "fontsize": 7,
            "color": PRINT,
            "ha": "right",
            "va": "center",
            "zorder": 4,
            "path_effects": halo,
        }
        page.axes.text(x[0] - 1.5, top - (head + 0.5) * HEAD_MM, f"head {head + 1}", **style)
