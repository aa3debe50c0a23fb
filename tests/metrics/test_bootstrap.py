"""Bootstrap against recorded resamples of the public code, against resampled arrays, and for speed of form."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from ecg_transformers.errors import EcgError
from ecg_transformers.metrics.bootstrap import bootstrap, compare, holm, resample_weights
from ecg_transformers.metrics.metrics import macro_auroc


def problem(seed=0, records=300, labels=4):
    generator = np.random.default_rng(seed)
    truth = (generator.random((records, labels)) < [0.4, 0.2, 0.1, 0.01]).astype(np.uint8)
    truth[:2, 3] = 1
    noise = generator.normal(size=(records, labels))
    return truth, truth + noise, truth + 2 * noise + generator.normal(size=(records, labels))


def test_recorded_resamples_give_the_recorded_values(recorded_metrics):
    data = load_file(recorded_metrics / "metrics.safetensors")
    truth, scores, second = data["y_true"][:, :5], data["y_pred"][:, :5], data["paired/y_pred2"]
    result = bootstrap(truth, scores, indices=data["bootstrap/ids"])
    np.testing.assert_allclose(result.samples, data["bootstrap/macro"], atol=1e-12)
    quantiles = {name: float(data[f"bootstrap/{name}"]) for name in ("q025", "q975", "q05", "q95")}
    assert (result.low, result.high) == pytest.approx((quantiles["q025"], quantiles["q975"]), abs=1e-12)
    narrow = bootstrap(truth, scores, indices=data["bootstrap/ids"], scheme="benchmark")
    assert (narrow.low, narrow.high) == pytest.approx((quantiles["q05"], quantiles["q95"]), abs=1e-12)
    paired = compare(truth, scores, second, indices=data["bootstrap/ids"])
    expected = [float(data[f"paired/{name}"]) for name in ("point", "q025", "q975")]
    assert [paired.value, paired.low, paired.high] == pytest.approx(expected, abs=1e-12)


def test_published_resamples_give_the_published_interval(recorded_metrics):
    data = load_file(recorded_metrics / "ptbxl_xresnet1d101_all_fold10.safetensors")
    result = bootstrap(data["y_true"], data["y_pred"], indices=data["bootstrap_ids"], scheme="benchmark")
    np.testing.assert_allclose(result.samples, data["bootstrap_macro_auc"], atol=1e-12)
    assert result.samples.mean() == pytest.approx(0.9248700603532448, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((0.9185230258692298, 0.9314845724252189), abs=1e-12)


def test_a_vanishing_label_is_left_out_of_that_resample_and_counted():
    truth, scores, _ = problem()
    result = bootstrap(truth, scores, resamples=60, seed=3)
    weights = np.concatenate(list(resample_weights(len(truth), 60, seed=3)), axis=1)
    gone = 0
    for column in range(60):
        rows = np.repeat(np.arange(len(truth)), weights[:, column])
        present = [k for k in range(4) if 0 < truth[rows, k].sum() < len(rows)]
        gone += len(present) < 4
        expected = roc_auc_score(truth[rows][:, present], scores[rows][:, present])
        assert result.samples[column] == pytest.approx(expected, abs=1e-12)
    assert 0 < gone < 60
    assert result.vanished == gone / 60
    assert result.value == pytest.approx(macro_auroc(truth, scores), abs=1e-12)
    assert result.low < result.value < result.high


def test_benchmark_scheme_keeps_every_label_in_every_resample():
    truth, scores, _ = problem()
    result = bootstrap(truth, scores, resamples=50, scheme="benchmark")
    assert (result.vanished, result.resamples, result.confidence) == (0.0, 50, 0.9)


def test_labels_without_value_or_with_few_positives_are_named():
    truth, scores, _ = problem()
    truth[:, 1] = 0
    result = bootstrap(truth, scores, resamples=20)
    assert (result.num_labels, result.left_out) == (3, (1,))
    assert bootstrap(truth, scores, resamples=20, min_positives=10).left_out == (1, 3)
    with pytest.raises(EcgError, match="500 positives"):
        bootstrap(truth, scores, resamples=20, min_positives=500)


def test_patients_are_drawn_with_all_their_records():
    patients = np.array([7, 7, 7, -1, 3, 3, -1])
    weights = np.concatenate(list(resample_weights(7, 200, patient_ids=patients, seed=1)), axis=1)
    assert (weights[0] == weights[1]).all()
    assert (weights[0] == weights[2]).all()
    assert (weights[4] == weights[5]).all()
    assert (weights[3] != weights[6]).any()
    assert (weights[[0, 3, 4, 6]].sum(axis=0) == 4).all()
    truth, scores, _ = problem()
    assert bootstrap(truth, scores, resamples=20, patient_ids=np.arange(300) // 3).unit == "patient"


def test_the_same_seed_gives_the_same_resamples_and_another_seed_others():
    truth, scores, _ = problem()
    first, again, other = (bootstrap(truth, scores, resamples=30, seed=seed).samples for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_the_paired_difference_is_that_of_the_same_resamples():
    truth, good, bad = problem()
    difference = compare(truth, good, bad, resamples=200)
    first, second = bootstrap(truth, good, resamples=200), bootstrap(truth, bad, resamples=200)
    assert difference.value == pytest.approx(first.value - second.value, abs=1e-12)
    low, high = np.quantile(first.samples - second.samples, [0.025, 0.975])
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-12)
    assert difference.p_value < 0.05
    assert compare(truth, good, good, resamples=50).p_value == 1.0


@pytest.mark.parametrize("metric", ["macro_average_precision", "one_vs_one_auroc", "macro_f1"])
def test_other_metrics_have_intervals_too(metric):
    truth, scores, _ = problem()
    result = bootstrap(truth, scores > 0.5 if metric == "macro_f1" else scores, metric=metric, resamples=50)
    assert result.low <= result.value <= result.high


def test_holm_adjusts_in_order_and_never_beyond_one():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_unknown_names_are_refused():
    truth, scores, _ = problem()
    with pytest.raises(EcgError, match="macro_auroc"):
        bootstrap(truth, scores, metric="auc")
    with pytest.raises(EcgError, match="benchmark"):
        bootstrap(truth, scores, scheme="redraw")
