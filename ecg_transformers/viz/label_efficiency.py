"""How good a system gets with how many labelled records, from the entries of `results.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import SignalError
from .page import new_figure
from .robustness import COLOURS, MARKERS, METRIC_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["plot_label_efficiency"]

# What makes a panel, and what makes a line in it. Seeds are repetitions of a point.
PANEL_FIELDS = ("corpus", "labels", "evaluate_folds", "metric", "min_positives")
LINE_FIELDS = (
    "checkpoint", "mode", "initialisation", "pooling", "layer", "train_fraction", "aggregate", "sampling_rate",
    "window_seconds", "window_stride_seconds", "unit",
)  # fmt: skip
MODE_WORDS = {
    "linear_probe": "linear probe",
    "attentive_probe": "attentive probe",
    "fine_tune": "fine-tuned",
    "from_scratch": "from scratch",
}


@dataclass(frozen=True)
class _Point:
    """A system's figures with one amount of data: the means over the seeds, and the value of each seed."""

    folds: int
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


def plot_label_efficiency(entries: Sequence[Mapping[str, Any]], *, title: str | None = None) -> "Figure":
    """One line for each system over the number of training folds, with the labelled records they hold.

    A band shows the 95 % interval over the reported records. Several seeds of a point are averaged, and the value of
    each is a small dot. Label sets, corpora, reported folds and the least number of positives have panels of their own,
    unless leaving out rare labels left none out. Systems with one amount of data are no curve and are left out, as are
    entries under noise. A system without pretraining is dashed.

    Args:
        entries: Of `results.json`; those of a curve differ in `train_folds`.
        title: Above the panels.

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: No system was trained on two numbers of folds.

    Example:
        >>> one = {"metric": "macro_auroc", "mode": "from_scratch", "checkpoint": "xresnet1d50-ecg"}
        >>> few = one | {"train_folds": [1], "value": 0.84, "low": 0.82, "high": 0.86}
        >>> many = one | {"train_folds": [1, 2], "value": 0.87, "low": 0.85, "high": 0.89}
        >>> plot_label_efficiency([few, many]).axes[0].get_xlabel()
        'training folds'
    """
    panels: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for entry in entries:
        if not entry.get("noise_level"):
            panels.setdefault(_key(entry, PANEL_FIELDS), {}).setdefault(_key(entry, LINE_FIELDS), []).append(entry)
    drawn = _distinct(
        [
            {key: line for key, line in lines.items() if len({_folds(entry) for entry in line}) > 1}
            for lines in panels.values()
        ]
    )
    if not drawn:
        raise SignalError(
            "no system was trained on two numbers of folds; expected entries that differ in train_folds. "
            "Make them with --label_efficiency 1,2,4,8."
        )
    systems = list(dict.fromkeys(key for lines in drawn for key in lines))
    names = dict(zip(systems, _names([json.loads(key) for key in systems]), strict=True))
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    # The legend stands below, a line for each system.
    height = 3.6 * rows + 0.6 + 0.22 * len(systems)
    figure = new_figure(figsize=(max(4.6 * columns, 6.0), height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    handles: dict[str, Line2D] = {}
    for axes, lines in zip(grid, drawn, strict=False):
        for key, line in lines.items():
            handles[key] = _draw_line(axes, line, number=systems.index(key), name=names[key])
        _finish(axes, [entry for line in lines.values() for entry in line])
    for axes in grid[len(drawn) :]:
        axes.remove()
    figure.legend(handles=[handles[key] for key in systems], loc="outside lower left", fontsize=8, frameon=False)
    figure.suptitle(title or "Label efficiency (band: 95 % interval)", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _distinct(panels: Sequence[dict[str, list[Mapping[str, Any]]]]) -> list[dict[str, list[Mapping[str, Any]]]]:
    """The panels with a curve, without those that show the same figures once more because no label is rare."""
    kept: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for lines in panels:
        if lines:
            figures = [
                _key(entry, ("corpus", "labels", "evaluate_folds", "metric", "num_labels", "train_folds", "value"))
                for line in lines.values()
                for entry in line
            ]
            kept.setdefault(json.dumps(sorted(figures)), lines)
    return list(kept.values())


def _points(line: Sequence[Mapping[str, Any]]) -> list[_Point]:
    """The points of a line from few folds to many."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for entry in line:
        groups.setdefault(_folds(entry), []).append(entry)
    return [
        _Point(
            folds,
            fmean(entry["value"] for entry in group),
            fmean(entry["low"] for entry in group),
            fmean(entry["high"] for entry in group),
            tuple(entry["value"] for entry in group),
        )
        for folds, group in sorted(groups.items())
    ]


def _draw_line(axes: "Axes", line: Sequence[Mapping[str, Any]], *, number: int, name: str) -> "Line2D":
    """A system's figures with their band; the line, for the legend."""
    points = _points(line)
    folds = [point.folds for point in points]
    colour = COLOURS[number % len(COLOURS)]
    axes.fill_between(
        folds,
        [point.low for point in points],
        [point.high for point in points],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    if any(len(point.seeds) > 1 for point in points):
        places = [point.folds for point in points for _ in point.seeds]
        axes.scatter(places, [value for point in points for value in point.seeds], s=8, color=colour, alpha=0.6)
    (drawn,) = axes.plot(
        folds,
        [point.value for point in points],
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        markersize=5,
        linewidth=1.5,
        linestyle="--" if line[0].get("initialisation") == "random" else "-",
        label=name,
    )
    return drawn


def _finish(axes: "Axes", entries: Sequence[Mapping[str, Any]]) -> None:
    """Axes, grid and the words of a panel."""
    first = entries[0]
    reported = ", ".join(map(str, first.get("evaluate_folds") or ()))
    words = [str(first.get("corpus") or ""), _labels(first), f"fold {reported}" if reported else ""]
    axes.set_title(", ".join(filter(None, words)), fontsize=9, parse_math=False)
    axes.set_ylabel(METRIC_WORDS.get(first["metric"], str(first["metric"]).replace("_", " ")))
    records: dict[int, set[int]] = {}
    for entry in entries:
        records.setdefault(_folds(entry), set()).add(int(entry.get("train_records") or 0))
    # Twice the data is one step to the right, wherever one starts.
    axes.set_xscale("log", base=2)
    ticks = sorted(records)
    known = all(len(counts) == 1 and min(counts) > 0 for counts in records.values())
    axes.set_xticks(ticks, [f"{n}\n{min(records[n]):,}" if known else str(n) for n in ticks], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("training folds\nlabelled records" if known else "training folds")
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _labels(entry: Mapping[str, Any]) -> str:
    """The label set, how many labels count, and from how many positives on."""
    least = entry.get("min_positives") or 1
    counted = f"{entry['num_labels']} labels" if entry.get("num_labels") else ""
    rare = f"with {least} positives or more" if least > 1 else ""
    counted = " ".join(filter(None, [counted, rare]))
    return f"{entry.get('labels') or ''} {f'({counted})' if counted else ''}".strip()


def _folds(entry: Mapping[str, Any]) -> int:
    return len(entry.get("train_folds") or ())


def _key(entry: Mapping[str, Any], fields: Sequence[str]) -> str:
    return json.dumps([entry.get(name) for name in fields])


def _names(systems: Sequence[Sequence[Any]]) -> list[str]:
    """A name for each system: checkpoint and mode, and whatever else differs between systems that share them."""
    pretrained = {system[0] for system in systems if system[2] != "random"}
    names = []
    for system in systems:
        alike = [other for other in systems if other[:2] == system[:2]]
        mode = MODE_WORDS.get(str(system[1]), str(system[1]).replace("_", " "))
        # Where a checkpoint stands beside it, new weights are those of its encoder and not the checkpoint.
        twin = system[2] == "random" and (system[0] in pretrained or system[1] != "from_scratch")
        words = [f"encoder of {system[0]} with new weights" if twin else str(system[0]), mode]
        for place in range(2, len(LINE_FIELDS)):
            if len({json.dumps(other[place]) for other in alike}) > 1:
                words.append(f"{LINE_FIELDS[place].replace('_', ' ')} {system[place]}")
        names.append(", ".join(words))
    return names
