"""A classifier under added noise: predictions, entries of `results.json`, a table, a plot.

Nothing is trained or chosen under noise: head and thresholds are those of the clean evaluation. The noise does not
depend on the seed of a training, so every model and every seed is scored on the same noisy recordings.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.protocol import Splits
from ..errors import ArgumentsError
from ..evaluation.outcomes import Outcome
from ..evaluation.results.entries import metric_title, noise_level
from ..evaluation.results.predictions import Predictions
from ..evaluation.results.report import Evaluation, format_interval
from ..evaluation.results.store import format_table
from ..evaluation.settings import ReportSettings
from ..files import replace_file
from ..inference.encode import predict_records
from ..inference.noise import NOISE_LEVELS, check_noise_place

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = [
    "NOISE_SEED",
    "check_noise_levels",
    "draw_noise_robustness",
    "noise_report",
    "noise_table",
    "score_under_noise",
]

Entry = dict[str, Any]

NOISE_SEED = 0
FIGURE = "noise_robustness.png"


def check_noise_levels(levels: Sequence[int] | None, extractor: "EcgFeatureExtractor", splits: Splits) -> None:
    """Refuse what could not be scored under noise, before anything is trained.

    Args:
        levels: The wanted levels; nothing is checked without any.
        extractor: The checkpoint's feature extractor.
        splits: The protocol.

    Raises:
        ArgumentsError: There is no such level, or patients are identified.
        SignalError: The signal is normalized before its windows are cut.
    """
    if not levels:
        return
    unknown = [level for level in levels if level not in NOISE_LEVELS]
    if unknown:
        raise ArgumentsError(
            f"noise_levels has {', '.join(map(str, unknown))}; expected numbers from 1 to {max(NOISE_LEVELS)}."
        )
    if splits.gallery is not None:
        raise ArgumentsError("noise_levels is set; expected labels other than patients. Leave it out.")
    check_noise_place(extractor, splits.evaluate.corpus)


def noise_report(
    evaluation: Evaluation, report: ReportSettings, folder: str | Path, clean: Sequence[Entry]
) -> tuple[list[Entry], str]:
    """Score an evaluation under its levels of noise, and draw the plot.

    Args:
        evaluation: System and baseline on the recordings without added noise.
        report: Levels and bootstrap.
        folder: Folder of the run.
        clean: The entries without added noise.

    Returns:
        The new entries, and table and place of the plot for the screen.
    """
    noisy = score_under_noise(evaluation, report, folder)
    entries = [*clean, *noisy]
    return noisy, f"{noise_table(entries)}\n-> {draw_noise_robustness(folder, entries)}"


def score_under_noise(evaluation: Evaluation, report: ReportSettings, folder: str | Path) -> list[Entry]:
    """Score a system, and its baseline on the same noisy recordings.

    The predictions of a level are kept in `predictions/noise<level>/`.

    Args:
        evaluation: System and baseline on the recordings without added noise.
        report: Levels, each scored once, and bootstrap.
        folder: Folder of the run.

    Returns:
        The entries of the system and of its baseline, each with `noise_level` and `noise_seed`.
    """
    entries: list[Entry] = []
    for level in sorted(set(report.noise_levels or ())):
        baseline = None if evaluation.baseline is None else _predict(evaluation.baseline, evaluation, level)
        noisy = replace(evaluation, outcome=_predict(evaluation.outcome, evaluation, level), baseline=baseline)
        noisy.save_predictions(folder, part=f"noise{level}")
        own, of_baseline = noisy.entries(report)
        entries += [entry | {"noise_level": level, "noise_seed": NOISE_SEED} for entry in (*own, *of_baseline)]
    return entries


def _predict(outcome: Outcome, evaluation: Evaluation, level: int) -> Outcome:
    """The outcome with predictions under noise."""
    started, splits = time.monotonic(), evaluation.splits
    scores = predict_records(
        outcome.model,
        splits.evaluate.corpus,
        evaluation.extractor,
        aggregate=outcome.settings["aggregate"],
        bf16=outcome.settings["bf16"],
        noise_level=level,
        seed=NOISE_SEED,
    )
    predictions = Predictions.of(splits.evaluate, scores, splits.task, outcome.thresholds)
    return replace(outcome, predictions=predictions, seconds=time.monotonic() - started)


def noise_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """A row for each level, without added noise first: value, that of the baseline, paired difference.

    Args:
        entries: Of a system and its baseline, clean and under noise; those of the system have a `difference` if there
            is a baseline.
    """
    systems: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for entry in entries:
        if entry["min_positives"] == 1:
            systems.setdefault((entry["mode"], entry["initialization"]), {})[noise_level(entry)] = entry
    own, *others = systems.values()
    rows = []
    for level, entry in own.items():
        row = {"noise": level or "clean", metric_title(entry["metric"]): format_interval(entry)}
        for other in others:
            row[str(entry["difference"]["against"]).replace("_", " ")] = format_interval(other[level])
            row["difference"] = format_interval(entry["difference"], sign="+")
        rows.append(row)
    return format_table(rows)


def draw_noise_robustness(folder: str | Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Draw `noise_robustness.png` from the entries of a run or a card.

    Args:
        folder: Folder of the plot.
        entries: Clean ones and those under noise.

    Returns:
        The file.
    """
    from ..viz import plot_noise_robustness

    path = Path(folder) / FIGURE
    with replace_file(path) as temporary:
        plot_noise_robustness(entries).savefig(temporary, dpi=110)
    return path
