"""Figures of a checkpoint against the level of noise, from the entries of `results.json`."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SignalError
from .page import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["plot_noise_robustness"]

# Okabe and Ito's colours, which are told apart by everybody.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vPX"

# What makes a panel, and what makes a line in it. A field that differs between the lines goes into their names.
PANEL_FIELDS = ("corpus", "labels", "evaluate_folds", "metric")
LINE_FIELDS = (
    "checkpoint", "mode", "initialisation", "pooling", "layer", "train_folds", "train_fraction", "aggregate",
    "sampling_rate", "unit", "seed",
)  # fmt: skip
METRIC_WORDS = {"macro_auroc": "macro AUROC", "negative_mean_absolute_error": "minus the mean absolute error"}


def plot_noise_robustness(
    entries: Sequence[Mapping[str, Any]], *, min_positives: int = 1, title: str | None = None
) -> "Figure":
    """One line for each system over the levels of noise, level 0 being the recordings as they are.

    A band shows the 95 % interval. Label sets, corpora and folds have panels of their own. A system that was never
    scored under noise is left out; one without pretraining is dashed.

    Args:
        entries: Of `results.json`; those under noise carry `noise_level`.
        min_positives: Which of the two figures of a system: over all labels (1), or those with so many positives.
        title: Above the panels.

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: No entry was made under noise.

    Example:
        >>> figures = {"low": 0.8, "high": 0.9, "metric": "macro_auroc", "checkpoint": "mae-moco-ecg"}
        >>> entries = [figures | {"value": 0.86}, figures | {"value": 0.84, "noise_level": 1}]
        >>> plot_noise_robustness(entries).axes[0].get_xlabel()
        'level of noise'
    """
    kept = [entry for entry in entries if (entry.get("min_positives") or 1) == min_positives]
    panels: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for entry in kept:
        panels.setdefault(_key(entry, PANEL_FIELDS), {}).setdefault(_key(entry, LINE_FIELDS), []).append(entry)
    for lines in panels.values():
        for key in [key for key, line in lines.items() if not any(entry.get("noise_level") for entry in line)]:
            del lines[key]
    drawn = [lines for lines in panels.values() if lines]
    if not drawn:
        raise SignalError(
            "no entry was made under noise; expected entries with noise_level. Score with --noise_levels 1-6."
        )
    systems = list(dict.fromkeys(key for lines in drawn for key in lines))
    names = dict(zip(systems, _names([json.loads(key) for key in systems]), strict=True))
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    # The legend stands below, a line for each system.
    height = 3.4 * rows + 0.6 + 0.22 * len(systems)
    figure = new_figure(figsize=(max(4.2 * columns, 6.0), height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    handles: dict[str, Line2D] = {}
    for axes, lines in zip(grid, drawn, strict=False):
        for key, line in lines.items():
            handles[key] = _draw_line(axes, line, number=systems.index(key), name=names[key])
        _finish(axes, next(iter(lines.values()))[0])
    for axes in grid[len(drawn) :]:
        axes.remove()
    figure.legend(handles=[handles[key] for key in systems], loc="outside lower left", fontsize=8, frameon=False)
    figure.suptitle(title or "Noise robustness", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _draw_line(axes: "Axes", line: Sequence[Mapping[str, Any]], *, number: int, name: str) -> "Line2D":
    """A system's figures with their band; the line, for the legend."""
    # An entry that was made again stands once in the file, so a level has one figure.
    ordered = sorted(line, key=lambda entry: entry.get("noise_level") or 0)
    levels = [entry.get("noise_level") or 0 for entry in ordered]
    colour = COLOURS[number % len(COLOURS)]
    axes.fill_between(
        levels,
        [entry["low"] for entry in ordered],
        [entry["high"] for entry in ordered],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    (drawn,) = axes.plot(
        levels,
        [entry["value"] for entry in ordered],
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        linewidth=1.4,
        linestyle="--" if ordered[0].get("initialisation") == "random" else "-",
        label=name,
    )
    return drawn


def _finish(axes: "Axes", entry: Mapping[str, Any]) -> None:
    """Axes, grid and the words of a panel."""
    folds = ", ".join(map(str, entry.get("evaluate_folds") or ()))
    words = [str(entry.get("corpus") or ""), str(entry.get("labels") or ""), f"fold {folds}" if folds else ""]
    axes.set_title(", ".join(filter(None, words)), fontsize=9, parse_math=False)
    axes.set_xlabel("level of noise")
    axes.set_ylabel(METRIC_WORDS.get(entry["metric"], str(entry["metric"]).replace("_", " ")))
    low, high = axes.get_xlim()
    ticks = range(int(low + 0.999), int(high) + 1)
    axes.set_xticks(list(ticks), ["clean" if level == 0 else str(level) for level in ticks])
    axes.tick_params(labelbottom=True)
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _key(entry: Mapping[str, Any], fields: Sequence[str]) -> str:
    return json.dumps([entry.get(name) for name in fields])


def _names(systems: Sequence[Sequence[Any]]) -> list[str]:
    """A name for each system: its checkpoint, and whatever else differs between them."""
    differing = [
        place for place in range(1, len(LINE_FIELDS)) if len({json.dumps(system[place]) for system in systems}) > 1
    ]
    return [
        ", ".join([str(system[0]), *(_words(LINE_FIELDS[place], system[place]) for place in differing)])
        for system in systems
    ]


def _words(field: str, value: Any) -> str:
    if field in ("mode", "initialisation") or value is None:
        return str(value).replace("_", " ")
    if field == "train_folds":
        return "folds " + ", ".join(map(str, value))
    return f"{field.replace('_', ' ')} {value}"
