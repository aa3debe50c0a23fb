"""Metrics against scikit-learn, against loops written out, and against published predictions."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn import metrics as sklearn_metrics

from ecg_transformers.errors import EcgError
from ecg_transformers.metrics.metrics import (
    accuracy,
    auroc,
    average_precision,
    f1,
    fmax,
    macro,
    macro_auroc,
    micro_auroc,
    one_hot,
    one_vs_one_auroc,
    one_vs_one_pairs,
)


def random_problem(seed, records=120, labels=6, ties=True):
    generator = np.random.default_rng(seed)
    truth = (generator.random((records, labels)) < generator.uniform(0.03, 0.6, labels)).astype(np.uint8)
    truth[0], truth[1] = 0, 1
    scores = generator.random((records, labels)) + 0.3 * truth
    return truth, scores.round(1) if ties else scores


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_auroc_and_average_precision_equal_scikit_learn(seed, ties):
    truth, scores = random_problem(seed, ties=ties)
    reference = sklearn_metrics.roc_auc_score(truth, scores, average=None)
    assert np.abs(auroc(truth, scores) - reference).max() <= 1e-12
    reference = sklearn_metrics.average_precision_score(truth, scores, average=None)
    assert np.abs(average_precision(truth, scores) - reference).max() <= 1e-12
    assert macro_auroc(truth, scores) == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores), abs=1e-12)
    micro = sklearn_metrics.roc_auc_score(truth, scores, average="micro")
    assert micro_auroc(truth, scores) == pytest.approx(micro, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_f1_equals_scikit_learn(seed):
    truth, scores = random_problem(seed)
    decisions = scores > 0.7
    reference = sklearn_metrics.f1_score(truth, decisions, average=None, zero_division=np.nan)
    assert np.abs(f1(truth, decisions) - reference).max() <= 1e-12
    truth[:, 0], decisions[:, 0] = 0, False
    assert np.isnan(f1(truth, decisions)[0])
    with pytest.raises(EcgError, match="thresholds"):
        f1(truth, scores)


@pytest.mark.parametrize("metric", [auroc, average_precision, f1, one_vs_one_pairs])
def test_weights_are_the_record_so_many_times(metric):
    truth, scores = random_problem(7)
    scores = (scores > 0.6) if metric is f1 else scores
    weights = np.random.default_rng(1).integers(0, 4, (len(truth), 5))
    result = metric(truth, scores, weights=weights)
    for column in range(5):
        rows = np.repeat(np.arange(len(truth)), weights[:, column])
        np.testing.assert_allclose(result[column], metric(truth[rows], scores[rows]), atol=1e-12, equal_nan=True)


def test_a_resample_without_positives_or_negatives_has_no_value():
    truth, scores = np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.4], [0.35], [0.8]])
    weights = np.array([[1, 0, 2], [1, 0, 0], [0, 1, 1], [0, 3, 0]])
    for metric in (auroc, average_precision):
        result = metric(truth, scores, weights=weights)[:, 0]
        assert np.isnan(result[:2]).all()
        assert result[2] == 1.0


def test_the_published_predictions_give_the_published_figure(recorded_metrics):
    data = load_file(recorded_metrics / "ptbxl_xresnet1d101_all_fold10.safetensors")
    assert abs(macro_auroc(data["y_true"], data["y_pred"]) - 0.9254358590055028) <= 1e-12
    np.testing.assert_allclose(auroc(data["y_true"], data["y_pred"]), data["per_label_auc"], atol=1e-12)


def test_a_label_without_positives_follows_the_stated_rule(recorded_metrics):
    data = load_file(recorded_metrics / "metrics.safetensors")
    truth, scores = data["y_true"], data["y_pred"]
    np.testing.assert_allclose(auroc(truth, scores), data["per_label_auc"], atol=1e-12)
    assert macro_auroc(truth, scores) == pytest.approx(float(data["macro_skip_missing"]), abs=1e-12)
    half = macro_auroc(truth, scores, missing="half")
    assert half == pytest.approx(float(data["macro_official_missing_as_half"]), abs=1e-12)
    assert micro_auroc(truth, scores) == pytest.approx(float(data["micro_official"]), abs=1e-12)
    with pytest.raises(EcgError, match=r"\[5\]"):
        macro_auroc(truth, scores, missing="raise")


def test_macro_leaves_out_labels_with_few_positives():
    truth, scores = random_problem(3, records=400)
    few = truth.sum(axis=0).argmin()
    included = [k for k in range(6) if k != few]
    expected = auroc(truth, scores)[included].mean()
    assert macro_auroc(truth, scores, min_positives=int(truth[:, few].sum()) + 1) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(macro(np.array([np.nan, np.nan])))


@pytest.mark.parametrize("ties", [True, False])
def test_one_vs_one_equals_scikit_learn(ties):
    generator = np.random.default_rng(5)
    classes = generator.integers(0, 4, 150)
    logits = generator.normal(size=(150, 4)) + 1.2 * one_hot(classes, 4)
    scores = np.exp(logits)
    scores /= scores.sum(axis=1, keepdims=True)
    if ties:
        scores = (scores * 5).round() + 1e-9
        scores /= scores.sum(axis=1, keepdims=True)
        scores = scores.round(6)
        scores[:, 3] = 1 - scores[:, :3].sum(axis=1)
    expected = sklearn_metrics.roc_auc_score(classes, scores, multi_class="ovo", average="macro")
    result = one_vs_one_auroc(classes, scores)
    assert abs(result.value - expected) <= 1e-12
    assert (result.num_pairs_used, result.num_pairs) == (6, 6)


def test_one_vs_one_of_perfect_constant_and_absent():
    classes = np.array([0, 1, 2, 0, 1, 2])
    assert one_vs_one_auroc(classes, np.eye(3)[classes]).value == 1.0
    assert one_vs_one_auroc(classes, np.full((6, 3), 1 / 3)).value == 0.5
    absent = one_vs_one_auroc(classes, np.concatenate([np.eye(3)[classes], np.zeros((6, 1))], axis=1))
    assert (absent.value, absent.num_pairs_used, absent.num_pairs) == (1.0, 3, 6)
    assert np.isnan(one_vs_one_auroc(np.zeros(4, int), np.ones((4, 2))).value)
    two = one_vs_one_auroc(np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]))
    assert two.value == auroc(np.array([0, 1, 1, 0]), np.array([0.1, 0.4, 0.8, 0.5]))[0]


def test_one_vs_one_of_multi_label_uses_records_with_exactly_one_of_the_two():
    truth, scores = random_problem(2, labels=3)
    pairs = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        rows = truth[:, i] + truth[:, j] == 1
        both = [sklearn_metrics.roc_auc_score(truth[rows, k], scores[rows, k]) for k in (i, j)]
        pairs.append(np.mean(both))
    np.testing.assert_allclose(one_vs_one_pairs(truth, scores), pairs, atol=1e-12)


def test_fmax_equals_the_loop_over_thresholds():
    truth, scores = random_problem(4, records=60)
    scores = scores / scores.max()
    truth[5] = 0
    best = 0.0
    rows = truth.any(axis=1)
    for threshold in np.linspace(0, 1, 101):
        decisions = scores[rows] >= threshold
        hits = (decisions & (truth[rows] == 1)).sum(axis=1)
        answered = decisions.sum(axis=1) > 0
        recall = (hits / truth[rows].sum(axis=1)).mean()
        precision = (hits[answered] / decisions.sum(axis=1)[answered]).mean() if answered.any() else 0.0
        best = max(best, 2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    assert fmax(truth, scores) == pytest.approx(best, abs=1e-12)
    assert np.isnan(fmax(np.zeros((2, 2)), np.ones((2, 2))))


def test_accuracy_takes_numbers_and_one_hot():
    classes, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert accuracy(classes, scores) == accuracy(one_hot(classes, 2), scores) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "scores", "fact"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), r"\(3, 3\)"),
        (np.array([[0], [2]]), np.zeros((2, 1)), "2"),
        (np.array([[0], [1]]), np.array([[np.nan], [1.0]]), "1 scores"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"\(0, 2\)"),
    ],
)
def test_wrong_input_is_refused_with_what_was_found(labels, scores, fact):
    with pytest.raises(EcgError, match=fact):
        auroc(labels, scores)
    with pytest.raises(EcgError, match="0 to 1"):
        one_hot(np.array([0, 2]), 2)
