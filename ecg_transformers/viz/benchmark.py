"""Plot of a benchmark table with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SignalError
from .curves import COLORS
from .page import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_benchmark"]

GRAY = "#6b6b6b"


def plot_benchmark(cells: Sequence[Mapping[str, Any]], *, title: str | None = None) -> "Figure":
    """Plot a panel for each label set, with score, 95 % interval and seeds of each system and protocol.

    Published scores, which are on other records (the test fold), are hollow gray diamonds below.

    Args:
        cells: Mappings with `system`, `protocol`, `train_folds` and `labels`; finished ones also with `value`, `low`,
            `high`, `num_labels` and `seed_values`, and optionally the score in the literature as `published`.
        title: Title. Default: "Benchmark".

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: If there is nothing to draw.

    Example:
        >>> one = {"system": "xresnet1d50", "protocol": "from scratch", "train_folds": "1-8", "labels": "all"}
        >>> scores = {"value": 0.925, "low": 0.918, "high": 0.932, "num_labels": 71, "seed_values": [0.925]}
        >>> plot_benchmark([one | scores]).axes[0].get_title()
        'all (71 labels)'
    """
    if not cells:
        raise SignalError("the table is empty; expected at least one cell.")
    several_folds = len({cell["train_folds"] for cell in cells}) > 1
    rows = list(dict.fromkeys(_row_name(cell, several_folds=several_folds) for cell in cells))
    systems = list(dict.fromkeys(cell["system"] for cell in cells))
    label_sets = list(dict.fromkeys(cell["labels"] for cell in cells))
    columns = min(3, len(label_sets))
    lines = -(-len(label_sets) // columns)
    # The names of the rows appear once, on the left.
    names_width = 0.075 * max(map(len, rows))
    figure = new_figure(
        figsize=(names_width + 3.4 * columns, lines * (0.42 * len(rows) + 0.9) + 0.9), layout="constrained"
    )
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, labels in zip(grid, label_sets, strict=False):
        own = [cell for cell in cells if cell["labels"] == labels]
        for cell in own:
            place = rows.index(_row_name(cell, several_folds=several_folds))
            _draw_cell(axes, cell, place, COLORS[systems.index(cell["system"]) % len(COLORS)])
        counted = next((f" ({cell['num_labels']} labels)" for cell in own if cell.get("num_labels")), "")
        _finish(axes, f"{labels}{counted}", rows)
    for axes in grid[len(label_sets) :]:
        axes.remove()
    _legend(figure, cells)
    figure.suptitle(title or "Benchmark", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _row_name(cell: Mapping[str, Any], *, several_folds: bool) -> str:
    folds = str(cell["train_folds"])
    parts = [cell["system"], cell["protocol"]]
    parts += [f"fold{'' if folds.isdigit() else 's'} {folds}"] if several_folds else []
    return ", ".join(parts)


def _draw_cell(axes: "Axes", cell: Mapping[str, Any], place: int, color: str) -> None:
    """Draw a score with its interval, its seeds and the published score; a remark if there is none."""
    if cell.get("value") is None:
        middle = axes.get_yaxis_transform()
        axes.text(0.5, place, "no score", transform=middle, ha="center", va="center", fontsize=7.5, color=GRAY)
    else:
        value = cell["value"]
        axes.hlines(place, cell["low"], cell["high"], color=color, linewidth=2)
        if len(cell["seed_values"]) > 1:
            axes.scatter(cell["seed_values"], [place + 0.2] * len(cell["seed_values"]), s=7, color=color, alpha=0.6)
        axes.plot([value], [place], "o", color=color, markersize=6)
        axes.annotate(
            f"{value:.3f}", (value, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7.5
        )
    if cell.get("published") is not None:
        axes.plot([cell["published"]], [place + 0.2], "D", color=GRAY, markersize=5, markerfacecolor="none")


def _finish(axes: "Axes", title: str, rows: Sequence[str]) -> None:
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, fontsize=8, parse_math=False)
    # The first system is at the top.
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.margins(x=0.12)
    if axes.has_data():
        axes.locator_params(axis="x", nbins=5)
    else:
        axes.set_xticks([])
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(figure: "Figure", cells: Sequence[Mapping[str, Any]]) -> None:
    """Draw the legend of all marks that occur."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", color=GRAY, linewidth=2, label="score and 95 % interval over records")]
    if any(len(cell.get("seed_values") or ()) > 1 for cell in cells):
        marks.append(Line2D([], [], marker=".", color=GRAY, linestyle="", label="single seeds"))
    if any(cell.get("published") is not None for cell in cells):
        label = "published, on the test fold (10, other records)"
        marks.append(
            Line2D([], [], marker="D", color=GRAY, markerfacecolor="none", markersize=5, linestyle="", label=label)
        )
    figure.legend(handles=marks, loc="outside lower left", ncols=len(marks), fontsize=8, frameon=False)
