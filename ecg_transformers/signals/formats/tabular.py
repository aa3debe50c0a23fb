"""Reader of CSV and TSV: one column (or row) per lead, with optional names, units and times."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import RecordFileError, SignalError
from ..assembly import apply_gain, assemble_record, place_samples, settle_sampling_rate, settle_units
from ..digital import INVALID_SAMPLE
from ..record import OTHER_QUANTITIES, EcgRecord, unit_scale
from .delimited_text import INDEX_NAMES, MAX_LEAD_ROWS, Column, Table, is_lead, is_table, read_numbers
from .numeric_text import Decimal
from .time_column import TIME_UNITS, is_ramp, places_at_rate, rate_of_times, unwrapped_clock

__all__ = ["is_table", "read_table"]

# Names without blanks, "_" and case; of times also every name that holds "timestamp".
_TIMES = {"time", "times", "t", "elapsedtime", "zeit", "datetime", "clock", "uhrzeit", *TIME_UNITS}
_COUNTS = {"sample", "samples", "sample#", "samplenumber", "sampleindex", "idx", "n", "#", "no", "row", "nseq", "seq"}
_COUNTS |= {"counter", "packet", "frame", *("".join(name.split()) for name in INDEX_NAMES)}
# Share of the rows that a column named as a counter must count.
_MIN_COUNTING = 0.9


def read_table(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    decimal: Decimal | None = None,
) -> EcgRecord:
    """Read a recording from CSV, TSV or other delimited text.

    The file has one row per sample and one column per lead, names in the first row, and units in the names or in the
    second row. A file with names in its first column, or without names and with more columns than rows, has one row per
    lead. Lines before the names may state sampling rate, unit and leads. Empty fields are missing samples (NaN). A time
    column determines the sampling rate; columns that count the rows are skipped, and so is a first row that counts the
    columns. Samples that are missing between times or counts are missing samples (NaN) where `sampling_rate` is given
    or stated. Lines that start with `#`, `%` or `//` are comments.

    Args:
        path: File.
        sampling_rate: Sampling rate in Hz; required if neither a time column nor the preamble states it.
        units: Unit of the values if the file has none.
        gain: Values per unit (raw units per mV).
        leads: Lead names if the file has none.
        decimal: Decimal mark, `"."` or `","`. Default: by the evidence of the whole file.

    Raises:
        RecordFileError: If the text is not a table of numbers, is ambiguous, or contradicts the arguments.
        SignalError: If the sampling rate is unknown.
    """
    path, where = Path(path), str(path)
    table = read_numbers(path, decimal=decimal)
    facts, notes = table.facts, [*table.notes, *table.facts.notes]
    values, named = _leads_in_columns(table, notes)
    _refuse_collection(values, named, where=where)
    meaning = _meaning(values, named, table, notes, where=where)
    columns = [named[index] for index in meaning.leads]
    stated = {column.unit for column in columns if column.unit}
    if facts.sampling_rate is None and sampling_rate is None and not meaning.times:
        ask = "" if units or gain or stated or facts.units else " and units="
        raise SignalError(f"{path} states no sampling rate. Set sampling_rate={ask}, or add a column of times.")
    known = sampling_rate
    if facts.sampling_rate is not None:
        known = settle_sampling_rate(facts.sampling_rate, sampling_rate, where=where)
    rate, places = _time_axis(meaning, known, notes, where=where)
    signal = values[:, meaning.leads].T
    if table.rest_whole and (marked := signal == INVALID_SAMPLE).any():
        signal = np.where(marked, np.nan, signal)
        notes.append(f"{np.count_nonzero(marked)} samples marked as missing ({INVALID_SAMPLE})")
    if places is not None:
        cure = "Cut the file at its gaps."
        signal = place_samples(signal, places, where=where, cure=cure)
    if gain is not None:
        signal, units = apply_gain(signal, gain, units, notes=notes)
    elif stated:
        signal, units = _to_millivolts(signal, columns, units, notes=notes, where=where), "mV"
    else:
        units = settle_units(facts.units, units, where=where)
    names = [column.name for column in columns]
    if facts.leads is not None and len(facts.leads) == len(names) and not any(map(is_lead, names)):
        names = list(facts.leads)
    return assemble_record(
        signal,
        sampling_rate=rate,
        file_leads=names if any(names) else None,
        where=where,
        units=units,
        leads=leads,
        name=path.stem,
        notes=notes,
    )


class _Meaning(NamedTuple):
    """The columns of leads, those of times (name, values, unit if stated), and a column that counts the rows."""

    leads: list[int]
    times: list[tuple[str, np.ndarray, str | None]]
    counter: np.ndarray | None


def _leads_in_columns(table: Table, notes: list[str]) -> tuple[np.ndarray, list[Column]]:
    """The numbers with one column per lead, without a row that counts the columns; and the columns, "" without name."""
    values, rows, indexed = table.values, table.rows, False
    named = table.columns or [Column("", None)] * values.shape[1]
    if table.columns is None and _is_header(table):
        notes.append("the first row counts the columns: taken as a header without names")
        indexed = bool(np.isnan(values[0, 0]))
        values, rows = values[1:], rows and rows[1:]
    elif _are_counted([column.name for column in named]):
        notes.append("the names count the columns: taken as a header without names")
        named = [Column("", None)] * len(named)
    if rows is not None:
        if is_ramp(values[0]):
            rows = [Column("time", rows[0].unit), *rows[1:]]
        return values.T, rows
    if len(values) > 1 and np.isnan(values[0, 0]) and (values[0, 1:] == len(values) - 1).all():
        values = values[1:]  # AcqKnowledge writes the number of samples below the names
    few, many = values.shape
    unnamed = not any(column.name for column in named)
    if few < many and few <= MAX_LEAD_ROWS and (unnamed or many > MAX_LEAD_ROWS):
        if (indexed or few > 2) and _counts_rows(values[:, 0]):
            notes.append("column of row numbers left out")
            values = values[:, 1:]
        notes.append("rows of the file taken as leads")
        return values.T, [Column("", None)] * few
    return values, list(named)


def _refuse_collection(values: np.ndarray, named: list[Column], *, where: str) -> None:
    """Refuse a file of many recordings, one in each row, which is no recording of as many leads."""
    rows, columns = values.shape
    if columns > MAX_LEAD_ROWS and not any(column.name for column in named):
        raise RecordFileError(
            f"{where} has {rows} rows of {columns} numbers without names; expected one column or one row per lead. If "
            "each row is a recording, save the array as .npy and read recording k with index=k."
        )


def _is_header(table: Table) -> bool:
    """Whether the first row of numbers is 0, 1, 2 ... or 1, 2, 3 ..., perhaps after an empty field.

    A single 0 is a header if all other numbers have a decimal mark.
    """
    first = table.values[0]
    counted = first[1:] if np.isnan(first[0]) else first
    if len(table.values) < 2 or not table.first_whole or not len(counted):
        return False
    if counted[0] not in (0, 1) or not (np.diff(counted) == 1).all():
        return False
    return len(counted) > 1 or len(counted) < len(first) or (counted[0] == 0 and not table.rest_whole)


def _are_counted(names: Sequence[str]) -> bool:
    """Whether names are consecutive numbers from 0 or 1, as pandas and R write them, perhaps after an empty one."""
    counted = list(names if names[0] else names[1:])
    return any(counted == [str(start + k) for k in range(len(counted))] for start in (0, 1)) and counted != []


def _counts_rows(values: np.ndarray) -> bool:
    return len(values) > 1 and bool((np.diff(values) == 1).all())


def _meaning(values: np.ndarray, named: list[Column], table: Table, notes: list[str], *, where: str) -> _Meaning:
    """Which columns are leads, times and counts."""
    keep: list[int] = []
    times: list[tuple[str, np.ndarray, str | None]] = []
    counter = None
    signals = table.facts.signals
    for index, (name, unit) in enumerate(named):
        column = values[:, index]
        key = "".join(name.split()).replace("_", "").casefold()
        if is_lead(name):
            keep.append(index)
        elif (unit or "").casefold() in OTHER_QUANTITIES:
            notes.append(f"left out, no voltage: {name} ({unit})")
        elif key in _TIMES or "timestamp" in key or (unit or "").casefold() in TIME_UNITS:
            clock = index in table.clocks
            seconds = unwrapped_clock(column) if clock else column
            times.append((name, seconds, "s" if clock else unit or (key if key in TIME_UNITS else None)))
        elif _is_count(column, named=key in _COUNTS and bool(key)):
            notes.append(f"column {name!r} left out: it counts the rows" if name else "column of row numbers left out")
            counter = column if counter is None else counter
        elif index in table.clocks or is_ramp(column):
            clock = index in table.clocks
            times.append((name, unwrapped_clock(column) if clock else column, "s" if clock else None))
        elif signals is not None and name not in signals:
            notes.append(f"left out, no ECG: {name}")
        else:
            keep.append(index)
    if not keep:
        raise RecordFileError(f"{where} has no column of values, only times and counts; expected one per lead.")
    return _Meaning(keep, times, counter)


def _is_count(values: np.ndarray, *, named: bool) -> bool:
    """Whether a column counts the rows, from any number on or again and again, unlike any ECG lead.

    Args:
        values: The column.
        named: Whether its name marks it as one; lost rows are then allowed.
    """
    if len(values) < 2 or not (values == np.rint(values)).all():
        return False
    steps = np.diff(values)
    if (steps == 1).all():
        return True
    again = (values[1:] == values.min()) & (values[:-1] == values.max())
    if ((steps == 1) | again).all():
        return bool(values.max() - values.min() > 2)
    return named and float(((steps == 1) | again).mean()) > _MIN_COUNTING


def _time_axis(
    meaning: _Meaning, known: float | None, notes: list[str], *, where: str
) -> tuple[float, np.ndarray | None]:
    """Sampling rate, and the place of each row on its grid where rows are missing."""
    error: RecordFileError | None = None
    for name, times, unit in meaning.times:
        try:
            rate, found = rate_of_times(times, unit, where=where)
        except RecordFileError as failed:
            error = error or failed
            continue
        others = [other for other, *_ in meaning.times if other != name]
        notes += [*found, *(f"column {other!r} left out: a second column of times" for other in others)]
        return settle_sampling_rate(rate, known, where=where), None
    if known is None:
        raise error or SignalError(f"{where} states no sampling rate. Set sampling_rate=.")
    rate = settle_sampling_rate(None, known, where=where)
    if not meaning.times:
        return rate, None if meaning.counter is None else _places_by_count(meaning.counter, notes)
    # Of several clocks that of the sensor shows the fewest gaps: others record when a packet arrived.
    found_places = [
        places_at_rate(times * _seconds_per_unit(times, unit, rate), rate, where=where)
        for _, times, unit in meaning.times
    ]
    places, found = min(found_places, key=lambda one: 0 if one[0] is None else int(one[0][-1]))
    notes += found
    return rate, places


def _seconds_per_unit(times: np.ndarray, unit: str | None, rate: float) -> float:
    """Scale of times to seconds; without a unit that which fits the rate best."""
    if unit is not None:
        return TIME_UNITS.get(unit.casefold(), 1.0)
    known = times[np.isfinite(times)]
    step = float(known[-1] - known[0]) / max(len(times) - 1, 1) if len(known) else 1.0
    return min(TIME_UNITS.values(), key=lambda scale: abs(np.log(max(step * scale * rate, 1e-300))))


def _places_by_count(count: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """The place of each row by a column that counts them, None if no number is left out."""
    steps = np.diff(count).astype(np.int64)
    if (steps < 0).any():
        steps %= int(count.max() - count.min()) + 1
    missing = int((steps - 1).sum())
    if missing <= 0:
        return None
    notes.append(f"samples missing by the column that counts them: {missing}, in {np.count_nonzero(steps > 1)} places")
    return np.concatenate([[0], np.cumsum(steps)])


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
