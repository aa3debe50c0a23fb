"""Effects of hidden parts of a recording, as shading of leads and times."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LeadError, SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .page import PRINT, Page, page_of_leads
from .paper import describe_patient, lead_names, lead_rows, medians, shown_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_occlusion"]

# From "hiding it raises the score" over nothing to "hiding it lowers the score"; the middle lets the paper through.
COLORS = ((0.16, 0.42, 0.75, 0.6), (1.0, 1.0, 1.0, 0.0), (0.85, 0.33, 0.02, 0.7))
BAND_MM = 5.0  # height of the band of all leads
STRIP_MM = 10.0


def plot_occlusion(
    record: EcgRecord,
    effects: Any,
    edges: Any,
    *,
    segments: Any | None = None,
    effect_leads: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    label: str = "the score",
    speed: float = 25.0,
    gain: float = 10.0,
    title: str | None = None,
) -> "Figure":
    """Plot how much a score depends on each lead in each segment: orange supports it, blue speaks against it.

    Each row of the page is shaded by the effects of its lead; the band below has the effects of all leads at once. Both
    are scaled to their largest effect, which is printed. The effect of a part says what this model used, not why, and a
    finding that is visible in several leads may have no effect in any single one.

    Args:
        record: Recording that was scored.
        effects: Score minus the score without the part `(leads, segments)`, as `Occlusion.parts[label]`.
        edges: Limits of the segments in seconds of the recording `(segments + 1,)`, ascending.
        segments: Effects of all leads at once `(segments,)`, as `Occlusion.segments[label]`. Default: no band.
        effect_leads: Names of the leads of `effects`. Default: those of the record.
        leads: Leads to draw. Default: those that both have.
        label: Name of the score, printed on the page. Default: "the score".
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: If the shapes are inconsistent.
        LeadError: If a lead is not in the record, or record and effects have none in common.
    """
    names = lead_names(record)
    effect_leads = names if effect_leads is None else tuple(effect_leads)
    effects = as_float_array(effects, name="effects", ndim=2)
    edges = as_float_array(edges, name="edges", ndim=1)
    joint = None if segments is None else as_float_array(segments, name="segments", ndim=1)
    _check(effects, edges, joint, effect_leads)
    shown = [name for name in names if name in effect_leads] if leads is None else list(leads)
    if not shown:
        raise LeadError(
            f"the record has the leads {', '.join(names)}, the effects {', '.join(effect_leads)}; expected common "
            "ones. Name the leads of the record as the model does."
        )
    rows = lead_rows(names, shown)
    signal, first = shown_part(record, start=edges[0], duration=edges[-1] - edges[0], speed=speed)
    signal = (signal - medians(signal))[rows]
    times = np.arange(signal.shape[1]) / record.sampling_rate
    page = page_of_leads(
        shown, signal[:, np.newaxis], times, seconds=signal.shape[1] / record.sampling_rate, speed=speed, gain=gain,
        strip=0.0 if joint is None else STRIP_MM,
    )  # fmt: skip
    drawn = effects[lead_rows(effect_leads, shown)]
    limits = [page.top, *(page.base_lines[:-1] + page.base_lines[1:]) / 2, page.strip_top]
    _shade(page, drawn, edges - edges[0], limits)
    for index, name in enumerate(shown):
        page.trace(index, times, signal[index], gid=f"trace {name}")
    remark = f"largest effect of one lead: {_largest(drawn):+.3f}"
    if joint is not None:
        top = page.strip_top - 2.0
        _shade(page, joint[np.newaxis], edges - edges[0], [top, top - BAND_MM])
        style: dict[str, Any] = {"fontsize": 7, "color": PRINT, "ha": "right", "va": "center", "zorder": 4}
        page.axes.text(float(page.x(0.0)) - 1.0, top - BAND_MM / 2, "all leads", **style)
        remark += f", of all leads: {_largest(joint):+.3f}"
    page.header(
        title if title is not None else record.name or "ECG",
        below=describe_patient(record),
        right=f"{label}: parts it depends on",
    )
    page.time_axis(first)
    page.footer(f"{speed:g} mm/s   {gain:g} mm/mV   orange: supports, blue: against", remark)
    return page.figure


def _check(effects: np.ndarray, edges: np.ndarray, joint: np.ndarray | None, names: Sequence[str]) -> None:
    expected = (len(names), len(edges) - 1)
    if effects.shape != expected or not (np.diff(edges) > 0).all() or (joint is not None and len(joint) != expected[1]):
        raise SignalError(
            f"effects have shape {effects.shape} with {len(edges)} edges, {len(names)} leads and "
            f"{'no' if joint is None else len(joint)} effects of all leads; expected (leads, segments), segments + 1 "
            "ascending edges and one effect per segment. Pass effect_leads=... if the leads are not the record's."
        )


def _largest(effects: np.ndarray) -> float:
    return float(effects.flat[np.abs(effects).argmax()])


def _shade(page: Page, effects: np.ndarray, seconds: np.ndarray, limits: Sequence[float]) -> None:
    """Shade cells `(rows, segments)` between heights in mm from the top, scaled to the largest effect."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = max(float(np.abs(effects).max()), np.finfo(float).tiny)
    colors = LinearSegmentedColormap.from_list("effects", COLORS)
    x = page.x(np.minimum(seconds, page.seconds))
    page.axes.pcolormesh(
        x, limits, effects, cmap=colors, vmin=-scale, vmax=scale, zorder=2, gid="effects", edgecolors="none"
    )
