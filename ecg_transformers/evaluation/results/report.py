"""From the outcome of a mode, and that of its baseline, to entries of `results.json` and a line for the screen."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...corpora.identification import PATIENTS
from ...corpora.protocol import Splits
from ...errors import EcgError
from ...metrics.bootstrap import Difference, Interval
from ...metrics.table import main_metric
from ...trainer.run_record import describe_hardware, find_commit, portable_path
from ..classifier import pretraining_facts
from ..modes import mode_title
from ..outcomes import Outcome, recorded
from ..settings import ReportSettings
from .entries import READOUT_FIELDS, metric_title, size_text, unfinished_text
from .predictions import (
    FEW_POSITIVES,
    Predictions,
    challenge_interval,
    other_metrics,
    paired_difference,
    score_interval,
)

if TYPE_CHECKING:
    from ...features.extractor import EcgFeatureExtractor

__all__ = [
    "NO_PRETRAINING",
    "Evaluation",
    "compared",
    "current_commit",
    "difference_entry",
    "format_interval",
    "result_entries",
    "summary_line",
]

# The interval of a bootstrap over fewer records is unreliable.
FEW_RECORDS = 50

# Of entries whose scorer was not pretrained.
NO_PRETRAINING = {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0}

Entry = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """A system on the reported records, and its baseline.

    Args:
        name: Name of the system in the entries.
        checkpoint: Folder or Hub name, for the facts of its pretraining.
        extractor: The feature extractor of both.
        splits: The protocol.
        outcome: Outcome of the system.
        baseline: Outcome of what it is compared with.
        seed: Seed of the run.
        config_file: The YAML file of the run; that of the pretraining if not given.
        settings: Settings of protocol and windows, by name; those of mode and training are in the outcomes.
        trained: Facts of the training of a finished classifier: they replace those of this run.
        baseline_trained: The same of its baseline.
        facts: Further facts of the entries, by name.
        as_saved: Whether a finished classifier is scored, and nothing was fitted.
    """

    name: str
    checkpoint: str | Path
    extractor: "EcgFeatureExtractor"
    splits: Splits
    outcome: Outcome
    baseline: Outcome | None = None
    seed: int = 0
    config_file: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained: Entry = field(default_factory=dict)
    baseline_trained: Entry = field(default_factory=dict)
    facts: Entry = field(default_factory=dict)
    as_saved: bool = False

    def entries(
        self, report: ReportSettings, *, against: Sequence[tuple[str, Outcome]] = ()
    ) -> tuple[list[Entry], list[Entry]]:
        """The entries of the system, and those of the baseline.

        For each outcome two: over all labels, and over those with enough positives to mean something.

        Args:
            report: Bootstrap settings.
            against: Names and outcomes of other systems it is compared with, in addition to the baseline.

        Raises:
            EcgError: No label of the reported records has both classes.
        """
        others = [] if self.baseline is None else [(self.outcome.mode.baseline_name, self.baseline)]
        own = [entry | self.trained for entry in self._entries_of(self.outcome, report, [*others, *against])]
        if self.baseline is None:
            return own, []
        return own, [entry | self.baseline_trained for entry in self._entries_of(self.baseline, report, [])]

    def save_predictions(self, folder: str | Path, *, part: str = "") -> None:
        """Write the predictions of both outcomes.

        Args:
            folder: Folder of the run.
            part: Folder inside `predictions/`.
        """
        for outcome in (self.outcome, self.baseline):
            if outcome is not None:
                outcome.predictions.save(Path(folder) / "predictions" / part / self._file_name(outcome))

    def _file_name(self, outcome: Outcome) -> str:
        """A file name that identifies the predictions."""
        splits, config = self.splits, outcome.model.config
        pooled, layer = (getattr(config, name) for name in READOUT_FIELDS)
        parts = [self.name.replace("/", "-"), splits.evaluate.corpus.name, outcome.mode.name, outcome.initialization]
        parts += [splits.task.label_set, pooled]
        parts += [f"layer{layer if isinstance(layer, int) else '-'.join(map(str, layer))}"] if layer != -1 else []
        parts += [f"trained{'-'.join(map(str, splits.train_folds))}"]
        parts += [f"fraction{splits.train_fraction:g}"] if splits.train_fraction != 1.0 else []
        parts += [f"leads{'-'.join(self.extractor.used_leads)}"] if self.extractor.used_leads else []
        parts += [f"folds{'-'.join(map(str, splits.evaluate_folds))}", f"seed{self.seed}"]
        return f"{'_'.join(parts)}.safetensors"

    def _entries_of(
        self, outcome: Outcome, report: ReportSettings, against: Sequence[tuple[str, Outcome]]
    ) -> list[Entry]:
        others = [(name, other.predictions) for name, other in against]
        return result_entries(self._facts(outcome, report), outcome.predictions, report, against=others)

    def _facts(self, outcome: Outcome, report: ReportSettings) -> Entry:
        """Everything of an entry that is no result."""
        splits, config = self.splits, outcome.model.config
        corpus = splits.evaluate.corpus
        known = pretraining_facts(self.checkpoint)
        pretraining_config, supervised = known.pop("config"), bool(known.pop("labels"))
        known |= {"config": pretraining_config}
        known = {name: value for name, value in known.items() if value or name not in ("commit", "config")}
        pretrained = outcome.initialization == "pretrained"
        return {
            "checkpoint": self.name,
            "mode": outcome.mode.name,
            "initialization": "supervised" if pretrained and supervised else outcome.initialization,
            "corpus": corpus.name,
            "corpus_version": corpus.info.get("version") or "",
            "corpus_hash": corpus.hash,
            "sampling_rate": config.sampling_rate,
            "labels": splits.task.label_set,
            "train_folds": list(splits.train_folds),
            "evaluate_folds": list(splits.evaluate_folds),
            "evaluate_role": splits.evaluate_role,
            "train_records": len(splits.train),
            "train_fraction": splits.train_fraction,
            "records_without_label": splits.left_out,
            "labels_without_training": list(splits.untrained),
            **{name: getattr(config, name) for name in READOUT_FIELDS},
            "aggregate": outcome.settings["aggregate"],
            "window_seconds": config.window_size / config.sampling_rate,
            "window_stride_seconds": self.extractor.stride_seconds,
            **({"leads": self.extractor.used_leads} if self.extractor.used_leads else {}),
            "selection": outcome.selection,
            "chosen": {name: None if value != value else value for name, value in outcome.chosen.items()},
            "seed": self.seed,
            "settings": {**self.settings, **recorded(report), **outcome.settings},
            "pretraining": known if pretrained else NO_PRETRAINING,
            "config": portable_path(self.config_file) or (pretraining_config if pretrained else ""),
            "commit": current_commit(),
            "hardware": describe_hardware(),
            "seconds": round(outcome.seconds, 1),
            **({"unfinished": outcome.unfinished} if outcome.unfinished else {}),
            "parameters": sum(parameter.numel() for parameter in outcome.model.base_model.parameters()),
            **self.facts,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def result_entries(
    facts: Entry, predictions: Predictions, report: ReportSettings, *, against: Sequence[tuple[str, Predictions]] = ()
) -> list[Entry]:
    """The entries of some predictions: over all labels, and over those with enough positives to mean something.

    Args:
        facts: Everything of an entry that is no result.
        predictions: The predictions.
        report: Bootstrap settings.
        against: Names and predictions of what they are compared with.

    Raises:
        EcgError: No label of the reported records has both classes.
    """
    entries = []
    # Numbers and patients have no positives.
    once = facts["labels"] == PATIENTS or predictions.problem_type == "regression"
    for min_positives in (1,) if once else (1, FEW_POSITIVES):
        options: dict[str, Any] = {"unit": report.unit, "resamples": report.resamples, "min_positives": min_positives}
        try:
            interval = score_interval(predictions, **options)
        except EcgError:
            if min_positives == 1:
                raise
            continue  # no label has so many positives
        differences = [
            difference_entry(name, paired_difference(predictions, other, **options)) for name, other in against
        ]
        entries.append(facts | _values(interval, predictions, min_positives) | compared(differences))
    return entries


def _values(interval: Interval, predictions: Predictions, min_positives: int) -> Entry:
    """Everything of an entry that is a result."""
    return {
        "records": len(predictions),
        "num_labels": interval.num_labels,
        "label_codes": list(predictions.codes),
        "labels_left_out": [predictions.codes[k] for k in interval.left_out],
        "min_positives": min_positives,
        "metric": main_metric(predictions.problem_type).name,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "unit": interval.unit,
        "resamples": interval.resamples,
        "resamples_with_vanished_label": interval.vanished,
        **(other_metrics(predictions) if min_positives == 1 else {}),
        **(_challenge(predictions, interval) if min_positives == 1 else {}),
    }


def _challenge(predictions: Predictions, interval: Interval) -> Entry:
    """The Challenge score with its interval, of the same resamples as the main metric; nothing of other labels."""
    found = challenge_interval(predictions, unit=interval.unit, resamples=interval.resamples)
    if found is None:
        return {}
    return {"challenge_score": found.value, "challenge_score_low": found.low, "challenge_score_high": found.high}


def difference_entry(against: str, difference: Difference) -> Entry:
    """A paired difference as an entry holds it.

    Args:
        against: Name of what is subtracted.
        difference: The paired bootstrap.
    """
    found = {"against": against, "value": difference.value, "low": difference.low, "high": difference.high}
    return found | {"p_value": difference.p_value}


def compared(differences: Sequence[Entry]) -> Entry:
    """The fields of an entry for its comparisons: `difference`, the first; `differences`, all if there are several."""
    found: Entry = {"difference": differences[0]} if differences else {}
    return found | ({"differences": list(differences)} if len(differences) > 1 else {})


@cache
def current_commit() -> str:
    """The commit of the code; empty outside a repository."""
    return find_commit() or ""


def summary_line(entries: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], role: str) -> str:
    """The results of an outcome, of its baseline, and their difference, in one line.

    Args:
        entries: Entries of the outcome.
        baseline: Entries of its baseline, or none.
        role: Role of the reported folds, see `Splits.reported_folds`.
    """
    first = entries[0]
    line = f"{role} {metric_title(first['metric'])} {format_interval(first)}  {size_text(first)}"
    if len(entries) > 1:
        second = entries[1]
        line += f", {second['num_labels']} with >= {second['min_positives']} positives: {format_interval(second)}"
    if "challenge_score" in first:
        low, high = first["challenge_score_low"], first["challenge_score_high"]
        line += f", Challenge score {first['challenge_score']:.3f} [{low:.3f}, {high:.3f}]"
    if baseline:
        name = "random encoder" if baseline[0]["mode"] == first["mode"] else mode_title(baseline[0]["mode"])
        line += (
            f"   {name} {format_interval(baseline[0])}   difference {format_interval(first['difference'], sign='+')}"
        )
    for entry, what in ((first, "training"), *((entry, "its baseline") for entry in baseline[:1])):
        if "unfinished" in entry:
            line += f"\nno result of a whole run: {what} is {unfinished_text(entry)}"
    if first["records"] < FEW_RECORDS:
        line += f"\nonly {first['records']} records are reported: value and interval are unreliable"
    return line


def format_interval(entry: Mapping[str, Any], *, sign: str = "") -> str:
    """A value with its interval, e.g. `0.912 [0.901, 0.923]`.

    Args:
        entry: An entry, or its `difference`.
        sign: `"+"` prints the sign of positive numbers too.
    """
    value, low, high = (f"{entry[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
