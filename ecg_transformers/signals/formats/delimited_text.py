"""Delimited text with rows of numbers: encoding, delimiter, preamble, names and units."""

import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import RecordFileError
from ..leads import STANDARD_LEADS, canonical_lead
from ..record import OTHER_QUANTITIES, is_unit
from .numeric_text import SHEET_ERRORS, Decimal, NumberReader, is_number, joined_by_commas
from .preamble import VOLTAGES, Facts, find_facts, is_fact
from .text_encoding import decode_head, text_encoding
from .time_column import TIME_UNITS

__all__ = [
    "COMMENT",
    "CONTROLS",
    "INDEX_NAMES",
    "MAX_LEAD_ROWS",
    "SEPARATOR",
    "Column",
    "Table",
    "holds_numbers",
    "is_lead",
    "is_table",
    "read_numbers",
]

# "II (mV)", "time [ms]", "V1/uV"; after "_" or a blank only units that are not lead names ("lead V" is a lead).
_TIME_UNIT = "|".join(TIME_UNITS)
_NAME_UNIT = re.compile(
    rf"(.*?)\s*(?:[(\[]([^)\]]+)[)\]]|/\s*([munµμ]?[vV]|{_TIME_UNIT})|[ _]([munµμ][vV]|{_TIME_UNIT}))"
)
_CLOCK_UNIT = re.compile(r"(hh:)?mm:ss([.,]m+)?")
# Control characters that do not occur in text.
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f]")
# Before a comment; "#N/A" in the first column is a gap.
_SHEET_ERROR = "|".join(map(re.escape, sorted(SHEET_ERRORS)))
COMMENT = re.compile(rf"(?!\s*(?:{_SHEET_ERROR})(?!\w))\s*(#|%|//)", re.IGNORECASE)
# A comment behind the last number of a line; "98 %" before a delimiter is none.
TRAILING_COMMENT = re.compile(
    rf"(?<=[\d.])\s+(?!(?:{_SHEET_ERROR})(?!\w))(?:#|%|//)\s*[^\s,;|].*", re.IGNORECASE | re.DOTALL
)
# Excel's way to state the delimiter, in the first line.
SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# Whitespace (None) before the comma: in "0,12 0,13" the comma is a decimal mark.
_DELIMITERS = ("\t", ";", "|", None, ",")
# Bytes examined for the encoding of a large file, lines for delimiter and preamble, bytes for its kind.
_ENCODING_BYTES, _SAMPLE_ROWS, _HEAD_BYTES = 1 << 20, 400, 4096
# Rows above the numbers that may hold names and units.
_MAX_NAME_ROWS = 3
# A row of one name and at least this many numbers is a lead in a row.
_MIN_ROW_SAMPLES = 10
# A file with more rows than this has no lead per row.
MAX_LEAD_ROWS = 32
# Lines below the numbers that may hold a summary or remark.
_MAX_FOOTER = 20
# Lower-case names of columns that count the rows.
INDEX_NAMES = {"", "index", "unnamed: 0"}
# Keys of columns next to an ECG that hold something else.
_NO_ECG = {"hr", "heartrate", "pulse", "bpm", "spo2", "resp", "respiration", "rr", "temp", "temperature", "battery"}
_NO_ECG |= {"accx", "accy", "accz", "gyrox", "gyroy", "gyroz", "label", "labels", "event", "events", "marker"}
_NO_ECG |= {"annotation", "annotations", "quality", "comment", "comments", "note", "beat", "beats", "rpeak", "rpeaks"}
_NO_ECG |= {"id", "patient", "patientid", "record", "recordid", "subject", "subjectid", "ecgid", "age", "sex", "gender"}


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
        facts: Sampling rate, unit and leads that the lines before the numbers state.
        clocks: Columns that hold clock times.
        first_whole: Whether the first row of numbers has no decimal mark.
        rest_whole: Whether all other rows have none.
        notes: Notes on the text.
    """

    values: np.ndarray
    columns: list[Column] | None
    rows: list[Column] | None
    facts: Facts
    clocks: frozenset[int]
    first_whole: bool
    rest_whole: bool
    notes: list[str]


def is_table(path: Path, head: bytes) -> bool:
    """Whether a file that starts with `head` can be text with rows of numbers (no markup, no EDF)."""
    text = decode_head(head).lstrip()
    return bool(text) and not CONTROLS.search(text) and not text.startswith(("<", "{", "[[", "[{", "%PDF", "0       "))


def holds_numbers(path: Path) -> bool:
    """Whether a text file has rows of numbers, at least ten or of at least ten, unlike prose."""
    with path.open("rb") as file:
        head = file.read(_ENCODING_BYTES)
    if not is_table(path, head[:_HEAD_BYTES]):
        return False
    text = _Text(path, text_encoding(head))
    lines = list(islice(text, _SAMPLE_ROWS))
    if not lines:
        return False
    single_rows = list(_split(lines, ""))
    for rows, body in (_split_sample(lines, text.delimiter)[1:], (single_rows, _find_body(single_rows))):
        if body is not None and max(len(rows) - body.start, body.width - len(body.text)) >= _MIN_ROW_SAMPLES:
            return True
    return False


class _Text:
    """The lines of a file that are neither blank nor comments; comments are kept.

    Args:
        path: File.
        encoding: Its encoding.

    Attributes:
        comments: Comments before the last line that was read, without their mark.
        trailing: Number of lines with a comment behind their numbers.
        delimiter: What the first line states as in `sep=;`, or None.
        line: Number of the last line that was read.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self.path, self.encoding = path, encoding
        self.comments: list[str] = []
        self.trailing = 0
        self.delimiter: str | None = None
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        with self.path.open(encoding=self.encoding, errors="replace", newline="") as file:
            for self.line, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                if found := COMMENT.match(line):
                    self.comments.append(line[found.end() :].strip())
                elif self.line == 1 and (stated := SEPARATOR.fullmatch(line)):
                    self.delimiter = stated[1]
                else:
                    if "#" in line or "%" in line or "//" in line:
                        line, count = TRAILING_COMMENT.subn("", line)
                        self.trailing += count
                    yield line


def read_numbers(path: Path, *, decimal: Decimal | None = None) -> Table:
    """Read a table of numbers from delimited text.

    Args:
        path: File.
        decimal: Decimal mark, `"."` or `","`. Default: by the evidence of the whole file.

    Raises:
        RecordFileError: If the number of fields differs between rows, a field is not a number, or the numbers or their
            delimiter are ambiguous.
    """
    with path.open("rb") as file:
        encoding = text_encoding(file.read(_ENCODING_BYTES))
    try:
        layout = _find_layout(path, encoding, decimal)
        found = _read_body(path, encoding, layout, NumberReader(str(path), decimal))
        if isinstance(found, str):
            found = _read_body(path, encoding, layout, NumberReader(str(path), found))
    except csv.Error as error:
        raise RecordFileError(f"{path} is no delimited text: {error}.") from None
    assert isinstance(found, Table)
    return found


class _Layout(NamedTuple):
    """How the lines of a file are read.

    Attributes:
        delimiter: None for whitespace, "" for a single column.
        start: Number of lines before the first row of numbers.
        columns: Names and units of the columns of numbers, or None.
        text: Columns without numbers.
        row_names: Whether the first column holds the names of rows.
        paired: Whether two fields make a number with a decimal comma.
        facts: What the lines before the numbers state.
        notes: Notes.
    """

    delimiter: str | None
    start: int
    columns: list[Column] | None
    text: frozenset[int]
    row_names: bool
    paired: bool
    facts: Facts
    notes: list[str]


class _Body(NamedTuple):
    """The rows of numbers among lines that were split: first row, number of fields, columns without numbers."""

    start: int
    width: int
    text: frozenset[int]


def _find_layout(path: Path, encoding: str, decimal: Decimal | None) -> _Layout:
    """Delimiter, preamble and names from the first lines."""
    text = _Text(path, encoding)
    numbered = [(text.line, line) for line in islice(text, _SAMPLE_ROWS)]
    if not numbered:
        raise RecordFileError(f"{path} has no rows; expected one row of numbers per sample.")
    lines = [line for _, line in numbered]
    single_rows = list(_split(lines, ""))
    delimiter, rows, body = _split_sample(lines, text.delimiter)
    single = _find_body(single_rows)
    begin = body or single
    facts = find_facts([*text.comments, *lines[: 0 if begin is None else begin.start]])
    # The name of a single column has no comma, while "0,12" below it has one.
    if delimiter == "," and single is not None and (facts.names_one_lead or _is_single_name(lines, single)):
        delimiter, rows, body = "", single_rows, single
    if body is None and single is not None and (single.start == 0 or _is_single_name(lines, single)):
        delimiter, rows, body = "", single_rows, single
    if body is None:
        raise _no_numbers(path, numbered, list(_split(lines, text.delimiter or _likely_delimiter(lines))))
    paired = delimiter == "," and decimal != "." and joined_by_commas(rows[body.start :])
    if paired and decimal is None:
        number, first = numbered[body.start]
        raise RecordFileError(
            f"{path}, line {number}: the commas in {first.strip()[:40]!r} are between numbers, or are decimal "
            "commas, or both. Set decimal=',' for decimal commas, decimal='.' for whole numbers between commas."
        )
    columns = _columns(rows, body, facts, paired=paired)
    row_names = 0 in body.text and _holds_leads_in_rows(rows, body, columns)
    text_columns = set(body.text)
    if columns is not None and not row_names and not paired:
        text_columns |= {k for k, one in enumerate(columns) if _key(one.name) in _NO_ECG and not one.unit}
        if len(text_columns) == body.width:
            text_columns = set(body.text)
    left_out = [k for k in sorted(text_columns) if k or not row_names]
    listed = ", ".join(columns[k].name or str(k) if columns else str(k) for k in left_out)
    notes = [f"left out, no ECG: {listed}"] if left_out else []
    columns = columns and [column for k, column in enumerate(columns) if k not in text_columns]
    return _Layout(delimiter, body.start, columns, frozenset(text_columns), row_names, paired, facts, notes)


def _split(lines: Iterable[str], delimiter: str | None) -> Iterator[list[str]]:
    """Fields of each line, stripped of blanks and quotes."""
    for line in lines:
        if not delimiter:
            fields = line.split() if delimiter is None else [line]
        elif '"' in line:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        else:
            fields = line.split(delimiter)
        yield [field.strip(" \t\r\n'\"") for field in fields]


def _split_sample(lines: Sequence[str], stated: str | None) -> tuple[str | None, list[list[str]], _Body | None]:
    """The delimiter that gives rows of most numbers, without text if possible; the lines split at it; their numbers."""
    found: tuple[str | None, list[list[str]], _Body | None] = ("", [], None)
    best = (False, 1)
    for delimiter in [stated] if stated else _DELIMITERS:
        rows = list(_split(lines, delimiter))
        body = _find_body(rows)
        if body is not None and body.width > 1:
            score = (not body.text, body.width - len(body.text))
            if score > best or found[2] is None:
                found, best = (delimiter, rows, body), score
    return found


def _find_body(rows: Sequence[Sequence[str]]) -> _Body | None:
    """Where the rows of numbers begin; None if there are none.

    The second half of the lines, beyond any preamble, shows how many fields they have and which hold numbers.
    """
    tail = rows[len(rows) // 2 :]
    width = Counter(map(len, tail)).most_common(1)[0][0]
    alike = [row for row in tail if len(row) == width]
    filled = [[row[k] for row in alike if row[k]] for k in range(width)]
    numeric = [k for k, cells in enumerate(filled) if 2 * sum(map(is_number, cells)) >= max(len(cells), 1)]

    def is_row(row: Sequence[str]) -> bool:
        held = len(row) == width and not is_fact(row) and all(is_number(row[k]) for k in numeric)
        return held and any(field.isdigit() for k in numeric for field in row[k])

    start = next((place for place, row in enumerate(rows) if is_row(row)), None)
    if start is None:
        return None
    # A column that is empty in the second half holds numbers unless there is text in it, as of rare events.
    body = [row for row in rows[start:] if len(row) == width]
    text = [k for k in range(width) if k not in numeric or any(not is_number(row[k]) for row in body if not filled[k])]
    return None if text and len(rows) == 1 else _Body(start, width, frozenset(text))


def _is_single_name(lines: Sequence[str], single: _Body) -> bool:
    """Whether the numbers are below a name without delimiter, or below a fact."""
    above = lines[single.start - 1] if single.start else ","
    return not any(mark in above for mark in "\t;|,") or find_facts([above]) != Facts()


def _likely_delimiter(lines: Sequence[str]) -> str:
    return next((delimiter for delimiter in "\t;|," if delimiter in lines[0]), "")


def _columns(rows: Sequence[Sequence[str]], body: _Body, facts: Facts, *, paired: bool) -> list[Column] | None:
    """Names and units of the columns of numbers: what comments state, or the lines directly above the numbers."""
    width = body.width // 2 if paired else body.width
    above = list(rows[max(body.start - _MAX_NAME_ROWS, 0) : body.start])
    units: Sequence[str] = ()
    if above and any(map(_unit, above[-1])) and all(_unit(field) or not field for field in above[-1]):
        units = above.pop()
    # Below the names, a line with the same text in all columns, such as "CAL".
    while len(above) > 1 and len(above[-1]) == len(above[-2]) > 1 and len(set(above[-1])) == 1:
        above.pop()
    if facts.columns:
        names: Sequence[str] = facts.columns
    elif above and not is_fact(above[-1]):
        names = above[-1]
    elif units:
        names = [""] * len(units)
    else:
        return None
    if len(names) == width - 1 and all(row[-1] for row in rows[body.start :] if len(row) == body.width):
        names = ["", *names]  # R writes no name for its column of row names
    # One more or one less: a delimiter at the end of the rows of names, or of the rows of numbers.
    if not width - 1 <= len(names) <= width + 1 or any(names[width:]):
        return None
    named = [_column(field) for field in [*names, ""][:width]]
    found = [Column(c.name, _unit(u) or c.unit) for c, u in zip(named, [*units, *[""] * width], strict=False)]
    return found


def _holds_leads_in_rows(rows: Sequence[Sequence[str]], body: _Body, columns: list[Column] | None) -> bool:
    """Whether the texts of the first column can name leads: few, each once, and no leads named above the columns."""
    names = [row[0] for row in rows[body.start :] if len(row) == body.width]
    few = len(names) == len(set(names)) <= MAX_LEAD_ROWS and body.width > _MIN_ROW_SAMPLES
    return few and not any(is_lead(column.name) for column in columns or ())


def is_lead(name: str) -> bool:
    """Whether a name is one of the twelve standard leads in any spelling."""
    return bool(name) and canonical_lead(name) in STANDARD_LEADS


def _no_numbers(path: Path, numbered: Sequence[tuple[int, str]], rows: Sequence[Sequence[str]]) -> RecordFileError:
    """The error for a text without rows of numbers: the first field that is none, or a width that differs."""
    for (number, _), row in zip(numbered[1:], rows[1:], strict=False):
        if len(row) != len(rows[0]):
            return RecordFileError(f"{path}, line {number} has {len(row)} fields; the first row has {len(rows[0])}.")
        for name, field in zip(rows[0], row, strict=True):
            if not is_number(field):
                return RecordFileError(f"{path}, line {number}: {field[:40]!r} in column {name[:40]!r} is no number.")
    return RecordFileError(f"{path} has names and no row of numbers; expected one row per sample.")


def _read_body(path: Path, encoding: str, layout: _Layout, number: NumberReader) -> Table | Decimal:
    """The numbers, or the style in which they have to be read again."""
    text = _Text(path, encoding)
    values, width, count = array("d"), 0, 0
    row_names: list[Column] = []
    whole = [True, True]  # the first row, and all others
    keep: list[int] = []
    lines = islice(_split(text, layout.delimiter), layout.start, None)
    footer: list[str] = []
    for fields in lines:
        width, line = width or len(fields), text.line
        if len(fields) != width:
            # Numbers alone are a row that was cut off.
            if count and not all(map(is_number, fields)) and (footer := _footer(fields, lines, width)):
                break
            raise RecordFileError(f"{path}, line {line} has {len(fields)} fields; the first row has {width}.")
        if layout.text:
            if layout.row_names:
                row_names.append(_column(fields[0]))
            keep = keep or [k for k in range(width) if k not in layout.text]
            fields = [fields[k] for k in keep]
        if layout.paired:
            fields = [f"{first},{second}" for first, second in zip(fields[0::2], fields[1::2], strict=True)]
        begin = len(values)
        try:
            if number.decimal == ",":
                raise ValueError  # a point separates thousands, which `float` does not know
            values.extend(map(float, fields))
            if not number.point_seen:
                for field in fields:
                    number.note_point(field, line)
        except ValueError:
            del values[begin:]  # array.extend keeps the values before the failure
            if count and not is_number(fields[0]) and (footer := _footer(fields, lines, len(keep) or width)):
                break
            values.extend(_number(field, k, number, layout, path, line) for k, field in enumerate(fields))
        if whole[count > 0] and any(mark in field for field in fields for mark in ".,"):
            whole[count > 0] = False
        count += 1
    again = number.settle()
    if again is not None:
        return again
    table, columns = np.frombuffer(values, dtype=np.float64).reshape(count, -1), layout.columns
    # A trailing delimiter in every row creates an unnamed column of gaps.
    if table.shape[1] > 1 and np.isnan(table[:, -1]).all() and (columns is None or not columns[-1].name):
        table, columns = table[:, :-1], columns and columns[:-1]
    notes = [*layout.notes, *(["decimal commas"] if number.comma_seen or layout.paired else [])]
    if footer:
        notes.append(f"left out below the numbers: {'; '.join(footer)}")
    if text.trailing:
        notes.append(f"comments behind the numbers of {text.trailing} lines left out")
    rows = row_names if layout.row_names else None
    return Table(table, columns, rows, layout.facts, frozenset(number.clocks), whole[0], whole[1], notes)


def _footer(fields: Sequence[str], lines: Iterator[list[str]], width: int) -> list[str]:
    """The texts of a line below the numbers and of all lines after it; none if rows of numbers follow.

    Args:
        fields: Fields of the line.
        lines: The lines after it, which are read.
        width: Fields of a row of numbers.
    """
    if fields[0].lstrip("+-")[:1].isdigit() and len(fields) == width:
        return []  # a number that cannot be read
    found = [fields, *islice(lines, _MAX_FOOTER)]
    if len(found) > _MAX_FOOTER or any(len(row) == width and all(map(is_number, row)) for row in found):
        return []
    return [" ".join(filter(None, row))[:60] for row in found]


def _number(field: str, column: int, number: NumberReader, layout: _Layout, path: Path, line: int) -> float:
    """Number in a field that `float` may not parse."""
    try:
        return number(field, column, line)
    except ValueError:
        name = layout.columns[column].name[:40] if layout.columns and column < len(layout.columns) else str(column)
        raise RecordFileError(f"{path}, line {line}: {field[:40]!r} in column {name!r} is no number.") from None


def _key(name: str) -> str:
    """A name without case, blanks and underscores."""
    return "".join(name.split()).replace("_", "").casefold()


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
    known = any(bare.casefold() in units for units in (VOLTAGES, TIME_UNITS, OTHER_QUANTITIES))
    return bare if known or (bare[:1].isdigit() and is_unit(bare)) else None
