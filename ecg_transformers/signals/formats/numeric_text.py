"""Numbers in text: decimal and thousands marks, gaps and clock times, settled once by the evidence of a whole file."""

import re
from typing import Literal, NamedTuple

import numpy as np

from ...errors import RecordFileError
from .time_column import parse_clock

__all__ = ["SHEET_ERRORS", "Decimal", "NumberReader", "is_number", "joined_by_commas"]

Decimal = Literal[".", ","]

# What a spreadsheet writes in place of a value, in lower case, in English and German.
SHEET_ERRORS = {"#n/a", "#num!", "#value!", "#div/0!", "#ref!", "#name?", "#null!"}
SHEET_ERRORS |= {"#nv", "#zahl!", "#wert!", "#bezug!"}
_GAPS = {"", "nan", "na", "n/a", "null", "none", "-", "--", "?", "<na>", "."} | SHEET_ERRORS
# Digits in groups of three, with one of the marks between them, and a decimal part after another mark.
_GROUPED = re.compile(
    r"[-+]?\d{1,3}(?P<mark>[.,'\s\N{RIGHT SINGLE QUOTATION MARK}])\d{3}(?:(?P=mark)\d{3})*(?:(?!(?P=mark))[.,]\d+)?"
)
_SINGLE_MARK = re.compile(r"[-+]?\d*[.,]\d+(?:[eE][-+]?\d{1,3})?")
_SPACES = re.compile(r"[\s'\N{RIGHT SINGLE QUOTATION MARK}]")
_INTEGER = re.compile(r"[-+]?\d+")


def is_number(field: str) -> bool:
    """Whether a field is a number in any style, a clock time, or a gap."""
    field = field.replace("\N{MINUS SIGN}", "-")
    if field.casefold() in _GAPS or parse_clock(field) is not None:
        return True
    try:
        float(field)
        return True
    except ValueError:
        return bool(_SINGLE_MARK.fullmatch(field) or _GROUPED.fullmatch(field))


class _Seen(NamedTuple):
    """A field that is evidence for a style, and its line."""

    field: str
    line: int


class NumberReader:
    """Numbers of one file.

    A comma or point followed by three digits, as in "1,234", may be a decimal or a thousands mark. Other fields of the
    file decide: "0,5" for the decimal comma, "1,234.5" and "1,234,567" for the thousands comma. Points in all numbers
    of a file are decimal marks; some next to whole numbers are not clear, as in "1.234" and "75". Fields are read with
    their last mark as the decimal one; `settle` returns at the end whether the file has to be read in another style.

    Args:
        path: File, for error messages.
        decimal: Decimal mark of the caller; the other mark then separates thousands. None: by the evidence.
        cure: What to do if there is no evidence; `{mark}` in it stands for the mark.

    Attributes:
        clocks: Columns that hold clock times.
    """

    def __init__(
        self, path: str, decimal: Decimal | None = None, *, cure: str = "Set decimal=',' or decimal='.'."
    ) -> None:
        self.path = path
        self.cure = cure
        self.decimal = decimal
        self.clocks: set[int] = set()
        self._certain: dict[str, _Seen] = {}
        self._open: dict[str, _Seen] = {}
        self._whole = False

    def __call__(self, field: str, column: int, line: int) -> float:
        """The number in a field; NaN for a gap, seconds for a clock time.

        Raises:
            ValueError: If it is none of these.
        """
        field = field.replace("\N{MINUS SIGN}", "-")
        if field.casefold() in _GAPS:
            return np.nan
        if "," not in field and (self.decimal is None or "." not in field):
            try:
                value = float(field)
                self.note_point(field, line)
                return value
            except ValueError:
                pass
        clock = parse_clock(field)
        if clock is not None:
            self.clocks.add(column)
            return clock
        if not (_SINGLE_MARK.fullmatch(field) or _GROUPED.fullmatch(field)):
            return float(field)
        text = _SPACES.sub("", field)
        decimal = self.decimal or self._decimal_of(text, line)
        thousands = "," if decimal == "." else "."
        return float(text.replace(thousands, "").replace(decimal, "."))

    def note_point(self, field: str, line: int) -> None:
        """Remember a point that must be a decimal mark, as in "0.5" and "12.34", or may be one, and whole numbers."""
        if "." not in field:
            self._whole = self._whole or field.lstrip("+-").isdigit()
        elif "." not in self._certain:
            seen = self._open if _is_open(field) else self._certain
            seen.setdefault(".", _Seen(field, line))

    @property
    def point_seen(self) -> bool:
        """Whether a decimal point is certain."""
        return "." in self._certain

    def _decimal_of(self, text: str, line: int) -> Decimal:
        """The decimal mark of one field, and what it is evidence for."""
        commas, points = text.count(","), text.count(".")
        mark: Decimal
        if commas and points:
            mark = "," if text.rindex(",") > text.rindex(".") else "."
        elif commas > 1 or points > 1:
            mark = "." if commas else ","
        else:
            mark = "," if commas else "."
            if _is_open(text):
                self._open.setdefault(mark, _Seen(text, line))
                return mark
        self._certain.setdefault(mark, _Seen(text, line))
        return mark

    def settle(self) -> Decimal | None:
        """The style in which the file has to be read again, or None if it was read in its style.

        Raises:
            RecordFileError: If the evidence is contradictory, or there is none.
        """
        if self.decimal is not None:
            return None
        comma, point = self._certain.get(","), self._certain.get(".")
        if comma and point:
            raise RecordFileError(
                f"{self.path} has numbers with decimal commas and with points: {comma.field!r} in line {comma.line}, "
                f"{point.field!r} in line {point.line}; expected one decimal mark. Set decimal=."
            )
        if point:
            return "." if "," in self._open else None
        if comma:
            return "," if "." in self._open else None
        for mark, name in ((",", "comma"), (".", "point")):
            if mark in self._open and (mark == "," or self._whole):
                seen = self._open[mark]
                raise RecordFileError(
                    f"{self.path}, line {seen.line}: {seen.field!r} is a number with a decimal {name} or with a "
                    f"thousands {name}, and no other line decides which. {self.cure.format(mark=mark)}"
                )
        return None

    @property
    def comma_seen(self) -> bool:
        """Whether the decimal mark is a comma."""
        return self.decimal == "," or "," in self._certain


def _is_open(text: str) -> bool:
    """Whether the mark of a number may separate thousands or decimals; "0,024" and "1234,567" are no thousands."""
    return bool(_GROUPED.fullmatch(text)) and not text.lstrip("+-").startswith("0")


def joined_by_commas(rows: list[list[str]]) -> bool:
    """Whether fields that were split at commas look like the halves of numbers with a decimal comma.

    That is: whole numbers only, in pairs; the second of a pair has no sign and keeps its zeros ("024"), or always has
    the same number of digits after a single one.
    """
    if not rows or any(len(row) != len(rows[0]) or len(row) % 2 for row in rows):
        return False
    if not all(_INTEGER.fullmatch(field) for row in rows for field in row):
        return False
    firsts = [field for row in rows for field in row[0::2]]
    seconds = [field for row in rows for field in row[1::2]]
    if any(field[0] in "+-" for field in seconds):
        return False
    if "-0" in firsts or any(field.startswith("0") and len(field) > 1 for field in seconds):
        return True
    digits = {len(field) for field in seconds}
    return len(digits) == 1 and min(digits) > 1 and all(len(field.lstrip("+-")) == 1 for field in firsts)
