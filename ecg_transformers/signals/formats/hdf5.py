"""HDF5 in, MATLAB 7.3 included; one recording is taken into memory, links to other files are not followed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import RecordFileError
from ..record import EcgRecord
from .array_choice import assemble_array, choose_array, facts_among, select_record

if TYPE_CHECKING:
    import h5py

__all__ = ["is_hdf5", "read_hdf5"]

# A file may state sizes for which it stores nothing; its compression (deflate) makes at most a thousandth.
_MAX_EXPANSION, _SMALL_BYTES = 2000, 1 << 26
# MATLAB 7.3 puts 512 bytes of text in front.
_SIGNATURE, _MATLAB_OFFSET = b"\x89HDF\r\n\x1a\n", 512


def is_hdf5(path: Path, head: bytes) -> bool:
    """Whether a file begins like HDF5 or MATLAB 7.3."""
    return head.startswith(_SIGNATURE) or head[_MATLAB_OFFSET:].startswith(_SIGNATURE)


def read_hdf5(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    key: str | None = None,
    index: int | None = None,
) -> EcgRecord:
    """Reads a recording from HDF5; only the chosen one is taken into memory.

    Rate, unit and leads may be attributes of the dataset or the file, or small datasets of their own.

    Raises:
        RecordFileError: the file is damaged, or no dataset is clearly the signal.
        SignalError: neither file nor caller states the sampling rate.
    """
    path = Path(path)
    try:
        import h5py
    except ImportError:
        raise RecordFileError(f"{path} is HDF5; install h5py for it: pip install 'ecg-transformers[hdf5]'.") from None
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            # MATLAB 7.3 keeps text as numbers.
            numbers = {name: item for name, item in datasets.items() if item.attrs.get("MATLAB_class") != b"char"}
            arrays = {name: (item.shape, item.dtype) for name, item in numbers.items()}
            chosen = choose_array(arrays, None if key is None else key.strip("/"), where=str(path))
            dataset, where = datasets[chosen], f"{path}[{chosen}]"
            position = select_record(dataset.shape, index, where=where)
            shape = dataset.shape[len(position) :]
            size = int(np.prod(shape, dtype=object)) * dataset.dtype.itemsize
            if size > max(_SMALL_BYTES, _MAX_EXPANSION * path.stat().st_size):
                raise RecordFileError(
                    f"{where} states shape {shape}, {size} bytes; the file has {path.stat().st_size} bytes."
                )
            values = np.asarray(dataset[position])
            facts = facts_among(_facts(file, dataset, datasets))
    except RecordFileError:
        raise
    # h5py has no error class of its own: OSError, KeyError, RuntimeError, ValueError ...
    except Exception as error:
        raise RecordFileError(f"{path} cannot be read as HDF5: {type(error).__name__}: {error}.") from error
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


def _datasets(file: "h5py.File") -> dict[str, "h5py.Dataset"]:
    """All datasets whose values lie in the file itself."""
    import h5py

    found = {}

    # visititems follows neither soft nor external links.
    def collect(name: str, item: "h5py.Group | h5py.Dataset") -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and not item.is_virtual and not item.external:
            found[name] = item

    file.visititems(collect)
    return found


def _facts(file: "h5py.File", dataset: "h5py.Dataset", datasets: dict[str, "h5py.Dataset"]) -> dict[str, object]:
    """Small datasets and attributes by name; what lies nearer to the dataset goes before."""
    small = {}
    for name, item in datasets.items():
        if item.size <= 64:
            text = item.attrs.get("MATLAB_class") == b"char"
            small[name.rsplit("/", 1)[-1]] = "".join(map(chr, item[()].reshape(-1))) if text else item[()]
    return {**small, **dict(file.attrs), **dict(dataset.parent.attrs), **dict(dataset.attrs)}
