"""MIT-BIH Arrhythmia Database: 48 half-hour recordings of 47 patients, two leads, 360 Hz, every beat annotated."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import CorpusError
from ..definition import CorpusDefinition, LabelSet, PhysioNetProject, RecordSource
from ..fold_roles import FoldRoles
from ..layout import CorpusRecord
from .wfdb_rows import find_headers, wfdb_row

__all__ = ["DS1", "DS2", "MITDB", "PACED"]

# The inter-patient division of de Chazal et al., IEEE Trans Biomed Eng 51:1196 (2004): fold 1 (DS1) trains, fold 2
# (DS2) tests, and fold 3 holds the four records with paced beats that the division leaves out.
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
PACED = (102, 104, 107, 217)
_FOLDS = {number: fold for fold, numbers in enumerate((DS1, DS2, PACED), start=1) for number in numbers}


def _find(source: Path, sampling_rate: float | None) -> tuple[Path, Sequence[RecordSource]]:
    """The records that are there; 201 and 202 are of one patient, every other record is of its own."""
    headers = [item for item in find_headers(source, "MIT-BIH") if item.name.isdecimal() and int(item.name) in _FOLDS]
    if not headers:
        raise CorpusError(f"{source} is not the tree of MIT-BIH: looked for 100.hea to 234.hea there and below it.")
    return source, [
        RecordSource(
            item.path,
            item.name,
            int(item.name),
            patient_id=201 if item.name == "202" else int(item.name),
            fold=_FOLDS[int(item.name)],
            size=item.size,
        )
        for item in headers
    ]


def _read(root: Path, record: RecordSource) -> CorpusRecord:
    row = wfdb_row(root, record)
    if row.annotations is None:
        row.notes.append(f"no beats: {Path(record.path).with_suffix('.atr').name} is not there")
    return row


def _label_sets(codes: Iterable[str]) -> dict[str, LabelSet]:
    """None: what is labeled are beats (`record.annotations`; classes by `map_labels`, mitbih -> aami)."""
    return {}


MITDB = CorpusDefinition(
    name="mitdb",
    title="MIT-BIH Arrhythmia Database",
    version="1.0.0",
    license="Open Data Commons Attribution License v1.0 (ODC-By 1.0)",
    homepage="https://physionet.org/content/mitdb/1.0.0/",
    citation="Moody GB, Mark RG. The impact of the MIT-BIH Arrhythmia Database. IEEE Eng in Med and Biol 20(3):45-50 "
    "(2001). doi:10.13026/C2F305; Goldberger AL, et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation "
    "2000;101(23):e215-e220.",
    label_system="mitbih",
    find=_find,
    read=_read,
    label_sets=_label_sets,
    expected={"records": 48, "patients": 47, "annotations": 112647},
    physionet=PhysioNetProject("mitdb", "1.0.0", ("*.dat", "*.hea", "*.atr", "RECORDS", "ANNOTATORS")),
    native_rates=(360,),
    fold_roles=FoldRoles(train=(1,), test=(2,)),
)
