"""Selection of one recording from the arrays of a container, and its metadata.

An array is `(leads, samples)`, or `(records, leads, samples)` with `index=`; leads and samples may be swapped where the
order is unambiguous.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import numpy as np

from ...errors import LeadError, RecordFileError, SignalError
from ..assembly import apply_gain, assemble_record, settle_sampling_rate, settle_units
from ..digital import without_marks
from ..record import EcgRecord

__all__ = ["Caller", "Facts", "assemble_array", "choose_array", "facts_among", "locate_recording", "select_record"]

_RATE_KEYS = ("sampling_rate", "sample_rate", "samplingrate", "sampling_frequency", "sfreq", "freq", "fs")
_UNIT_KEYS = ("units", "unit")
_LEAD_KEYS = ("leads", "lead_names", "lead_name", "sig_name", "channel_names", "channels")
_SIGNAL_KEYS = ("signal", "signals", "ecg", "val", "data", "tracings")
# Number of arrays listed in an error message.
_MAX_LISTED = 8
# Seconds; a shorter recording of an array of many is a part of every recording: its axes are in another order.
_MIN_SECONDS = 0.2
# A longer axis holds samples: no ECG recorder (other than for body surface maps) has more leads.
_MAX_LEADS = 32


class Caller(TypedDict, total=False):
    """Arguments of `read_record` that every container reader passes on.

    Attributes:
        sampling_rate: Sampling rate in Hz, if the file has none.
        units: Unit of the values, if the file has none.
        gain: Values per unit, instead of the calibration in the file.
        leads: Lead names, if the file has none.
    """

    sampling_rate: float | None
    units: str | None
    gain: float | None
    leads: Sequence[str] | None


class Facts(NamedTuple):
    """Metadata in a container; None where missing."""

    sampling_rate: float | None = None
    units: str | None = None
    leads: list[str] | None = None


def facts_among(values: Mapping[str, object]) -> Facts:
    """Sampling rate, unit and lead names among named values, found by their usual names."""
    lower = {str(key).casefold(): value for key, value in values.items()}

    def first(keys: Sequence[str]) -> object | None:
        return next((lower[key] for key in keys if key in lower), None)

    rate, units, leads = first(_RATE_KEYS), first(_UNIT_KEYS), first(_LEAD_KEYS)
    if rate is not None:
        rate = np.asarray(rate)
        rate = float(rate.reshape(-1)[0]) if rate.size == 1 and rate.dtype.kind in "iuf" else None
    texts = _texts(units)
    names = _texts(leads)
    return Facts(rate, texts[0] if texts and len(set(texts)) == 1 else None, names or None)


def _texts(value: object) -> list[str]:
    """The strings in a scalar, list or array of strings or bytes, or in a MATLAB cell array."""
    if value is None:
        return []
    items = [item for cell in np.asarray(value).reshape(-1).tolist() for item in np.asarray(cell).reshape(-1).tolist()]
    decoded = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
    return [item.strip() for item in decoded] if all(isinstance(item, str) for item in decoded) else []


def choose_array(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], key: str | None, *, where: str) -> str:
    """Name of the array that holds the signal: `key`, or the only candidate.

    Args:
        arrays: Shape and type of each array.
        key: Choice of the caller, or None.
        where: File, for error messages.

    Raises:
        RecordFileError: If the key is missing, or the number of candidates is not one.
    """
    described = [f"{name} {shape} {dtype}" for name, (shape, dtype) in arrays.items()]
    if len(described) > _MAX_LISTED:
        described[_MAX_LISTED:] = [f"{len(described) - _MAX_LISTED} more"]
    listing = ", ".join(described) or "none"
    if key is not None:
        if key not in arrays:
            raise RecordFileError(f"{where} has no array {key!r}; found: {listing}. Set key= to one of them.")
        return key
    numeric = {name: shape for name, (shape, dtype) in arrays.items() if dtype.kind in "iuf" and 0 not in shape}
    able = [name for name, shape in numeric.items() if len(shape) >= 2]
    # An array called "signal" is preferred, then the only one that is long enough for samples.
    called = [name for name in able if re.split("[/.]", name)[-1].casefold() in _SIGNAL_KEYS]
    long = [name for name in able if max(numeric[name]) > _MAX_LEADS]
    single = [name for name, shape in numeric.items() if len(shape) == 1 and shape[0] > _MAX_LEADS]
    for candidates in (able, called, long, [] if able else single):
        if len(candidates) == 1:
            return candidates[0]
    raise RecordFileError(
        f"{where} holds {'several arrays' if able or single else 'no array of samples'} ({listing}); "
        "expected one signal (leads, samples). Set key= to its name."
    )


def select_record(shape: tuple[int, ...], index: int | None, *, where: str) -> tuple[int, ...]:
    """Position of one recording along the first axis: `()` for the whole array, or `(index,)`.

    Raises:
        RecordFileError: If an index is missing, out of range or not applicable.
    """
    if len(shape) > 3:
        single = shape[:-3] == (1,) * (len(shape) - 3)
        if not single:
            raise RecordFileError(f"{where} has shape {shape}; expected (leads, samples) or (records, leads, samples).")
        return (0,) * (len(shape) - 3) + select_record(shape[-3:], index, where=where)
    if index is None:
        if len(shape) == 3 and shape[0] == 1:
            return (0,)
        if len(shape) > 2:
            raise RecordFileError(
                f"{where} has shape {shape}: {shape[0]} recordings. Set index= to choose one, 0 to {shape[0] - 1}."
            )
        return ()
    if not 2 <= len(shape) <= 3:
        raise RecordFileError(f"{where} has shape {shape} and no axis of recordings; leave index= out.").about("index")
    if not 0 <= index < shape[0]:
        raise RecordFileError(f"{where} has {shape[0]} recordings; index={index} is not among 0 to {shape[0] - 1}.")
    return (int(index),)


def locate_recording(
    path: Path, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], key: str | None, index: int | None
) -> tuple[str, str, tuple[int, ...]]:
    """Name of the array with the recording, its place for error messages, and the position in it."""
    chosen = choose_array(arrays, key, where=str(path))
    where = f"{path}[{chosen}]"
    return chosen, where, select_record(arrays[chosen][0], index, where=where)


def assemble_array(
    values: np.ndarray,
    path: Path,
    facts: Facts,
    *,
    where: str,
    index: int | None,
    age: float | None = None,
    sex: str | None = None,
    notes: Sequence[str] = (),
    **caller: Unpack[Caller],
) -> EcgRecord:
    """Create a record from the array of one recording.

    Args:
        values: One- or two-dimensional array.
        path: File.
        facts: Metadata in the file.
        where: File and array, for error messages.
        index: Index of the recording in an array of several; becomes part of the name.
        age: Age in years.
        sex: Sex as in the file.
        notes: Notes of the reader.
        **caller: Arguments of the caller.

    Raises:
        RecordFileError: If shape or type is not that of a signal, or the caller contradicts the file.
        SignalError: If the sampling rate is unknown.
        LeadError: If the lead names do not match the shape.
    """
    notes = list(notes)
    sampling_rate, leads = caller.get("sampling_rate"), caller.get("leads")
    units, gain = caller.get("units"), caller.get("gain")
    if values.dtype.kind not in "iuf":
        raise RecordFileError(f"{where} is an array of {values.dtype}; expected real numbers (leads, samples).")
    stated = facts.leads
    number = len(leads) if leads is not None else len(stated) if stated else None
    signal = _orient(values, number, notes=notes, where=where)
    if stated is not None and len(stated) != len(signal):
        notes.append(f"{len(stated)} lead names in the file for {len(signal)} leads: left out")
        stated = None
    if facts.sampling_rate is None and sampling_rate is None:
        raise SignalError(f"{where} states no sampling rate. Set sampling_rate=.")
    rate = settle_sampling_rate(facts.sampling_rate, sampling_rate, where=where)
    if index is not None and signal.shape[1] < _MIN_SECONDS * rate:
        raise RecordFileError(
            f"{where}: recording {index} would have shape {signal.shape}, {signal.shape[1] / rate:.2g} s; expected an "
            "array (records, leads, samples). Reorder the axes of the array."
        )
    signal, missing = without_marks(signal)
    notes += [] if missing is None else [missing]
    if gain is not None:
        signal, units = apply_gain(signal, gain, units, notes=notes)
    else:
        units = settle_units(facts.units, units, where=where)
    return assemble_record(
        signal,
        sampling_rate=rate,
        file_leads=stated,
        where=where,
        source=str(path),
        units=units,
        leads=leads,
        name=path.stem if index is None else f"{path.stem}-{index}",
        age=age,
        sex=sex,
        notes=notes,
    )


def _orient(values: np.ndarray, num_leads: int | None, *, notes: list[str], where: str) -> np.ndarray:
    """Transpose the array to `(leads, samples)` where necessary, with a note."""
    if values.ndim == 1:
        values = values[np.newaxis]
    if values.ndim != 2 or 0 in values.shape:
        raise RecordFileError(f"{where} has shape {values.shape}; expected (leads, samples) with at least one of each.")
    rows, columns = values.shape
    if num_leads is not None:
        if rows == num_leads:
            return values
        turned = columns == num_leads
        if not turned:
            raise LeadError(f"{where} has shape {values.shape} and {num_leads} lead names; expected one name per lead.")
    else:
        turned = rows > columns and columns <= _MAX_LEADS < rows
        if not turned and rows > min(columns, _MAX_LEADS):
            raise RecordFileError(
                f"{where} has shape {values.shape}; expected (leads, samples), and neither axis is clearly the leads. "
                "Name the leads with leads=[...]."
            )
    if turned:
        notes.append(f"array {values.shape} taken as (samples, leads)")
    return values.T if turned else values
