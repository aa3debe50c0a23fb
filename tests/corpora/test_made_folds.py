"""Folds for corpora that come without: the same in every command, by patient, stratified, saved."""

import csv

import numpy as np
import pytest

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.fold_roles import FoldRoles
from ecg_transformers.corpora.made_folds import has_folds, with_made_folds, write_folds
from ecg_transformers.errors import CorpusError

from .conftest import make_row


def written(tmp_path, records=120, *, fold=-1, roles=None, per_patient=2, name="bare"):
    facts = ({"patient_id": n // per_patient, "labels": ("A",) if n % 3 else ("B",)} for n in range(records))
    rows = (make_row(n, fold=fold, **fact) for n, fact in enumerate(facts))
    return write_corpus(rows, tmp_path / name, {"name": name, "label_system": "own"}, fold_roles=roles)


def test_folds_are_made_by_patient_and_label_and_are_the_same_every_time(tmp_path):
    corpus = written(tmp_path)
    assert corpus.fold_roles is None
    made = with_made_folds(corpus)
    assert np.bincount(made.folds).tolist() == [0] + [12] * 10
    assert made.fold_roles == FoldRoles(tuple(range(1, 9)), (9,), (10,))
    assert all(len(set(made.folds[made.patient_ids == patient])) == 1 for patient in set(made.patient_ids.tolist()))
    rare = made.label_matrix().values[:, 1]
    assert set(np.bincount(made.folds, weights=rare)[1:]) <= {3.0, 4.0, 5.0}
    again = with_made_folds(written(tmp_path, name="again"))
    np.testing.assert_array_equal(again.folds, made.folds)
    assert made.hash != corpus.hash
    assert made.info["folds_made"] == "10 folds by patient, stratified by label, seed 0"
    assert made.select(folds=[9]).folds.tolist() == [9] * 12
    np.testing.assert_array_equal(made[3].signal, corpus[3].signal)
    rows = list(csv.DictReader(write_folds(made, tmp_path / "folds.csv").open()))
    assert [int(row["fold"]) for row in rows] == made.folds.tolist()
    assert [row["record"] for row in rows] == made.names


def test_few_patients_have_a_fold_each(tmp_path):
    made = with_made_folds(written(tmp_path, 12))
    assert np.bincount(made.folds).tolist() == [0] + [2] * 6
    assert made.fold_roles == FoldRoles((1, 2, 3, 4), (5,), (6,))
    with pytest.raises(CorpusError, match="2 patients"):
        with_made_folds(written(tmp_path, 4, name="two"))


def test_folds_of_the_corpus_are_used_where_they_can_be(tmp_path):
    assert not has_folds(written(tmp_path))
    roles = FoldRoles((1,), (2,))
    part = written(tmp_path, fold=2, roles=roles, name="part")
    assert not has_folds(part)
    assert has_folds(part, [2])
    assert not has_folds(part, [1, 2])
    whole = write_corpus(
        (make_row(n, fold=1 + n % 2) for n in range(20)), tmp_path / "whole", {"name": "whole"}, fold_roles=roles
    )
    assert has_folds(whole)
