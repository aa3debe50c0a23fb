"""WFDB records out: format 16, whole or not at all."""

import os
import re
import tempfile
from pathlib import Path

import numpy as np

from ...errors import RecordFileError
from ..record import EcgRecord

__all__ = ["write_wfdb"]

# Units per mV where the amplitude allows it: 1 uV steps, the gain of PTB-XL.
_GAIN = 1000
_MAX_VALUE = (1 << 15) - 1
_INVALID = -(1 << 15)


def write_wfdb(record: EcgRecord, folder: str | Path) -> Path:
    """Writes a record as `folder/<name>.hea` and `.dat` (`.atr` with annotations) and gives the header's path.

    Samples are rounded to 1 uV (1000 units per mV, fewer where the amplitude exceeds 32.7 mV); NaN becomes WFDB's mark
    for invalid samples. Age, sex and labels go into comments as in the PhysioNet Challenges.

    Raises:
        RecordFileError: the name is no plain file name, a sample is infinite, or annotations cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", record.name):
        raise RecordFileError(
            f"the record is named {record.name!r}; WFDB needs a name of letters, digits, - and _. Set record.name."
        )
    valid = ~np.isnan(record.signal)
    peak = float(np.abs(record.signal, where=valid, out=np.zeros_like(record.signal)).max())
    if not np.isfinite(peak):
        raise RecordFileError(f"record {record.name} has infinite samples; WFDB has no such value. Set them to NaN.")
    gain = float(_GAIN) if peak * _GAIN <= _MAX_VALUE else float(f"{_MAX_VALUE / peak * 0.999:.3g}")
    scaled = np.where(valid, np.rint(record.signal.astype(np.float64) * gain), _INVALID)
    digital = np.ascontiguousarray(scaled.astype("<i2").T)  # (samples, leads)
    sums = digital.sum(axis=0, dtype=np.int16)
    names = record.leads or [""] * record.num_leads
    lines = [f"{record.name} {record.num_leads} {record.sampling_rate} {record.num_samples}"]
    lines += [
        f"{record.name}.dat 16 {gain:g}(0)/mV 16 0 {first} {total} 0 {name}".rstrip()
        for name, first, total in zip(names, digital[0].tolist(), sums.tolist(), strict=True)
    ]
    lines += [] if record.age is None else [f"#Age: {record.age:g}"]
    lines += [] if record.sex is None else [f"#Sex: {record.sex.capitalize()}"]
    lines += [f"#Dx: {','.join(record.labels)}"] if record.labels else []
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The header comes last: a record without it does not exist.
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{record.name}-") as unfinished:
        Path(unfinished, f"{record.name}.dat").write_bytes(digital.tobytes())
        Path(unfinished, f"{record.name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        suffixes = [".dat", ".hea"]
        if record.annotations is not None and len(record.annotations):
            _write_annotations(record, unfinished)
            suffixes.insert(1, ".atr")
        for suffix in suffixes:
            os.replace(Path(unfinished, record.name + suffix), folder / (record.name + suffix))
    return folder / f"{record.name}.hea"


def _write_annotations(record: EcgRecord, folder: str) -> None:
    import wfdb

    marks = record.require_annotations()
    try:
        wfdb.wrann(record.name, "atr", marks.samples, symbol=marks.symbols, aux_note=marks.aux, write_dir=folder)
    # wfdb has no error class of its own.
    except Exception as error:
        raise RecordFileError(f"the annotations of record {record.name} cannot be written: {error}") from error
