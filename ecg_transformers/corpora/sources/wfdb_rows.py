"""WFDB records as rows of a corpus: found below a folder, read, stored as the integers of the file."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ...errors import CorpusError
from ...signals.digital import MAX_EXACT_BASELINE
from ...signals.record import unit_scale
from ...signals.wfdb.header import WfdbHeader
from ...signals.wfdb.read import read_header, read_wfdb, read_with_integers
from ..definition import RecordSource
from ..layout import CorpusRecord

__all__ = ["HeaderFile", "find_headers", "is_integer_record", "wfdb_row"]

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
    """Whether all signals of a record can be stored as 16-bit integers with exact millivolts.

    A baseline beyond 2^23 (an electrode offset of many times the range of the converter) does not fit: such a record is
    stored as float32.
    """
    return not header.segments and all(
        signal.format in _INTEGER_FORMATS and abs(signal.baseline) < MAX_EXACT_BASELINE for signal in header.signals
    )


def wfdb_row(
    root: Path, record: RecordSource, *, true_gains: Mapping[float, float] = MappingProxyType({})
) -> CorpusRecord:
    """Reads a record; the corpus's tables take precedence over the header.

    Args:
        root: root of the corpus.
        record: the record.
        true_gains: wrong gain in a header -> gain of its samples, both in units per mV, for releases with a known
            fault; applied where all signals state the wrong one.
    """
    path = root / record.path
    header = read_header(path)
    notes = list(record.notes)
    for stated, true in true_gains.items():
        if header.signals and all(signal.gain == stated for signal in header.signals):
            header = replace(header, signals=tuple(signal._replace(gain=true) for signal in header.signals))
            notes.append(f"gain {stated:g}/mV in the header is a known fault of this release; {true:g}/mV was used")
    if is_integer_record(header):
        found, samples, signals = read_with_integers(header)
        gain = np.array([signal.gain / unit_scale(signal.units or "mV") for signal in signals])
        baseline = np.array([signal.baseline for signal in signals], dtype=np.int32)
    else:
        found = read_wfdb(header)
        samples, gain, baseline = found.signal, np.ones(found.num_leads), np.zeros(found.num_leads, np.int32)
    if found.leads is None:
        raise CorpusError(f"{path} does not name its leads; expected names in the header.")
    return CorpusRecord(
        samples,
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
        notes=[*notes, *found.notes],
        annotations=found.annotations,
        source=record.path,
    )
