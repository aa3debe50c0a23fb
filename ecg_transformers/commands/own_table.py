"""A user's own table of labels: split by patient, built into a corpus at the model's rate."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..corpora.build import build_corpus
from ..corpora.label_table import LabelTable, Task, read_label_table, read_table_cells
from ..corpora.patients import count_patients
from ..corpora.sources.folder import folder_definition
from ..corpora.splits import split_by_patient
from ..errors import CorpusError
from ..files import replace_file

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["SplitTable", "corpus_of_table", "split_table"]

# Shares of training, validation and test; their fold numbers are 1, 2 and 3.
_SHARES = (8, 1, 1)
# Parts of a cross-validation, and the number of records below which a tenth of them is too few.
_PARTS, _FEW_ROWS = 5, 500


@dataclass(frozen=True)
class SplitTable:
    """A table of labels with folds.

    Args:
        table: The table as read.
        file: The file to use.
        how: How the folds were made, for the screen.
        cross_validated: Whether each fold is to be reported in turn.
    """

    table: LabelTable
    file: Path
    how: str
    cross_validated: bool = False


def split_table(
    path: str | Path,
    output: str | Path,
    *,
    task: Task | None = None,
    cross_validation: int | None = 0,
    seed: int = 0,
) -> SplitTable:
    """Give a table a column `fold` unless it has one, by patient, stratified by label.

    The folds are 1 train, 2 validation, 3 test (8:1:1), or the parts of a cross-validation.

    Args:
        path: The user's table.
        output: File for the copy with folds; the user's file is not changed.
        task: Kind of task, see `read_label_table`.
        cross_validation: Number of parts of a cross-validation, 0 for none; `None` = 5 below 500 rows, else none.
        seed: Seed of the split.

    Raises:
        CorpusError: The table has no labels, or fewer than three patients.
    """
    table = read_label_table(path, task=task)
    if table.label_set is None:
        raise CorpusError(
            f"{path} has no label columns; expected names, columns of 0 and 1, or numbers, in addition to 'record'."
        )
    folds = np.array([row.fold for row in table.rows])
    if (folds >= 0).all():
        return SplitTable(table, Path(path), "folds of the table")
    if (folds >= 0).any():
        raise CorpusError(f"{path}: {int((folds < 0).sum())} of {len(folds)} rows have no fold; expected all or none.")
    codes = table.label_set.codes
    marks = np.array([[code in row.labels for code in codes] for row in table.rows], dtype=np.uint8)
    stratify = None if table.label_set.problem_type == "regression" else marks
    patients = [row.patient_id for row in table.rows]
    if cross_validation is None:
        cross_validation = _PARTS if len(patients) < _FEW_ROWS else 0
    # Of two patients, one would be left to train and none to choose on.
    parts = max(3, min(cross_validation, count_patients(np.array(patients)))) if cross_validation else 0
    found = split_by_patient(patients, parts or _SHARES, stratify=stratify, seed=seed) + 1
    how = f"{parts}-fold cross-validation by patient, seed {seed}" if parts else f"split by patient 8:1:1, seed {seed}"
    return SplitTable(table, _with_folds(Path(path), Path(output), found), how, cross_validated=bool(parts))


def _with_folds(source: Path, target: Path, folds: np.ndarray) -> Path:
    """A copy of the table, as UTF-8 with commas, whose column `fold` holds these folds."""
    names, rows, _ = read_table_cells(source)
    kept = [k for k, name in enumerate(names) if name.casefold() != "fold"]
    with replace_file(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fold", *(names[k] for k in kept)])
        writer.writerows([fold, *(cells[k] for k in kept)] for (_, cells), fold in zip(rows, folds, strict=True))
    return target


def corpus_of_table(
    table: str | Path,
    root: str | Path,
    output: str | Path,
    extractor: "EcgFeatureExtractor",
    *,
    task: Task | None = None,
    num_proc: int = 1,
    read_options: dict[str, Any] | None = None,
    progress: bool = True,
) -> "Corpus":
    """The records of a table as a prepared corpus, built once and kept in the output folder.

    Args:
        table: Table of labels with a column `fold`.
        root: Folder of the records.
        output: Folder of the corpus; an interrupted build resumes, a finished one is reused if table and files are the
            same, and replaced if they changed.
        extractor: Leads, rate and filters of the checkpoint, so that training need not repeat them.
        task: Kind of task, see `read_label_table`.
        num_proc: Number of processes that read records.
        read_options: As of `folder_definition`.
        progress: Show a progress bar.

    Raises:
        CorpusError: The table or the folder cannot be used, or no record could be read.
    """
    definition = folder_definition(root, table, task=task, read_options=read_options)
    # Zeros of an absent lead would look like a signal later: such a corpus keeps the leads that each record has.
    whole = extractor.contract.missing_leads == "error"
    rate = None if whole else extractor.sampling_rate
    return build_corpus(
        definition, Path(root), Path(output), num_proc=num_proc, sampling_rate=rate,
        extractor=extractor if whole else None, implausible_amplitude=extractor.contract.implausible_amplitude,
        overwrite=True, progress=progress,
    )  # fmt: skip
