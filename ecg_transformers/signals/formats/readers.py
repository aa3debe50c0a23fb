"""`read_record`: a recording from a file of any known kind, recognized by its content, and the registry of readers."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import NamedTuple

from ...errors import RecordFileError, SignalError
from ..assembly import treat_leads_as
from ..record import EcgRecord
from ..wfdb.header import refuse_lfs_pointer
from ..wfdb.read import read_wfdb
from .hdf5 import is_hdf5, read_hdf5
from .matlab import is_matlab, read_matlab
from .numpy_files import is_numpy, read_numpy
from .tabular import is_table, read_table
from .vendor import is_vendor, read_vendor

__all__ = ["read_record", "reader_names", "register_reader"]

Probe = Callable[[Path, bytes], bool]
Read = Callable[..., EcgRecord]

_HEAD_BYTES = 4096
_OTHER_KINDS = {b"\x1f\x8b": "compressed by gzip", b"BZh": "compressed by bzip2", b"\xfd7zXZ": "compressed by xz"}
_OTHER_KINDS |= {b"PK\x03\x04": "a zip archive (or Excel file)", b"%PDF": "a PDF", b"\x89PNG": "a picture"}
_OTHER_KINDS |= {b"\xff\xd8\xff": "a picture", b"\xd0\xcf\x11\xe0": "an Office document"}


class _Reader(NamedTuple):
    name: str
    probe: Probe
    read: Read


def _is_wfdb(path: Path, head: bytes) -> bool:
    """A header, a record's path without suffix, or a signal file with its header beside it."""
    if path.suffix.casefold() == ".hea":
        return True
    if not path.exists():
        return _header_of(path)
    if path.suffix.casefold() not in (".dat", ".mat"):
        return False
    # A .dat of text is a table; another one without its header is a WFDB record that was copied in part.
    beside = path.with_suffix(".hea").is_file() or path.with_suffix(".HEA").is_file()
    return beside or (path.suffix.casefold() == ".dat" and not is_table(path, head))


def _header_of(path: Path) -> bool:
    """Whether a path without suffix is that of a WFDB record."""
    return any(path.with_name(path.name + suffix).is_file() for suffix in (".hea", ".HEA"))


# In the order in which they are asked; text comes last but one, because markup and EDF are text, too.
_READERS = [
    _Reader("wfdb", _is_wfdb, read_wfdb),
    _Reader("numpy", is_numpy, read_numpy),
    _Reader("hdf5", is_hdf5, read_hdf5),
    _Reader("matlab", is_matlab, read_matlab),
    _Reader("table", is_table, read_table),
    _Reader("vendor", is_vendor, read_vendor),
]


def reader_names() -> tuple[str, ...]:
    """The names of the registered readers in the order in which they are asked."""
    return tuple(reader.name for reader in _READERS)


def register_reader(name: str, probe: Probe, read: Read) -> None:
    """Adds a reader, which is asked before all others; one of the same name is replaced.

    Args:
        name: its name.
        probe: `probe(path, head)` with the file's first 4096 bytes says whether the file is its kind.
        read: `read(path, ...)` gives an EcgRecord; it gets those of `read_record`'s arguments that the caller set,
            and must have parameters of their names (or `**kwargs`).

    Example:
        >>> def read_mine(path, *, sampling_rate=None):
        ...     return EcgRecord([[0.0, 1.0]], sampling_rate or 250, ["I"], name=path.stem)
        >>> register_reader("mine", lambda path, head: head.startswith(b"MINE"), read_mine)
    """
    _READERS[:] = [_Reader(name, probe, read), *(reader for reader in _READERS if reader.name != name)]


def read_record(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    treat_as: Mapping[str, str] | None = None,
    key: str | None = None,
    index: int | None = None,
) -> EcgRecord:
    """Reads one recording: WFDB, CSV/TSV, NPY/NPZ, HDF5, MATLAB, and recorders' formats with the extra `[formats]`.

    What a file states goes before the arguments, and a contradiction is an error; only `gain` replaces what a file
    says. Everything that was assumed, converted or looks wrong is in the record's `notes`.

    Args:
        path: the file; for WFDB the header, the signal file or the path without a suffix.
        sampling_rate: Hz, where the file states none.
        units: unit of the values (mV, uV, V, nV) where the file states none.
        gain: values per mV (per `units` if given), in place of the file's own calibration.
        leads: a name per lead in the order of the file, where the file names none or names them doubly.
        treat_as: leads that may stand for others, as in `{"MLII": "II"}`; noted on the record.
        key: name of the array in a container (NPZ, HDF5, MATLAB) that holds several.
        index: number of the recording in an array of several.

    Raises:
        RecordFileError: the file is absent, damaged, of an unknown kind, or contradicts the arguments.
        SignalError: the sampling rate is missing, or an argument does not apply.
        LeadError: lead names are doubled or do not fit.

    Example:
        >>> read_record("tests/data/ptbxl/00001_lr.hea")
        EcgRecord(00001_lr, 12 leads, 10.0 s at 100 Hz, mV)
    """
    path = Path(path)
    head = _head(path)
    reader = next((reader for reader in _READERS if reader.probe(path, head)), None)
    if reader is None:
        raise _unknown(path, head)
    given = {"sampling_rate": sampling_rate, "units": units, "gain": gain, "leads": leads, "key": key, "index": index}
    given = {name: value for name, value in given.items() if value is not None}
    taken = signature(reader.read).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        for name in given:
            if name not in taken:
                raise SignalError(f"{path} is read as {reader.name}, which takes no {name}=. Leave it out.")
    try:
        record = reader.read(path, **given)
    except OSError as error:
        raise RecordFileError(f"{path} cannot be read: {error}") from error
    return treat_leads_as(record, treat_as) if treat_as else record


def _head(path: Path) -> bytes:
    """The first bytes of a file; none where the path is a WFDB record's without suffix."""
    if path.is_dir():
        raise RecordFileError(f"{path} is a folder; expected a file. Read a folder with ecg_transformers.load_records.")
    if not path.exists():
        if _header_of(path):
            return b""
        address = " Download what is at an address first." if ":/" in str(path) else ""
        raise RecordFileError(f"{path} is not there; expected a recording's file.{address}")
    if not path.is_file():
        raise RecordFileError(f"{path} is no regular file; expected a recording's file.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise RecordFileError(f"{path} cannot be read: {error}") from error
    refuse_lfs_pointer(path, head)
    if not head and path.suffix.casefold() not in (".hea", ".dat"):
        raise RecordFileError(f"{path} has 0 bytes; expected a recording. Copy it again.")
    return head


def _unknown(path: Path, head: bytes) -> RecordFileError:
    """What to say of a file that no reader knows."""
    known = next((kind for mark, kind in _OTHER_KINDS.items() if head.startswith(mark)), None)
    return RecordFileError(
        f"{path} is {known or f'of an unknown kind: it begins with {head[:16]!r}'}; expected WFDB, CSV, TSV, NPY, NPZ, "
        "HDF5, MATLAB or a recorder's format. Unpack or convert it, or add a reader with register_reader."
    )
