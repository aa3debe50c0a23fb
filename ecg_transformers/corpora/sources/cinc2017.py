"""CinC Challenge 2017: single-lead recordings of 9 to 61 s at 300 Hz, four classes of rhythm."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import CorpusError
from ..definition import CorpusDefinition, LabelSet, PhysioNetProject, RecordSource
from ..fold_roles import FoldRoles
from .wfdb_rows import find_headers, wfdb_row

__all__ = ["CINC2017"]

_NAMES = {"N": "normal rhythm", "A": "atrial fibrillation", "O": "other rhythm", "~": "too noisy to classify"}
_REFERENCES = ("REFERENCE-v3.csv", "REFERENCE.csv")
_TRAINING, _VALIDATION = 1, 2


def _find(source: Path, sampling_rate: float | None) -> tuple[Path, Sequence[RecordSource]]:
    """Records with their class: fold 1 the training set, fold 2 the validation set, which repeats 300 training records.

    A record in both is kept once, in fold 2. Its class is that of the newest reference in its folder or the nearest one
    above.
    """
    headers = [item for item in find_headers(source, "CinC 2017") if item.name.startswith("A")]
    if not headers:
        raise CorpusError(
            f"{source} is not the tree of CinC 2017: looked for A00001.hea and so on, there and below it."
        )
    tables = {path.parent: _reference(path) for name in reversed(_REFERENCES) for path in source.rglob(name)}
    if not tables:
        raise CorpusError(
            f"{source} has no {' or '.join(_REFERENCES)}; expected the classes of CinC 2017 next to the records."
        )
    records: dict[str, RecordSource] = {}
    for item in headers:
        folder = (source / item.path).parent
        places = [place for place in (folder, *folder.parents) if place in tables and item.name in tables[place]]
        labels = (tables[places[0]][item.name],) if places else ()
        notes = () if places else ("not in the reference: class unknown",)
        fold = _VALIDATION if "validation" in Path(item.path).parts or source.name == "validation" else _TRAINING
        if item.name not in records or fold == _VALIDATION:
            records[item.name] = RecordSource(
                item.path, item.name, int(item.name[1:]), fold=fold, labels=labels, notes=notes, size=item.size
            )
    return source, [records[name] for name in sorted(records)]


def _reference(path: Path) -> dict[str, str]:
    """Record -> class."""
    with open(path, encoding="utf-8", newline="") as file:
        table = {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) >= 2}
    unknown = sorted(set(table.values()) - set(_NAMES))
    if unknown:
        raise CorpusError(f"{path} has the classes {', '.join(unknown)}; expected {', '.join(_NAMES)}.")
    return table


def _label_sets(codes: Iterable[str]) -> dict[str, LabelSet]:
    return {
        "all": LabelSet(tuple(_NAMES), tuple(_NAMES.values()), "cinc2017", problem_type="single_label_classification")
    }


CINC2017 = CorpusDefinition(
    name="cinc2017",
    title="AF Classification from a Short Single Lead ECG Recording: PhysioNet/CinC Challenge 2017",
    version="1.0.0",
    license="Open Data Commons Attribution License v1.0 (ODC-By 1.0)",
    homepage="https://physionet.org/content/challenge-2017/1.0.0/",
    citation="Clifford GD, Liu C, Moody B, et al. AF classification from a short single lead ECG recording: the "
    "PhysioNet/Computing in Cardiology Challenge 2017. Computing in Cardiology 2017. doi:10.22489/CinC.2017.065-469; "
    "Goldberger AL, et al. Circulation 2000;101(23):e215-e220.",
    label_system="cinc2017",
    find=_find,
    read=wfdb_row,
    label_sets=_label_sets,
    expected={"records": 8528, "fold 2": 300},
    physionet=PhysioNetProject("challenge-2017", "1.0.0", ("training/*", "validation/*", "REFERENCE*")),
    native_rates=(300,),
    # The Challenge's test set was never published.
    fold_roles=FoldRoles(train=(_TRAINING,), validation=(_VALIDATION,)),
)
