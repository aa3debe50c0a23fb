"""A table of labels: one row per record; its columns determine the kind of task.

Columns: `record` (path below the folder of recordings; `.hea` may be left out), optionally `patient`, `fold`,
`age` and `sex`, and then label columns. The file is delimited text as Excel, pandas and R write it.

| label columns | task |
| --- | --- |
| one column of names or of whole numbers (codes of classes) | single-label |
| columns of 0 and 1, true and false, or yes and no (ja, nein) | multi-label |
| one column of joined names ("AFIB;PVC"), if `task` says so | multi-label |
| numbers with decimals, of which most occur once | regression |

Whatever else the cells may mean is asked for (`task`), and a cell that does not fit the task is an error with its row.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from ..errors import CorpusError, RecordFileError
from ..signals.formats.numeric_text import SHEET_ERRORS, NumberReader
from ..signals.formats.text_cells import Cells, read_cells
from .definition import LabelSet
from .labels import read_table

__all__ = ["TASKS", "LabelTable", "TableRow", "Task", "read_label_table", "read_table_cells"]

Task = Literal["single_label", "multi_label", "regression"]
TASKS: tuple[Task, ...] = ("single_label", "multi_label", "regression")

_FACTS = ("record", "patient", "fold", "age", "sex")
# What other tables call these columns.
_SYNONYMS = {
    **dict.fromkeys(("file", "filename", "file_name", "path", "filepath", "ecg_id", "record_id"), "record"),
    **dict.fromkeys(("patient_id", "patientid", "subject", "subject_id"), "patient"),
    "gender": "sex",
}
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "": None, "unknown": None}
_MISSING = {"nan", "na", "n/a", "null", "none", "<na>"} | SHEET_ERRORS
# "y" and "n" are codes of beats and rhythms.
_MARKS = {
    **dict.fromkeys(("0", "0.0", "false", "no", "nein"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes", "ja"), True),
}
# What a spreadsheet writes below its last row.
_FOOTERS = {
    "total",
    "grand total",
    "totals",
    "sum",
    "summe",
    "gesamt",
    "insgesamt",
    "count",
    "anzahl",
    "mean",
    "average",
}
_WHOLE = re.compile(r"[-+]?\d+(\.0+)?")
# How a spreadsheet writes a number that is too long for its cell.
_ROUNDED = re.compile(r"[-+]?\d([.,]\d+)?E\+\d+")
# Between names in one cell, also where no cell has "|" or ";", and around them.
_JOINED, _JOINED_LOOSELY = re.compile(r"\s*[|;+&]\s*"), re.compile(r"\s*[|;+&,/]\s*")
_BRACKETS = re.compile(r"[\[({](.*)[\])}]")
# A list or mapping as Python and JSON write it.
_LISTED = re.compile(r"[\[{].*[\]}]")
# "AFIB # checked"; blanks, hyphens and underscores between the words of a name.
_COMMENTED, _BETWEEN_WORDS = re.compile(r"\s+(#|//).*"), re.compile(r"(?<=\w)[\s_-]+(?=\w)")
# Codes such as those of SNOMED CT: no half of a decimal number has as many digits.
_LONG_CODE = re.compile(r"\d{5,}")
_CURE = "Write thousands without a mark, or whole numbers with a decimal as in 75{mark}0."
# With more classes, most of them must occur twice: free text is no class.
_MAX_RARE_NAMES = 20
# No class in more rows than these occurs once only.
_MAX_SINGLE_NAMES = 4
# Rows that do not fit are listed up to this number.
_MAX_LISTED = 5


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
        reason: what in the table decides which task it is.
    """

    path: Path
    rows: tuple[TableRow, ...]
    label_set: LabelSet | None
    has_patients: bool
    reason: str = ""

    @property
    def because(self) -> str:
        """The kind of task and what in the table decided it."""
        kind = "none" if self.label_set is None else self.label_set.problem_type.removesuffix("_classification")
        return f"{kind}: {self.reason or 'no label columns'}"

    @property
    def _without_label(self) -> list[str]:
        """Records that can neither train nor be reported; where there are several labels, none is an answer too."""
        if self.label_set is None or self.label_set.problem_type.startswith("multi"):
            return []
        return [row.record for row in self.rows if not row.labels and not np.isfinite(row.targets or ()).any()]

    def describe(self) -> str:
        """The kind of task and the counts in one line.

        Example: `multi-label, 2 in the order of the columns (AFIB 112, SR 640); 803 records, 611 patients`.
        """
        patients = (
            f", {len({row.patient_id for row in self.rows})} patients" if self.has_patients else ", patients not known"
        )
        tail = f"{len(self.rows)} records{patients}"
        if self.label_set is None:
            return f"no labels; {tail}"
        if bare := self._without_label:
            more = ", ..." if len(bare) > _MAX_LISTED else ""
            tail += f", {len(bare)} of them without a label ({', '.join(bare[:_MAX_LISTED])}{more})"
        codes = self.label_set.codes
        if self.label_set.problem_type == "regression":
            return f"regression, {len(codes)} ({', '.join(codes)}); {tail}"
        counts = ", ".join(f"{code} {sum(code in row.labels for row in self.rows)}" for code in codes)
        kind = "single-label" if self.label_set.problem_type.startswith("single") else "multi-label"
        order = "in sorted order" if kind == "single-label" else "in the order of the columns"
        return f"{kind}, {len(codes)} {order} ({counts}); {tail}"


def read_table_cells(path: str | Path) -> Cells:
    """The cells of a table of labels as text, whatever its encoding and delimiter.

    Raises:
        CorpusError: there is no such file, or it is no table; the message names the row.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CorpusError(f"there is no table {path}; expected a CSV with a column 'record' and label columns.")
    with path.open("rb") as file:
        start = file.read(4)
    if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise CorpusError(f"{path} is an Excel workbook; expected text. Save the sheet as CSV.")
    try:
        return read_cells(path)
    except RecordFileError as error:
        raise CorpusError(str(error)) from None


def read_label_table(path: str | Path, *, task: Task | None = None) -> LabelTable:
    """Reads a table of labels and determines the kind of task.

    Args:
        path: delimited text.
        task: `"single_label"`, `"multi_label"` or `"regression"`; None: inferred from the cells.

    Raises:
        CorpusError: the file is no such table, cells do not fit the task, or the task is not clear; the message names
            column and rows.
    """
    path = Path(path).expanduser()
    columns, numbered, _ = read_table_cells(path)
    facts = {name: name.casefold() for name in columns if name.casefold() in _FACTS}
    if "record" not in facts.values():
        near = [name for name in columns if _SYNONYMS.get(name.casefold()) == "record"]
        near = near or get_close_matches("record", [name.casefold() for name in columns], n=1)
        hint = f" Rename {near[0]!r} to 'record'." if near else ""
        raise CorpusError(f"{path} has the columns {', '.join(columns) or 'none'}; expected one named 'record'.{hint}")
    if len(set(facts.values())) != len(facts):
        raise CorpusError(f"{path} has two columns of the same meaning among {', '.join(facts)}; expected one of each.")
    if not numbered:
        raise CorpusError(f"{path} has a header and no rows; expected one row per record.")
    cells = {
        name: _Cells(path, name, [(number, _present(row[k])) for number, row in numbered])
        for k, name in enumerate(columns)
    }
    by_fact = {fact: cells[name] for name, fact in facts.items()}
    empty = _Cells(path, "", [(number, "") for number, _ in numbered])
    records = _records(by_fact["record"])
    label_set, labels, targets, reason = _labels([cells[name] for name in columns if name not in facts], task, empty)
    patients = _patients(by_fact.get("patient", empty))
    folds = [int(fold) if fold is not None else -1 for fold in by_fact.get("fold", empty).numbers(whole=True)]
    ages, sexes = (
        by_fact.get("age", empty).numbers(),
        by_fact.get("sex", empty).known(_SEXES, "male, female or nothing"),
    )
    parsed = tuple(
        TableRow(*values) for values in zip(records, patients, folds, ages, sexes, labels, targets, strict=True)
    )
    return LabelTable(path, parsed, label_set, "patient" in by_fact, reason)


def _present(cell: str) -> str:
    return "" if cell.casefold() in _MISSING else cell


@dataclass(frozen=True)
class _Cells:
    """One column: the number of each row and its cell, "" where there is none."""

    path: Path
    name: str
    rows: list[tuple[int, str]]

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.rows]

    @property
    def filled(self) -> list[str]:
        return [text for text in self.texts if text]

    @property
    def are_numbers(self) -> bool:
        """Whether a regression could take every cell."""
        return all(_value(text) is not None for text in self.filled)

    def refuse(self, unfit: Callable[[str], bool], expected: str) -> None:
        """Raises if a cell does not fit, with the first rows that do not."""
        found = [(number, text) for number, text in self.rows if unfit(text)]
        if found:
            describe = _fact_text if self.name.casefold() in _FACTS else _cell_text
            listed = "; ".join(describe(number, self.name, text) for number, text in found[:_MAX_LISTED])
            more = f" and {len(found) - _MAX_LISTED} more rows" if len(found) > _MAX_LISTED else ""
            raise CorpusError(f"{self.path}, {listed}{more}; expected {expected}.")

    def numbers(self, *, whole: bool = False) -> list[float | None]:
        """The cells as numbers, None where they are empty."""
        kind = "a whole number" if whole else "a number"
        self.refuse(lambda text: bool(text) and (_value(text) is None or (whole and not _WHOLE.fullmatch(text))), kind)
        try:
            reader = NumberReader(str(self.path), cure=_CURE)
            values = [reader(text, 0, number) for number, text in self.rows]
            if decimal := reader.settle():
                reader = NumberReader(str(self.path), decimal)
                values = [reader(text, 0, number) for number, text in self.rows]
        except RecordFileError as error:
            raise CorpusError(f"column {self.name!r} of {error}") from None
        return [None if math.isnan(value) else value for value in values]

    def known(self, codes: dict[str, str | None], expected: str) -> list[str | None]:
        """The meaning of each cell, by its text without case."""
        self.refuse(lambda text: text.casefold() not in codes, expected)
        return [codes[text.casefold()] for text in self.texts]

    def refuse_rounded(self, otherwise: str = "") -> None:
        """Raises if a cell is a number that a spreadsheet has rounded ("1.65E+08")."""
        cure = f"Format the column as text before saving{otherwise}"
        self.refuse(
            lambda text: bool(_ROUNDED.fullmatch(text)),
            f"a name or number in full: a spreadsheet has rounded it. {cure}",
        )

    def names(self) -> list[tuple[str, ...]]:
        """The names that each cell joins, as in "AFIB;PVC" or "['AFIB', 'PVC']"."""
        marks = _JOINED if any(mark in text for mark in "|;" for text in self.filled) else _JOINED_LOOSELY
        alone = set(self.filled)
        return [_joined_names(text, marks, alone) for text in self.texts]

    def ids(self) -> list[str]:
        """The cells as text; a whole number that pandas wrote as "7.0" is "7".

        Raises:
            CorpusError: a cell is a number that a spreadsheet has rounded ("1.65E+08").
        """
        self.refuse_rounded()
        if all(_WHOLE.fullmatch(text) for text in self.filled):
            return [text.partition(".")[0] for text in self.texts]
        return self.texts


def _joined_names(text: str, marks: re.Pattern[str], alone: set[str]) -> tuple[str, ...]:
    """The names in a cell; blanks are between them if each is a cell of its own, or a long code."""
    inner = _BRACKETS.fullmatch(text)
    parts = inner[1].split(",") if inner else marks.split(text)
    if text.startswith("{"):
        parts = [part.partition(":")[0] for part in parts]  # the likelihoods of PTB-XL's codes
    words = text.split()
    if len(parts) == 1 and not inner and (alone.issuperset(words) or all(map(_LONG_CODE.fullmatch, words))):
        parts = words
    return tuple(dict.fromkeys(part.strip(" '\"") for part in parts if part.strip(" '\"")))


def _cell_text(number: int, column: str, text: str) -> str:
    return f"row {number}: column {column!r} {f'holds {text!r}' if text else 'is empty'}"


def _fact_text(number: int, column: str, text: str) -> str:
    return f"row {number}: {column} is {text!r}"


@lru_cache(4096)
def _value(text: str) -> float | None:
    """A finite number in any style, or None."""
    try:
        value = NumberReader("")(text, 0, 0)
    except ValueError:
        return None
    return value if math.isfinite(value) and ":" not in text else None


def _records(column: _Cells) -> list[str]:
    """Paths of the records, each once, below the folder."""
    records = [text.replace("\\", "/") for text in column.ids()]
    number, last = column.rows[-1][0], records[-1]
    if last.casefold().strip(" :.") in _FOOTERS:
        raise CorpusError(
            f"{column.path}, row {number}: {last!r} is the footer of a table, no recording. Delete the row."
        )
    first: dict[str, tuple[int, str]] = {}
    for (number, _), record in zip(column.rows, records, strict=True):
        where = f"{column.path}, row {number}"
        if not record:
            raise CorpusError(f"{where}: 'record' is empty; expected a path.")
        if Path(record).is_absolute() or ".." in PurePosixPath(record).parts:
            raise CorpusError(f"{where}: {record} leaves the folder; expected a path below --source.")
        # The same record with and without its suffix, or in another letter case.
        key = PurePosixPath(record).as_posix().removesuffix(".hea").casefold()
        other = first.setdefault(key, (number, record))
        if other[0] != number:
            written = "" if other[1] == record else f" (as {other[1]} and {record})"
            raise CorpusError(f"{column.path}: record {record} is in the rows {other[0]} and {number}{written}.")
    return records


def _labels(
    columns: list[_Cells], task: Task | None, empty: _Cells
) -> tuple[LabelSet | None, list[tuple[str, ...]], list[tuple[float, ...] | None], str]:
    """The label set, the labels of each row and, for a regression, its numbers; and the reason for the task."""
    no_labels: list[tuple[str, ...]] = [()] * len(empty.rows)
    no_targets: list[tuple[float, ...] | None] = [None] * len(empty.rows)
    if not columns:
        return None, no_labels, no_targets, ""
    if task is not None and task not in TASKS:
        raise CorpusError(f"the task is {task!r}; expected one of {', '.join(TASKS)}.")
    _refuse_other_names(columns, empty.path)
    task, reason = (task, "as set") if task is not None else _find_task(columns)
    names = tuple(column.name for column in columns)
    if task == "multi_label" and len(columns) == 1 and (_kind(columns[0]) == "names" or _first_joined(columns[0])):
        joined = columns[0].names()
        codes = tuple(sorted({name for row in joined for name in row}))
        return LabelSet(codes, _titles(codes), "own"), joined, no_targets, reason
    if task == "multi_label":
        cures = ["task='single_label' for classes"] if len(columns) == 1 else []
        cures += ["task='regression' for quantities"] if all(column.are_numbers for column in columns) else []
        cure = f"; set {', '.join(cures)}" if cures else ""
        for column in columns:
            column.refuse(
                lambda text: text.casefold() not in _MARKS,
                f"0 or 1 in each cell, or yes or no. Correct the cell or leave the row out{cure}",
            )
        flags = zip(*([_MARKS[text.casefold()] for text in column.texts] for column in columns), strict=True)
        labels = [tuple(name for name, flag in zip(names, row, strict=True) if flag) for row in flags]
        return LabelSet(names, names, "own"), labels, no_targets, reason
    if task == "single_label":
        if len(columns) > 1:
            listed = ", ".join(names)
            raise CorpusError(
                f"{columns[0].path} has the label columns {listed}; a single-label task has one. Leave the others out."
            )
        classes = columns[0].ids()
        codes = tuple(sorted(set(classes) - {""}, key=lambda code: (len(code) if code.isdigit() else 0, code)))
        if len(codes) < 2:
            held = f"one class ({codes[0]})" if codes else "no class"
            raise CorpusError(f"{columns[0].path}: column {names[0]!r} holds {held}; expected two or more.")
        labels = [(name,) if name else () for name in classes]
        return (
            LabelSet(codes, _titles(codes), "own", problem_type="single_label_classification"),
            labels,
            no_targets,
            reason,
        )
    values = [column.numbers() for column in columns]
    targets: list[tuple[float, ...] | None] = [
        tuple(math.nan if value is None else value for value in row) for row in zip(*values, strict=True)
    ]
    return LabelSet(names, names, "own", problem_type="regression"), no_labels, targets, reason


def _refuse_other_names(columns: list[_Cells], path: Path) -> None:
    """Raises if a column next to the labels is named as the patient, the sex or the record is in other tables."""
    found = {column.name: _SYNONYMS.get(column.name.casefold()) for column in columns if len(columns) > 1}
    if listed := [f"{name!r} to {fact!r}" for name, fact in found.items() if fact]:
        raise CorpusError(
            f"{path} has the label columns {', '.join(found)}. Rename {', '.join(listed)}, or leave out what is no "
            "label; a label needs another name."
        )


def _titles(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the codes where all are SNOMED CT, else the codes."""
    known = {row["code"]: row["name"] for row in read_table("snomed")}
    return tuple(known[code] for code in codes) if codes and set(codes) <= known.keys() else codes


def _first_joined(column: _Cells) -> tuple[int, str] | None:
    """Row and text of the first cell that joins names that other cells have too, or long codes."""
    joined = dict(zip(column.texts, column.names(), strict=True))
    uses = Counter(name for names in joined.values() for name in names)
    for number, text in column.rows:
        names = joined[text]
        # "0,5" and "0,6" are numbers, unless 0 and 5 are cells of their own.
        known = joined.keys() >= set(names) or (_value(text) is None and all(uses[name] > 1 for name in names))
        if len(names) > 1 and (known or all(map(_LONG_CODE.fullmatch, names))):
            return number, text
        if names and _LISTED.fullmatch(text):
            return number, text
    return None


def _refuse_joined_and_alike(column: _Cells) -> None:
    """Raises if a cell joins names that other cells have too, or if two names differ in their spelling only.

    That is in letter case, in what is between words, in how an accent is stored, or in a comment behind one. Single
    letters may: they are codes of beats.
    """
    where = f"{column.path}, row"
    if found := _first_joined(column):
        number, text = found
        quantities = ", or task='regression' for numbers" if column.are_numbers else ""
        raise CorpusError(
            f"{where} {number}: column {column.name!r} holds {text!r}, names or codes that may be joined. Set "
            f"task='multi_label' to take them apart, task='single_label' to keep each cell as one class{quantities}."
        )
    first: dict[str, str] = {}
    for number, text in column.rows:
        spelling = unicodedata.normalize("NFKC", _BETWEEN_WORDS.sub(" ", _COMMENTED.sub("", text))).casefold()
        other = first.setdefault(spelling, text)
        if other != text and len(text) > 1:
            raise CorpusError(
                f"{where} {number}: column {column.name!r} holds {text!r}, another row {other!r}. Write them alike, or "
                "set task='single_label' to keep two classes."
            )


def _find_task(columns: list[_Cells]) -> tuple[Task, str]:
    """The task that the cells state, and the reason.

    Raises:
        CorpusError: they state none, or some contradict the others.
    """
    path = columns[0].path
    kinds = [_kind(column) for column in columns]
    if len(columns) == 1:
        (column,), (kind,) = columns, kinds
        column.refuse_rounded(", or set task='regression'")
        _refuse_joined_and_alike(column)
        regression = ", or task='regression' for quantities" if column.are_numbers else ""
        distinct = len(set(column.ids() if kind != "decimals" else column.texts) - {""})
        if kind in ("names", "codes"):
            rare = 2 * distinct > len(column.filled) and (kind == "codes" or distinct > _MAX_RARE_NAMES)
            if rare or distinct == len(column.filled) > _MAX_SINGLE_NAMES:
                raise CorpusError(
                    f"{path}: column {column.name!r} has {distinct} different {_KIND_WORDS[kind]} in "
                    f"{len(column.filled)} rows; expected classes that repeat, or quantities. "
                    f"Set task='single_label'{regression}."
                )
            return "single_label", f"{distinct} classes in column {column.name!r} ({_KIND_WORDS[kind]})"
        if kind == "decimals" and 2 * distinct <= len(column.filled):
            raise CorpusError(
                f"{path}: column {column.name!r} has {distinct} different decimals in {len(column.filled)} rows; "
                "expected quantities, of which most occur once. Set task='single_label' for codes such as 427.31"
                f"{regression}."
            )
    if all(kind == "marks" for kind in kinds):
        return "multi_label", f"0 and 1 in {len(columns)} column{'s' if len(columns) > 1 else ''}"
    for column, kind in zip(columns, kinds, strict=True):
        if kind == "names":
            number, text = next((number, text) for number, text in column.rows if text and _value(text) is None)
            raise CorpusError(
                f"{path}, {_cell_text(number, column.name, text)}, next to {len(columns) - 1} other label columns. "
                "Expected one column of names, columns of 0 and 1, or numbers. Each column other than "
                f"{', '.join(_FACTS)} is a label: leave out those that are none."
            )
    if "decimals" in kinds and "marks" not in kinds:
        return "regression", f"numbers with decimals in column {columns[kinds.index('decimals')].name!r}"
    cure = "Set task='regression' for quantities, or leave" if all(one.are_numbers for one in columns) else "Leave"
    listed = ", ".join(f"{column.name!r} ({_KIND_WORDS[kind]})" for column, kind in zip(columns, kinds, strict=True))
    raise CorpusError(
        f"{path} has the label columns {listed}; expected one column of classes, columns of 0 and 1, or columns of "
        f"quantities. {cure} columns out."
    )


_Kind = Literal["marks", "names", "codes", "decimals"]
_KIND_WORDS = {"marks": "0 and 1", "names": "names", "codes": "whole numbers", "decimals": "decimals"}


def _kind(column: _Cells) -> _Kind:
    """What most cells of a column are."""
    filled = column.filled
    if not filled:
        return "marks"
    whole = sum(bool(_WHOLE.fullmatch(text)) for text in filled)
    numbers = sum(_value(text) is not None for text in filled)
    marks = sum(text.casefold() in _MARKS for text in filled)
    others = {text for text in filled if text.casefold() not in _MARKS}
    # Classes are numbered through; a single other value among zeros and ones is a fault.
    classes = {text.partition(".")[0] for text in others if _WHOLE.fullmatch(text) and not text.startswith("-")}
    if 2 * marks >= len(filled) and not (len(classes) == len(others) and "2" in classes):
        return "marks"
    if 2 * numbers < len(filled):
        return "names"
    if whole == numbers == len(filled):
        return "codes"
    return "names" if numbers < len(filled) and whole == numbers else "decimals"


def _patients(column: _Cells) -> list[int]:
    """Integers for patients: their own numbers where all have one, else their rank among the names; -1 unknown."""
    ids = column.ids()
    known = sorted(set(ids) - {""})
    if all(name.isascii() and name.isdigit() and str(int(name)) == name and int(name) < 1 << 62 for name in known):
        numbers = {name: int(name) for name in known}
    else:
        numbers = {name: rank for rank, name in enumerate(known)}
    return [numbers.get(name, -1) for name in ids]
