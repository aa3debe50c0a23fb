"""Formats of recorder makers and hospitals in, through `ecgdatakit` (extra `[formats]`).

HL7 aECG, GE MUSE, Philips Sierra, Mortara, SCP-ECG, DICOM waveform, EDF, ISHNE, MFER, Kardia: the library recognizes
and decodes them; here its record becomes an EcgRecord, and units, rate and lead names are checked as for every reader.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import RecordFileError
from ..assembly import assemble_record, settle_sampling_rate
from ..leads import STANDARD_LEADS, canonical_lead
from ..record import EcgRecord

__all__ = ["is_vendor", "read_vendor"]

# By offset: EDF, BDF, ISHNE; MFER; SCP-ECG (its section 0); DICOM.
_SIGNATURES = {0: (b"0       ", b"\xffBIOSEMI", b"ISHNE1.0"), 2: (b"MFR ",), 16: (b"SCPECG",), 128: (b"DICM",)}
_SUFFIXES = {".scp", ".xle", ".arc", ".mwf", ".mfer", ".ecg", ".dcm", ".edf", ".bdf"}
_MAX_NOTE = 200


def is_vendor(path: Path, head: bytes) -> bool:
    """Whether a file is markup, or has a signature or suffix of a recorder's format."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"<", b"{") or path.suffix.casefold() in _SUFFIXES:
        return True
    return any(head[offset:].startswith(marks) for offset, marks in _SIGNATURES.items())


def read_vendor(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
) -> EcgRecord:
    """Reads a recording in a recorder's format.

    Args:
        path: the file.
        sampling_rate: Hz; only compared with the file's.
        gain: converter units per mV, for files that do not state theirs.
        leads: names of the leads where the file names none.

    Raises:
        RecordFileError: ecgdatakit or a part of it is missing, does not know the file, or finds it damaged; the leads
            are of several rates or lengths; or the file states no unit.
    """
    path = Path(path)
    try:
        from ecgdatakit import FileParser, UnsupportedFormatError
    except ImportError:
        raise RecordFileError(
            f"{path} looks like a recorder's format (XML, SCP-ECG, DICOM, EDF, ...); reading it needs ecgdatakit: "
            "pip install 'ecg-transformers[formats]'."
        ) from None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = FileParser.parse(path, auto_scale=True, units="mV")
    except UnsupportedFormatError:
        known = ", ".join(str(kind["name"]) for kind in FileParser.supported_formats())
        raise RecordFileError(f"{path} is of no format that ecgdatakit knows ({known}).") from None
    except ImportError as error:
        raise RecordFileError(f"{path} needs one more package: {error}") from error
    # Whatever a damaged file makes the library raise.
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    notes = [f"read as {found.file_format.name or found.source_format} by ecgdatakit"]
    # What the library left unconverted is told below.
    told = [str(warning.message)[:_MAX_NOTE] for warning in caught]
    notes += [text for text in told if "not in a voltage unit" not in text]
    voltages = [lead for lead in found.leads if lead.is_raw or lead.units == "mV"]
    others = [f"{lead.label} ({lead.units or 'no unit'})" for lead in found.leads if lead not in voltages]
    if others:
        notes.append(f"left out, no voltage: {', '.join(others)}")
    if not voltages:
        raise RecordFileError(f"{path} holds no voltage (found: {', '.join(others) or 'no leads'}); expected an ECG.")
    layout = {(lead.sampling_rate, len(lead.samples)) for lead in voltages}
    if len(layout) > 1:
        listing = ", ".join(f"{lead.label} {len(lead.samples)} at {lead.sampling_rate:g} Hz" for lead in voltages)
        raise RecordFileError(f"{path} has leads of several rates or lengths ({listing}); expected one of each.")
    signal = np.stack([np.asarray(lead.samples, dtype=np.float64) for lead in voltages])
    raw = [row for row, lead in enumerate(voltages) if lead.is_raw]
    if raw and gain is None:
        names = ", ".join(voltages[row].label for row in raw)
        raise RecordFileError(f"{path} states no unit for {names}. Set gain= (converter units per mV).")
    if gain is not None:
        if len(raw) < len(voltages):
            raise RecordFileError(f"{path} states its units; leave gain={gain:g} out.")
        signal /= gain
        notes.append(f"gain {gain:g}/mV set by the caller")
    rate = voltages[0].sampling_rate or None
    patient = found.patient
    return assemble_record(
        signal,
        sampling_rate=settle_sampling_rate(rate, sampling_rate, where=str(path)),
        file_leads=[_label(lead.label) for lead in voltages],
        where=str(path),
        leads=leads,
        name=path.stem,
        patient_id=patient.patient_id or None,
        age=patient.age,
        sex=patient.sex or None,
        notes=notes,
    )


def _label(label: str) -> str:
    """The lead behind the signal type that EDF puts in front ("ECG V1"), where it is one of the twelve."""
    for prefix in ("ECG", "EKG"):
        rest = canonical_lead(label.strip()[len(prefix) :] or label)
        if label.strip().upper().startswith(prefix) and rest in STANDARD_LEADS:
            return rest
    return label
