"""PTB-XL: 21,799 clinical 12-lead recordings of 10 s at 500 and 100 Hz, 71 SCP statements, ten folds by patient."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ...errors import CorpusError
from ...signals.leads import STANDARD_LEADS
from ..definition import CorpusDefinition, LabelSet, PhysioNetProject, RecordSource, find_root
from ..fold_roles import FoldRoles
from ..labels import scored_label_set, scp_label_sets
from ..layout import CorpusRecord
from .wfdb_rows import find_headers, wfdb_row

__all__ = ["PTBXL", "parse_statements"]

# "{'NORM': 100.0, 'LVOLT': 0.0}": a Python dictionary written as text.
_STATEMENT = re.compile(r"'([^']+)'\s*:\s*([0-9.]+)")
_STATEMENTS = re.compile(r"\{\s*(?:'[^']+'\s*:\s*[0-9.]+\s*(?:,\s*|(?=\})))*\}")

# Ages above 89 are published as 300, and so are 89 records whose age is not known.
_AGE_WITHHELD = 300


def parse_statements(text: str) -> dict[str, float]:
    """The column `scp_codes`: statement -> likelihood in percent; 0 means that the likelihood is not known.

    Raises:
        CorpusError: the text is not of that form.

    Example:
        >>> parse_statements("{'NORM': 100.0, 'SR': 0.0}")
        {'NORM': 100.0, 'SR': 0.0}
    """
    if not _STATEMENTS.fullmatch(text.strip()):
        raise CorpusError(f"scp_codes is {text!r}; expected {{'CODE': likelihood, ...}}.")
    return {code: float(value) for code, value in _STATEMENT.findall(text)}


def _find(source: Path, sampling_rate: float | None) -> tuple[Path, Sequence[RecordSource]]:
    """The rows of `ptbxl_database.csv` with the signal file of the rate asked for (500 Hz unless 100 is)."""
    root = find_root(source, "PTB-XL", "ptbxl_database.csv")
    with open(root / "ptbxl_database.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rate = sampling_rate if sampling_rate in (100, 500) else 500 if (root / "records500").is_dir() else 100
    folder = root / f"records{rate:g}"
    arrays = {} if folder.is_dir() else _fold_arrays(root, rate)
    if not folder.is_dir() and not arrays:
        raise CorpusError(f"{root} has no {folder.name}; expected the official tree of PTB-XL at {rate:g} Hz.")
    sizes = {f"{folder.name}/{item.path}": item.size for item in find_headers(folder, "PTB-XL")} if not arrays else {}
    column = "filename_hr" if rate == 500 else "filename_lr"
    records = []
    for row in rows:
        record_id = int(row["ecg_id"])
        position = arrays.get(record_id)
        age = float(row["age"]) if row["age"] else None
        notes = () if age != _AGE_WITHHELD else ("age 300 in the corpus: above 89 or not known",)
        path = row[column] + ".hea" if position is None else position[0]
        records.append(
            RecordSource(
                path=path,
                name=row[column].rpartition("/")[2],
                record_id=record_id,
                patient_id=int(float(row["patient_id"])),
                age=None if age == _AGE_WITHHELD else age,
                sex={"0": "male", "1": "female"}.get(row["sex"]),
                fold=int(row["strat_fold"]),
                labels=tuple(parse_statements(row["scp_codes"])),
                notes=notes,
                size=int(rate * 240) if arrays else sizes.get(path, 0),
                extra=() if position is None else (("row", position[1]),),
            )
        )
    return root, sorted(records, key=lambda record: record.record_id)


def _fold_arrays(root: Path, rate: float) -> dict[int, tuple[str, int]]:
    """Where each record is in `npy100/fold<N>.npy` (int16, 1000 units per mV), a compact form of the tree."""
    found: dict[int, tuple[str, int]] = {}
    if rate == 100:
        for ids in sorted((root / "npy100").glob("fold*_ids.npy")):
            name = f"npy100/{ids.name.replace('_ids', '')}"
            found |= {int(record_id): (name, row) for row, record_id in enumerate(np.load(ids, allow_pickle=False))}
    return found


def _read(root: Path, record: RecordSource) -> CorpusRecord:
    """One record of the official tree, or of the fold arrays, with its facts from the table."""
    if not record.extra:
        return wfdb_row(root, record)
    signal = np.load(root / record.path, mmap_mode="r", allow_pickle=False)[dict(record.extra)["row"]]
    return CorpusRecord(
        np.array(signal),
        100,
        STANDARD_LEADS,
        np.full(12, 1000.0),
        np.zeros(12),
        record.record_id,
        record.name,
        record.patient_id,
        record.age,
        record.sex,
        record.fold,
        record.labels,
        None,
        list(record.notes),
        None,
        record.path,
    )


def _label_sets(codes: Iterable[str]) -> dict[str, LabelSet]:
    return scp_label_sets() | {"scored": scored_label_set("scp")}


PTBXL = CorpusDefinition(
    name="ptbxl",
    title="PTB-XL, a large publicly available electrocardiography dataset",
    version="1.0.3",
    license="Creative Commons Attribution 4.0 International (CC BY 4.0)",
    homepage="https://physionet.org/content/ptb-xl/1.0.3/",
    citation="Wagner P, Strodthoff N, Bousseljot R, Samek W, Schaeffter T. PTB-XL, a large publicly available "
    "electrocardiography dataset (version 1.0.3). PhysioNet (2022). doi:10.13026/kfzx-aw45; Wagner P, Strodthoff N, "
    "Bousseljot R-D, Kreiseler D, Lunze FI, Samek W, Schaeffter T. PTB-XL, a large publicly available "
    "electrocardiography dataset. Sci Data 7:154 (2020). doi:10.1038/s41597-020-0495-6; Goldberger AL, et al. "
    "PhysioBank, PhysioToolkit, and PhysioNet. Circulation 2000;101(23):e215-e220.",
    label_system="scp",
    find=_find,
    read=_read,
    label_sets=_label_sets,
    expected={"records": 21799, "patients": 18869, "fold 9": 2183, "fold 10": 2198},
    physionet=PhysioNetProject("ptb-xl", "1.0.3", ("*.csv", "*.txt", "records{rate}/*")),
    native_rates=(100, 500),
    # The recommended division of Wagner et al. 2020.
    fold_roles=FoldRoles(train=tuple(range(1, 9)), validation=(9,), test=(10,)),
)
