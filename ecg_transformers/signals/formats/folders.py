"""Recordings of a folder, by the suffixes of the formats that are read."""

from pathlib import Path

__all__ = ["SUFFIXES", "find_recordings"]

SUFFIXES = tuple(".hea .csv .tsv .npy .npz .h5 .hdf5 .mat .edf .bdf .xml .dcm .scp .xle .arc .ecg .mwf .mfer".split())
# Lists of refused recordings, which the package itself writes.
_REFUSED = "refused.csv"


def find_recordings(folder: str | Path) -> list[Path]:
    """Every recording in a folder and its subfolders, sorted by path; empty if there is none.

    A `.mat` with a header of the same name is that record's signal file; hidden folders are ignored.

    Args:
        folder: The folder.
    """
    folder = Path(folder)
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.name.endswith(_REFUSED)
    ]
    headers = {path.with_suffix("") for path in paths if path.suffix == ".hea"}
    return [path for path in paths if path.suffix.casefold() != ".mat" or path.with_suffix("") not in headers]
