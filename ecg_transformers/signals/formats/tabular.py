"""Reader of CSV and TSV: one column (or row) per lead, with optional names, units and times."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import RecordFileError, SignalError
from ..assembly import apply_gain, assemble_record, settle_sampling_rate, settle_units
from ..record import OTHER_QUANTITIES, EcgRecord, unit_scale
from .delimited_text import Column, Table, is_table, read_numbers
from .time_column import TIME_UNITS, is_ramp, rate_of_times

__all__ = ["is_table", "read_table"]

_TIMES = {"time", "times", "t", "timestamp", "timestamps", "elapsedtime", "zeit", *TIME_UNITS}
_COUNTS = {"", "sample", "samples", "sample#", "samplenumber", "index", "idx", "n", "#", "no", "row", "unnamed:0"}
# Without names, a file with at most this many rows and more columns has one lead per row.
_MAX_LEAD_ROWS = 32


def read_table(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
) -> EcgRecord:
    """Read a recording from CSV, TSV or other delimited text.

    The file has one row per sample and one column per lead, names in the first row, and units in the names or in the
    second row. A file with names in its first column, or without names and with more columns than rows, has one row per
    lead. Empty fields are missing samples (NaN). A time column determines the sampling rate; columns that count the
    rows are skipped. Lines that start with `#` are comments.

    Args:
        path: File.
        sampling_rate: Sampling rate in Hz; required without a time column.
        units: Unit of the values if the file has none.
        gain: Values per unit (raw units per mV).
        leads: Lead names if the file has none.

    Raises:
        RecordFileError: If the text is not a table of numbers, or contradicts the arguments.
        SignalError: If the sampling rate is unknown.
    """
    path = Path(path)
    table = read_numbers(path)
    notes = list(table.notes)
    rate = None
    if table.rows is not None:
        signal, named = table.values, table.rows
    elif table.columns is None and len(table.values) < table.values.shape[1] and len(table.values) <= _MAX_LEAD_ROWS:
        signal, named = table.values, None
        notes.append("rows of the file taken as leads")
    else:
        keep, rate = _meaning(table, notes, where=str(path))
        signal = table.values[:, keep].T
        named = None if table.columns is None else [table.columns[index] for index in keep]
    stated = {column.unit for column in named or [] if column.unit}
    if rate is None and sampling_rate is None:
        ask = "" if units or gain or stated else " and units="
        raise SignalError(f"{path} states no sampling rate. Set sampling_rate={ask}, or add a column of times.")
    rate = settle_sampling_rate(rate, sampling_rate, where=str(path))
    if gain is not None:
        signal, units = apply_gain(signal, gain, units, notes=notes)
    elif stated:
        signal, units = _to_millivolts(signal, named or [], units, notes=notes, where=str(path)), "mV"
    return assemble_record(
        signal,
        sampling_rate=rate,
        file_leads=None if named is None else [column.name for column in named],
        where=str(path),
        units=units,
        leads=leads,
        name=path.stem,
        notes=notes,
    )


def _meaning(table: Table, notes: list[str], *, where: str) -> tuple[list[int], float | None]:
    """Columns that are leads, and the sampling rate of a time column."""
    keep, rate = [], None
    for index in range(table.values.shape[1]):
        values = table.values[:, index]
        name, unit = table.columns[index] if table.columns else ("", None)
        key = "".join(name.split()).replace("_", "").casefold()
        counts = len(values) > 1 and bool((np.diff(values) == 1).all())
        ramp = index == 0 and not key and is_ramp(values)
        if counts and (key in _COUNTS if table.columns else index == 0):
            notes.append(f"column {name!r} left out: it counts the rows" if name else "column of row numbers left out")
        elif (unit or "").casefold() in OTHER_QUANTITIES:
            notes.append(f"left out, no voltage: {name} ({unit})")
        elif key in _TIMES or (unit or "").casefold() in TIME_UNITS or ramp:
            if rate is not None:
                notes.append(f"column {name!r} left out: a second column of times")
                continue
            rate, time_notes = rate_of_times(values, unit or _unit_in_name(key), where=where)
            notes += time_notes
        else:
            keep.append(index)
    if not keep:
        raise RecordFileError(f"{where} has no column of values, only times and counts; expected one per lead.")
    return keep, rate


def _unit_in_name(key: str) -> str | None:
    """The name of a column, if it is a unit of time."""
    return key if key in TIME_UNITS else None


def _to_millivolts(
    signal: np.ndarray, named: list[Column], units: str | None, *, notes: list[str], where: str
) -> np.ndarray:
    """The leads converted to mV, each from its own unit or that of the caller."""
    scales = []
    for column in named:
        unit = settle_units(column.unit, units, where=f"{where}, column {column.name!r}")
        if unit is None:
            raise RecordFileError(f"{where} states no unit for column {column.name!r} but for others. Set units=.")
        scales.append(unit_scale(unit))
    converted = dict.fromkeys(column.unit for column in named if column.unit and unit_scale(column.unit) != 1)
    if converted:
        notes.append(f"converted {', '.join(map(str, converted))} -> mV")
    return signal * np.array(scales)[:, np.newaxis]
