"""Reader of vendor and hospital formats, based on `ecgdatakit` (extra `[formats]`).

HL7 aECG, GE MUSE, Philips Sierra, Mortara, SCP-ECG, DICOM waveform, EDF, ISHNE, MFER, Kardia: the library detects and
decodes the format; this module converts its record to an EcgRecord, with the checks of every reader.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RecordFileError
from ..assembly import apply_gain, assemble_record, settle_sampling_rate
from ..leads import STANDARD_LEADS, canonical_lead
from ..record import EcgRecord

__all__ = ["is_vendor", "read_vendor"]

# By offset: EDF, BDF, ISHNE; MFER; SCP-ECG (its section 0); DICOM.
_SIGNATURES = {0: (b"0       ", b"\xffBIOSEMI", b"ISHNE1.0"), 2: (b"MFR ",), 16: (b"SCPECG",), 128: (b"DICM",)}
_SUFFIXES = {".scp", ".xle", ".arc", ".mwf", ".mfer", ".ecg", ".dcm", ".edf", ".bdf"}
_MAX_NOTE = 200


def is_vendor(path: Path, head: bytes) -> bool:
    """Whether a file is markup, or has the signature or suffix of a vendor format."""
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
    """Read a recording in a vendor format.

    Args:
        path: File.
        sampling_rate: Sampling rate in Hz; only compared with that of the file.
        gain: Raw units per mV, for files without calibration.
        leads: Lead names, if the file has none.

    Raises:
        RecordFileError: If ecgdatakit or one of its parts is missing, does not know the file or finds it damaged; if
            the leads differ in rate or length; or if the file states no unit.
    """
    path = Path(path)
    found, notes = _parsed(path)
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
    raw = [lead.label for lead in voltages if lead.is_raw]
    if raw and gain is None:
        raise RecordFileError(f"{path} states no unit for {', '.join(raw)}. Set gain= (raw units per mV).")
    if gain is not None:
        if len(raw) < len(voltages):
            raise RecordFileError(f"{path} states its units; leave gain={gain:g} out.")
        signal, _ = apply_gain(signal, gain, None, notes=notes)
    patient = found.patient
    return assemble_record(
        signal,
        sampling_rate=settle_sampling_rate(voltages[0].sampling_rate or None, sampling_rate, where=str(path)),
        file_leads=[_label(lead.label) for lead in voltages],
        where=str(path),
        leads=leads,
        name=path.stem,
        patient_id=patient.patient_id or None,
        age=patient.age,
        sex=patient.sex or None,
        notes=notes,
    )


def _parsed(path: Path) -> tuple[Any, list[str]]:
    """The record of ecgdatakit and its notes."""
    try:
        from ecgdatakit import FileParser, UnsupportedFormatError
    except ImportError:
        raise RecordFileError(
            f"{path} seems to be in a vendor format (XML, SCP-ECG, DICOM, EDF, ...); reading it needs ecgdatakit: "
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
    # A damaged file can raise any exception in the library.
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    messages = [str(warning.message)[:_MAX_NOTE] for warning in caught]
    # The reader lists unconverted leads itself.
    messages = [text for text in messages if "not in a voltage unit" not in text]
    return found, [f"read as {found.file_format.name or found.source_format} by ecgdatakit", *messages]


def _label(label: str) -> str:
    """A standard lead without the signal type that EDF prepends ("ECG V1"); other labels unchanged."""
    for prefix in ("ECG", "EKG"):
        rest = canonical_lead(label.strip()[len(prefix) :] or label)
        if label.strip().upper().startswith(prefix) and rest in STANDARD_LEADS:
            return rest
    return label
