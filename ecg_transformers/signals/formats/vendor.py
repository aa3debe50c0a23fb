"""Reader of vendor and hospital formats, based on `ecgdatakit` (extra `[formats]`).

HL7 aECG, GE MUSE, Philips Sierra, Mortara, SCP-ECG, DICOM waveform, EDF, ISHNE, MFER, Kardia: the library detects and
decodes the format; this module converts its record to an EcgRecord, with the checks of every reader.
"""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import LeadError, RecordFileError, SignalError
from ..assembly import apply_gain, assemble_record, place_samples, settle_sampling_rate
from ..digital import INVALID_SAMPLE
from ..leads import STANDARD_LEADS, canonical_lead
from ..record import EcgRecord, unit_scale
from .text_encoding import decode_head, text_encoding

__all__ = ["is_vendor", "read_vendor"]

# By offset: EDF, BDF, ISHNE; MFER; SCP-ECG (its section 0); DICOM.
_SIGNATURES = {0: (b"0       ", b"\xffBIOSEMI", b"ISHNE1.0"), 2: (b"MFR ",), 16: (b"SCPECG",), 128: (b"DICM",)}
_SUFFIXES = {".scp", ".xle", ".arc", ".mwf", ".mfer", ".ecg", ".dcm", ".edf", ".bdf"}
_MAX_NOTE = 200
# Gaps of a recording that are listed in its notes.
_MAX_GAPS = 5
_HEAD_BYTES = 4096


def is_vendor(path: Path, head: bytes) -> bool:
    """Whether a file is markup, or has the signature or suffix of a vendor format."""
    if decode_head(head).lstrip()[:1] in ("<", "{") or path.suffix.casefold() in _SUFFIXES:
        return True
    return any(head[offset:].startswith(marks) for offset, marks in _SIGNATURES.items())


def read_vendor(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    channels: Sequence[int | str] | None = None,
    allow_truncated: bool = False,
) -> EcgRecord:
    """Read a recording in a vendor format.

    Args:
        path: File.
        sampling_rate: Sampling rate in Hz; only compared with that of the file.
        gain: Raw units per mV, for files without calibration.
        leads: Lead names, if the file has none.
        channels: Voltages to read, by name or position among them. Default: all.
        allow_truncated: Whether to read what is there of a file that was cut off, with a note.

    Raises:
        LeadError: If a channel is missing.
        RecordFileError: If ecgdatakit or one of its parts is missing, does not know the file or finds it damaged; if
            the leads differ in rate or length; or if the file states no unit.
    """
    path = Path(path)
    found, notes = _parsed(path)
    cut_off = next((note for note in notes if "truncated" in note), None)
    if cut_off is not None and not allow_truncated:
        raise RecordFileError(
            f"{path} is incomplete ({cut_off}): copy it again. Set allow_truncated=True to read the samples that are "
            "there."
        )
    converted = [_converted(lead, found.source_format) for lead in found.leads]
    voltages = [lead for lead in converted if lead.unit in ("mV", "raw")]
    others = [f"{lead.label} ({lead.unit or 'no unit'})" for lead in converted if lead not in voltages]
    if others:
        notes.append(f"left out, no voltage: {', '.join(others)}")
    if not voltages:
        raise RecordFileError(f"{path} holds no voltage (found: {', '.join(others) or 'no leads'}); expected an ECG.")
    voltages = voltages if channels is None else [_chosen(voltages, channel, path) for channel in channels]
    rates = found.raw_metadata.get("exact_sampling_rates", {})
    layout = {(float(rates.get(lead.label, lead.sampling_rate)), len(lead.samples)) for lead in voltages}
    if len(layout) > 1:
        listing = ", ".join(f"{lead.label} {len(lead.samples)} at {lead.sampling_rate:g} Hz" for lead in voltages)
        raise RecordFileError(
            f"{path} has leads of several rates or lengths ({listing}); expected one of each. Set channels= to the "
            "names of leads of one rate."
        )
    rate = layout.pop()[0]
    signal = _with_gaps(np.stack([lead.samples for lead in voltages]), found, rate, notes, where=str(path))
    raw = [lead.label for lead in voltages if lead.unit == "raw"]
    if raw and gain is None:
        raise RecordFileError(f"{path} states no unit for {', '.join(raw)}. Set gain= (raw units per mV).")
    if gain is not None:
        if len(raw) < len(voltages):
            raise RecordFileError(f"{path} states its units; leave gain={gain:g} out.").about("gain")
        signal, _ = apply_gain(signal, gain, None, notes=notes)
    patient = found.patient
    return assemble_record(
        signal,
        sampling_rate=settle_sampling_rate(rate or None, sampling_rate, where=str(path)),
        file_leads=[_label(lead.label) for lead in voltages],
        where=str(path),
        leads=leads,
        name=path.stem,
        patient_id=patient.patient_id or None,
        age=patient.age,
        sex=patient.sex or None,
        notes=notes,
    )


class _VendorLead(NamedTuple):
    """A lead: samples float64 with NaN where missing, and their unit ("mV", "raw", another quantity, or none)."""

    label: str
    samples: np.ndarray
    sampling_rate: float
    unit: str


def _chosen(leads: Sequence[_VendorLead], channel: int | str, path: Path) -> _VendorLead:
    """The lead of a name or position.

    Raises:
        LeadError: If there is none, or several.
    """
    found = [
        lead
        for place, lead in enumerate(leads)
        if place == channel or (isinstance(channel, str) and _alike(channel, lead.label))
    ]
    if len(found) != 1:
        listing = ", ".join(lead.label for lead in leads)
        raise LeadError(f"{path} has the leads {listing}; channels= asks for {channel!r}, which is missing or doubled.")
    return found[0]


def _alike(first: str, second: str) -> bool:
    return canonical_lead(_label(first)).casefold() == canonical_lead(_label(second)).casefold()


def _converted(lead: Any, source_format: str) -> _VendorLead:
    """A lead of ecgdatakit in mV where its unit is a voltage, with NaN for the format's mark of a missing sample."""
    samples = np.array(lead.samples, dtype=np.float64)
    if lead.is_raw:
        # EDF states which values occur; elsewhere the smallest 16-bit integer is no measurement.
        lowest = float(lead.annotations.get("digital_minimum", INVALID_SAMPLE + 1))
        samples[(samples == INVALID_SAMPLE) & (lowest > INVALID_SAMPLE)] = np.nan
        if not lead.resolution_unit or lead.resolution == 0.0:
            return _VendorLead(lead.label, samples, lead.sampling_rate, "raw")
        samples = samples * lead.resolution + lead.offset
    unit = lead.resolution_unit if lead.is_raw else lead.units
    try:
        return _VendorLead(lead.label, samples * unit_scale(unit), lead.sampling_rate, "mV")
    except SignalError:
        return _VendorLead(lead.label, samples, lead.sampling_rate, unit)


def _with_gaps(signal: np.ndarray, found: Any, rate: float, notes: list[str], *, where: str) -> np.ndarray:
    """The data records of a discontinuous EDF+ at their times, NaN between them.

    Raises:
        RecordFileError: The file is discontinuous and does not state when its records begin, or they overlap.
    """
    onsets = found.raw_metadata.get("record_onsets")
    if onsets is None:
        if found.file_format.version == "EDF+D":
            raise RecordFileError(
                f"{where} is a discontinuous EDF+ without the times of its data records; expected them."
            )
        return signal
    length = signal.shape[1] // len(onsets)
    gaps = np.diff(np.rint((np.asarray(onsets) - onsets[0]) * rate).astype(np.int64)) - length
    gaps[np.abs(gaps) <= 1] = 0  # rounded times
    if not gaps.any():
        return signal
    starts = length * np.arange(len(onsets)) + np.concatenate([[0], np.cumsum(gaps)])
    places = (starts[:, np.newaxis] + np.arange(length)).reshape(-1)
    placed = place_samples(signal, places, where=where, cure="Cut the file at its gaps.")
    listed = [f"{gaps[k] / rate:.4g} s after {(starts[k] + length) / rate:.4g} s" for k in np.flatnonzero(gaps)]
    more = [f"{len(listed) - _MAX_GAPS} more"] if len(listed) > _MAX_GAPS else []
    notes.append(f"discontinuous recording, missing samples: {', '.join([*listed[:_MAX_GAPS], *more])}")
    return placed


def _parsed(path: Path) -> tuple[Any, list[str]]:
    """The record of ecgdatakit, as stored, and its notes."""
    try:
        from ecgdatakit import FileParser, UnsupportedFormatError
    except ImportError:
        raise RecordFileError(
            f"{path} seems to be in a vendor format (XML, SCP-ECG, DICOM, EDF, ...); reading it needs ecgdatakit: "
            "pip install 'ecg-transformers[formats]'."
        ) from None
    try:
        with warnings.catch_warnings(record=True) as caught, _with_byte_order_mark(path) as marked:
            warnings.simplefilter("always")
            found = FileParser.parse(marked, auto_scale=False)
    except UnsupportedFormatError:
        known = ", ".join(str(kind["name"]) for kind in FileParser.supported_formats())
        raise RecordFileError(
            f"{path} is of no format that ecgdatakit knows ({known}). Convert it to CSV, NPY or WFDB, or add a reader "
            "with register_reader."
        ) from None
    except ImportError as error:
        raise RecordFileError(f"{path} needs one more package: {error}") from error
    # A damaged file can raise any exception in the library.
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    messages = [str(warning.message)[:_MAX_NOTE] for warning in caught]
    messages += [str(found.raw_metadata["scale_warning"])[:_MAX_NOTE]] if "scale_warning" in found.raw_metadata else []
    # What this reader does itself: it converts the units and keeps the gaps.
    messages = [text for text in messages if "auto_scale=False" not in text and "EDF+D file has gaps" not in text]
    return found, [f"read as {found.file_format.name or found.source_format} by ecgdatakit", *messages]


@contextmanager
def _with_byte_order_mark(path: Path) -> Iterator[Path]:
    """The file, or a copy with the mark that an XML parser needs where UTF-16 was written without one."""
    with path.open("rb") as file:
        encoding = text_encoding(file.read(_HEAD_BYTES))
    if encoding not in ("utf-16-le", "utf-16-be"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(path.read_bytes().decode(encoding).encode("utf-16"))
        yield copy


def _label(label: str) -> str:
    """A standard lead without the signal type that EDF prepends ("ECG V1"); other labels unchanged."""
    for prefix in ("ECG", "EKG"):
        rest = canonical_lead(label.strip()[len(prefix) :] or label)
        if label.strip().upper().startswith(prefix) and rest in STANDARD_LEADS:
            return rest
    return label
