"""`read_record` for files of any known format, detected by content, and the registry of readers."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import EcgError, LeadError, RecordFileError, SignalError
from ..assembly import UNIT_NOT_STATED, mark_missing, treat_leads_as
from ..record import EcgRecord
from ..wfdb.channels import NOT_CALIBRATED
from ..wfdb.header import refuse_lfs_pointer
from ..wfdb.read import read_wfdb
from .hdf5 import is_hdf5, read_hdf5
from .matlab import is_matlab, read_matlab
from .numeric_text import Decimal
from .numpy_files import is_numpy, read_numpy
from .tabular import is_table, read_table
from .vendor import is_vendor, read_vendor

__all__ = ["has_added_reader", "read_record", "read_record_with_defaults", "reader_names", "register_reader"]

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
    """Whether the path is a header, a record without suffix, or a signal file with its header."""
    if path.suffix.casefold() == ".hea":
        return True
    if not path.exists():
        return _header_of(path)
    if path.suffix.casefold() not in (".dat", ".mat"):
        return False
    # A .dat with text is a table; any other without its header is an incomplete copy of a WFDB record.
    has_header = path.with_suffix(".hea").is_file() or path.with_suffix(".HEA").is_file()
    return has_header or (path.suffix.casefold() == ".dat" and not is_table(path, head))


def _header_of(path: Path) -> bool:
    """Whether a path without suffix is a WFDB record."""
    return any(path.with_name(path.name + suffix).is_file() for suffix in (".hea", ".HEA"))


# In the order in which they are tried; text comes late, since other formats also look like text.
_READERS = [
    _Reader("wfdb", _is_wfdb, read_wfdb),
    _Reader("numpy", is_numpy, read_numpy),
    _Reader("hdf5", is_hdf5, read_hdf5),
    _Reader("matlab", is_matlab, read_matlab),
    _Reader("table", is_table, read_table),
    _Reader("vendor", is_vendor, read_vendor),
]

_OWN_READERS = tuple(_READERS)


def reader_names() -> tuple[str, ...]:
    """Names of the registered readers, in the order in which they are tried."""
    return tuple(reader.name for reader in _READERS)


def has_added_reader(path: Path) -> bool:
    """Whether a reader that was added with `register_reader` accepts a file."""
    added = [reader for reader in _READERS if reader not in _OWN_READERS]
    return bool(added) and any(reader.probe(path, _first_bytes(path)) for reader in added)


def register_reader(name: str, probe: Probe, read: Read) -> None:
    """Add a reader, which is tried before all others; a reader of the same name is replaced.

    Args:
        name: Name of the reader.
        probe: `probe(path, head)`, called with the first 4096 bytes; returns whether the reader accepts the file.
        read: `read(path, **arguments)`, returns an EcgRecord. It receives the arguments of `read_record` that the
            caller set, and must have parameters of these names (or `**kwargs`).

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
    decimal: Decimal | None = None,
    channels: Sequence[int | str] | None = None,
    allow_truncated: bool | None = None,
    missing_value: float | None = None,
) -> EcgRecord:
    """Read one recording: WFDB, CSV/TSV, NPY/NPZ, HDF5, MATLAB, and vendor formats with the extra `[formats]`.

    Values in the file take precedence, and a contradicting argument is an error; only `gain` overrides the file.
    Assumptions, conversions and suspicious findings are listed in the `notes` of the record.

    Args:
        path: File; for WFDB the header, the signal file or the path without a suffix.
        sampling_rate: Sampling rate in Hz, if the file has none.
        units: Unit of the values (mV, uV, V, nV), if the file has none.
        gain: Values per mV (per `units` if given), instead of the calibration in the file.
        leads: Lead names in the order of the file, if the file has none or has duplicates.
        treat_as: Leads to be treated as others, as in `{"MLII": "II"}`, with a note.
        key: Name of the array in a container (NPZ, HDF5, MATLAB) with several arrays.
        index: Index of the recording in an array of several recordings.
        decimal: Decimal mark of delimited text (`"."` or `","`), where the file does not decide it.
        channels: Signals of a WFDB record to read, by name or position. Default: all voltages.
        allow_truncated: Whether to read the complete samples of a WFDB file that was cut off, with a note.
        missing_value: Value in mV that marks missing samples, such as 9999; they become NaN, with a note.

    Raises:
        RecordFileError: If the file is missing, damaged, of an unknown format, or contradicts the arguments.
        SignalError: If the sampling rate is unknown, or an argument does not apply.
        LeadError: If lead names are duplicated or do not match.

    Example:
        >>> read_record("tests/data/ptbxl/00001_lr.hea")
        EcgRecord(00001_lr, 12 leads, 10.0 s at 100 Hz, mV)
    """
    path = Path(path)
    head = _head(path)
    reader = next((reader for reader in _READERS if reader.probe(path, head)), None)
    if reader is None:
        raise _unknown(path, head)
    given: dict[str, Any] = {
        "sampling_rate": sampling_rate,
        "units": units,
        "gain": gain,
        "leads": leads,
        "key": key,
        "index": index,
    }
    given |= {"decimal": decimal, "channels": channels, "allow_truncated": allow_truncated}
    given = {name: value for name, value in given.items() if value is not None}
    taken = signature(reader.read).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        for name in given:
            if name not in taken:
                error = SignalError(f"{path} is read as {reader.name}, which takes no {name}=. Leave it out.")
                raise error.about(name)
    try:
        record = reader.read(path, **given)
    except OSError as error:
        raise RecordFileError(f"{path} cannot be read: {error}") from error
    if missing_value is not None:
        record = mark_missing(record, missing_value)
    return treat_leads_as(record, treat_as) if treat_as else record


def read_record_with_defaults(path: str | Path, **defaults: Any) -> EcgRecord:
    """Read one recording of a folder of mixed files: what a file states goes before the defaults.

    Args:
        path: File.
        **defaults: As in `read_record`; each is used where the file does not state it. `treat_as` and `missing_value`
            always hold.

    Raises:
        EcgError: As `read_record`.
    """
    # Lead names and gains are taken by readers even where the file states its own: they wait until it turns out not to.
    waiting = {name: defaults[name] for name in ("leads", "gain") if defaults.get(name) is not None}
    # The unit of a gain is that of the values after it.
    held_back = {"units"} if "gain" in waiting else set()
    given = {name: value for name, value in defaults.items() if name not in {*waiting, *held_back}}
    while True:
        try:
            record, error = _read_without_contradictions(path, given), None
        except EcgError as failed:
            record, error = None, failed
        unit_unknown = record is None or any(
            note.startswith((UNIT_NOT_STATED, *NOT_CALIBRATED)) for note in record.notes
        )
        unnamed = record is None or record.leads is None
        if unnamed and isinstance(error, LeadError | None) and "leads" in waiting:
            given["leads"] = waiting.pop("leads")
        elif unit_unknown and "gain" in waiting:
            given |= {"gain": waiting.pop("gain")} | {name: defaults[name] for name in held_back if name in defaults}
        elif unnamed and "leads" in waiting:
            given["leads"] = waiting.pop("leads")
        elif record is not None:
            return record
        else:
            assert error is not None
            raise error


def _read_without_contradictions(path: str | Path, given: dict[str, Any]) -> EcgRecord:
    """The record, read without the arguments that the file contradicts or its reader does not take."""
    given = dict(given)
    while True:
        try:
            return read_record(path, **given)
        except EcgError as error:
            if error.argument not in given:
                raise
            del given[error.argument]


def _head(path: Path) -> bytes:
    """First bytes of a file; empty for a WFDB record without suffix."""
    if path.is_dir():
        raise RecordFileError(f"{path} is a folder; expected the file of one recording.")
    if not path.exists():
        if _header_of(path):
            return b""
        address = " Download the file first." if ":/" in str(path) else ""
        raise RecordFileError(f"{path} does not exist; expected the file of a recording.{address}")
    if not path.is_file():
        raise RecordFileError(f"{path} is not a regular file; expected the file of a recording.")
    head = _first_bytes(path)
    refuse_lfs_pointer(path, head)
    if not head and path.suffix.casefold() not in (".hea", ".dat"):
        raise RecordFileError(f"{path} has 0 bytes; expected a recording. Copy it again.")
    return head


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise RecordFileError(f"{path} cannot be read: {error}") from error


def _unknown(path: Path, head: bytes) -> RecordFileError:
    """The error for a file that no reader accepts."""
    known = next((kind for mark, kind in _OTHER_KINDS.items() if head.startswith(mark)), None)
    return RecordFileError(
        f"{path} is {known or f'of an unknown kind: it begins with {head[:16]!r}'}; expected WFDB, CSV, TSV, NPY, NPZ, "
        "HDF5, MATLAB or a vendor format. Unpack or convert it, or add a reader with register_reader."
    )
