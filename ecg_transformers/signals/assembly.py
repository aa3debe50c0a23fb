"""From the values of a file to an EcgRecord: the steps and notes that all readers share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import LeadError, RecordFileError, SignalError
from .leads import STANDARD_LEADS, canonical_lead, canonical_leads, listed
from .quality import (
    MAX_JUMP,
    NO_ECG_JUMPS,
    amplitude_note,
    flat_note,
    jump_fault,
    unit_fault,
    unlike_note,
    usual_amplitude,
)
from .record import Annotations, EcgRecord, check_sampling_rate, unit_scale

__all__ = [
    "UNIT_NOT_STATED",
    "apply_gain",
    "assemble_record",
    "check_gaps",
    "mark_missing",
    "place_samples",
    "settle_sampling_rate",
    "settle_units",
    "signal_notes",
    "treat_leads_as",
]

# Note on a record whose unit was assumed.
UNIT_NOT_STATED = "the file does not state a unit: taken as mV"
# Signals with gaps: an array that exceeds the stored samples by this factor is rejected above this size.
_MAX_GAP_FACTOR, _MAX_GAP_BYTES = 100, 1 << 28


def signal_notes(signal: np.ndarray, names: Sequence[str], sampling_rate: float) -> list[str]:
    """Notes on missing samples, flat leads, an amplitude that suggests a wrong gain, and samples that are no ECG.

    Args:
        signal: `(leads, samples)` in mV, NaN where samples are missing.
        names: Name of each lead.
        sampling_rate: Sampling rate in Hz.
    """
    if usual_amplitude(signal, sampling_rate):
        return []
    notes = []
    low, high = signal.min(axis=1), signal.max(axis=1)
    if not np.isfinite(low + high).all():
        missing = np.count_nonzero(~np.isfinite(signal), axis=1)
        counts = ", ".join(f"{name} {count}" for name, count in zip(names, missing, strict=True) if count)
        kind = "missing or infinite" if np.isinf(signal).any() else "missing"
        notes.append(f"{missing.sum()} {kind} samples ({counts})")
        there = missing < signal.shape[1]
        names = [name for name, has_samples in zip(names, there, strict=True) if has_samples]
        signal = np.where(np.isfinite(signal), signal, np.float32(np.nan))[there]
        low = np.nanmin(signal, axis=1, initial=np.inf)
        high = np.nanmax(signal, axis=1, initial=-np.inf)
    flat = [name for name, lowest, highest in zip(names, low, high, strict=True) if lowest == highest]
    found = (flat_note(flat), amplitude_note(signal, sampling_rate), unlike_note(signal, names))
    notes += [note for note in found if note is not None]
    if (high - low > MAX_JUMP).any() and (fault := jump_fault(signal, names)):
        notes.append(fault.removesuffix("."))
    return notes


def check_gaps(held: int, length: int, *, leads: int, where: str, cure: str) -> None:
    """Refuse an array that would consist of gaps almost entirely and not fit the memory.

    Args:
        held: Samples per lead that the file holds.
        length: Samples per lead of the array, gaps included.
        leads: Number of leads.
        where: File, for the error message.
        cure: What to do.

    Raises:
        RecordFileError: If the array is that large.
    """
    size = 4 * leads * length
    if size > _MAX_GAP_BYTES and length > _MAX_GAP_FACTOR * held:
        raise RecordFileError(
            f"{where} has {held} samples in a range of {length}, the rest are gaps ({size >> 20} MiB in memory). {cure}"
        )


def place_samples(signal: np.ndarray, places: np.ndarray, *, where: str, cure: str) -> np.ndarray:
    """Samples at their places in time, NaN between them.

    Args:
        signal: `(leads, samples)`.
        places: Place of each sample in the result, int64 `(samples,)`, ascending from 0.
        where: File, for the error message.
        cure: What to do if the result does not fit the memory.

    Raises:
        RecordFileError: If the places do not ascend, or the result is almost only gaps and large.
    """
    if (np.diff(places) < 1).any():
        raise RecordFileError(f"{where} has parts that overlap in time; expected ascending start times.")
    check_gaps(len(places), int(places[-1]) + 1, leads=len(signal), where=where, cure=cure)
    placed = np.full((len(signal), int(places[-1]) + 1), np.nan, dtype=signal.dtype)
    placed[:, places] = signal
    return placed


def settle_sampling_rate(stated: float | None, given: float | None, *, where: str) -> float:
    """Sampling rate from the value of the file and that of the caller.

    Args:
        stated: Sampling rate in the file in Hz, or None.
        given: Sampling rate from the caller in Hz, or None.
        where: File, for error messages.

    Raises:
        SignalError: If neither is known, or the rate is invalid.
        RecordFileError: If both are known and differ.
    """
    if given is None:
        return check_sampling_rate(stated)
    given = check_sampling_rate(given)
    # 1e-3: a time column determines the rate only to the precision of its digits.
    if stated is not None and abs(stated - given) > 1e-3 * given:
        raise RecordFileError(
            f"{where} states {stated:g} Hz and sampling_rate={given:g} was passed. Leave sampling_rate out to use the "
            "file's; if the file is wrong, read it so and set record.sampling_rate."
        ).about("sampling_rate")
    return given


def settle_units(stated: str | None, given: str | None, *, where: str) -> str | None:
    """Unit from the value of the file and that of the caller; None if neither is known.

    Args:
        stated: Unit in the file, or None.
        given: Unit from the caller, or None.
        where: File, for error messages.

    Raises:
        RecordFileError: If both are known and differ.
    """
    if stated and given and unit_scale(stated) != unit_scale(given):
        raise RecordFileError(
            f"{where} states {stated}, and units={given!r} was passed. Leave units= out; if the file is wrong, "
            "set gain= too."
        ).about("units")
    return stated or given


def apply_gain(signal: np.ndarray, gain: float, units: str | None, *, notes: list[str]) -> tuple[np.ndarray, str]:
    """Divide a signal by the gain of the caller.

    Args:
        signal: `(leads, samples)` in units of the file.
        gain: Units of the file per physical unit.
        units: Physical unit. Default: mV.
        notes: Receives a note.

    Returns:
        The signal in physical units, and the unit.

    Raises:
        SignalError: If the gain is not a finite number other than 0.
    """
    if not np.isfinite(gain) or gain == 0:
        raise SignalError(f"gain is {gain}; expected a number of values per mV (or per units=) such as 1000.")
    notes.append(f"gain {gain:g}/{units or 'mV'} set by the caller")
    return signal / float(gain), units or "mV"


def mark_missing(record: EcgRecord, value: float) -> EcgRecord:
    """Samples of one value as missing ones, with a note.

    Args:
        record: The record.
        value: The value in mV, to five digits.
    """
    marked = np.isclose(record.signal, value, rtol=1e-5, atol=0)
    if not marked.any():
        return record
    signal = np.where(marked, np.float32(np.nan), record.signal)
    notes = [note for note in record.notes if NO_ECG_JUMPS not in note]
    notes.append(f"{np.count_nonzero(marked)} samples of {value:g} mV taken as missing")
    if fault := jump_fault(signal, record.leads):
        notes.append(fault.removesuffix("."))
    return replace(record, signal=signal, notes=notes)


def treat_leads_as(record: EcgRecord, treat_as: Mapping[str, str]) -> EcgRecord:
    """Rename leads that the caller treats as equivalent to others, with a note.

    Leads that the record does not have are ignored, so that one mapping fits a whole folder.

    Args:
        record: The record.
        treat_as: New names by lead, as in `{"MLII": "II"}`.

    Raises:
        LeadError: If the record already has a lead with the new name.
    """
    names = {canonical_lead(old): canonical_lead(new) for old, new in treat_as.items()}
    used = [lead for lead in record.leads or () if lead in names]
    if not used:
        return record
    try:
        leads = canonical_leads(names.get(lead, lead) for lead in record.leads or ())
    except LeadError as error:
        raise LeadError(f"{record.source or record.name}, treat_as={dict(treat_as)}: {error}") from None
    order, leads = _canonical_order(leads)
    notes = [*record.notes, *(f"lead {old} treated as {names[old]}" for old in used)]
    return replace(record, signal=record.signal[order], leads=leads, notes=notes)


def _canonical_order(names: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    """Positions and names in canonical order if all leads are standard leads, else unchanged."""
    order = list(range(len(names)))
    if names != STANDARD_LEADS and set(names) <= set(STANDARD_LEADS):
        order.sort(key=lambda index: STANDARD_LEADS.index(names[index]))
    return order, tuple(names[index] for index in order)


def assemble_record(
    signal: np.ndarray,
    *,
    sampling_rate: float,
    file_leads: Sequence[str | None] | None,
    where: str,
    source: str | None = None,
    units: str | None = "mV",
    leads: Sequence[str] | None = None,
    name: str = "",
    age: float | None = None,
    sex: str | None = None,
    patient_id: str | None = None,
    labels: Sequence[str] = (),
    annotations: Annotations | None = None,
    notes: Sequence[str] = (),
) -> EcgRecord:
    """Create a record: lead names and order, unit, and notes on suspicious findings.

    Records with standard leads only get the canonical order; others keep the order of the file.

    Args:
        signal: `(leads, samples)` in `units`.
        sampling_rate: Sampling rate in Hz.
        file_leads: Lead names in the file, or None.
        where: File and position in it, for error messages.
        source: File. Default: `where`.
        units: Unit of the signal; None if unknown: mV with a note, provided that the amplitude is plausible.
        leads: Lead names from the caller, in the order of the file.
        name: Name of the record.
        age: Age in years.
        sex: `"male"`, `"female"` or None.
        patient_id: Identifier of the patient.
        labels: Codes of diagnoses.
        annotations: Beats, rhythm changes and the like.
        notes: Notes of the reader.

    Raises:
        LeadError: If names are duplicated, or the caller's names contradict those of the file.
        RecordFileError: If the unit is unknown and the amplitude is not plausible in mV.
    """
    notes = list(notes)
    names, name_notes = _name_leads(file_leads, leads, signal.shape[0], where)
    notes += name_notes
    if names is not None:
        order, ordered = _canonical_order(names)
        if ordered != names:
            notes.append(f"leads put into canonical order (file: {listed(names)})")
            signal, names = signal[order], ordered
    if units is None:
        fault = unit_fault(signal, sampling_rate)
        if fault is not None:
            finite = signal[np.isfinite(signal)]
            raise RecordFileError(
                f"{where} does not state its unit, and values from {finite.min():g} to {finite.max():g} are no "
                f"millivolts ({fault}). Set units= ('mV', 'uV', 'V'), or gain= for converter units per mV."
            )
        notes.append(UNIT_NOT_STATED)
        units = "mV"
    record = EcgRecord(
        signal,
        sampling_rate,
        leads=names,
        units=units,
        name=name,
        patient_id=patient_id,
        age=age,
        sex=sex,
        labels=tuple(labels),
        annotations=annotations,
        source=source or where,
        notes=notes,
    )
    called = names or [f"lead {index}" for index in range(record.num_leads)]
    record.notes += signal_notes(record.signal, called, record.sampling_rate)
    return record


def _name_leads(
    file_leads: Sequence[str | None] | None, given: Sequence[str] | None, count: int, where: str
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Canonical names from those of the file and the caller, and notes."""
    written: list[str | None] = [name.strip() if name else None for name in file_leads or [None] * count]
    if given is None:
        if not any(written):
            return None, ["the file does not name its leads"]
        if not all(written):
            unnamed = [str(index) for index, name in enumerate(written) if not name]
            raise LeadError(
                f"{where} names no lead at position {listed(unnamed)} (names: {listed(written)}). "
                "Name them with leads=[...], one per lead in the order of the file."
            )
        try:
            return canonical_leads(map(str, written)), []
        except LeadError as error:
            raise LeadError(f"{where}: {error}") from None
    names = canonical_leads(given)
    if len(names) != count:
        raise LeadError(
            f"{where} has {count} leads ({listed(written)}) and leads= has {len(names)}; expected one "
            "name per lead in the order of the file. To choose leads, read all and use record.select([...])."
        )
    known = [canonical_lead(name) if name else None for name in written]
    for found, name in zip(known, names, strict=True):
        # A lead that the file names unambiguously is not renamed by position: that is how leads get swapped.
        if found in STANDARD_LEADS and known.count(found) == 1 and found != name:
            raise LeadError(
                f"{where} names its leads {listed(written)}, leads= has {listed(names)}. Leave leads= "
                "out to use the file's; record.select([...]) orders leads, treat_as={'MLII': 'II'} renames them."
            )
    renamed = [f"{old} -> {new}" for old, new in zip(known, names, strict=True) if old is not None and old != new]
    return names, [f"leads named by the caller: {', '.join(renamed)}"] if renamed else []
