"""External validation: labels of another corpus in the words of a classifier, and what cannot be said in them."""

from types import SimpleNamespace

import numpy as np
import pytest

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.errors import CorpusError
from ecg_transformers.evaluation.external import external_validation
from ecg_transformers.features.extractor import EcgFeatureExtractor

AFIB, SR, LAD, SBRAD = "164889003", "426783006", "39732003", "426177001"
EXTRACTOR = EcgFeatureExtractor(lead_names=["I"], sampling_rate=100, window_size=100)


def classifier(codes=("NORM", "SR", "AFIB", "IMI"), system="scp", problem="multi_label_classification"):
    names = [f"name of {code}" for code in codes]
    return SimpleNamespace(
        id2label=dict(enumerate(codes)), label_names=names, label_system=system, problem_type=problem
    )


def corpus(tmp_path, labels, *, system="snomed-ct", folds=None):
    signal = np.random.default_rng(0).integers(-500, 500, (1, 200)).astype(np.int16)
    rows = [
        CorpusRecord(
            signal,
            100,
            ("I",),
            np.array([1000.0]),
            record_id=n,
            labels=tuple(found),
            fold=-1 if folds is None else folds[n],
        )
        for n, found in enumerate(labels)
    ]
    return write_corpus(rows, tmp_path / "other", {"name": "other", "label_system": system})


def test_labels_are_translated_and_the_rest_is_listed(tmp_path):
    found = external_validation(
        classifier(), corpus(tmp_path, [[AFIB], [SR, LAD], [LAD], [SR, AFIB], [], [SR, "999"]]), EXTRACTOR
    )
    part = found.splits.evaluate
    assert part.corpus.record_ids.tolist() == [0, 1, 3, 5]
    assert part.labels.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]]
    assert found.splits.left_out == 2
    assert found.unmapped == {LAD: 2, "999": 1}
    # Sinus rhythm is not a normal ECG: no code of the corpus says NORM.
    assert "NORM" not in found.possible
    assert {"SR", "AFIB"} <= set(found.possible)
    text = found.describe("a sample of 6 of 10 records")
    assert "a sample of 6 of 10 records: 4 are reported, 2 without" in text
    assert "39732003 left axis deviation (2), 999 (1)" in text
    assert found.splits.reported_folds == "all records"
    assert found.splits.task.names[2] == "name of AFIB"
    assert len(found.splits.train) == 0


def test_a_set_of_labels_and_folds_can_be_named(tmp_path):
    codes = tuple(
        sorted(["AFIB", "AFLT", "BIGU", "PACE", "PSVT", "SARRH", "SBRAD", "SR", "STACH", "SVARR", "SVTAC", "TRIGU"])
    )
    other = corpus(tmp_path, [[AFIB], [SR], [SBRAD]], folds=[1, 2, 2])
    found = external_validation(classifier((*codes, "NORM")), other, EXTRACTOR, labels="rhythm", evaluate_folds=[2])
    assert found.splits.task.codes == codes
    assert found.splits.evaluate.corpus.record_ids.tolist() == [1, 2]
    with pytest.raises(CorpusError, match=r"labels is 'scored'.*all, rhythm"):
        external_validation(classifier((*codes, "NORM")), other, EXTRACTOR, labels="scored")


def test_one_class_per_record_where_the_classifier_gives_one(tmp_path):
    other = corpus(tmp_path, [[AFIB], [SR, AFIB], [SR], [LAD]])
    found = external_validation(classifier(("SR", "AFIB"), problem="single_label_classification"), other, EXTRACTOR)
    assert found.splits.evaluate.targets.tolist() == [1, 0]
    assert found.splits.left_out == 2


def test_codes_without_a_table_are_taken_as_they_are(tmp_path):
    other = corpus(tmp_path, [["sick"], ["well"], ["odd"]], system="own")
    found = external_validation(classifier(("well", "sick"), system="own"), other, EXTRACTOR)
    assert found.splits.evaluate.labels.tolist() == [[0, 1], [1, 0]]
    assert found.unmapped == {"odd": 1}
    with pytest.raises(CorpusError, match="no record of other has a label"):
        external_validation(classifier(("x", "y"), system="own"), other, EXTRACTOR)
    with pytest.raises(CorpusError, match="cannot be translated from 'snomed-ct' to 'mitbih'"):
        external_validation(classifier(system="mitbih"), corpus(tmp_path / "2", [[AFIB]]), EXTRACTOR)
