"""MATLAB files of versions 4 to 7 in, among them the struct of the CPSC 2018 challenge; version 7.3 is HDF5."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import RecordFileError
from ..leads import STANDARD_LEADS
from ..record import EcgRecord
from .array_choice import Facts, assemble_array, choose_array, facts_among, select_record

__all__ = ["is_matlab", "read_matlab"]

# CPSC 2018 (http://2018.icbeb.org/Challenge.html): struct ECG with sex, age, data; 12 leads in standard order, mV.
_CPSC_FIELDS, _CPSC_RATE = {"sex", "age", "data"}, 500
# Bytes per value by the P digit of the version 4 type word.
_V4_BYTES = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}


def is_matlab(path: Path, head: bytes) -> bool:
    """Whether a file begins like MATLAB 5 to 7, or like version 4, which has no mark but a plausible matrix header."""
    return head.startswith(b"MATLAB 5.0") or _v4_size(head) is not None


def _v4_size(head: bytes) -> int | None:
    """Bytes of the first matrix of a version 4 file, None for other files."""
    if len(head) < 21:
        return None
    kind, rows, columns, imaginary, name_length = struct.unpack("<5i", head[:20])
    if not 0 <= kind < 100 or kind // 10 not in _V4_BYTES or kind % 10 > 2 or imaginary not in (0, 1):
        return None
    name = head[20 : 20 + name_length].rstrip(b"\0")
    if not (rows > 0 and columns > 0 and 1 < name_length <= 64 and name.isascii() and name.decode().isidentifier()):
        return None
    return 20 + name_length + rows * columns * _V4_BYTES[kind // 10] * (1 + imaginary)


def read_matlab(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    key: str | None = None,
    index: int | None = None,
) -> EcgRecord:
    """Reads a recording from a MATLAB file without a WFDB header.

    Fields of a struct are named `variable.field`. Rate, unit, leads, age and sex are taken from variables or fields
    of usual names. The CPSC 2018 struct is known: 500 Hz, mV, standard lead order.

    Raises:
        RecordFileError: the file is damaged, no array is clearly the signal, or nobody states the sampling rate.
    """
    path = Path(path)
    from scipy.io import loadmat

    with path.open("rb") as file:
        needed = _v4_size(file.read(128))
    if needed is not None and needed > path.stat().st_size:
        found = path.stat().st_size
        raise RecordFileError(f"{path} has {found} of {needed} bytes; the copy is incomplete: copy it again.")
    try:
        variables = loadmat(path)
    # scipy has no error class of its own for damaged files: ValueError, TypeError, KeyError, zlib.error ...
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read as MATLAB file: {type(error).__name__}: {error}.") from error
    values = _flatten({name: value for name, value in variables.items() if not name.startswith("__")})
    arrays = {name: (value.shape, value.dtype) for name, value in values.items()}
    chosen = choose_array(arrays, key, where=str(path))
    where = f"{path}[{chosen}]"
    position = select_record(values[chosen].shape, index, where=where)
    signal = values[chosen][position]
    small = {name.rsplit(".", 1)[-1]: value for name, value in values.items() if value.size <= 64}
    facts, notes = facts_among(small), []
    fields = {name.rsplit(".", 1)[-1] for name in values if name.startswith(chosen.rpartition(".")[0] + ".")}
    if fields == _CPSC_FIELDS and signal.ndim == 2 and len(signal) == len(STANDARD_LEADS):
        facts = Facts(_CPSC_RATE if sampling_rate is None else None, "mV", list(STANDARD_LEADS))
        rate_taken = f", {_CPSC_RATE} Hz" if sampling_rate is None else ""
        notes.append(f"layout of CPSC 2018 (struct with sex, age, data): standard lead order, mV{rate_taken}")
    if facts.sampling_rate is None and sampling_rate is None:
        listing = ", ".join(f"{name} {value.shape} {value.dtype}" for name, value in values.items())
        raise RecordFileError(
            f"{path} holds {listing}, and neither a header {path.stem}.hea beside it nor a variable fs states the "
            "sampling rate. Copy the header there, or set sampling_rate= (and gain= or units= for converter units)."
        )
    return assemble_array(
        signal,
        where=where,
        source=str(path),
        name=path.stem if index is None else f"{path.stem}-{index}",
        facts=facts,
        sampling_rate=sampling_rate,
        units=units,
        gain=gain,
        leads=leads,
        age=_age(small.get("age")),
        sex=_sex(small.get("sex")),
        notes=notes,
    )


def _flatten(variables: dict[str, object]) -> dict[str, np.ndarray]:
    """Arrays by name, the fields of single structs as `variable.field`."""
    flat: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        value = np.asarray(value)
        if value.dtype.names and value.size == 1:
            record = value.reshape(-1)[0]
            flat |= _flatten({f"{name}.{field}": record[field] for field in value.dtype.names})
        elif value.dtype.names is None:
            flat[name] = value
    return flat


def _age(value: np.ndarray | None) -> float | None:
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 and value.dtype.kind in "iuf" else None


def _sex(value: np.ndarray | None) -> str | None:
    return str(value.reshape(-1)[0]) if value is not None and value.size == 1 and value.dtype.kind == "U" else None
