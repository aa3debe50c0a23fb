"""Reader of NPY and NPZ. Pickled objects are never loaded."""

import zipfile
from pathlib import Path
from typing import Unpack

import numpy as np

from ...errors import RecordFileError
from ..record import EcgRecord
from .array_choice import Caller, Facts, assemble_array, facts_among, locate_recording, select_record

__all__ = ["is_numpy", "read_numpy"]


def is_numpy(path: Path, head: bytes) -> bool:
    """Whether a file starts like `.npy`, or is a zip archive whose first member does."""
    return head.startswith(b"\x93NUMPY") or (head.startswith(b"PK\x03\x04") and b".npy" in head[:512])


def read_numpy(
    path: str | Path, *, key: str | None = None, index: int | None = None, **caller: Unpack[Caller]
) -> EcgRecord:
    """Read a recording from `.npy` or `.npz`; of an `.npy` only the selected recording is loaded.

    An archive may hold sampling rate, unit and lead names in arrays called `sampling_rate` (`fs`), `units`, `leads`.

    Args:
        path: File.
        key: Name of the array, if several can be the signal.
        index: Index of the recording, if the array holds several.
        **caller: Arguments of the caller.

    Raises:
        RecordFileError: If the file is damaged, holds Python objects, or has no unambiguous signal.
        SignalError: If the sampling rate is unknown.
    """
    path = Path(path)
    try:
        # Object arrays are pickles; mmap_mode has no effect on archives, whose members are loaded one by one.
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if key is not None:
                raise RecordFileError(f"{path} holds one array; leave key= out.").about("key")
            where, facts, masks = str(path), Facts(), []
            position = select_record(loaded.shape, index, where=where)
            values = np.array(loaded[position])
        else:
            with loaded:
                arrays = _npz_headers(path)
                masks = [name for name in arrays if "mask" in name.casefold() and name != key]
                small = [name for name, (shape, dtype) in arrays.items() if np.prod(shape) <= 64 and dtype.kind != "O"]
                facts = facts_among({name: loaded[name] for name in small})
                chosen, where, position = locate_recording(path, arrays, key, index)
                values = np.array(loaded[chosen][position])
    except RecordFileError:
        raise
    # Damaged files raise ValueError, EOFError, OSError, BadZipFile, zlib.error, MemoryError ...
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        if "Object arrays" in str(error) or "Python objects" in str(error):
            why = "it holds Python objects (pickle), which are never loaded"
        elif any(words in str(error) for words in ("malformed node", "Cannot parse header", "multi-line statement")):
            why = "its header, which states type and shape of the array, is damaged"
        raise RecordFileError(f"{path} cannot be read as a NumPy file: {why}. Save the array again.") from error
    record = assemble_array(values, path, facts, where=where, index=index, **caller)
    record.notes += [f"the array {name!r} is not used: set the samples that it leaves out to NaN" for name in masks]
    return record


def _npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array in an archive, without loading it; inconsistent sizes are rejected."""
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
                raise RecordFileError(f"{path}: array {name} has shape {shape} but only {member.file_size} bytes.")
            headers[name] = (shape, dtype)
    return headers
