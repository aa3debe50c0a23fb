"""Writer of WFDB records (format 16), atomic per record."""

import re
from pathlib import Path

import numpy as np

from ...errors import RecordFileError
from ...files import replace_files
from ..record import EcgRecord

__all__ = ["write_wfdb"]

# Raw units per mV if the amplitude permits: steps of 1 uV, the gain of PTB-XL.
_GAIN = 1000
_MAX_VALUE = (1 << 15) - 1
_INVALID = -(1 << 15)


def write_wfdb(record: EcgRecord, folder: str | Path) -> Path:
    """Write a record as `folder/<name>.hea` and `.dat` (`.atr` with annotations) and return the path of the header.

    Samples are rounded to 1 uV (1000 units per mV; fewer if the amplitude exceeds 32.7 mV); NaN becomes the WFDB code
    for invalid samples. Age, sex and labels are written as comments, as in the PhysioNet Challenges.

    Args:
        record: Record with a name of letters, digits, - and _.
        folder: Output folder, created if necessary.

    Raises:
        RecordFileError: If the name is invalid, a sample is infinite, or annotations cannot be written.
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
    # Without the header there is no record.
    with replace_files(folder, last=".hea") as unfinished:
        (unfinished / f"{record.name}.dat").write_bytes(digital.tobytes())
        header = "\n".join(lines) + "\n"
        (unfinished / f"{record.name}.hea").write_text(header, encoding="utf-8", newline="\n")
        if record.annotations is not None and len(record.annotations):
            _write_annotations(record, unfinished)
    return Path(folder, f"{record.name}.hea")


def _write_annotations(record: EcgRecord, folder: Path) -> None:
    import wfdb

    marks = record.require_annotations()
    try:
        wfdb.wrann(record.name, "atr", marks.samples, symbol=marks.symbols, aux_note=marks.aux, write_dir=str(folder))
    # wfdb has no specific error class.
    except Exception as error:
        raise RecordFileError(f"the annotations of record {record.name} cannot be written: {error}") from error
