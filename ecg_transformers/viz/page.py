"""A page of ECG paper, drawn in millimeters.

The page is a figure with one axes object that covers it and whose unit is the millimeter, so that 1 mm on the page is 1
mm of the figure at any resolution and in every file format (save it as it is: `bbox_inches="tight"` keeps the scale and
only cuts the margin). Time zero and the base line of every row lie on 5-mm lines. Nothing here touches pyplot: figures
are garbage like any other object, and no display is needed.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PEN_LIMIT_MV", "Page", "label_height", "new_figure", "row_envelope"]

MM_PER_INCH = 25.4
BIN_MM = 5.0  # the width of the bins in which neighboring rows are kept apart
PEN_LIMIT_MV = 5.0  # the pen stops here, above and below: the range that IEC 60601-2-25 asks of an electrocardiograph
ROW_GAP_MM = 2.0
MARGIN_MM = 6.0
HEADER_MM = 13.0
FOOTER_MM = 11.0
PULSE_MM = 15.0  # room for the calibration pulse left of time zero
RIGHT_MM = 5.0
MIN_GRID_WIDTH_MM = 120.0  # room for the printed line of a very short record

PAPER = "#fffbfa"
FINE_LINE = "#f8d9d6"
BOLD_LINE = "#eda9a3"
PRINT = "#6b3a36"
INK = "#101014"
TRACE_POINTS = 0.75  # line width in points: 0.26 mm
LABEL_WIDTH_MM = 9.0
LABEL_HEIGHT_MM = 4.0


def new_figure(**arguments: Any) -> "Figure":
    """A matplotlib figure that pyplot does not know.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib, which is missing. Install it: pip install matplotlib") from error
    return Figure(**arguments)


def label_height(early: np.ndarray, *, gain: float) -> float:
    """Height over the base line in mm at which a lead's name is clear of the trace that begins below it.

    Args:
        early: mV of the first `LABEL_WIDTH_MM` of the trace (samples,), NaN where there is no signal.
        gain: mm per mV.
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
    """How far a row reaches above and below its base line, in bins of 5 mm along the page.

    Args:
        seconds: Times of the row's samples on the page (samples,).
        millivolts: Its signal (samples,), NaN where there is none; the pen stops at `PEN_LIMIT_MV`.
        labels: Second and height in mm of each name on the row.
        page_seconds: Time on the page.
        speed: mm per second.
        gain: mm per mV.

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
    """Paper for rows of signal over a common time axis.

    Args:
        seconds: Time on the page.
        speed: mm per second.
        gain: mm per mV.
        envelopes: For each row from the top, what its traces need above and below the base line (see `row_envelope`).
        min_pitch: The smallest distance of two base lines in mm; rows whose signals or calibration pulses would touch
            move further apart.
        strip: Free height in mm below the last row, for what a plot puts there.

    Attributes:
        figure: The matplotlib figure.
        axes: Its only axes object, in mm from the lower left corner.
        base_lines: Heights of the rows' base lines in mm (rows,).
        strip_top: Upper edge of the free strip in mm.
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
        # distances from the upper edge of the grid, whole 5-mm squares; the calibration pulse needs 1 mV
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
        """Millimeters from the left edge for seconds of the page."""
        return self.left + PULSE_MM + np.asarray(seconds) * self.speed

    def trace(self, row: int, seconds: np.ndarray, millivolts: np.ndarray, **style: Any) -> bool:
        """Draws a signal on a row; the pen stops at `PEN_LIMIT_MV`.

        Returns:
            Whether the pen had to stop somewhere.
        """
        height = np.clip(millivolts, -PEN_LIMIT_MV, PEN_LIMIT_MV) * self.gain
        style = {"color": INK, "linewidth": TRACE_POINTS, "solid_joinstyle": "round", "zorder": 3, **style}
        self.axes.plot(self.x(seconds), self.base_lines[row] + height, **style)
        return bool(np.any(np.abs(millivolts) > PEN_LIMIT_MV))

    def pulse(self, row: int) -> None:
        """Draws the calibration pulse of a row: 1 mV high, 200 ms long, left of time zero."""
        length, height = 0.2 * self.speed, self.gain
        start = self.left + max(1.0, (PULSE_MM - length) / 2)
        x = np.array([-1.5, 0.0, 0.0, length, length, length + 1.5]) + start
        y = np.array([0.0, 0.0, height, height, 0.0, 0.0]) + self.base_lines[row]
        self.axes.plot(x, y, color=INK, linewidth=TRACE_POINTS, zorder=3, solid_joinstyle="miter", gid="calibration")

    def label(self, row: int, second: float, text: str, *, height: float, color: str = INK) -> None:
        """Writes a lead's name `height` mm over the base line, readable over any trace."""
        from matplotlib.patheffects import withStroke

        halo = [withStroke(linewidth=2.2, foreground=PAPER)]
        x, y = float(self.x(second)) + 1.0, self.base_lines[row] + height
        self.axes.text(x, y, text, fontsize=9, fontweight="bold", color=color, va="bottom", zorder=5, path_effects=halo)

    def divider(self, row: int, second: float) -> None:
        """Marks where one lead ends and the next begins."""
        x, y = float(self.x(second)), self.base_lines[row]
        for low, high in ((-7.5, -4.5), (4.5, 7.5)):
            self.axes.plot([x, x], [y + low, y + high], color=INK, linewidth=TRACE_POINTS, zorder=3)

    def shade(self, start: float, stop: float, *, color: Any, alpha: float, bottom: float | None = None) -> None:
        """Shades the rows from `start` to `stop` seconds."""
        from matplotlib.patches import Rectangle

        low = self.strip_top if bottom is None else bottom
        corner, width = (float(self.x(start)), low), (stop - start) * self.speed
        self.axes.add_patch(Rectangle(corner, width, self.top - low, color=color, alpha=alpha, linewidth=0, zorder=2))

    def header(self, title: str, *, below: str = "", right: str = "") -> None:
        """Prints the title, a second line and a text at the right above the grid; what is too long is cut."""
        room = self.width - 2 * MARGIN_MM
        self._print(self.left, self.top + 7.2, _cut(title, room * 0.5 / 2.6), fontsize=11, fontweight="bold", color=INK)
        self._print(self.left, self.top + 2.4, _cut(below, room / 1.75), fontsize=8)
        self._print(self.right, self.top + 7.4, _cut(right, room * 0.5 / 1.6), fontsize=8, ha="right")

    def footer(self, left: str, right: str = "") -> None:
        """Prints a line below the time axis."""
        room = (self.width - 2 * MARGIN_MM) / 1.75
        self._print(self.left, 2.2, left, fontsize=8)
        self._print(self.right, 2.2, _cut(right, max(0.0, room - len(left))), fontsize=8, ha="right")

    def time_axis(self, first: float) -> None:
        """Prints the seconds below the grid; `first` is the time in the record at the left end."""
        # at least 12 mm for each number
        step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 300, 600) if s * self.speed >= 12.0), 3600)
        times = np.arange(np.ceil(first - 1e-9), first + self.seconds + 1e-6, 1.0)
        for time in np.round(times).astype(int)[np.round(times) % step == 0]:
            x = float(self.x(time - first))
            self.axes.plot([x, x], [self.bottom, self.bottom - 1.2], color=PRINT, linewidth=0.6)
            self._print(x, self.bottom - 4.2, f"{time} s", fontsize=7, ha="center")

    def _print(self, x: float, y: float, text: str, **style: Any) -> None:
        # a name with a dollar sign is a name, not mathematics
        self.axes.text(x, y, text, color=style.pop("color", PRINT), va="baseline", parse_math=False, **style)

    def _draw_grid(self) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        width, height = self.right - self.left, self.top - self.bottom
        self.axes.add_patch(Rectangle((self.left, self.bottom), width, height, facecolor=PAPER, linewidth=0, zorder=0))
        columns, rows = np.arange(round(width) + 1), np.arange(round(height) + 1)
        for bold, color, points in ((False, FINE_LINE, 0.35), (True, BOLD_LINE, 0.6)):
            # lines are counted from time zero and from the lower edge, both whole squares from the border
            x, y = columns[(columns % 5 == 0) == bold] + self.left, rows[(rows % 5 == 0) == bold] + self.bottom
            lines = [((v, self.bottom), (v, self.top)) for v in x] + [((self.left, v), (self.right, v)) for v in y]
            name = "grid 5 mm" if bold else "grid 1 mm"
            self.axes.add_collection(
                LineCollection(lines, colors=color, linewidths=points, zorder=1, gid=name), autolim=False
            )


def _up_to_grid(millimeters: float) -> float:
    return float(np.ceil(millimeters / 5.0 - 1e-9) * 5.0)


def _widened(heights: np.ndarray) -> np.ndarray:
    """Each bin with its neighbors: traces need air sideways too."""
    padded = np.pad(heights, 1)
    return np.maximum(np.maximum(padded[:-2], padded[2:]), heights)


def _cut(text: str, characters: float) -> str:
    """The text, shortened to what fits."""
    room = max(1, int(characters))
    return text if len(text) <= room else text[: room - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
