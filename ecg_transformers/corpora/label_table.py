"""A table of labels: one CSV row per record; its columns determine the kind of task.

Columns: `record` (path below the folder of recordings; `.hea` may be left out), optionally `patient`, `fold`,
`age` and `sex`, and then label columns. One column of names is a single-label task, columns of 0 and 1 are a
multi-label task, numbers are a regression.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import CorpusError
from .definition import LabelSet

__all__ = ["LabelTable", "TableRow", "read_label_table"]

_FACTS = ("record", "patient", "fold", "age", "sex")
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "": None, "unknown": None}


@dataclass(frozen=True)
class TableRow:
    """One record of a table."""

    record: str
    patient_id: int = -1
    fold: int = -1
    age: float | None = None
    sex: str | None = None
    labels: tuple[str, ...] = ()
    targets: tuple[float, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """The facts of the record that the table states."""
        return {key: getattr(self, key) for key in ("patient_id", "fold", "age", "sex", "labels", "targets")}


@dataclass(frozen=True)
class LabelTable:
    """A table of labels.

    Args:
        path: the file.
        rows: its rows in order.
        label_set: the labels, columns in the order of the table or class names sorted; None without label columns.
        has_patients: whether the patients are known.
    """

    path: Path
    rows: tuple[TableRow, ...]
    label_set: LabelSet | None
    has_patients: bool

    def describe(self) -> str:
        """The kind of task and the counts in one line.

        Example: `multi-label, 2 (AFIB 112, SR 640); 803 records, 611 patients`.
        """
        patients = (
            f", {len({row.patient_id for row in self.rows})} patients" if self.has_patients else ", patients not known"
        )
        tail = f"{len(self.rows)} records{patients}"
        if self.label_set is None:
            return f"no labels; {tail}"
        codes = self.label_set.codes
        if self.label_set.problem_type == "regression":
            return f"regression, {len(codes)} ({', '.join(codes)}); {tail}"
        counts = ", ".join(f"{code} {sum(code in row.labels for row in self.rows)}" for code in codes)
        kind = "single-label" if self.label_set.problem_type.startswith("single") else "multi-label"
        order = "in sorted order" if kind == "single-label" else "in the order of the columns"
        return f"{kind}, {len(codes)} {order} ({counts}); {tail}"


def read_label_table(path: str | Path) -> LabelTable:
    """Reads a table of labels and determines the kind of task.

    Raises:
        CorpusError: the file is no such table; the message names column and row.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CorpusError(f"there is no table {path}; expected a CSV with a column 'record' and label columns.")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in reader]
    if "record" not in columns:
        near = get_close_matches("record", [name.casefold() for name in columns], n=1)
        hint = f" Rename {near[0]!r}." if near else ""
        raise CorpusError(f"{path} has the columns {', '.join(columns) or 'none'}; expected one named 'record'.{hint}")
    if len(set(columns)) != len(columns) or "" in columns:
        raise CorpusError(
            f"{path} has columns without a name or of the same name ({', '.join(columns)}); name each once."
        )
    if not rows:
        raise CorpusError(f"{path} has a header and no rows; expected one row per record.")
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        if not row["record"]:
            raise CorpusError(f"{path}, row {number}: 'record' is empty; expected a path.")
        if Path(row["record"]).is_absolute() or ".." in Path(row["record"]).parts:
            raise CorpusError(
                f"{path}, row {number}: {row['record']} leaves the folder; expected a path below --source."
            )
        if first.setdefault(row["record"], number) != number:
            raise CorpusError(f"{path}: record {row['record']} is in the rows {first[row['record']]} and {number}.")
    label_columns = [name for name in columns if name not in _FACTS]
    label_set, labels, targets = _labels(path, rows, label_columns)
    patients = _patients([row.get("patient", "") for row in rows])
    parsed = []
    for number, row in enumerate(rows, start=2):
        sex = row.get("sex", "").casefold()
        if sex not in _SEXES:
            raise CorpusError(f"{path}, row {number}: sex is {row['sex']!r}; expected male, female or nothing.")
        fold = _number(path, number, "fold", row.get("fold", ""), whole=True)
        parsed.append(
            TableRow(
                row["record"],
                patients[number - 2],
                -1 if fold is None else int(fold),
                _number(path, number, "age", row.get("age", "")),
                _SEXES[sex],
                labels[number - 2],
                targets[number - 2],
            )
        )
    return LabelTable(path, tuple(parsed), label_set, "patient" in columns)


def _labels(
    path: Path, rows: Sequence[dict[str, str]], columns: list[str]
) -> tuple[LabelSet | None, list[tuple[str, ...]], list[tuple[float, ...] | None]]:
    """The label set, the labels of each row and, for a regression, its numbers."""
    nothing: list[tuple[str, ...]] = [()] * len(rows)
    if not columns:
        return None, nothing, [None] * len(rows)
    cells = [[row[name] for name in columns] for row in rows]
    values = {cell for row in cells for cell in row}
    if values <= {"0", "1", "0.0", "1.0"}:
        labels = [tuple(name for name, cell in zip(columns, row, strict=True) if float(cell)) for row in cells]
        return LabelSet(tuple(columns), tuple(columns), "own"), labels, [None] * len(rows)
    numeric = {cell for cell in values if _is_number(cell)}
    if len(columns) == 1 and not numeric:
        codes = tuple(sorted(values - {""}))
        labels = [(row[0],) if row[0] else () for row in cells]
        return LabelSet(codes, codes, "own", problem_type="single_label_classification"), labels, [None] * len(rows)
    for number, row in enumerate(cells, start=2):
        for name, cell in zip(columns, row, strict=True):
            if cell and not _is_number(cell):
                raise CorpusError(
                    f"{path}, row {number}: column {name!r} holds {cell!r}, next to {len(columns) - 1} other "
                    f"label columns and {len(numeric)} numbers. Expected one column of names, columns of 0 and 1, or "
                    "numbers."
                )
    targets: list[tuple[float, ...] | None] = [
        tuple(float(cell) if cell else math.nan for cell in row) for row in cells
    ]
    return LabelSet(tuple(columns), tuple(columns), "own", problem_type="regression"), nothing, targets


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(path: Path, number: int, column: str, text: str, *, whole: bool = False) -> float | None:
    """A cell as a number, None where it is empty."""
    if not text:
        return None
    if not _is_number(text) or (whole and float(text) != int(float(text))):
        raise CorpusError(f"{path}, row {number}: {column} is {text!r}; expected a {'whole ' if whole else ''}number.")
    return float(text)


def _patients(names: Sequence[str]) -> list[int]:
    """Integers for patients: their own numbers where all have one, else their rank among the names; -1 unknown."""
    known = sorted(set(names) - {""})
    if all(_is_number(name) and float(name) == int(float(name)) >= 0 for name in known):
        numbers = {name: int(float(name)) for name in known}
    else:
        numbers = {name: index for index, name in enumerate(known)}
    return [numbers.get(name, -1) for name in names]
