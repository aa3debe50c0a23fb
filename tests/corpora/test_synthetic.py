"""The synthetic corpus: seeded, labeled, patients in one fold."""

import numpy as np
import pytest

from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.sources.synthetic import synthetic_definition
from ecg_transformers.corpora.splits import check_disjoint
from ecg_transformers.errors import CorpusError
from ecg_transformers.signals.synthesis import RHYTHMS


def build(tmp_path, name, records=60, **options):
    definition = synthetic_definition(records, **options)
    return build_corpus(
        definition, tmp_path, tmp_path / name, sampling_rate=options.get("sampling_rate"), progress=False
    )


def test_the_same_seed_gives_the_same_corpus_and_another_seed_other_patients(tmp_path):
    one, two = build(tmp_path, "one", seed=1), build(tmp_path, "two", seed=1)
    other = build(tmp_path, "other", seed=2)
    assert one.hash == two.hash != other.hash
    assert not set(one.patient_ids) & set(other.patient_ids)
    assert len(one) == 60


def test_records_have_rhythms_peaks_and_integers(tmp_path):
    corpus = build(tmp_path, "out", sampling_rate=250, duration=4.0)
    assert corpus[0].signal.shape == (12, 1000)
    assert corpus.info["storage"] == "int16"
    assert set(corpus.label_matrix().codes) == set(RHYTHMS)
    assert corpus.label_matrix().has_label.all()
    assert all(len(record.require_annotations()) > 1 for record in corpus)
    assert all(
        name != code for code, name in zip(corpus.label_matrix().codes, corpus.label_matrix().names, strict=True)
    )


def test_patients_have_one_fold_one_age_and_sometimes_several_records(tmp_path):
    corpus = build(tmp_path, "out", records=200, duration=2.0)
    parts = {str(fold): corpus.select(folds=[fold]) for fold in np.unique(corpus.folds)}
    assert len(parts) == 10
    check_disjoint(parts)
    assert np.bincount(np.unique(corpus.patient_ids, return_inverse=True)[1]).max() > 1
    for patient in np.unique(corpus.patient_ids):
        assert len(set(corpus.ages[corpus.patient_ids == patient])) == 1


def test_too_few_records_are_refused():
    with pytest.raises(CorpusError, match="at least 10"):
        synthetic_definition(3)
