"""The entries of `results.json` that a card reports: read, checked, selected, and written as `model-index`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from ...corpora import CORPORA, corpus_definition, official_fold_roles
from ...corpora.fold_roles import describe_folds
from ...corpora.identification import PATIENTS
from ...errors import CheckpointError
from ...evaluation.beats.report import METRIC_TITLES, MODE
from ...evaluation.results.entries import READOUT_FIELDS, field_text, metric_title, mode_title
from ...metrics.table import METRICS

__all__ = [
    "checkpoint_entries",
    "distinct_entries",
    "evaluation_results",
    "find_fold_role",
    "load_results",
    "main_entries",
    "setting_text",
    "varying_fields",
]

Entry = Mapping[str, Any]

REQUIRED_FIELDS = (
    "checkpoint", "mode", "initialization", "corpus", "corpus_version", "sampling_rate", "labels", "train_folds",
    "evaluate_folds", "records", "num_labels", "metric", "value", "low", "high", "resamples", "seed", "pretraining",
    "config", "commit", "date",
)  # fmt: skip

# Fields that make two entries incomparable. Corpus, labels and mode are named in every row, others where they vary.
SETTING_FIELDS = (
    "corpus", "sampling_rate", "labels", "mode", *READOUT_FIELDS, "train_fraction", "min_positives", "aggregate",
    "window_seconds", "window_stride_seconds", "leads", "train_leads", "unit", "seed", "system",
)  # fmt: skip
NAMED_FIELDS = ("corpus", "labels", "mode", "min_positives")
DETAIL_FIELDS = ("mode", "train_folds", "evaluate_folds", "records", "num_labels", "seed")
# A score has fewer certain digits than these: its interval is some hundredths wide.
DIGITS = 4


def load_results(path: str | Path) -> list[dict[str, Any]]:
    """Reads `results.json` and checks every entry.

    Args:
        path: The file, a JSON list with one object per evaluation.

    Returns:
        The entries, unchanged.

    Raises:
        CheckpointError: If the file is no such list, a field is missing, or a score or its interval is not finite.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError(f"{path} is not a JSON list of entries; expected one object per evaluation.")
    for number, entry in enumerate(entries):
        missing = [field for field in REQUIRED_FIELDS if field not in entry]
        if missing:
            raise CheckpointError(f"{path}: entry {number} lacks {', '.join(missing)}.")
        scores = [entry["low"], entry["value"], entry["high"]]
        if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
            raise CheckpointError(f"{path}: entry {number} has the scores {scores}; expected three finite numbers.")
        if scores[0] > scores[2]:
            raise CheckpointError(
                f"{path}: entry {number} has the interval {scores[0]} to {scores[2]}: lower bound exceeds upper bound."
            )
    return entries


def find_fold_role(entry: Entry) -> str:
    """Returns the role of the evaluated folds: `"test"`, `"validation"`, `"cross-validation"` or `"folds 3, 4"`.

    A validation score must never look like a test score, so every other choice of folds is named by its numbers.

    Args:
        entry: With `corpus` and `evaluate_folds`. Without `evaluate_role`, the official roles of the corpus of that
            name hold.
    """
    folds = tuple(entry["evaluate_folds"])
    roles = official_fold_roles(entry["corpus"])
    role = entry["evaluate_role"] if "evaluate_role" in entry else roles and roles.role_of(folds)
    return str(role) if role in ("validation", "test", "cross-validation") else describe_folds(folds, None)


def main_entries(entries: Sequence[Entry], name: str = "") -> list[Entry]:
    """Returns the entries of this checkpoint on clean recordings with all of its training folds.

    Other systems, scores under noise and the points of a label-efficiency curve with fewer folds are left out.

    Args:
        entries: Entries of `results.json`.
        name: Name of the checkpoint. Where no entry has it (a run that is published under another name), that of the
            first entry counts.
    """
    names = [entry["checkpoint"] for entry in entries]
    own = name if name in names else next(iter(names), "")
    clean = [entry for entry in entries if entry["checkpoint"] == own and not entry.get("noise_level")]
    return [entry for entry in clean if not any(_is_point_below(entry, other) for other in clean)]


def _is_point_below(entry: Entry, other: Entry) -> bool:
    """Whether two entries are of one system and the other was trained on these folds and more."""
    alike = all(
        entry.get(field) == other.get(field)
        for field in ("mode", "initialization", "corpus", "labels", "metric", "train_fraction", "evaluate_folds")
    )
    return alike and set(entry["train_folds"]) < set(other["train_folds"])


def checkpoint_entries(entries: Sequence[Entry], name: str = "") -> list[Entry]:
    """Returns the main entries that evaluate the published weights themselves.

    Of a pretrained checkpoint all that start from it; entries from new weights are its baseline. Of a supervised one,
    those of the first entry's training: other label sets and seeds are other models.

    Args:
        entries: Entries of `results.json`.
        name: As for `main_entries`.
    """
    main = main_entries(entries, name)
    pretrained = [entry for entry in main if entry["initialization"] != "random"]
    if pretrained or not main:
        return pretrained
    fields = ("mode", "corpus", "corpus_version", "labels", "label_codes", "sampling_rate", "train_folds", "seed")
    return [entry for entry in main if all(entry.get(field) == main[0].get(field) for field in fields)]


def distinct_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Leaves out entries that repeat an earlier one because leaving out rare labels left none out."""
    fields = [*(name for name in SETTING_FIELDS if name != "min_positives"), "initialization", "metric", "num_labels"]
    fields += ["evaluate_folds", "value"]
    kept: dict[str, Entry] = {}
    for entry in entries:
        kept.setdefault(json.dumps([entry.get(field) for field in fields]), entry)
    return list(kept.values())


def varying_fields(entries: Sequence[Entry]) -> list[str]:
    """Returns the settings by which these entries differ; labels, mode and corpus are named anyway."""
    return [
        field
        for field in SETTING_FIELDS
        if field not in NAMED_FIELDS and len({json.dumps(entry.get(field)) for entry in entries}) > 1
    ]


def setting_text(entry: Entry, entries: Sequence[Entry]) -> str:
    """Returns the mode of an entry and what distinguishes it from others of its label set: `"fine-tuned, seed 1"`.

    Args:
        entry: An entry of `results.json`.
        entries: Those that are shown with it.
    """
    parts = [mode_title(entry["mode"])]
    alike = [other for other in entries if other["labels"] == entry["labels"]]
    amounts = {json.dumps([other["train_folds"], other.get("train_fraction")]) for other in alike}
    by_amount = len(amounts) > 1 and entry.get("train_records")
    if by_amount:
        parts.append(f"{entry['train_records']:,} labeled records")
    for field in varying_fields(alike):
        if entry.get(field) is not None and not (by_amount and field == "train_fraction"):
            parts.append(field_text(field, entry[field]))
    return ", ".join(parts)


def _dataset(name: str) -> tuple[str, str]:
    """Id and name of a corpus in `model-index`: no corpus of ours has an id on the Hub, so PhysioNet's is given."""
    if name not in CORPORA:
        return name, name
    definition = corpus_definition(name)
    return definition.physionet.slug if definition.physionet else name, definition.title


def _task(entry: Entry) -> tuple[str, str]:
    """Task of the Hub, and its name."""
    if entry["labels"] == PATIENTS:
        return "other", "patient identification"
    if entry["mode"] == MODE:
        return "other", "detection of abnormal beats"
    return "audio-classification", "ECG classification"


def _hub_type(metric: str) -> str:
    """Name in the Hub's register of metrics."""
    if metric in METRIC_TITLES:
        return "roc_auc"
    return (METRICS[metric].hub_type if metric in METRICS else None) or metric


def _metric_name(metric: str) -> str:
    return METRIC_TITLES.get(metric) or metric_title(metric)


def evaluation_results(entries: Sequence[Entry], name: str = "") -> list[EvalResult]:
    """Returns the scores of the published weights in the form of the card's `model-index`, each once and rounded.

    Args:
        entries: Entries of `results.json`.
        name: As for `main_entries`.
    """
    found = distinct_entries(checkpoint_entries(entries, name))
    results = []
    for entry in found:
        details = {field: entry[field] for field in DETAIL_FIELDS if entry.get(field) is not None}
        details |= {bound: round(entry[bound], DIGITS) for bound in ("low", "high")}
        if difference := entry.get("difference"):
            numbers = {key: round(difference[key], DIGITS) for key in ("value", "low", "high")}
            details["paired_difference"] = {"against": difference["against"]} | numbers
        least = entry.get("min_positives") or 1
        dataset_type, dataset_name = _dataset(str(entry["corpus"]))
        rare = f", labels with {least} positives or more" if least > 1 else ""
        split = f", {entry['split']}" if entry.get("split") else ""
        task_type, task_name = _task(entry)
        results.append(
            EvalResult(
                task_type=task_type,
                task_name=task_name,
                dataset_type=dataset_type,
                dataset_name=dataset_name,
                dataset_config=f"{entry['labels']}{split}",
                dataset_split=find_fold_role(entry),
                dataset_revision=str(entry["corpus_version"]),
                metric_type=_hub_type(entry["metric"]),
                metric_name=f"{_metric_name(entry['metric'])}, {setting_text(entry, found)}{rare}",
                metric_value=round(entry["value"], DIGITS),
                metric_args=details,
            )
        )
    return results
