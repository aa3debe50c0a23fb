"""Delimited text with cells of text, such as tables of labels."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import RecordFileError
from .delimited_text import COMMENT, CONTROLS, INDEX_NAMES, SEPARATOR
from .text_encoding import text_encoding

__all__ = ["Cells", "read_cells"]

_TEXT_DELIMITERS = ("\t", ";", "|", ",")
# How a spreadsheet is told that a cell is text, not a number.
_FORMULA_TEXT = re.compile(r'="?([^"]*)"')


class Cells(NamedTuple):
    """A table of text.

    Attributes:
        names: Name of each column, stripped, in the order of the file.
        rows: Line number and cells of each row, stripped; as many cells as there are names.
        notes: Notes on the text.
    """

    names: list[str]
    rows: list[tuple[int, list[str]]]
    notes: list[str]


def read_cells(path: Path) -> Cells:
    """Read a table of text with a row of names: encoding and delimiter by the evidence of the whole file.

    Comments above the names (`#`, `%`, `//`), rows without any cell and columns without name and cells are left out, as
    is an unnamed first column that counts the rows (an index).

    Raises:
        RecordFileError: If the file is binary, two columns have the same name, a column has cells and no name, or a row
            has more or fewer cells than there are names; the message names the row.
    """
    text = path.read_bytes()
    lines = text.decode(text_encoding(text), errors="replace").splitlines(keepends=True)
    stated = SEPARATOR.fullmatch(lines[0]) if lines else None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()][stated is not None :]
    while len(numbered) > 1 and COMMENT.match(numbered[0][1]):
        numbered = numbered[1:]
    try:
        rows = _best_split(numbered, stated and stated[1])
    except csv.Error as error:
        raise RecordFileError(f"{path} is no delimited text: {error}.") from None
    if not rows:
        return Cells([], [], [])
    (_, names), *body = [row for row in rows if any(row[1])]
    if CONTROLS.search("".join(names)):
        raise RecordFileError(f"{path} is not text: its first row has control characters; expected a CSV file.")
    while names and not names[-1] and not any(len(cells) >= len(names) and cells[len(names) - 1] for _, cells in body):
        names = names[:-1]
    filled = []
    for number, cells in body:
        if len(cells) > len(names) and not any(cells[len(names) :]):
            cells = cells[: len(names)]
        if len(cells) != len(names):
            raise RecordFileError(
                f"{path}, row {number}: {len(cells)} cells; expected {len(names)} ({', '.join(names)})."
            )
        filled.append((number, cells))
    notes = []
    if names and names[0].casefold() in INDEX_NAMES and _counts([cells[0] for _, cells in filled]):
        notes.append("a column of row numbers left out")
        names, filled = names[1:], [(number, cells[1:]) for number, cells in filled]
    if "" in names or len(set(names)) != len(names):
        raise RecordFileError(
            f"{path} has columns without a name or of the same name ({', '.join(names)}); name each once."
        )
    return Cells(names, filled, notes)


def _best_split(numbered: Sequence[tuple[int, str]], stated: str | None) -> list[tuple[int, list[str]]]:
    """Rows with their numbers, split at the delimiter that the row of names has and that gives most rows its width."""
    best: list[tuple[int, list[str]]] = []
    score = (-1.0, 0)
    for delimiter in [stated] if stated else _TEXT_DELIMITERS:
        reader = csv.reader([line for _, line in numbered], delimiter=delimiter, skipinitialspace=True)
        # A cell may hold several lines: the number of a row is that of its last one.
        rows = [(numbered[reader.line_num - 1][0], [_text(cell) for cell in cells]) for cells in reader]
        width = len(rows[0][1]) if rows else 0
        fitting = sum(len(cells) == width for _, cells in rows) / max(len(rows), 1)
        found = (fitting if width > 1 else 0.0, width)
        if found > score:
            best, score = rows, found
    return best


def _text(cell: str) -> str:
    """A cell without blanks around it, and without `="..."`."""
    found = _FORMULA_TEXT.fullmatch(cell.strip())
    return found[1].strip() if found else cell.strip()


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are consecutive whole numbers from 0 or 1."""
    return any(cells == [str(start + k) for k in range(len(cells))] for start in (0, 1))
