"""Reader of MATLAB files of versions 4 to 7, including the struct of the CPSC 2018 challenge; version 7.3 is HDF5."""

import struct
from pathlib import Path
from typing import Unpack

import numpy as np

from ...errors import RecordFileError
from ..leads import STANDARD_LEADS
from ..record import EcgRecord
from .array_choice import Caller, Facts, assemble_array, facts_among, locate_recording

__all__ = ["is_matlab", "read_matlab"]

# CPSC 2018 (http://2018.icbeb.org/Challenge.html): struct ECG with sex, age, data; 12 leads in standard order, mV.
_CPSC_FIELDS, _CPSC_RATE = {"sex", "age", "data"}, 500
# Bytes per value by the P digit of the version 4 type word.
_V4_BYTES = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}


def is_matlab(path: Path, head: bytes) -> bool:
    """Whether a file starts like MATLAB 5 to 7, or like version 4, which has no signature but a matrix header."""
    return head.startswith(b"MATLAB 5.0") or _v4_size(head) is not None


def _v4_size(head: bytes) -> int | None:
    """Bytes of the first matrix of a version 4 file; None for other files."""
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
    path: str | Path, *, key: str | None = None, index: int | None = None, **caller: Unpack[Caller]
) -> EcgRecord:
    """Read a recording from a MATLAB file without a WFDB header.

    Fields of a struct are named `variable.field`. Sampling rate, unit, lead names, age and sex are taken from variables
    or fields with the usual names. The CPSC 2018 struct is recognized: 500 Hz, mV, standard lead order.

    Args:
        path: File.
        key: Name of the array, if several can be the signal.
        index: Index of the recording, if the array holds several.
        **caller: Arguments of the caller.

    Raises:
        RecordFileError: If the file is damaged, has no unambiguous signal, or the sampling rate is unknown.
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
    # scipy has no specific error class for damaged files: ValueError, TypeError, KeyError, zlib.error ...
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read as a MATLAB file: {type(error).__name__}: {error}.") from error
    values = _flatten({name: value for name, value in variables.items() if not name.startswith("__")})
    arrays = {name: (value.shape, value.dtype) for name, value in values.items()}
    chosen, where, position = locate_recording(path, arrays, key, index)
    signal, rate = values[chosen][position], caller.get("sampling_rate")
    small = {name.rsplit(".", 1)[-1]: value for name, value in values.items() if value.size <= 64}
    facts, notes = facts_among(small), []
    fields = {name.rsplit(".", 1)[-1] for name in values if name.startswith(chosen.rpartition(".")[0] + ".")}
    if fields == _CPSC_FIELDS and signal.ndim == 2 and len(signal) == len(STANDARD_LEADS):
        facts = Facts(_CPSC_RATE if rate is None else None, "mV", list(STANDARD_LEADS))
        rate_taken = f", {_CPSC_RATE} Hz" if rate is None else ""
        notes.append(f"layout of CPSC 2018 (struct with sex, age, data): standard lead order, mV{rate_taken}")
    if facts.sampling_rate is None and rate is None:
        listing = ", ".join(f"{name} {value.shape} {value.dtype}" for name, value in values.items())
        raise RecordFileError(
            f"{path} holds {listing}, but neither a header {path.stem}.hea nor a variable fs with the "
            "sampling rate. Copy the header there, or set sampling_rate= (and gain= or units= for converter units)."
        )
    return assemble_array(
        signal,
        path,
        facts,
        where=where,
        index=index,
        age=_age(small.get("age")),
        sex=_sex(small.get("sex")),
        notes=notes,
        **caller,
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
