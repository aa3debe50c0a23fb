"""WFDB records as rows of a corpus: found below a folder, read, stored as the integers of the file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import CorpusError
from ...signals.leads import canonical_lead
from ...signals.record import EcgRecord, unit_scale
from ...signals.wfdb.header import WfdbHeader
from ...signals.wfdb.read import read_header, read_wfdb
from ..definition import RecordSource
from ..layout import INVALID_SAMPLE, CorpusRecord

__all__ = ["HeaderFile", "find_headers", "integer_signal", "is_integer_record", "wfdb_row"]

# WFDB formats whose samples have at most 16 bits.
_INTEGER_FORMATS = (16, 61, 80, 160, 212, 310, 311, 508, 516)


class HeaderFile(NamedTuple):
    """A header below a folder: relative path, record name, bytes of the signal file next to it (0: none)."""

    path: str
    name: str
    size: int


def find_headers(source: Path, corpus: str) -> list[HeaderFile]:
    """All WFDB headers below `source`, by name; hidden folders are left out.

    Raises:
        CorpusError: `source` is no folder.
    """
    if not source.is_dir():
        raise CorpusError(f"{source} is not a folder; expected the unpacked tree of {corpus}. Set --source.")
    return sorted(_walk(source, ""), key=lambda item: (item.name, item.path))


def _walk(folder: Path, below: str) -> Iterator[HeaderFile]:
    sizes, headers = {}, []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, f"{below}{entry.name}/")
            elif entry.name.endswith(".hea"):
                headers.append(entry.name[:-4])
            elif entry.name.endswith((".dat", ".mat")):
                sizes[entry.name[:-4]] = entry.stat().st_size
    for name in headers:
        yield HeaderFile(f"{below}{name}.hea", name, sizes.get(name, 0))


def is_integer_record(header: WfdbHeader) -> bool:
    """Whether all signals of a record fit 16 bits."""
    return not header.segments and all(signal.format in _INTEGER_FORMATS for signal in header.signals)


def integer_signal(record: EcgRecord, header: WfdbHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integers of the file behind a record that was read from it, with gain per mV and baseline of each lead.

    float32 has 24 bits, so rounding restores every 16-bit sample exactly; a missing sample gets WFDB's mark.
    """
    named = {canonical_lead(signal.name): signal for signal in header.signals if signal.name}
    signals = [named[lead] for lead in record.leads or ()]
    gain = np.array([signal.gain / unit_scale(signal.units or "mV") for signal in signals])
    baseline = np.array([signal.baseline for signal in signals], dtype=np.int32)
    values = record.signal * gain.astype(np.float32)[:, None] + baseline.astype(np.float32)[:, None]
    np.rint(values, out=values)
    missing = np.isnan(values)
    if missing.any():
        values[missing] = INVALID_SAMPLE
    return values.astype(np.int16), gain, baseline


def wfdb_row(root: Path, record: RecordSource) -> CorpusRecord:
    """Reads a record; the corpus's tables take precedence over the header."""
    path = root / record.path
    header = read_header(path)
    found = read_wfdb(header)
    if found.leads is None:
        raise CorpusError(f"{path} does not name its leads; expected names in the header.")
    if is_integer_record(header):
        signal, gain, baseline = integer_signal(found, header)
    else:
        leads = found.num_leads
        signal, gain, baseline = found.signal, np.ones(leads), np.zeros(leads, np.int32)
    return CorpusRecord(
        signal,
        found.sampling_rate,
        found.leads,
        gain,
        baseline,
        record_id=record.record_id,
        name=record.name,
        patient_id=record.patient_id,
        age=record.age if record.age is not None else found.age,
        sex=record.sex or found.sex,
        fold=record.fold,
        labels=record.labels or tuple(found.labels),
        targets=record.targets,
        notes=[*record.notes, *found.notes],
        annotations=found.annotations,
        source=record.path,
    )
