"""Delimited text as numbers: detects delimiter, decimal mark, names and units; gaps become NaN."""

import csv
import re
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import RecordFileError
from ..record import OTHER_QUANTITIES
from .text_encoding import decode_head, text_encoding
from .time_column import TIME_UNITS, parse_clock

__all__ = ["Column", "Table", "is_table", "read_numbers"]

_GAPS = {"", "nan", "na", "n/a", "null", "none", "-", "--", "#n/a", "?"}
_VOLTAGES = {"nv", "uv", "\N{MICRO SIGN}v", "\N{GREEK SMALL LETTER MU}v", "mv", "v"}
# "II (mV)", "time [ms]", "V1/uV"; after "_" or a blank only units that are not lead names ("lead V" is a lead).
_NAME_UNIT = re.compile(r"(.*?)\s*(?:[(\[]([^)\]]+)[)\]]|/\s*([munµμ]?[vVs]|sec)|[ _]([munµμ][vVs]|s|sec))")
_CLOCK_UNIT = re.compile(r"(hh:)?mm:ss([.,]m+)?")
# Control characters that do not occur in text.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f]")
# Rows examined for the delimiter.
_SAMPLE_ROWS = 20
# A first row of one name and at least this many numbers is a lead in a row.
_MIN_ROW_SAMPLES = 10


class Column(NamedTuple):
    """Name of a column or row ("" if empty) and its unit as written."""

    name: str
    unit: str | None


class Table(NamedTuple):
    """A table of numbers.

    Attributes:
        values: float64 `(rows, columns)`, NaN where the text has a gap.
        columns: Name and unit of each column, or None without a row of names.
        rows: Name of each row where the first column holds names, or None.
        notes: Notes on the text.
    """

    values: np.ndarray
    columns: list[Column] | None
    rows: list[Column] | None
    notes: list[str]


def is_table(path: Path, head: bytes) -> bool:
    """Whether a file that starts with `head` can be text with rows of numbers (no markup, no EDF)."""
    text = decode_head(head).lstrip()
    return bool(text) and not _CONTROLS.search(text) and not text.startswith(("<", "{", "%PDF", "0       "))


def read_numbers(path: Path) -> Table:
    """Read a table of numbers from delimited text.

    Raises:
        RecordFileError: If the number of fields differs between rows, or a field is not a number.
    """
    try:
        with path.open(encoding=text_encoding(path.read_bytes()), errors="replace", newline="") as file:
            return _parse(file, path)
    except csv.Error as error:
        raise RecordFileError(f"{path} is no delimited text: {error}.") from None


def _parse(file: Iterator[str], path: Path) -> Table:
    lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip() and line.lstrip()[0] != "#")
    sample = [item for _, item in zip(range(_SAMPLE_ROWS), lines, strict=False)]
    if not sample:
        raise RecordFileError(f"{path} has no rows; expected one row of numbers per sample.")
    delimiter = _delimiter([line for _, line in sample])
    rows = _fields(chain(sample, lines), delimiter)
    number, first = next(rows)
    columns: list[Column] | None = None
    row_names: list[Column] | None = None
    words = [not _is_number(field) for field in first]
    rows = chain([(number, first)], rows)
    if words[0] and not any(words[1:]) and len(first) > _MIN_ROW_SAMPLES:
        row_names = []
    elif any(words):
        next(rows)
        columns = [_column(field) for field in first]
        number, second = next(rows, (number, []))
        if any(map(_unit, second)) and not any(_is_number(field) for field in second if field):
            units = second + [""] * (len(first) - len(second))
            columns = [Column(c.name, _unit(unit) or c.unit) for c, unit in zip(columns, units, strict=False)]
        elif second:
            rows = chain([(number, second)], rows)
    values, width, marks = array("d"), len(first), set()
    for number, fields in rows:
        if len(fields) != width:
            # One additional empty field: a trailing delimiter in every row of numbers.
            if len(fields) == width + 1 and not fields[-1] and columns is not None:
                fields.pop()
            else:
                raise RecordFileError(f"{path}, line {number} has {len(fields)} fields; the first row has {width}.")
        if row_names is not None:
            row_names.append(_column(fields[0]))
            fields = fields[1:]
        try:
            values.extend(map(float, fields))
            if "." not in marks and any("." in field for field in fields):
                marks.add(".")
        except ValueError:
            # array.extend keeps the values before the failure.
            del values[len(values) - len(values) % (width - (row_names is not None)) :]
            values.extend(_number(field, marks, columns, index, path, number) for index, field in enumerate(fields))
    width -= row_names is not None
    if not values:
        raise RecordFileError(f"{path} has names and no row of numbers; expected one row per sample.")
    if len(marks) > 1:
        raise RecordFileError(f"{path} has numbers with decimal commas and with points; expected one decimal mark.")
    table = np.frombuffer(values, dtype=np.float64).reshape(-1, width)
    # A trailing delimiter in every row creates an unnamed column of gaps.
    if width > 1 and np.isnan(table[:, -1]).all() and (columns is None or not columns[-1].name):
        table, columns = table[:, :-1], columns and columns[:-1]
    return Table(table, columns, row_names, ["decimal commas"] if "," in marks else [])


def _delimiter(lines: list[str]) -> str | None:
    """The delimiter, None for whitespace, "" for a single column."""
    # The first row decides: the name of a single column has no comma, while "0,12" below it has one.
    for candidate in "\t;|,":
        if candidate in lines[0]:
            return candidate
    return None if all(len(line.split()) > 1 for line in lines) else ""


def _fields(lines: Iterator[tuple[int, str]], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line, stripped of blanks and quotes."""
    for number, line in lines:
        if delimiter:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        else:
            fields = line.split() if delimiter is None else [line]
        yield number, [field.strip(" \t\r\n'\"") for field in fields]


def _is_number(field: str) -> bool:
    if field.casefold() in _GAPS or parse_clock(field) is not None:
        return True
    try:
        float(field.replace(",", ".", 1))
        return True
    except ValueError:
        return False


def _number(field: str, marks: set[str], columns: list[Column] | None, index: int, path: Path, line: int) -> float:
    """Number in a field that `float` may not parse; its decimal mark is added to `marks`."""
    if field.casefold() in _GAPS:
        return np.nan
    try:
        number = float(field if "." in field else field.replace(",", ".", 1))
        marks.update(mark for mark in ",." if mark in field)
        return number
    except ValueError:
        clock = parse_clock(field)
        if clock is None:
            name = columns[index].name[:40] if columns and index < len(columns) else str(index)
            raise RecordFileError(f"{path}, line {line}: {field[:40]!r} in column {name!r} is no number.") from None
        return clock


def _column(field: str) -> Column:
    """Name and unit of a column such as "II (mV)", "time_ms" or "V1"."""
    found = _NAME_UNIT.fullmatch(field)
    unit = found and _unit(next(filter(None, found.groups()[1:]), ""))
    return Column(found[1].strip(), unit) if found and unit else Column(field, None)


def _unit(text: str) -> str | None:
    """Unit of a voltage, time or other known quantity as written; None for other text."""
    bare = text.strip(" ()[]")
    if _CLOCK_UNIT.fullmatch(bare.casefold()):
        return "s"
    return bare if any(bare.casefold() in known for known in (_VOLTAGES, TIME_UNITS, OTHER_QUANTITIES)) else None
