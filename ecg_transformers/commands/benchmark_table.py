"""The table of a benchmark: one row for each system and protocol, a group of columns for each label set.

A result is the task's main metric on the reported records with its 95 % bootstrap interval. With several seeds it is
the mean of the seeds' results; then every resample of the records gives one mean over the seeds, and the interval is
that of these means: it shows the variation over other records, not over other seeds. A difference is taken resample by
resample between two such means, of the same records in the same order: the paired bootstrap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..corpora import official_fold_roles
from ..evaluation.modes import MODES
from ..evaluation.results.entries import metric_title, mode_title, size_text
from ..evaluation.results.predictions import Predictions, score_interval
from ..evaluation.results.published import PublishedResult, published_results
from ..evaluation.results.store import format_table
from ..files import replace_file, write_csv
from .benchmark_plan import PlannedRun, System
from .label_efficiency import TrainingAmount

if TYPE_CHECKING:
    from .benchmark import Benchmark

__all__ = ["BenchmarkTable", "Cell", "Row", "benchmark_table"]

_PERCENTILES = (2.5, 97.5)


@dataclass
class Cell:
    """The results of a row on one label set.

    Args:
        asked: Number of planned runs, one for each seed; for a baseline, the number of finished ones.
        failed: Number of failed runs.
        entries: Entry of each finished run.
        samples: Metric of each finished run on each resample of the records, `(resamples,)` each.
        predictions: Predictions of the first finished run.
        difference: Paired difference to the first system: value, lower and upper bound.
        further: The same to further systems, by their keys.
        published: Published results of the system.
    """

    asked: int = 0
    failed: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    predictions: Predictions | None = None
    difference: tuple[float, float, float] | None = None
    further: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    published: tuple[PublishedResult, ...] = ()

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return float(np.mean([entry["value"] for entry in self.entries]))

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % bootstrap interval over the records."""
        return _interval(np.mean(self.samples, axis=0))

    def compare(self, reference: "Cell") -> tuple[float, float, float] | None:
        """The paired difference to another cell; none if the two are of other records or labels."""
        one, other = self.predictions, reference.predictions
        if one is None or other is None or one.codes != other.codes:
            return None
        if not np.array_equal(one.record_ids, other.record_ids):
            return None
        samples = np.mean(self.samples, axis=0) - np.mean(reference.samples, axis=0)
        return (self.value - reference.value, *_interval(samples))

    def __str__(self) -> str:
        if not self.asked:
            return ""
        done, failed = len(self.entries), f"{self.failed} failed" if self.asked > 1 else "failed"
        if not done:
            return failed if self.failed else "missing"
        low, high = self.interval
        notes = [f"{done} seed{'s' if done > 1 else ''}"] if self.asked > 1 else []
        notes += [failed] if self.failed else []
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]" + (f" ({', '.join(notes)})" if notes else "")


@dataclass
class Row:
    """A system under a protocol.

    Args:
        system: Name of the system.
        mode: Name of the mode.
        initialization: `pretrained` or `random`.
        amount: Training folds, and the share of their records.
        cells: Results by label set.
    """

    system: str
    mode: str
    initialization: str
    amount: TrainingAmount
    cells: dict[str, Cell]

    @property
    def protocol(self) -> str:
        """Mode and initialization as shown in the table."""
        title, mode = mode_title(self.mode), MODES.get(self.mode)
        # A mode that always starts from random weights need not state it; one that trains nothing has no weights.
        usual = mode is None or self.initialization in ("supervised", mode.initialization)
        return title if usual else f"{title}, random weights"

    @property
    def train_records(self) -> str:
        """Training records; the least and the most where they differ between the label sets."""
        counts = {entry["train_records"] for cell in self.cells.values() for entry in cell.entries}
        return "-".join(f"{count:,}" for count in sorted({min(counts), max(counts)})) if counts else ""


@dataclass
class BenchmarkTable:
    """The rows with title and notes.

    Args:
        metric: Title of the metric.
        title: Corpus and reported folds.
        rows: System by system; the others are compared with the first.
        problems: Failed runs with the reason.
        notes: Explanations below the table.
    """

    metric: str
    title: str
    rows: list[Row]
    problems: list[str]
    notes: list[str]

    def text(self) -> str:
        """Results, paired differences and published results, with a column for each label set."""
        cells = [cell for row in self.rows for cell in row.cells.values()]
        blocks = [f"{self.metric} [95 % interval], {self.title}\n{self._block(str, records=True)}"]
        if any(cell.difference for cell in cells):
            first = self.rows[0]
            blocks.append(f"Difference to {first.system}, {first.protocol} [95 %, paired]\n{self._block(_difference)}")
        for key in dict.fromkeys(key for cell in cells for key in cell.further):
            blocks.append(f"Difference to {key} [95 %, paired]\n{self._block(_difference_to(key))}")
        if published := [one for cell in cells for one in cell.published]:
            title = "Published, brackets in units of 0.001. NOT on the records above: test fold 10, or the fold given"
            sources = [
                f"{one.name}: {one.brackets}. {one.citation}." for one in dict.fromkeys(p.source for p in published)
            ]
            blocks.append("\n".join([title, self._block(_published), *sources]))
        if self.problems:
            blocks.append("\n".join(f"failed: {problem}" for problem in self.problems))
        return "\n\n".join([*blocks, "\n".join(self.notes)])

    def _block(self, text: Callable[[Cell], str], *, records: bool = False) -> str:
        """Rows with the text of each cell; a row without any text is left out."""
        lines = []
        for row in self.rows:
            texts = {labels: text(cell) for labels, cell in row.cells.items()}
            if any(texts.values()):
                line = {"system": row.system, "protocol": row.protocol, "train folds": str(row.amount)}
                line |= {"train records": row.train_records} if records else {}
                lines.append(line | texts)
        return format_table(lines)

    def write(self, folder: str | Path) -> list[Path]:
        """Write `table.csv`, `table.png` and, where there are curves, `label_efficiency.png`, each atomically.

        Returns:
            The files.
        """
        from ..viz.benchmark import plot_benchmark
        from ..viz.label_efficiency import plot_label_efficiency

        folder = Path(folder)
        figures = {"table.png": plot_benchmark(self._plotted(), title=f"{self.metric}, {self.title}")}
        if curves := self._curves():
            figures["label_efficiency.png"] = plot_label_efficiency(curves)
        write_csv(folder / "table.csv", [_csv_line(row) for row in self.rows])
        for name, figure in figures.items():
            with replace_file(folder / name) as temporary:
                figure.savefig(temporary, dpi=150)
        return [folder / name for name in ("table.csv", *figures)]

    def _plotted(self) -> list[dict[str, Any]]:
        """One flat mapping for each cell."""
        found = []
        for row in self.rows:
            for labels, cell in row.cells.items():
                test = [one.value for one in cell.published if one.is_of_test_folds]
                one: dict[str, Any] = {"system": row.system, "protocol": row.protocol, "labels": labels}
                one |= {"train_folds": str(row.amount), "published": test[0] if test else None}
                if cell.entries:
                    low, high = cell.interval
                    one |= {"value": cell.value, "low": low, "high": high, "num_labels": cell.entries[0]["num_labels"]}
                    one |= {"seed_values": [entry["value"] for entry in cell.entries]}
                found.append(one)
        return found

    def _curves(self) -> list[dict[str, Any]]:
        """The entries of the systems that were trained on several numbers of folds, under the table's names."""
        numbers: dict[tuple[str, str], set[TrainingAmount]] = {}
        for row in self.rows:
            if any(cell.entries for cell in row.cells.values()):
                numbers.setdefault((row.system, row.protocol), set()).add(row.amount)
        return [
            entry | {"checkpoint": row.system}
            for row in self.rows
            if len(numbers.get((row.system, row.protocol), ())) > 1
            for cell in row.cells.values()
            for entry in cell.entries
        ]


def benchmark_table(benchmark: "Benchmark") -> BenchmarkTable:
    """The table of what is done so far.

    Args:
        benchmark: The benchmark, after its runs or without.
    """
    arguments, corpus = benchmark.arguments, benchmark.corpus
    systems = list(dict.fromkeys(run.system for run in benchmark.runs))
    found: dict[tuple[int, bool, TrainingAmount], Row] = {}
    for run in benchmark.runs:
        # Its own result, then that of its baseline if it has one.
        entries: list[Any] = [entry for entry in run.entries() or () if entry["min_positives"] == 1]
        for number, entry in enumerate(entries or [None]):
            place = (systems.index(run.system), number > 0, run.amount)
            row = found.setdefault(place, _new_row(run, entry, arguments.labels))
            cell = row.cells[run.labels]
            cell.asked += 1
            cell.failed += run in benchmark.problems
            if entry is not None:
                _add(cell, run, entry, unit=arguments.unit, resamples=arguments.resamples)
                if number == 0:
                    cell.published = _published_of(run.system, entry)
    rows = [found[place] for place in sorted(found, key=lambda place: (*place[:2], place[2].size))]
    own = {system: [found[place] for place in found if place[:2] == (n, False)] for n, system in enumerate(systems)}
    for (number, is_baseline, amount), row in found.items():
        further = [] if is_baseline else benchmark.references(systems[number])
        for system in dict.fromkeys([systems[0], *further]):
            # The system with the same folds, or the only row that it has.
            same = [one for one in own[system] if one.amount == amount or len(own[system]) == 1]
            for labels, cell in row.cells.items():
                if not (same and same[0] is not row and cell.entries):
                    continue
                difference = cell.compare(same[0].cells[labels])
                if system is systems[0]:
                    cell.difference = difference
                elif difference is not None:
                    cell.further[system.key] = difference
    problems = [f"{run.title}: {reason}" for run, reason in benchmark.problems.items()]
    version = f" {corpus.info['version']}" if corpus.info.get("version") else ""
    title = f"{corpus.name}{version}, {corpus.describe_folds(benchmark.evaluate_folds)}"
    return BenchmarkTable(
        _metric_title(rows), title, rows, problems, _notes(rows, unit=arguments.unit, resamples=arguments.resamples)
    )


def _metric_title(rows: Sequence[Row]) -> str:
    """The metrics of the results, as a heading."""
    names = {entry["metric"] for row in rows for cell in row.cells.values() for entry in cell.entries}
    text = ", ".join(map(metric_title, sorted(names))) or "results"
    return text[0].upper() + text[1:]


def _new_row(run: PlannedRun, entry: dict[str, Any] | None, labels: Sequence[str]) -> Row:
    mode = run.system.mode
    start = entry or {"mode": mode.name, "initialization": mode.initialization}
    cells = {one: Cell() for one in labels}
    return Row(run.system.name, start["mode"], start["initialization"], run.amount, cells)


def _add(cell: Cell, run: PlannedRun, entry: dict[str, Any], *, unit: str, resamples: int) -> None:
    """Add the result of a finished run, and its metric on each resample, to its cell."""
    predictions = Predictions.load(str(run.prediction_file(entry)))
    cell.entries.append(entry)
    cell.samples.append(score_interval(predictions, unit=unit, resamples=resamples).samples)
    cell.predictions = cell.predictions or predictions


def _published_of(system: System, entry: dict[str, Any]) -> tuple[PublishedResult, ...]:
    """Published results of a system that was trained on all training folds of the corpus."""
    roles = official_fold_roles(entry["corpus"])
    if roles is None or tuple(entry["train_folds"]) != roles.train or entry["train_fraction"] != 1.0:
        return ()
    return published_results(system.published, system.mode.name, corpus=entry["corpus"], labels=entry["labels"])


def _interval(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(samples, _PERCENTILES)
    return float(low), float(high)


def _difference(cell: Cell) -> str:
    return _difference_text(cell.difference)


def _difference_to(key: str) -> Callable[[Cell], str]:
    return lambda cell: _difference_text(cell.further.get(key))


def _difference_text(difference: tuple[float, float, float] | None) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference) if difference else ""


def _published(cell: Cell) -> str:
    parts = []
    for one in cell.published:
        fold = ", ".join(map(str, one.evaluate_folds))
        parts.append(str(one) if one.is_of_test_folds else f"fold {fold}: {one}")
    return "; ".join(parts)


def _notes(rows: Sequence[Row], *, unit: str, resamples: int) -> list[str]:
    """Explanations of averages, resamples and comparisons."""
    sizes = {}
    for row in rows:
        for labels, cell in row.cells.items():
            if cell.entries:
                first = cell.entries[0]
                sizes[labels] = f"{labels}: {size_text(first)}, {first['records']:,} records"
    notes = [f"Reported: {'; '.join(sizes.values())}."] if sizes else []
    notes.append(f"Intervals: percentiles of {resamples:,} resamples of the {unit}s, the same ones for every system.")
    if any(len(cell.entries) > 1 for row in rows for cell in row.cells.values()):
        notes.append(
            "Several seeds: a value is their mean, on the records and on every resample; a difference is that of two "
            "such means.\nIntervals show the variation over records, not over seeds; each seed's value is in "
            "table.csv."
        )
    return notes


def _csv_line(row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {"system": row.system, "mode": row.mode, "initialization": row.initialization}
    line["train_folds"] = str(row.amount)
    for labels, cell in row.cells.items():
        first = cell.entries[0] if cell.entries else {}
        value, (low, high) = (cell.value, cell.interval) if cell.entries else ("", ("", ""))
        difference = cell.difference or ("", "", "")
        columns = {
            "": value,
            "_low": low,
            "_high": high,
            "_seeds": " ".join(str(entry["seed"]) for entry in cell.entries),
            "_seed_values": " ".join(str(entry["value"]) for entry in cell.entries),
            "_failed": cell.failed,
            "_num_labels": first.get("num_labels", ""),
            "_records": first.get("records", ""),
            "_train_records": first.get("train_records", ""),
            "_difference": difference[0],
            "_difference_low": difference[1],
            "_difference_high": difference[2],
            "_further": "; ".join(f"{key}: {' '.join(map(str, values))}" for key, values in cell.further.items()),
            "_published": "; ".join(
                f"{one} (fold {', '.join(map(str, one.evaluate_folds))}, {one.source.name})" for one in cell.published
            ),
        }
        line |= {f"{labels}{name}": column for name, column in columns.items()}
    return line
