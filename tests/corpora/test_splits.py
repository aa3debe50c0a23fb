"""Splits: patients stay together, labels are spread, overlaps are errors, fractions are nested."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_transformers.corpora import splits
from ecg_transformers.corpora.splits import (
    check_disjoint,
    iterative_stratification,
    nested_fraction,
    split_by_patient,
)
from ecg_transformers.errors import CorpusError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=12, max_size=120), st.integers(2, 5), st.integers(0, 3))
def test_every_patient_is_in_one_fold_and_every_fold_is_used(patients, folds, seed):
    patients = np.array([*range(31), *patients])
    fold = split_by_patient(patients, folds, seed=seed)
    for patient in np.unique(patients):
        assert len(set(fold[patients == patient])) == 1
    assert set(fold) == set(range(folds))


def test_rare_labels_are_spread_far_better_than_by_chance():
    generator = np.random.default_rng(0)
    patients = np.sort(generator.integers(0, 700, 1000))
    labels = generator.random((1000, 12)) < np.geomspace(0.01, 0.5, 12)
    fold = split_by_patient(patients, 10, stratify=labels, seed=1)
    deviation = np.mean([np.abs(labels[fold == k].sum(axis=0) - labels.sum(axis=0) / 10) for k in range(10)])
    chance = generator.integers(0, 10, 700)[patients]
    by_chance = np.mean([np.abs(labels[chance == k].sum(axis=0) - labels.sum(axis=0) / 10) for k in range(10)])
    assert deviation < 0.4 * by_chance
    assert np.bincount(fold).max() - np.bincount(fold).min() < 40


def test_shares_and_classes_are_kept_and_the_seed_decides():
    patients = np.arange(400)
    classes = np.repeat(["a", "b"], [380, 20])
    fold = split_by_patient(patients, [8, 1, 1], stratify=classes, seed=3)
    np.testing.assert_array_equal(np.bincount(fold), [320, 40, 40])
    np.testing.assert_array_equal(np.bincount(fold[classes == "b"]), [16, 2, 2])
    np.testing.assert_array_equal(fold, split_by_patient(patients, [8, 1, 1], stratify=classes, seed=3))
    assert (fold != split_by_patient(patients, [8, 1, 1], stratify=classes, seed=4)).any()


def test_unknown_patients_are_warned_of_once(caplog):
    splits._warn_of_unknown.cache_clear()
    for _ in range(3):
        fold = split_by_patient([-1, -1, -1, -1], 2)
        assert sorted(np.bincount(fold)) == [2, 2]
    split_by_patient([-1, -1, -1], 2)
    assert caplog.text.count("leakage") == 1


def test_impossible_splits_are_refused():
    with pytest.raises(CorpusError, match="1 patients cannot be divided into 2"):
        split_by_patient([5, 5, 5], 2)
    with pytest.raises(CorpusError, match="positive shares"):
        split_by_patient([1, 2], [1.0, 0.0])
    with pytest.raises(CorpusError, match="one row per record"):
        split_by_patient([1, 2], 2, stratify=np.zeros((3, 1)))


def test_groups_are_stratified_by_what_all_their_records_carry():
    folds = iterative_stratification([[0, 0], [0], [0], [], [0, 0]], 2, sizes=[2, 1, 1, 3, 2])
    assert folds[3] == -1
    assert sorted(np.bincount(folds[[0, 1, 2, 4]], weights=[2, 1, 1, 2])) == [3, 3]
    assert iterative_stratification([[], []], 3).tolist() == [-1, -1]
    assert iterative_stratification([], 3).tolist() == []


@pytest.mark.parametrize(("labels", "folds", "sizes"), [([[0]], 0, None), ([[-1]], 2, None), ([[0]], 2, [1, 1])])
def test_a_stratification_that_cannot_be_is_refused(labels, folds, sizes):
    with pytest.raises(CorpusError, match="at least one fold"):
        iterative_stratification(labels, folds, sizes=sizes)


def test_an_overlap_is_an_error_that_names_the_patients(small_corpus):
    with pytest.raises(CorpusError, match="1 patients are both in train and in test \\(patient 2\\)"):
        check_disjoint({"train": np.array([1, 2, -1]), "test": np.array([2, 3, -1])})
    check_disjoint({"train": small_corpus.select(range(10)), "test": small_corpus.select(range(10, 20))})
    with pytest.raises(CorpusError, match="patients are both in a and in b"):
        check_disjoint({"a": small_corpus.select(range(9)), "b": small_corpus.select([9])})


def test_fractions_are_nested_and_keep_patients_whole(small_corpus):
    parts = [nested_fraction(small_corpus, fraction, seed=1) for fraction in (0.1, 0.3, 0.5, 0.8)]
    for smaller, larger in pairwise(parts):
        assert set(smaller.record_ids) < set(larger.record_ids)
    for fraction, part in zip((0.1, 0.3, 0.5, 0.8), parts, strict=True):
        assert abs(len(part) - fraction * 20) <= 1
        for patient in set(part.patient_ids):
            assert (part.patient_ids == patient).sum() == (small_corpus.patient_ids == patient).sum()
    # The same patients come first when others are left out.
    half = small_corpus.select(small_corpus.patient_ids != parts[0].patient_ids[0])
    assert set(nested_fraction(half, 0.3, seed=1).patient_ids) <= set(parts[-1].patient_ids)
    assert set(nested_fraction(small_corpus, 0.3, seed=2).record_ids) != set(parts[1].record_ids)
    # The order of the rows does not matter.
    turned = nested_fraction(small_corpus.select(range(len(small_corpus))[::-1]), 0.3, seed=1)
    assert set(turned.record_ids) == set(parts[1].record_ids)
    with pytest.raises(CorpusError, match="above 0 and at most 1"):
        nested_fraction(small_corpus, 1.5)
