"""Reader of HDF5, including MATLAB 7.3; loads one recording and follows no links to other files."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from ...errors import RecordFileError
from ..digital import without_marks
from ..record import EcgRecord
from .array_choice import Caller, assemble_array, facts_among, locate_recording

if TYPE_CHECKING:
    import h5py

__all__ = ["is_hdf5", "read_hdf5"]

# A file may declare sizes without storing data; its compression (deflate) reduces to a thousandth at most.
_MAX_EXPANSION, _SMALL_BYTES = 2000, 1 << 26
_FILL_ATTRIBUTES = ("_FillValue", "missing_value")
_SCALE, _OFFSET = "scale_factor", "add_offset"
# MATLAB 7.3 files start with 512 bytes of text.
_SIGNATURE, _MATLAB_OFFSET = b"\x89HDF\r\n\x1a\n", 512


def is_hdf5(path: Path, head: bytes) -> bool:
    """Whether a file starts like HDF5 or MATLAB 7.3."""
    return head.startswith(_SIGNATURE) or head[_MATLAB_OFFSET:].startswith(_SIGNATURE)


def read_hdf5(
    path: str | Path, *, key: str | None = None, index: int | None = None, **caller: Unpack[Caller]
) -> EcgRecord:
    """Read a recording from HDF5; only the selected recording is loaded.

    Sampling rate, unit and lead names may be attributes of the dataset or the file, or small datasets. The axes of a
    MATLAB 7.3 array, which are stored in reverse, are taken in MATLAB's order: (records, leads, samples). Values equal
    to an attribute `_FillValue` or `missing_value` are missing samples; `scale_factor` and `add_offset` are applied.

    Args:
        path: File.
        key: Name of the array, if several can be the signal.
        index: Index of the recording, if the array holds several.
        **caller: Arguments of the caller.

    Raises:
        RecordFileError: If the file is damaged, or has no unambiguous signal.
        SignalError: If the sampling rate is unknown.
    """
    path = Path(path)
    try:
        import h5py
    except ImportError:
        raise RecordFileError(f"{path} is HDF5; install h5py for it: pip install 'ecg-transformers[hdf5]'.") from None
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            # MATLAB 7.3 stores text as numbers.
            numbers = {name: item for name, item in datasets.items() if item.attrs.get("MATLAB_class") != b"char"}
            order = -1 if _is_matlab(path) else 1
            arrays = {name: (item.shape[::order], item.dtype) for name, item in numbers.items()}
            chosen, where, position = locate_recording(path, arrays, None if key is None else key.strip("/"), index)
            dataset = datasets[chosen]
            shape = dataset.shape[::order][len(position) :]
            size = int(np.prod(shape, dtype=object)) * dataset.dtype.itemsize
            if size > max(_SMALL_BYTES, _MAX_EXPANSION * path.stat().st_size):
                raise RecordFileError(
                    f"{where} has shape {shape}, {size} bytes; the file has only {path.stat().st_size} bytes."
                )
            values = np.asarray(dataset[position] if order == 1 else dataset[(..., *position)].T)
            notes: list[str] = []
            values = _unpacked(_without_fill_values(values, dataset), dataset, notes)
            facts = facts_among(_facts(file, dataset, datasets))
    except RecordFileError:
        raise
    # h5py has no error class of its own: OSError, KeyError, RuntimeError, ValueError ...
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read as HDF5: {type(error).__name__}: {error}.") from error
    return assemble_array(values, path, facts, where=where, index=index, notes=notes, **caller)


def _is_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3"


def _without_fill_values(values: np.ndarray, dataset: "h5py.Dataset") -> np.ndarray:
    """The values, masked where they are the dataset's mark of a missing sample (netCDF conventions)."""
    marks = [np.asarray(dataset.attrs[name]).reshape(-1) for name in _FILL_ATTRIBUTES if name in dataset.attrs]
    return np.ma.masked_where(np.isin(values, np.concatenate(marks)), values) if marks else values


def _unpacked(values: np.ndarray, dataset: "h5py.Dataset", notes: list[str]) -> np.ndarray:
    """The values in the unit of the file, where the dataset states how they are packed (netCDF conventions)."""
    if not {_SCALE, _OFFSET} & set(dataset.attrs):
        return values
    scale, offset = (
        np.asarray(dataset.attrs.get(name, default)).item() for name, default in ((_SCALE, 1), (_OFFSET, 0))
    )
    values, missing = without_marks(values)
    notes += [] if missing is None else [missing]
    notes.append(f"values times {scale:g} plus {offset:g}, as the file states")
    return values * float(scale) + float(offset)


def _datasets(file: "h5py.File") -> dict[str, "h5py.Dataset"]:
    """All datasets whose values are stored in the file itself."""
    import h5py

    found = {}

    # visititems follows neither soft nor external links.
    def collect(name: str, item: "h5py.Group | h5py.Dataset") -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and not item.is_virtual and not item.external:
            found[name] = item

    file.visititems(collect)
    return found


def _facts(file: "h5py.File", dataset: "h5py.Dataset", datasets: dict[str, "h5py.Dataset"]) -> dict[str, object]:
    """Small datasets and attributes by name; those closest to the dataset take precedence."""
    small = {}
    for name, item in datasets.items():
        if item.size <= 64:
            text = item.attrs.get("MATLAB_class") == b"char"
            small[name.rsplit("/", 1)[-1]] = "".join(map(chr, item[()].reshape(-1))) if text else item[()]
    return {**small, **dict(file.attrs), **dict(dataset.parent.attrs), **dict(dataset.attrs)}
