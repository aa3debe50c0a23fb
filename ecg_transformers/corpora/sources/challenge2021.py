"""The corpora of the PhysioNet/CinC Challenges 2020 and 2021: eight sources in one form, labels as SNOMED CT codes.

Ages, sexes and labels are in the headers; patient ids are not published. The headers of the first releases of three
sources state a gain that does not match their samples; it is corrected and noted.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...errors import CorpusError
from ..definition import CorpusDefinition, PhysioNetProject, RecordSource
from ..labels import snomed_label_sets
from ..layout import CorpusRecord
from .wfdb_rows import find_headers, wfdb_row

__all__ = [
    "CHAPMAN_SHAOXING",
    "CPSC2018",
    "CPSC_EXTRA",
    "GEORGIA",
    "INCART",
    "NINGBO",
    "PTB",
    "PTBXL_CINC",
]

_CITATION = (
    "Reyna MA, Sadr N, Perez Alday EA, et al. Will Two Do? Varying Dimensions in Electrocardiography: The "
    "PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology 2021. "
    "doi:10.23919/CinC53138.2021.9662687; Perez Alday EA, et al. Classification of 12-lead ECGs: the "
    "PhysioNet/Computing in Cardiology Challenge 2020. Physiol Meas 2020. doi:10.1088/1361-6579/abc960; "
    "Goldberger AL, et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 2000;101(23):e215-e220."
)

# Gain in units per mV, as stated by the first releases -> by later releases or the original, which fits the samples.
_WRONG_GAINS = {"georgia": {4880.0: 1000.0}, "ptbxl_cinc": {200.0: 1000.0}, "incart": {306000.0: 306.0}}


def _find(
    source: Path, sampling_rate: float | None, *, corpus: str, folder: str, name: str
) -> tuple[Path, Sequence[RecordSource]]:
    """The records of one source below the Challenge's tree, below its own folder, or in it."""
    downloads = sorted(source.glob(f"*/training/{folder}")) if source.is_dir() else []
    places = [source / "training" / folder, source / folder, *downloads, source]
    place = next((path for path in places if path.is_dir()), source)
    headers = [item for item in find_headers(place, corpus) if re.fullmatch(name, item.name)]
    if not headers:
        raise CorpusError(
            f"{source} is not the tree of {corpus}: looked for headers {name} (.hea) in training/{folder}, "
            f"{folder} and the folder itself, and below."
        )
    return place, [
        RecordSource(item.path, item.name, int(re.sub(r"\D", "", item.name)), size=item.size) for item in headers
    ]


def _read(root: Path, record: RecordSource, *, corpus: str) -> CorpusRecord:
    return wfdb_row(root, record, true_gains=_WRONG_GAINS.get(corpus, {}))


def _source(name: str, title: str, folder: str, pattern: str, records: int, rate: float) -> CorpusDefinition:
    """The definition of one source of the Challenge."""
    return CorpusDefinition(
        name=name,
        title=f"{title}, Challenge form",
        version="Challenge 2020/2021 training data (releases 1.0.x)",
        license="Creative Commons Attribution 4.0 International (CC BY 4.0)",
        homepage="https://physionet.org/content/challenge-2021/",
        citation=_CITATION,
        label_system="snomed-ct",
        find=partial(_find, corpus=name, folder=folder, name=pattern),
        read=partial(_read, corpus=name),
        label_sets=snomed_label_sets,
        expected={"records": records},
        physionet=PhysioNetProject("challenge-2021", "1.0.3", (f"training/{folder}/*",)),
        native_rates=(rate,),
    )


CPSC2018 = _source("cpsc2018", "CPSC 2018 training set", "cpsc_2018", r"A\d+", 6877, 500)
CPSC_EXTRA = _source("cpsc_extra", "CPSC-Extra", "cpsc_2018_extra", r"Q\d+", 3453, 500)
GEORGIA = _source("georgia", "Georgia 12-lead database", "georgia", r"E\d+", 10344, 500)
CHAPMAN_SHAOXING = _source("chapman_shaoxing", "Chapman-Shaoxing database", "chapman_shaoxing", r"JS\d+", 10247, 500)
NINGBO = _source("ningbo", "Ningbo database", "ningbo", r"JS\d+", 34905, 500)
PTB = _source("ptb", "PTB Diagnostic ECG Database", "ptb", r"S\d+", 516, 1000)
INCART = _source("incart", "St Petersburg INCART 12-lead Arrhythmia Database", "st_petersburg_incart", r"I\d+", 74, 257)
PTBXL_CINC = _source("ptbxl_cinc", "PTB-XL", "ptb-xl", r"HR\d+", 21837, 500)
