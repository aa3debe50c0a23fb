"""What the card of a classifier says label by label: the figures of `labels.csv`, and where thresholds come from."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import CheckpointError
from .results import checkpoint_entries, find_fold_role, table_row

__all__ = ["label_table", "load_label_figures", "threshold_notes"]

# Labels with fewer positives are named as such: their figures hang on single recordings.
FEW_POSITIVES = 10
# How many of the worst labels are named in words.
NUM_WORST = 5
COLUMNS = {"auroc": "AUROC", "average_precision": "average precision", "f1": "F1", "threshold": "threshold"}
# The macro mean of the table and that of the results: four decimals, and weights rounded to bfloat16 between the two.
TOLERANCE = 2e-3


def load_label_figures(path: str | Path) -> list[dict]:
    """Reads `labels.csv`: per label its code, number of positives, and the figures that were computed.

    Args:
        path: The file that a fine-tuning leaves beside its `results.json`.

    Returns:
        One dictionary per label: `code` (text), `positives` (int), and `auroc`, `average_precision`, `f1`,
        `threshold` (float, None where it cannot be computed), those that are in the file.

    Raises:
        CheckpointError: If the file is no such table.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        figures = [
            {"code": row["code"], "positives": int(row["positives"])}
            | {name: float(row[name]) if row[name] else None for name in COLUMNS if name in row}
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path} is no table of labels ({error}); expected code, positives, auroc ... as training/finetune.py "
            "writes it."
        ) from error
    return figures


def label_table(
    figures: Sequence[Mapping], labels: Sequence[tuple[str, str]], results: Sequence[Mapping], name: str = ""
) -> str:
    """The worst of the labels in words, and all of them in a folded table, most frequent first; empty without figures.

    Args:
        figures: As `load_label_figures` gives them.
        labels: Codes and names of the outputs, in order.
        results: Entries of `results.json`; their macro AUROC must be the mean of this table.
        name: Name of the checkpoint.

    Raises:
        CheckpointError: If the figures are of other labels, or of another evaluation than the results.
    """
    if not figures:
        return ""
    if [row["code"] for row in figures] != [code for code, _ in labels]:
        raise CheckpointError(
            f"labels.csv has {len(figures)} labels, the checkpoint {len(labels)}; expected the same in the same order. "
            "Take the file of the run that made the checkpoint."
        )
    entry = _whole_entry(results, name)
    _check_mean(figures, entry)
    names = dict(labels)
    where = "the reported records" if entry is None else _where(entry)
    table = (
        f"<details>\n<summary>All {len(figures)} labels on {where}</summary>\n\n{_rows(figures, names)}\n\n</details>"
    )
    return "\n\n".join(filter(None, [_words(figures, names), table]))


def _words(figures: Sequence[Mapping], names: Mapping[str, str]) -> str:
    """Which labels are worst, and how many are too rare to say."""
    frequent = [row for row in figures if row["positives"] >= FEW_POSITIVES and row.get("auroc") is not None]
    worst = sorted(frequent, key=lambda row: row["auroc"])[:NUM_WORST]
    rare = sum(row["positives"] < FEW_POSITIVES for row in figures)
    parts = []
    if worst:
        listed = ", ".join(f"{_full_name(row['code'], names)} {row['auroc']:.3f}" for row in worst)
        parts.append(f"Lowest AUROC among the {len(frequent)} labels with {FEW_POSITIVES} positives or more: {listed}.")
    if rare:
        parts.append(
            f"The {rare} labels with fewer positives are marked *: their figures hang on single recordings and say "
            "little."
        )
    return " ".join(parts)


def _rows(figures: Sequence[Mapping], names: Mapping[str, str]) -> str:
    columns = [column for column in COLUMNS if any(column in row for row in figures)]
    lines = [table_row(["label", "name", "positives", *(COLUMNS[column] for column in columns)])]
    lines.append(table_row(["---"] * (3 + len(columns))))
    for row in sorted(figures, key=lambda row: -row["positives"]):
        code, full = row["code"], names[row["code"]]
        cells = [code if row["positives"] >= FEW_POSITIVES else f"{code} *", full if full != code else ""]
        cells += [f"{row['positives']:,}", *(_number(column, row.get(column)) for column in columns)]
        lines.append(table_row(cells))
    return "\n".join(lines)


def _number(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    # Thresholds of rare labels are small.
    return f"{value:.2g}" if column == "threshold" else f"{value:.3f}"


def threshold_notes(results: Sequence[Mapping], name: str = "") -> str:
    """How the epoch and the thresholds were chosen, and what that means for the figures that need thresholds.

    Args:
        results: Entries of `results.json`.
        name: Name of the checkpoint.

    Returns:
        A paragraph, or nothing where no entry says it.
    """
    entry = _whole_entry(results, name)
    if entry is None or not entry.get("selection"):
        return ""
    selection = str(entry["selection"])
    reported = "reported" in selection
    if not selection.startswith("nothing is chosen"):
        text = f"The epoch and one threshold per label were chosen on {selection}."
    elif reported:
        text = "The last epoch is kept. Nothing was chosen on the reported records but one threshold per label."
    else:
        text = f"The last epoch is kept: {selection}."
    others = [
        f"macro {words} {entry[field]:.3f}"
        for field, words in (
            ("macro_average_precision", "average precision"),
            ("macro_f1", "F1 at the saved thresholds"),
        )
        if isinstance(entry.get(field), int | float)
    ]
    if others:
        text += f" On the same records, without interval: {', '.join(others)}."
    if reported:
        text += (
            " AUROC and average precision need no threshold. **F1 and every other figure that needs one is optimiztic "
            "here**, because the thresholds were fitted on the records that are reported; fit them again on your own "
            "recordings before you count decisions."
        )
    return text


def _whole_entry(results: Sequence[Mapping], name: str) -> Mapping | None:
    """The checkpoint's figure over all of its labels."""
    entries = checkpoint_entries(results, name)
    return next((entry for entry in entries if (entry.get("min_positives") or 1) == 1), None)


def _check_mean(figures: Sequence[Mapping], entry: Mapping | None) -> None:
    values = [row["auroc"] for row in figures if row.get("auroc") is not None]
    if entry is None or entry["metric"] != "macro_auroc" or not values:
        return
    mean = math.fsum(values) / len(values)
    if abs(mean - entry["value"]) > TOLERANCE:
        raise CheckpointError(
            f"The AUROC of labels.csv have the mean {mean:.4f}, results.json has {entry['value']:.4f}; expected one "
            "evaluation. Take both files of the same run."
        )


def _where(entry: Mapping) -> str:
    role, folds = find_fold_role(entry), ", ".join(map(str, entry["evaluate_folds"]))
    return f"the {role} fold {folds} of {entry['corpus']}" if role in ("validation", "test") else role


def _full_name(code: str, names: Mapping[str, str]) -> str:
    return code if names[code] == code else f"{code} ({names[code]})"
