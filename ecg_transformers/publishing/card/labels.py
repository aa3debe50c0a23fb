"""Notes on single labels and thresholds for the card of a classifier."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .results import checkpoint_entries

__all__ = ["label_notes", "load_label_scores", "threshold_notes"]

Entry = Mapping[str, Any]

# The scores of labels with fewer positives are based on very few recordings.
FEW_POSITIVES = 10
# How many of the worst labels are named.
NUM_WORST = 5
COLUMNS = ("auroc", "average_precision", "f1", "threshold")
# Between the macro mean of the table and that of the results: four decimals, and weights rounded to bfloat16.
TOLERANCE = 2e-3


def load_label_scores(path: str | Path) -> list[dict[str, Any]]:
    """Reads `labels.csv`, the scores of a classifier per label.

    Args:
        path: The file that a fine-tuning writes next to its `results.json`.

    Returns:
        One dictionary per label: `code` (str), `positives` (int), and those of `auroc`, `average_precision`, `f1` and
        `threshold` that are in the file (float; None where it cannot be computed).

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
    reported = "reported" in selection
    if not selection.startswith("nothing is chosen"):
        text = f"Epoch and thresholds (one per label) were chosen on {selection}."
    elif reported:
        text = "The last epoch is published. One threshold per label was fitted on the reported records."
    else:
        text = f"The last epoch is published: {selection}."
    others = [
        f"macro {words} {entry[field]:.3f}"
        for field, words in (("macro_average_precision", "average precision"), ("macro_f1", "F1 at the thresholds"))
        if isinstance(entry.get(field), int | float)
    ]
    if others:
        text += f" On the same records, without interval: {', '.join(others)}."
    if reported:
        text += (
            " **F1 and every other score that needs a threshold is optimistic here**: fit the thresholds on your own "
            "recordings."
        )
    return text


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
