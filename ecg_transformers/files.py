"""Files that appear complete or not at all: written under a temporary name, synced, renamed."""

import csv
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["replace_file", "replace_files", "replace_folder", "sync", "write_csv", "write_text"]


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that takes its place when the block ends without an error.

    Args:
        path: The final file; its folder is made if it does not exist. The temporary name has the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_files(folder: str | Path, *, last: str = "") -> Iterator[Path]:
    """A temporary folder whose files take their places in `folder` when the block ends without an error.

    Args:
        folder: The final folder; it is made if it does not exist, and keeps its other files.
        last: Suffix of the file that takes its place last, because without it the others do not count. Default: none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".", suffix=".unfinished") as unfinished:
        yield Path(unfinished)
        for file in sorted(Path(unfinished).iterdir(), key=lambda file: (file.suffix == last, file.name)):
            os.replace(file, folder / file.name)


def replace_folder(finished: Path, target: Path) -> None:
    """Move a finished folder to its place; what was there is deleted only when the new one is there.

    Args:
        finished: A folder in the same file system.
        target: Its place.
    """
    old = finished.with_name(f".{finished.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    os.rename(finished, target)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: str | Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically, line ends as they are."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as a CSV file atomically, the keys as header."""
    with replace_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
