"""Small corpora for the tests of this folder."""

import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.errors import RecordFileError
from ecg_transformers.signals.leads import STANDARD_LEADS

datasets.disable_progress_bars()


def make_row(number: int, *, samples: int = 200, leads=("I", "II"), **facts) -> CorpusRecord:
    """An integer row that depends on its number alone."""
    generator = np.random.default_rng(number)
    signal = generator.integers(-2000, 2000, (len(leads), samples)).astype(np.int16)
    values = {"record_id": number, "name": f"r{number:03d}", "patient_id": number // 2, "fold": 1 + number % 3}
    values |= {"labels": ("A", "B") if number % 2 else ("B",), "gain": np.full(len(leads), 1000.0)}
    values |= {"baseline": np.arange(len(leads)) * 10} | facts
    return CorpusRecord(signal, 100, tuple(leads), **values)


def made_definition(read, records: int = 20) -> CorpusDefinition:
    """A corpus whose records are made by `read`."""

    def find(source, sampling_rate):
        return source, [RecordSource(f"{n}", f"r{n:03d}", n, size=800, patient_id=n // 2) for n in range(records)]

    def label_sets(codes):
        return {"all": LabelSet(tuple(sorted(codes)), tuple(sorted(codes)), "own")}

    return CorpusDefinition(
        "made", "made for a test", "1", "", "", "", "own", find, read, label_sets, native_rates=(100,)
    )


def read_made(root: Path, record: RecordSource) -> CorpusRecord:
    return make_row(record.record_id)


def read_with_a_bad_one(root: Path, record: RecordSource) -> CorpusRecord:
    if record.record_id == 7:
        raise RecordFileError("7.dat holds 3 bytes of 400\n(an interrupted copy?)")
    return make_row(record.record_id)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory):
    """Twenty integer records of two leads in three folds, in shards of six."""
    output = tmp_path_factory.mktemp("corpora") / "small"
    rows = (make_row(number, samples=200 + 10 * number) for number in range(20))
    return write_corpus(rows, output, {"name": "small", "label_system": "own"}, shard_records=6)


@pytest.fixture(scope="session")
def ptbxl_tree(tmp_path_factory, data_dir) -> Path:
    """The official tree of PTB-XL with three records, and one whose files are absent."""
    root = tmp_path_factory.mktemp("trees") / "ptb-xl-1.0.3"
    for name in ("00001_lr", "00002_lr", "00152_lr", "00001_hr"):
        folder = root / ("records500" if name.endswith("hr") else "records100") / "00000"
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in (".dat", ".hea"):
            shutil.copy(data_dir / "ptbxl" / (name + suffix), folder)
    header = "ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr\n"
    rows = [
        "152,300.0,300.0,1,\"{'AFIB': 0.0, 'ABQRS': 0.0, 'LAO/LAE': 15.0}\",9",
        "1,15709.0,56.0,1,\"{'NORM': 100.0, 'LVOLT': 0.0, 'SR': 0.0}\",3",
        "2,13243.0,19.0,0,\"{'NORM': 80.0, 'SBRAD': 0.0}\",2",
        '3,20372.0,,1,"{}",5',
    ]
    for index, row in enumerate(rows):
        number = int(row.split(",")[0])
        rows[index] = f"{row},records100/00000/{number:05d}_lr,records500/00000/{number:05d}_hr"
    (root / "ptbxl_database.csv").write_text(header + "\n".join(rows) + "\n")
    return root


@pytest.fixture
def twelve_leads():
    return STANDARD_LEADS
