"""Gallery and probes by record id, patients to train on, and what is refused."""

import numpy as np
import pytest

from ecg_transformers.corpora.identification import gallery_and_probes, identification_splits
from ecg_transformers.corpora.prepared import Corpus
from ecg_transformers.errors import CorpusError


def with_facts(corpus, **columns):
    """The corpus with other ids."""
    for name, values in columns.items():
        corpus = corpus.with_column(name, np.asarray(values), {"content_hash": f"{name}{corpus.hash}"[:32]})
    return corpus


def test_first_two_records_by_id_whatever_their_order(corpus):
    part = corpus.select(np.array([9, 4, 0, 5, 8, 1, 2]))
    gallery, probes = gallery_and_probes(part)
    assert gallery.record_ids.tolist() == [0, 4, 8]
    assert probes.record_ids.tolist() == [1, 5, 9]
    assert np.array_equal(gallery.patient_ids, probes.patient_ids)


def test_a_third_record_and_unknown_patients_are_left_out(corpus, extractor):
    patients = np.array(corpus.patient_ids)
    patients[[2, 3, 40, 41]] = [0, -1, -1, -1]
    changed = with_facts(corpus, patient_id=patients)
    gallery, probes = gallery_and_probes(changed.select(np.arange(8)))
    assert gallery.record_ids.tolist() == [0, 4, 6]
    assert probes.record_ids.tolist() == [1, 5, 7]
    splits = identification_splits(changed, extractor, train_folds=[1, 2], evaluate_folds=[9])
    assert -1 not in splits.train.corpus.patient_ids
    assert {0, 1, 2} <= set(splits.train.corpus.record_ids.tolist())


def test_patients_with_two_records_train_and_are_reported(corpus, extractor):
    splits = identification_splits(corpus, extractor)
    assert splits.task.problem_type == "patient_identification"
    assert (len(splits.train), splits.train.labels.shape[1]) == (128, 64)
    classes = splits.train.targets
    assert all(len(set(splits.train.corpus.patient_ids[classes == one])) == 1 for one in range(64))
    assert (len(splits.evaluate), splits.left_out) == (8, 0)
    assert splits.gallery.patient_ids.tolist() == splits.evaluate.corpus.patient_ids.tolist()
    assert splits.selection_of(trains_once=False) == "nothing is chosen"
    half = identification_splits(corpus, extractor, train_fraction=0.5)
    assert half.train.labels.shape == (64, 32)


def test_patients_on_both_sides_or_with_one_record_are_refused(corpus, extractor):
    with pytest.raises(CorpusError, match="both in train and in evaluation"):
        identification_splits(corpus, extractor, train_folds=[1, 2], evaluate_folds=[2])
    alone = with_facts(corpus, patient_id=np.arange(len(corpus)))
    assert isinstance(alone, Corpus)
    with pytest.raises(CorpusError, match=r"0 patients of .* have two records"):
        identification_splits(alone, extractor)
