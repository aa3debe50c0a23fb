"""From uploaded files to a recording: written to a folder of their own, read, deleted."""

import io
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import EcgError, RecordFileError, SignalError
from ..signals.formats.folders import find_recordings
from ..signals.formats.readers import read_record
from ..signals.record import EcgRecord

__all__ = ["Limits", "read_upload"]

_MAX_MEMBERS = 100


@dataclass(frozen=True)
class Limits:
    """What the app takes.

    Args:
        megabytes: Size of an upload, unpacked. Default: 30.
        minutes: Length of a recording. Default: 60.
        seconds: Time of an analysis. Default: 60.
    """

    megabytes: float = 30.0
    minutes: float = 60.0
    seconds: float = 60.0


def read_upload(files: Mapping[str, bytes], *, limits: Limits, **reading: Any) -> EcgRecord:
    """Read the recording of an upload: one file, a WFDB header with its signals, or a zip archive of them.

    The files exist in a temporary folder while they are read, and nowhere afterwards.

    Args:
        files: Content by file name.
        limits: What is taken.
        **reading: Arguments of `read_record`.

    Raises:
        EcgError: As `read_record`, without the path of the folder; or the upload exceeds a limit.
        ImportError: The format needs an extra.
    """
    with tempfile.TemporaryDirectory(prefix="ecg-upload-") as name:
        folder = Path(name)
        try:
            _write(files, folder, limits)
            record = read_record(_recording(folder), **reading)
        except (EcgError, ImportError) as error:
            raise type(error)(str(error).replace(f"{folder}/", "")) from None
    record.source = None
    if record.duration > limits.minutes * 60:
        raise SignalError(
            f"the recording lasts {record.duration / 60:.0f} minutes; this page takes up to {limits.minutes:g}. Cut "
            "it, or use the pipelines of the package, which stream long recordings."
        )
    return record


def _write(files: Mapping[str, bytes], folder: Path, limits: Limits) -> None:
    """Write the files and the members of archives, by their last names."""
    total, allowed = 0, limits.megabytes * 1e6
    for name, content in files.items():
        members = _members(name, content, allowed) if name.casefold().endswith(".zip") else {name: content}
        total += sum(map(len, members.values()))
        if name.casefold().endswith(".npz"):
            total += _unpacked_size(name, content)
        if total > allowed:
            raise RecordFileError(
                f"the upload has more than {limits.megabytes:g} MB, unpacked; expected one recording below that size."
            )
        for member, values in members.items():
            (folder / Path(member).name.lstrip(".")).write_bytes(values)


def _open(name: str, content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise RecordFileError(f"{name} is no zip archive, or damaged: {error}. Pack it again.") from error


def _unpacked_size(name: str, content: bytes) -> int:
    """Stated size of the members of an archive, whose reader unpacks all of them."""
    with _open(name, content) as archive:
        return sum(member.file_size for member in archive.infolist())


def _members(name: str, content: bytes, allowed: float) -> dict[str, bytes]:
    """The files of an archive by their last names, each checked before it is unpacked."""
    found: dict[str, bytes] = {}
    with _open(name, content) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and "__MACOSX" not in member.filename]
        if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > allowed:
            size = sum(member.file_size for member in members) / 1e6
            raise RecordFileError(
                f"{name} has {len(members)} files of {size:,.0f} MB; expected one recording: up to {_MAX_MEMBERS} "
                f"files of {allowed / 1e6:g} MB."
            )
        for member in members:
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
                raise RecordFileError(
                    f"{name} holds {member.filename!r}, which leaves its folder; expected plain files."
                )
            if member.flag_bits & 1:
                raise RecordFileError(f"{name} is encrypted; expected an archive without a password.")
            if path.name in found:
                raise RecordFileError(f"{name} holds {path.name} twice; expected one recording.")
            try:
                found[path.name] = archive.read(member)
            except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as error:
                raise RecordFileError(f"{name} is damaged at {path.name}: {error}. Pack it again.") from error
    return found


def _recording(folder: Path) -> Path:
    """The one recording of a folder; of files that are none, the first, so that the reader says what it is."""
    recordings = find_recordings(folder)
    if len(recordings) > 1:
        names = ", ".join(path.name for path in recordings[:5])
        raise RecordFileError(f"the upload holds {len(recordings)} recordings ({names}); expected one.")
    files = recordings or sorted(folder.iterdir())
    if not files:
        raise RecordFileError("the upload holds no file; expected a recording.")
    return files[0]
