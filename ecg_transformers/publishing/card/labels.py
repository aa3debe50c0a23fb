"""Notes on single labels and thresholds for the card of a classifier."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...metrics.table import metric_title
from ...metrics.thresholds import MIN_POSITIVES
from .results import checkpoint_entries

__all__ = ["label_lines", "label_notes", "load_label_scores", "threshold_limits", "threshold_notes"]

Entry = Mapping[str, Any]

# The scores of labels with fewer positives are based on very few recordings.
FEW_POSITIVES = 10
# How many of the worst labels are named.
NUM_WORST = 5
COLUMNS = (
    "auroc", "average_precision", "threshold", "threshold_positives", "predicted", "precision", "recall", "f1",
)  # fmt: skip
# Between the macro mean of the table and that of the results: four decimals, and weights rounded to bfloat16.
TOLERANCE = 2e-3


def load_label_scores(path: str | Path) -> list[dict[str, Any]]:
    """Reads `labels.csv`, the scores of a classifier per label.

    Args:
        path: The file that a fine-tuning writes next to its `results.json`.

    Returns:
        One dictionary per label: `code` (str), `positives` (int), and those of the other columns of a fine-tuning that
        are in the file (float; None where it cannot be computed).

    Raises:
        CheckpointError: If the file is no such table.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {"code": row["code"], "positives": int(row["positives"])}
            | {name: float(row[name]) if row[name] else None for name in COLUMNS if name in row}
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path} is no table of labels ({error}); expected code, positives, auroc ... as training/finetune.py "
            "writes it."
        ) from error


def label_notes(
    scores: Sequence[Entry], labels: Sequence[tuple[str, str]], results: Sequence[Entry], name: str = ""
) -> str:
    """Names the labels with the lowest AUROC, and how many are too rare for a reliable score; empty without scores.

    Args:
        scores: As `load_label_scores` returns them.
        labels: Codes and names of the outputs, in order.
        results: Entries of `results.json`; their macro AUROC must be the mean of this table.
        name: Name of the checkpoint.

    Raises:
        CheckpointError: If the scores are of other labels, or of another evaluation than the results.
    """
    if not scores:
        return ""
    if [row["code"] for row in scores] != [code for code, _ in labels]:
        raise CheckpointError(
            f"labels.csv has {len(scores)} labels, the checkpoint {len(labels)}; expected the same in the same order. "
            "Take the file of the run that made the checkpoint."
        )
    _check_mean(scores, _whole_entry(results, name))
    names = dict(labels)
    frequent = [row for row in scores if row["positives"] >= FEW_POSITIVES and row.get("auroc") is not None]
    worst = sorted(frequent, key=lambda row: row["auroc"])[:NUM_WORST]
    rare = sum(row["positives"] < FEW_POSITIVES for row in scores)
    parts = []
    if worst:
        listed = ", ".join(f"{_full_name(row['code'], names)} {row['auroc']:.3f}" for row in worst)
        parts.append(f"Lowest AUROC of the {len(frequent)} labels with {FEW_POSITIVES} positives or more: {listed}.")
    if rare:
        parts.append(f"The scores of the other {rare} labels are based on very few recordings and are unreliable.")
    return " ".join(parts)


def threshold_notes(results: Sequence[Entry], name: str = "") -> str:
    """How the epoch and the thresholds were chosen, and which scores depend on that; empty without that information.

    Args:
        results: Entries of `results.json`.
        name: Name of the checkpoint.
    """
    entry = _whole_entry(results, name)
    if entry is None or not entry.get("selection"):
        return ""
    selection = str(entry["selection"])
    if not selection.startswith("nothing is chosen"):
        text = f"Epoch and thresholds (one per label) were chosen on {selection}."
    elif "reported" in selection:
        text = (
            "The last epoch is published. The thresholds were fitted on the reported records; precision, recall and F1 "
            "are out of fold: each fifth of these records, by patient, is judged by thresholds of the other four."
        )
    else:
        text = f"The last epoch is published: {selection}."
    count = entry.get("labels_with_threshold")
    others = {"macro_average_precision": ""}
    # Of entries without a count, thresholds were fitted on the records that judged them, and on single positives.
    others |= {} if count is None else {"macro_f1": f" at the thresholds of {count} labels"}
    found = [f"{metric_title(field)}{how} {entry[field]:.3f}" for field, how in others.items() if field in entry]
    return text + (f" On the same records, without interval: {', '.join(found)}." if found else "")


def threshold_limits(labels: Sequence[tuple[str, str]], thresholds: Sequence[float | None] | None) -> str:
    """Which labels have no threshold, and how to fit thresholds on other recordings; empty without thresholds.

    Args:
        labels: Codes and names of the outputs, in order.
        thresholds: Those of the config.
    """
    if thresholds is None:
        return ""
    without = [code for (code, _), cut in zip(labels, thresholds, strict=True) if cut is None]
    text = "Prevalence differs between populations, and so must thresholds: `training/score.py --fit_thresholds` fits "
    text += "them on your own labeled recordings."
    if not without:
        return text
    return (
        f"{len(without)} of the {len(labels)} labels have no threshold, because fewer than {MIN_POSITIVES} positives "
        f"were there to fit one: `positive` is `None` for {', '.join(without)}. {text}"
    )


def label_lines(scores: Sequence[Entry], labels: Sequence[tuple[str, str]]) -> str:
    """A Markdown list of the labels: code, name, threshold with the positives it was fitted on, precision and recall.

    Args:
        scores: As `load_label_scores` returns them.
        labels: Codes and names of the outputs, in order.
    """
    return "\n".join(
        f"- {_full_name(code, {code: name})}: {_threshold_text(row)}"
        for (code, name), row in zip(labels, scores, strict=True)
    )


def _threshold_text(row: Entry) -> str:
    count = int(row.get("threshold_positives") or row["positives"])
    fitted = f"{count:,} positive{'' if count == 1 else 's'}"
    if row.get("threshold") is None:
        return f"no threshold, {fitted}"
    judged = [f"{name} {row[name]:.2f}" for name in ("precision", "recall") if row.get(name) is not None]
    return ", ".join([f"threshold {row['threshold']:.3f}", fitted, *judged])


def _whole_entry(results: Sequence[Entry], name: str) -> Entry | None:
    """The checkpoint's score over all of its labels."""
    entries = checkpoint_entries(results, name)
    return next((entry for entry in entries if (entry.get("min_positives") or 1) == 1), None)


def _check_mean(scores: Sequence[Entry], entry: Entry | None) -> None:
    values = [row["auroc"] for row in scores if row.get("auroc") is not None]
    if entry is None or entry["metric"] != "macro_auroc" or not values:
        return
    mean = math.fsum(values) / len(values)
    if abs(mean - entry["value"]) > TOLERANCE:
        raise CheckpointError(
            f"The AUROC of labels.csv have the mean {mean:.4f}, results.json has {entry['value']:.4f}; expected one "
            "evaluation. Take both files of the same run."
        )


def _full_name(code: str, names: Mapping[str, str]) -> str:
    return code if names[code] == code else f"{code} ({names[code]})"
