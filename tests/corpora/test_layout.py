"""The rows of a prepared corpus: integers become mV exactly, missing samples become NaN."""

import numpy as np
import pytest
from datasets import load_from_disk

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.errors import CorpusError
from ecg_transformers.signals.record import Annotations, EcgRecord

from .conftest import make_row


def test_integers_become_millivolts_by_gain_and_baseline_of_each_lead(tmp_path):
    signal = np.array([[1000, -32768, 0], [2048, 2248, 1848]], dtype=np.int16)
    row = CorpusRecord(
        signal, 360, ("MLII", "V5"), gain=np.array([1000, 200]), baseline=np.array([0, 2048]), record_id=1
    )
    corpus = write_corpus([row], tmp_path / "out", {"name": "x"})
    expected = np.array([[1, np.nan, 0], [0, 1, -1]], dtype=np.float32)
    np.testing.assert_array_equal(corpus[0].signal, expected)
    np.testing.assert_array_equal(corpus.signals()[0], expected)
    assert corpus.signals()[0].dtype == np.float32
    assert corpus.info["invalid_samples"] == 1
    with pytest.raises(CorpusError, match=r"1 records .* missing"):
        corpus.packed()
    assert corpus.packed(invalid="keep").values.tolist() == signal.reshape(-1).tolist()


def test_rows_have_one_gain_and_one_name_per_lead():
    with pytest.raises(CorpusError, match="one gain and one baseline per lead"):
        make_row(0, gain=np.ones(3))
    with pytest.raises(CorpusError, match="leads without names"):
        CorpusRecord.from_ecg_record(EcgRecord(np.zeros((2, 5)), 100), record_id=0)


def test_the_folder_is_an_ordinary_dataset(small_corpus):
    dataset = load_from_disk(str(small_corpus.path))
    assert dataset.column_names[:5] == ["signal", "leads", "gain", "baseline", "sampling_rate"]
    assert dataset.features["signal"].feature.dtype == "int16"
    assert dataset[3]["name"] == "r003"
    assert len(dataset) == 20
    assert dataset.info.license == ""


def test_annotations_and_facts_come_back(tmp_path):
    marks = Annotations(np.array([3, 70]), ["N", "V"], ["", "(AFIB"])
    row = make_row(4, annotations=marks, age=45.0, sex="female", notes=["flat: II"], source="a/r004.hea")
    record = write_corpus([row, make_row(5)], tmp_path / "out", {"name": "x"})[0]
    assert record.annotations.samples.tolist() == [3, 70]
    assert (record.annotations.symbols, record.annotations.aux) == (["N", "V"], ["", "(AFIB"])
    assert (record.age, record.sex, record.notes, record.source) == (45.0, "female", ["flat: II"], "a/r004.hea")
    assert record.patient_id == 2
