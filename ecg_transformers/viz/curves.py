"""Scores of systems as lines with bands, one panel per task, for label efficiency and noise robustness."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..evaluation.results.entries import Curves, label_set_title, metric_title
from .page import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["COLORS", "draw_curves"]

# The color-blind safe palette of Okabe and Ito.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vPX"

COLUMNS = 2
PANEL_INCHES = (4.6, 3.6)
# The legend is below, one line per system.
LEGEND_LINE_INCHES, LEGEND_LETTER_INCHES = 0.22, 0.065


def draw_curves(curves: Sequence[Curves], *, amount: Callable[[Mapping[str, Any]], float], title: str) -> "Figure":
    """Plot the scores of systems over an amount, with the 95 % interval over the evaluated records as a band.

    Seeds are averaged, and shown as small dots. Systems without pretraining are dashed.

    Args:
        curves: Entries of each system by its name, for each task.
        amount: Horizontal position of an entry.
        title: Title.

    Returns:
        A figure whose axes are the panels, in the order of `curves`, without labels of the horizontal axes.
    """
    names = list(dict.fromkeys(name for systems in curves for name in systems))
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    width = max(PANEL_INCHES[0] * columns, 6.0, LEGEND_LETTER_INCHES * max(map(len, names)) + 0.8)
    height = PANEL_INCHES[1] * rows + 0.6 + LEGEND_LINE_INCHES * len(names)
    figure = new_figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    lines: dict[str, Line2D] = {}
    for axes, systems in zip(grid, curves, strict=False):
        for name, system in systems.items():
            lines[name] = _draw_line(axes, system, amount, number=names.index(name), name=name)
        _frame(axes, next(iter(systems.values()))[0])
    for axes in grid[len(curves) :]:
        axes.remove()
    figure.legend(handles=[lines[name] for name in names], loc="outside lower left", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _draw_line(
    axes: "Axes",
    system: Sequence[Mapping[str, Any]],
    amount: Callable[[Mapping[str, Any]], float],
    *,
    number: int,
    name: str,
) -> "Line2D":
    """Draw the scores of a system with their band; return the line, for the legend."""
    amounts = sorted(set(map(amount, system)))
    points = [[entry for entry in system if amount(entry) == one] for one in amounts]
    low, value, high = (
        [fmean(entry[part] for entry in point) for point in points] for part in ("low", "value", "high")
    )
    color = COLORS[number % len(COLORS)]
    axes.fill_between(amounts, low, high, color=color, alpha=0.15, linewidth=0)
    if len(system) > len(points):
        axes.scatter(list(map(amount, system)), [entry["value"] for entry in system], s=8, color=color, alpha=0.6)
    (line,) = axes.plot(
        amounts,
        value,
        color=color,
        marker=MARKERS[number % len(MARKERS)],
        markersize=5,
        linewidth=1.5,
        linestyle="--" if system[0].get("initialization") == "random" else "-",
        label=name,
    )
    return line


def _frame(axes: "Axes", entry: Mapping[str, Any]) -> None:
    """Draw grid, title and vertical axis of a panel."""
    corpus = f"{entry.get('corpus') or ''} {entry.get('corpus_version') or ''}".strip()
    folds = ", ".join(map(str, entry.get("evaluate_folds") or ()))
    parts = [corpus, label_set_title(entry), f"fold {folds}" if folds else ""]
    axes.set_title(", ".join(filter(None, parts)), fontsize=9, parse_math=False)
    axes.set_ylabel(metric_title(entry["metric"]))
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
