"""Recordings in a folder."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from .delimited_text import holds_numbers
from .readers import has_added_reader

__all__ = ["SUFFIXES", "count_other_files", "find_recordings", "record_files"]

# Suffixes of recordings, with those of text that may be something else.
SUFFIXES = tuple(
    ".hea .csv .tsv .txt .npy .npz .h5 .hdf5 .mat .edf .bdf .xml .dcm .scp .xle .arc .ecg .mwf .mfer".split()
)
# Lists of refused recordings, which the package itself writes.
_REFUSED = "refused.csv"


def find_recordings(folder: str | Path) -> list[Path]:
    """Every recording in a folder and its subfolders, sorted by path; empty if there is none.

    A file is a recording by its suffix, a `.txt` if it holds rows of numbers, any other if a reader that was added
    accepts it. A `.mat` with a header of the same name is that record's signal file; hidden files and folders are
    ignored.
    """
    files = _files(Path(folder))
    headers = {_without_suffix(path) for path in files if path.suffix.casefold() == ".hea"}
    return [path for path in files if _is_recording(path, headers)]


def count_other_files(folder: Path, recordings: Collection[Path]) -> Counter[str]:
    """Number of files of each suffix that are neither recordings nor belong to one (signals, annotations)."""
    taken = set(recordings)
    stems = {_without_suffix(path) for path in taken if path.suffix.casefold() == ".hea"}
    others = (path for path in _files(folder) if path not in taken and _without_suffix(path) not in stems)
    return Counter(path.suffix.casefold() or path.name for path in others)


def record_files(path: Path) -> list[Path]:
    """The files of a recording: its own, and those of a WFDB record, named by its header or without a suffix.

    Args:
        path: Place of the recording.
    """
    record = path.with_suffix("") if path.suffix == ".hea" else path
    others = [record.with_name(f"{record.name}{suffix}") for suffix in (".hea", ".dat", ".mat", ".atr")]
    return [file for file in dict.fromkeys([path, *others]) if file.is_file()]


def _files(folder: Path) -> list[Path]:
    """The files below a folder, without hidden ones and prepared corpora, sorted by path."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    prepared = {path.parent for path in found if path.name == "corpus.json"}
    seen = [
        path
        for path in found
        if not any(name.startswith(".") for name in path.parts)
        and not path.name.endswith(_REFUSED)
        and not prepared.intersection(path.parents)
    ]
    return [found[path] for path in sorted(seen, key=Path.as_posix)]


def _is_recording(path: Path, headers: Collection[str]) -> bool:
    suffix = path.suffix.casefold()
    if suffix == ".mat":
        return _without_suffix(path) not in headers
    if suffix == ".txt":
        return holds_numbers(path)
    return suffix in SUFFIXES or has_added_reader(path)


def _without_suffix(path: Path) -> str:
    return str(path.with_suffix(""))
