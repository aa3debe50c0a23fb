"""Attention of a transformer encoder, as shading of the signal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import PAPER, PRINT, Page, page_of_leads
from .paper import describe_patient, lead_names, lead_rows, medians, shown_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_attention"]

HEAT = "#d9480f"
HEAD_MM = 4.0  # height of the band of a head
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
    """Plot the attention of one token to the patches: mean over heads as shading, each head as a band below.

    Attention shows which patches were mixed into the token, not which ones were decisive; the plot is a hint, not an
    explanation.

    Args:
        record: Record that contains the window.
        attention: Attention weights of one layer for one window (heads, tokens, tokens):
            `outputs.attentions[layer][index]`.
        patch_size: Samples per patch at the rate of the model.
        sampling_rate: Sampling rate of the model in Hz (that of the extractor, not of the record).
        cls_token: Whether token 0 is [CLS]; the others are patches in temporal order. Default: True.
        query: Token whose attention is shown. Default: [CLS], or the mean over all tokens without [CLS].
        leads: Leads to draw. Default: all.
        start: Start of the window in the record in seconds. Default: 0.
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: If the shapes are inconsistent.
        LeadError: If a lead is not in the record.
    """
    heads, asked = _attention_of(attention, cls_token=cls_token, query=query)
    patch_seconds = patch_size / sampling_rate
    # a padded window is longer than the rest of the record
    signal, first = shown_part(record, start=start, duration=heads.shape[1] * patch_seconds, speed=speed)
    seconds = signal.shape[1] / record.sampling_rate
    heads = heads[:, : max(1, int(np.ceil(seconds / patch_seconds - 1e-6)))]
    names = lead_names(record)
    rows = lead_rows(names, leads)
    signal = (signal - medians(signal))[rows]
    times = np.arange(signal.shape[1]) / record.sampling_rate
    page = page_of_leads(
        [names[row] for row in rows],
        signal[:, np.newaxis],
        times,
        seconds=seconds,
        speed=speed,
        gain=gain,
        strip=len(heads) * HEAD_MM + 6.0,
    )
    mean = heads.mean(axis=0)
    for patch, share in enumerate(mean / max(mean.max(), np.finfo(float).tiny)):
        stop = min((patch + 1) * patch_seconds, seconds)
        page.shade(patch * patch_seconds, stop, color=HEAT, alpha=STRONGEST * share)
    for index, row in enumerate(rows):
        page.trace(index, times, signal[index], gid=f"trace {names[row]}")
    _draw_heads(page, heads, patch_seconds)
    page.header(
        title if title is not None else record.name or "ECG",
        below=describe_patient(record),
        right=f"attention of {asked}, mean of {len(heads)} heads; darkest patch {100 * mean.max():.2g} %",
    )
    page.time_axis(first)
    page.footer(
        f"{speed:g} mm/s   {gain:g} mm/mV   {record.sampling_rate:g} Hz", "bands below: one per head, individual scales"
    )
    return page.figure


def _attention_of(attention: Any, *, cls_token: bool, query: int | None) -> tuple[np.ndarray, str]:
    """Attention of the query to each patch (heads, patches), and the name of the query."""
    weights = as_float_array(attention, name="attention", ndim=3)
    tokens = weights.shape[1]
    if weights.shape[2] != tokens or tokens <= cls_token:
        raise SignalError(
            f"attention has shape {weights.shape}; expected (heads, tokens, tokens) of one layer and window."
        )
    if query is not None and not -tokens <= query < tokens:
        raise SignalError(f"query is token {query}; this attention has {tokens} tokens.")
    if query is not None:
        heads, asked = weights[:, query], f"token {query}"
    elif cls_token:
        heads, asked = weights[:, 0], "[CLS]"
    else:
        heads, asked = weights.mean(axis=1), "all tokens"
    return heads[:, int(cls_token) :], asked


def _draw_heads(page: Page, heads: np.ndarray, patch_seconds: float) -> None:
    """Draw a band for every head, each scaled to its maximum."""
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
