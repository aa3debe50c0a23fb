"""Thresholds against slow loops, and what they are judged by."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ecg_transformers.metrics.metrics import precision, recall
from ecg_transformers.metrics.table import reported_values
from ecg_transformers.metrics.thresholds import MIN_POSITIVES, Thresholds, cross_fitted, fit_thresholds

RANDOM = np.random.default_rng(0)


def drawn(records=400, labels=3, positives=40):
    """Labels with a signal in their scores."""
    truth = np.zeros((records, labels), np.uint8)
    for column in truth.T:
        column[RANDOM.choice(records, positives, replace=False)] = 1
    return truth, np.round(1 / (1 + np.exp(-(RANDOM.normal(size=truth.shape) + 2 * truth - 2))), 3)


def test_thresholds_reach_the_best_f1_and_survive_rounding():
    truth, scores = drawn()
    thresholds = fit_thresholds(truth, scores)
    assert thresholds.positives.tolist() == [40, 40, 40]
    for k, cut in enumerate(thresholds.values):
        best = max(sklearn_metrics.f1_score(truth[:, k], scores[:, k] >= one) for one in np.unique(scores[:, k]))
        assert sklearn_metrics.f1_score(truth[:, k], scores[:, k] >= cut) == pytest.approx(best, abs=1e-12)
        assert np.abs(scores[:, k] - cut).min() >= 5e-4 - 1e-12


def test_a_label_with_fewer_than_ten_positives_has_no_threshold_and_no_decision():
    truth, scores = drawn()
    truth[:, 1] = 0
    truth[: MIN_POSITIVES - 1, 1] = 1
    truth[:, 2] = 0
    truth[:MIN_POSITIVES, 2] = 1
    thresholds = fit_thresholds(truth, scores)
    assert np.isnan(thresholds.values).tolist() == [False, True, False]
    assert np.isnan(thresholds.decide(scores)).any(axis=0).tolist() == [False, True, False]
    quality = thresholds.quality(truth, scores)
    assert all(np.isnan(values).tolist() == [False, True, False] for values in quality.values())
    # The macro F1 is that of the labels that can be decided.
    values = reported_values("multi_label_classification", truth, scores, thresholds.decide(scores))
    assert values["macro_f1"] == pytest.approx(np.nanmean(quality["f1"]))


def test_precision_and_recall_are_those_of_scikit_learn():
    truth, scores = drawn()
    called = (scores > 0.3).astype(np.uint8)
    called[:, 2] = 0
    for ours, theirs in ((precision, sklearn_metrics.precision_score), (recall, sklearn_metrics.recall_score)):
        expected = theirs(truth, called, average=None, zero_division=np.nan)
        np.testing.assert_allclose(ours(truth, called), expected)


def test_each_part_is_judged_by_thresholds_of_the_others():
    truth, scores = drawn()
    parts = np.arange(len(truth)) % 5
    found = cross_fitted(truth, scores, parts)
    for part in range(5):
        expected = fit_thresholds(truth[parts != part], scores[parts != part]).values
        np.testing.assert_array_equal(found[parts == part], np.broadcast_to(expected, (80, 3)))
    thresholds = fit_thresholds(truth, scores)
    judged = Thresholds(thresholds.values, thresholds.positives, found)
    np.testing.assert_array_equal(judged.decide(scores), scores >= found)


def test_scores_without_information_are_judged_as_such():
    """Fitted and judged on the same records, thresholds of pure chance look better than chance."""
    truth = np.zeros((600, 200), np.uint8)
    truth[:12] = 1
    scores = np.random.default_rng(1).random(truth.shape)
    fitted = fit_thresholds(truth, scores)
    judged = Thresholds(fitted.values, fitted.positives, cross_fitted(truth, scores, np.arange(600) % 5))
    share = 12 / 600
    assert np.nanmean(fitted.quality(truth, scores)["precision"]) > 3 * share
    called = judged.decide(scores)
    assert (called * truth).sum() / called.sum() == pytest.approx(share, rel=0.25)


def test_a_label_of_one_patient_alone_is_not_judged():
    truth, scores = drawn()
    truth[:, 0] = 0
    truth[:12, 0] = 1
    parts = np.arange(len(truth)) % 4 + 1
    parts[:12] = 0
    fitted = fit_thresholds(truth, scores)
    judged = Thresholds(fitted.values, fitted.positives, cross_fitted(truth, scores, parts))
    assert np.isfinite(judged.values).all()
    assert np.isnan(judged.quality(truth, scores)["precision"]).tolist() == [True, False, False]
