"""From the numbers of a file to an EcgRecord: what all readers do alike, and what they note about every recording."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import LeadError, RecordFileError, SignalError
from .leads import STANDARD_LEADS, canonical_lead, canonical_leads
from .record import Annotations, EcgRecord, check_sampling_rate, unit_scale

__all__ = ["apply_gain", "assemble_record", "settle_sampling_rate", "settle_units", "signal_notes", "treat_leads_as"]

# mV. Every other one of 19,601 PTB-XL records, swing (largest minus smallest value) of pieces of 2 s, median over the
# pieces: the middle lead has at most 3.98, the largest at least 0.58. Outside of these bounds a wrong gain is likelier
# than such a heart. One lead alone may be small, so that the lower bound is for six or more.
HIGH_MIDDLE_SWING = 4.2
LOW_LARGEST_SWING = 0.55
_SWING_SECONDS, _MIN_LEADS_FOR_LOW = 2.0, 6
# mV. Beyond these values without a stated unit are no millivolts: microvolts and converter units lie above.
_MILLIVOLT_SWING = (0.05, 50.0)


def signal_notes(signal: np.ndarray, names: Sequence[str], sampling_rate: float) -> list[str]:
    """Notes on missing samples, flat leads and an amplitude that suggests a wrong gain.

    Args:
        signal: `(leads, samples)`, mV, NaN where missing.
        names: how to call the leads.
        sampling_rate: Hz.
    """
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
    if flat:
        notes.append(f"flat (constant) throughout: {', '.join(flat)}")
    swings = _typical_swings(signal, round(_SWING_SECONDS * sampling_rate))
    if swings.size and (middle := swings[(swings.size - 1) // 2]) > HIGH_MIDDLE_SWING:
        notes.append(
            f"implausible amplitude: half of the leads swing by {middle:.1f} mV or more, "
            f"usual are up to {HIGH_MIDDLE_SWING:g} mV; the gain may be wrong (override: gain=)"
        )
    elif swings.size >= _MIN_LEADS_FOR_LOW and swings[-1] < LOW_LARGEST_SWING:
        notes.append(
            f"implausible amplitude: the largest lead swings by {swings[-1]:.2g} mV, "
            f"usual is at least {LOW_LARGEST_SWING:g} mV; the gain may be wrong (override: gain=)"
        )
    return notes


def _typical_swings(signal: np.ndarray, piece: int) -> np.ndarray:
    """Swing of each lead in a usual piece of so many samples, ascending; without flat leads and those full of gaps."""
    count = signal.shape[1] // max(piece, 1)
    if not count or not len(signal):
        return np.zeros(0)
    pieces = signal[:, : count * piece].reshape(len(signal), count, piece)
    swings = np.median(pieces.max(axis=2) - pieces.min(axis=2), axis=1)
    return np.sort(swings[swings > 0])


def settle_sampling_rate(stated: float | None, given: float | None, *, where: str) -> float:
    """The sampling rate out of what the file states and what the caller gives.

    Raises:
        SignalError: neither is known, or it is no rate.
        RecordFileError: both are known and differ.
    """
    if given is None:
        return check_sampling_rate(stated)
    given = check_sampling_rate(given)
    # 1e-3: a time column states the rate only as exactly as its digits.
    if stated is not None and abs(stated - given) > 1e-3 * given:
        raise RecordFileError(
            f"{where} states {stated:g} Hz and sampling_rate={given:g} was passed. Leave sampling_rate out to use the "
            "file's; if the file is wrong, read it so and set record.sampling_rate."
        )
    return given


def settle_units(stated: str | None, given: str | None, *, where: str) -> str | None:
    """The unit out of what the file states and what the caller gives; None if neither does.

    Raises:
        RecordFileError: both are known and differ.
    """
    if stated and given and unit_scale(stated) != unit_scale(given):
        raise RecordFileError(
            f"{where} states {stated}, and units={given!r} was passed. Leave units= out; if the file is wrong, "
            "set gain= too."
        )
    return stated or given


def apply_gain(signal: np.ndarray, gain: float, units: str | None, *, notes: list[str]) -> tuple[np.ndarray, str]:
    """The signal divided by a gain in values per unit (mV if none is given), with its unit.

    Raises:
        SignalError: the gain is no finite number other than 0.
    """
    if not np.isfinite(gain) or gain == 0:
        raise SignalError(f"gain is {gain}; expected a number of values per mV (or per units=) such as 1000.")
    notes.append(f"gain {gain:g}/{units or 'mV'} set by the caller")
    return signal / float(gain), units or "mV"


def treat_leads_as(record: EcgRecord, treat_as: Mapping[str, str]) -> EcgRecord:
    """The record with leads renamed where the caller says that one may stand for another, which is noted.

    Leads that the record does not have are passed over, so that one mapping fits a whole folder.

    Raises:
        LeadError: the record has the other lead too.
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
    """Positions and names in canonical order if all leads are among the twelve, else as they are."""
    order = list(range(len(names)))
    if set(names) <= set(STANDARD_LEADS):
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
    """Names and orders the leads, settles the unit and notes what is remarkable.

    Records whose leads are all among the twelve get the canonical order; others keep the order of the file.

    Args:
        signal: `(leads, samples)` in `units`.
        sampling_rate: Hz.
        file_leads: the names in the file, None where there are none.
        where: the file (and the place in it), for messages.
        source: the file; None: `where`.
        units: unit of the signal. None: nobody says; taken as mV with a note if the amplitude allows it.
        leads: names given by the caller, one per lead in the order of the file.
        name: name of the record.
        age: years.
        sex: "male", "female" or None.
        patient_id: the patient.
        labels: codes.
        annotations: marks in time.
        notes: what the reader noted already.

    Raises:
        LeadError: names are doubled, or given names contradict the file's.
        RecordFileError: the unit is unknown and the amplitude is none in mV.
    """
    notes = list(notes)
    names, name_notes = _name_leads(file_leads, leads, signal.shape[0], where)
    notes += name_notes
    if names is not None:
        order, ordered = _canonical_order(names)
        if ordered != names:
            notes.append(f"leads put into canonical order (file: {', '.join(names)})")
            signal, names = signal[order], ordered
    if units is None:
        finite = signal[np.isfinite(signal)]
        swing = float(finite.max() - finite.min()) if finite.size else 0.0
        if swing != 0 and not _MILLIVOLT_SWING[0] <= swing <= _MILLIVOLT_SWING[1]:
            raise RecordFileError(
                f"{where} does not state its unit, and values from {finite.min():g} to {finite.max():g} are no "
                "millivolts. Set units= ('mV', 'uV', 'V'), or gain= for converter units per mV."
            )
        notes.append("the file does not state a unit: taken as mV")
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
    """The canonical names out of the file's and the caller's, and notes."""
    written: list[str | None] = [name.strip() if name else None for name in file_leads or [None] * count]
    if given is None:
        if not any(written):
            return None, ["the file does not name its leads"]
        if not all(written):
            unnamed = [str(index) for index, name in enumerate(written) if not name]
            raise LeadError(
                f"{where} names no lead at position {', '.join(unnamed)} (names: {', '.join(map(str, written))}). "
                "Name them with leads=[...], one per lead in the order of the file."
            )
        try:
            return canonical_leads(map(str, written)), []
        except LeadError as error:
            raise LeadError(f"{where}: {error}") from None
    names = canonical_leads(given)
    if len(names) != count:
        raise LeadError(
            f"{where} has {count} leads ({', '.join(map(str, written))}) and leads= names {len(names)}; expected one "
            "name per lead in the order of the file. To choose leads, read all and use record.select([...])."
        )
    known = [canonical_lead(name) if name else None for name in written]
    for found, name in zip(known, names, strict=True):
        # A lead that the file names clearly is not renamed by position: that is how leads get exchanged.
        if found in STANDARD_LEADS and known.count(found) == 1 and found != name:
            raise LeadError(
                f"{where} names its leads {', '.join(map(str, written))}, leads= says {', '.join(names)}. Leave leads= "
                "out to use the file's; record.select([...]) orders leads, treat_as={'MLII': 'II'} renames them."
            )
    renamed = [f"{old} -> {new}" for old, new in zip(known, names, strict=True) if old is not None and old != new]
    return names, [f"leads named by the caller: {', '.join(renamed)}"] if renamed else []
