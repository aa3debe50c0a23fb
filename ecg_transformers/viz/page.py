"""A page of ECG paper in millimeters.

The page is a figure with one axes object of the same size whose unit is the millimeter, so that it is true to scale at
any resolution and in every file format (`bbox_inches="tight"` keeps the scale and only crops the margin). Time zero and
the baseline of every row lie on 5-mm lines. pyplot is not used: figures are garbage-collected like any other object,
and no display is needed.
"""

import io
import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PEN_LIMIT_MV", "Page", "label_height", "new_figure", "page_of_leads", "row_envelope"]

MM_PER_INCH = 25.4
BIN_MM = 5.0  # width of the bins in which the distance between adjacent rows is computed
PEN_LIMIT_MV = 5.0  # signals are clipped here, above and below: the range required by IEC 60601-2-25
ROW_GAP_MM = 2.0
MARGIN_MM = 6.0
HEADER_MM = 13.0
FOOTER_MM = 11.0
PULSE_MM = 15.0  # space for the calibration pulse before time zero
RIGHT_MM = 5.0
MIN_GRID_WIDTH_MM = 120.0  # space for the header of a very short record

PAPER = "#fffbfa"
FINE_LINE = "#f8d9d6"
BOLD_LINE = "#eda9a3"
PRINT = "#6b3a36"
INK = "#101014"
TRACE_POINTS = 0.75  # line width in points: 0.26 mm
LABEL_WIDTH_MM = 9.0
LABEL_HEIGHT_MM = 4.0


def new_figure(**arguments: Any) -> "Figure":
    """A matplotlib figure outside pyplot; as the last line of a notebook's cell it is shown.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib. Install it: pip install matplotlib") from error
    figure = Figure(**arguments)
    # Without pyplot, IPython does not know how to show it.
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def label_height(early: np.ndarray, *, gain: float) -> float:
    """Height above the baseline in mm at which a lead name does not overlap the trace below it.

    Args:
        early: First `LABEL_WIDTH_MM` of the trace in mV (samples,), NaN for missing samples.
        gain: Gain in mm/mV.
    """
    top = float(np.nanmax(early)) if np.isfinite(early).any() else 0.0
    return max(min(top, PEN_LIMIT_MV) * gain + 1.0, 4.5)


def row_envelope(
    seconds: np.ndarray,
    millivolts: np.ndarray,
    labels: Sequence[tuple[float, float]],
    *,
    page_seconds: float,
    speed: float,
    gain: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Extent of a row above and below its baseline, in bins of 5 mm along the page.

    Args:
        seconds: Time of each sample on the page in seconds (samples,).
        millivolts: Signal in mV (samples,), NaN for missing samples; clipped at `PEN_LIMIT_MV`.
        labels: Position in seconds and height in mm of each name in the row.
        page_seconds: Length of the page in seconds.
        speed: Paper speed in mm/s.
        gain: Gain in mm/mV.

    Returns:
        `up` and `down` (bins,), both in mm and at least 0.
    """
    left = np.array([second for second, _ in labels]) * speed
    tops = np.array([height for _, height in labels]) + LABEL_HEIGHT_MM
    drawn = np.clip(millivolts, -PEN_LIMIT_MV, PEN_LIMIT_MV) * gain
    x = np.concatenate([seconds * speed, left, left + LABEL_WIDTH_MM])
    heights = np.concatenate([drawn, tops, tops])
    bins = max(1, int(np.ceil(page_seconds * speed / BIN_MM)))
    up, down = np.zeros(bins), np.zeros(bins)
    valid = np.isfinite(heights)
    index = np.clip((x[valid] / BIN_MM).astype(int), 0, bins - 1)
    np.maximum.at(up, index, heights[valid])
    np.maximum.at(down, index, -heights[valid])
    return up, down


class Page:
    """Paper with rows of signals over a common time axis.

    Args:
        seconds: Length of the page in seconds.
        speed: Paper speed in mm/s.
        gain: Gain in mm/mV.
        envelopes: Extent of each row above and below its baseline, from the top (see `row_envelope`).
        min_pitch: Minimum distance between two baselines in mm; rows whose signals or calibration pulses would touch
            are placed further apart.
        strip: Height of an empty strip below the last row in mm. Default: 0.

    Attributes:
        figure: The matplotlib figure.
        axes: Its only axes object, in mm from the lower left corner.
        base_lines: Heights of the baselines in mm (rows,).
        strip_top: Upper edge of the empty strip in mm.
    """

    def __init__(
        self,
        *,
        seconds: float,
        speed: float,
        gain: float,
        envelopes: Sequence[tuple[np.ndarray, np.ndarray]],
        min_pitch: float,
        strip: float = 0.0,
    ) -> None:
        self.seconds, self.speed, self.gain = seconds, speed, gain
        grid_width = max(MIN_GRID_WIDTH_MM, _up_to_grid(PULSE_MM + seconds * speed + RIGHT_MM))
        # distances from the upper edge of the grid in multiples of 5 mm; the calibration pulse needs 1 mV
        depths = [_up_to_grid(max(envelopes[0][0].max(), gain, 10.0) + ROW_GAP_MM)]
        for above, below in itertools.pairwise(envelopes):
            touching = (_widened(above[1]) + _widened(below[0])).max() + ROW_GAP_MM
            depths.append(depths[-1] + _up_to_grid(max(touching, min_pitch, gain + ROW_GAP_MM)))
        lowest = depths[-1] + _up_to_grid(max(envelopes[-1][1].max(), 5.0) + ROW_GAP_MM)
        grid_height = lowest + _up_to_grid(strip)
        self.width = grid_width + 2 * MARGIN_MM
        self.height = grid_height + HEADER_MM + FOOTER_MM
        self.left, self.bottom, self.top = MARGIN_MM, FOOTER_MM, FOOTER_MM + grid_height
        self.right = self.left + grid_width
        self.base_lines = self.top - np.array(depths)
        self.strip_top = self.top - lowest
        self.figure = new_figure(figsize=(self.width / MM_PER_INCH, self.height / MM_PER_INCH), facecolor="white")
        self.axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_xlim(0.0, self.width)
        self.axes.set_ylim(0.0, self.height)
        self.axes.set_axis_off()
        self._draw_grid()

    def x(self, seconds: Any) -> Any:
        """Position in mm from the left edge for a time in seconds."""
        return self.left + PULSE_MM + np.asarray(seconds) * self.speed

    def trace(self, row: int, seconds: np.ndarray, millivolts: np.ndarray, **style: Any) -> bool:
        """Draw a signal in a row, clipped at `PEN_LIMIT_MV`.

        Returns:
            Whether the signal was clipped.
        """
        height = np.clip(millivolts, -PEN_LIMIT_MV, PEN_LIMIT_MV) * self.gain
        style = {"color": INK, "linewidth": TRACE_POINTS, "solid_joinstyle": "round", "zorder": 3, **style}
        self.axes.plot(self.x(seconds), self.base_lines[row] + height, **style)
        return bool(np.any(np.abs(millivolts) > PEN_LIMIT_MV))

    def pulse(self, row: int) -> None:
        """Draw the calibration pulse of a row: 1 mV for 200 ms, before time zero."""
        length, height = 0.2 * self.speed, self.gain
        start = self.left + max(1.0, (PULSE_MM - length) / 2)
        x = np.array([-1.5, 0.0, 0.0, length, length, length + 1.5]) + start
        y = np.array([0.0, 0.0, height, height, 0.0, 0.0]) + self.base_lines[row]
        self.axes.plot(x, y, color=INK, linewidth=TRACE_POINTS, zorder=3, solid_joinstyle="miter", gid="calibration")

    def label(self, row: int, second: float, text: str, *, height: float, color: str = INK) -> None:
        """Print a lead name `height` mm above the baseline, with a halo."""
        from matplotlib.patheffects import withStroke

        halo = [withStroke(linewidth=2.2, foreground=PAPER)]
        x, y = float(self.x(second)) + 1.0, self.base_lines[row] + height
        self.axes.text(x, y, text, fontsize=9, fontweight="bold", color=color, va="bottom", zorder=5, path_effects=halo)

    def divider(self, row: int, second: float) -> None:
        """Mark the border between two leads."""
        x, y = float(self.x(second)), self.base_lines[row]
        for low, high in ((-7.5, -4.5), (4.5, 7.5)):
            self.axes.plot([x, x], [y + low, y + high], color=INK, linewidth=TRACE_POINTS, zorder=3)

    def shade(self, start: float, stop: float, *, color: Any, alpha: float, bottom: float | None = None) -> None:
        """Shade all rows from `start` to `stop` seconds."""
        from matplotlib.patches import Rectangle

        low = self.strip_top if bottom is None else bottom
        corner, width = (float(self.x(start)), low), (stop - start) * self.speed
        self.axes.add_patch(Rectangle(corner, width, self.top - low, color=color, alpha=alpha, linewidth=0, zorder=2))

    def header(self, title: str, *, below: str = "", right: str = "") -> None:
        """Print title, second line and a text on the right above the grid; long texts are shortened."""
        room = self.width - 2 * MARGIN_MM
        self._print(self.left, self.top + 7.2, _cut(title, room * 0.5 / 2.6), fontsize=11, fontweight="bold", color=INK)
        self._print(self.left, self.top + 2.4, _cut(below, room / 1.75), fontsize=8)
        self._print(self.right, self.top + 7.4, _cut(right, room * 0.5 / 1.6), fontsize=8, ha="right")

    def footer(self, left: str, right: str = "") -> None:
        """Print a line below the time axis."""
        room = (self.width - 2 * MARGIN_MM) / 1.75
        self._print(self.left, 2.2, left, fontsize=8)
        self._print(self.right, 2.2, _cut(right, max(0.0, room - len(left))), fontsize=8, ha="right")

    def time_axis(self, first: float) -> None:
        """Print the seconds below the grid, starting from `first`."""
        # at least 12 mm for each number
        step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 300, 600) if s * self.speed >= 12.0), 3600)
        times = np.arange(np.ceil(first - 1e-9), first + self.seconds + 1e-6, 1.0)
        for time in np.round(times).astype(int)[np.round(times) % step == 0]:
            x = float(self.x(time - first))
            self.axes.plot([x, x], [self.bottom, self.bottom - 1.2], color=PRINT, linewidth=0.6)
            self._print(x, self.bottom - 4.2, f"{time} s", fontsize=7, ha="center")

    def _print(self, x: float, y: float, text: str, **style: Any) -> None:
        # a dollar sign in a name does not start a formula
        self.axes.text(x, y, text, color=style.pop("color", PRINT), va="baseline", parse_math=False, **style)

    def _draw_grid(self) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        width, height = self.right - self.left, self.top - self.bottom
        self.axes.add_patch(Rectangle((self.left, self.bottom), width, height, facecolor=PAPER, linewidth=0, zorder=0))
        columns, rows = np.arange(round(width) + 1), np.arange(round(height) + 1)
        for bold, color, points in ((False, FINE_LINE, 0.35), (True, BOLD_LINE, 0.6)):
            # lines are counted from time zero and the lower edge, both multiples of 5 mm from the border
            x, y = columns[(columns % 5 == 0) == bold] + self.left, rows[(rows % 5 == 0) == bold] + self.bottom
            lines = [((v, self.bottom), (v, self.top)) for v in x] + [((self.left, v), (self.right, v)) for v in y]
            name = "grid 5 mm" if bold else "grid 1 mm"
            self.axes.add_collection(
                LineCollection(lines, colors=color, linewidths=points, zorder=1, gid=name), autolim=False
            )


def page_of_leads(
    names: Sequence[str],
    traces: np.ndarray,
    times: np.ndarray,
    *,
    seconds: float,
    speed: float,
    gain: float,
    strip: float = 0.0,
) -> Page:
    """A page with space for the traces of several leads, with calibration pulses and lead names.

    Args:
        names: Name of each lead, from the top.
        traces: Curves to be drawn in mV `(leads, curves, samples)`; a name is placed above the first curve of its lead.
        times: Time of each sample on the page in seconds (samples,).
        seconds: Length of the page in seconds.
        speed: Paper speed in mm/s.
        gain: Gain in mm/mV.
        strip: Height of an empty strip below the last row in mm. Default: 0.
    """
    early = times < LABEL_WIDTH_MM / speed
    heights = [label_height(curves[0][early], gain=gain) for curves in traces]
    scale = {"speed": speed, "gain": gain}
    envelopes = [
        row_envelope(np.tile(times, len(curves)), curves.ravel(), [(0.0, height)], page_seconds=seconds, **scale)
        for curves, height in zip(traces, heights, strict=True)
    ]
    page = Page(seconds=seconds, envelopes=envelopes, min_pitch=15.0, strip=strip, **scale)
    for row, (name, height) in enumerate(zip(names, heights, strict=True)):
        page.pulse(row)
        page.label(row, 0.0, name, height=height)
    return page


def _up_to_grid(millimeters: float) -> float:
    return float(np.ceil(millimeters / 5.0 - 1e-9) * 5.0)


def _widened(heights: np.ndarray) -> np.ndarray:
    """Maximum of each bin and its neighbors: traces also need horizontal space."""
    padded = np.pad(heights, 1)
    return np.maximum(np.maximum(padded[:-2], padded[2:]), heights)


def _cut(text: str, characters: float) -> str:
    """The text, shortened to the available space."""
    room = max(1, int(characters))
    return text if len(text) <= room else text[: room - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
