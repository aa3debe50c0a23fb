"""NPY and NPZ in. Pickled objects are never loaded."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import RecordFileError
from ..record import EcgRecord
from .array_choice import Facts, assemble_array, choose_array, facts_among, select_record

__all__ = ["is_numpy", "read_numpy"]


def is_numpy(path: Path, head: bytes) -> bool:
    """Whether a file begins like `.npy`, or is a zip archive whose first member does."""
    return head.startswith(b"\x93NUMPY") or (head.startswith(b"PK\x03\x04") and b".npy" in head[:512])


def read_numpy(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    key: str | None = None,
    index: int | None = None,
) -> EcgRecord:
    """Reads a recording from `.npy` or `.npz`; of a `.npy` only the chosen one is taken into memory.

    An archive may name its rate, unit and leads in arrays called `sampling_rate` (`fs`), `units`, `leads`.

    Raises:
        RecordFileError: the file is damaged, holds Python objects, or no array is clearly the signal.
        SignalError: neither file nor caller states the sampling rate.
    """
    path = Path(path)
    try:
        # Object arrays are pickles; mmap_mode has no effect on archives, whose members are loaded one by one.
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if key is not None:
                raise RecordFileError(f"{path} holds one array; leave key= out.")
            where, facts = str(path), Facts()
            position = select_record(loaded.shape, index, where=where)
            values = np.array(loaded[position])
        else:
            with loaded:
                arrays = _npz_headers(path)
                small = [name for name, (shape, dtype) in arrays.items() if np.prod(shape) <= 64 and dtype.kind != "O"]
                facts = facts_among({name: loaded[name] for name in small})
                chosen = choose_array(arrays, key, where=str(path))
                where = f"{path}[{chosen}]"
                position = select_record(arrays[chosen][0], index, where=where)
                values = np.array(loaded[chosen][position])
    except RecordFileError:
        raise
    # Damaged files end in ValueError, EOFError, OSError, BadZipFile, zlib.error, MemoryError ...
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        if "Object arrays" in str(error) or "Python objects" in str(error):
            why = "it holds Python objects (pickle), which are never loaded"
        raise RecordFileError(f"{path} cannot be read as NumPy file: {why}. Save the array of numbers anew.") from error
    name = path.stem if index is None else f"{path.stem}-{index}"
    return assemble_array(
        values,
        where=where,
        source=str(path),
        name=name,
        facts=facts,
        sampling_rate=sampling_rate,
        units=units,
        gain=gain,
        leads=leads,
    )


def _npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array in an archive, without loading it; what states more than it holds is refused."""
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            if dtype.itemsize * int(np.prod(shape, dtype=object)) > member.file_size:
                raise RecordFileError(f"{path}: array {name} states shape {shape} and has {member.file_size} bytes.")
            headers[name] = (shape, dtype)
    return headers
