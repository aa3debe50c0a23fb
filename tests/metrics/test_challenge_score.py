"""The Challenge score against cases recorded from the official code, and against a loop over records."""

import json
from fractions import Fraction

import numpy as np
import pytest

from ecg_transformers.corpora.labels import label_set
from ecg_transformers.errors import EcgError
from ecg_transformers.metrics.bootstrap import bootstrap
from ecg_transformers.metrics.challenge_score import (
    SINUS_RHYTHM,
    challenge_codes,
    challenge_score,
    challenge_weights,
)
from ecg_transformers.metrics.metrics import auroc, average_precision, f1, macro


@pytest.fixture(scope="module")
def recorded(recorded_metrics):
    folder = recorded_metrics.parent / "w2v_cmsc_rlm"
    return tuple(json.loads((folder / name).read_text()) for name in ("cinc_cases.json", "cinc2021_weights.json"))


def matrix(names, classes):
    return np.array([[one in record for one in classes] for record in names], np.int64)


def test_weights_and_classes_are_the_official_ones(recorded):
    official = recorded[1]
    assert challenge_codes() == tuple(code.partition("|")[0] for code in official["codes"])
    assert challenge_codes() == label_set("challenge2021").codes
    np.testing.assert_array_equal(challenge_weights(), official["weights"])
    assert challenge_codes()[official["index_of_sinus_rhythm"]] == SINUS_RHYTHM


def test_worked_cases(recorded):
    cases, official = recorded
    exact = 0
    for case in cases["cases"]:
        labels, outputs = (
            np.array(case[f"{name}_matrix"])
            if f"{name}_matrix" in case
            else matrix(case[name], official["abbreviations"])
            for name in ("labels", "outputs")
        )
        score = challenge_score(labels, outputs)
        assert score.shape == (1,)
        assert abs(score[0] - case["score"]) < 1e-12, case["name"]
        if "score_exact" in case:
            assert abs(score[0] - float(Fraction(case["score_exact"]))) < 1e-12
            exact += 1
        # The companion metric of the official code.
        assert macro(f1(labels, outputs)) == pytest.approx(case["macro_f_measure"], abs=1e-12)
        if "scalar_outputs" in case:
            scores = np.array(case["scalar_outputs"])
            assert macro(auroc(labels, scores)) == pytest.approx(case["macro_auroc"], abs=1e-12)
            assert macro(average_precision(labels, scores)) == pytest.approx(case["macro_auprc"], abs=1e-12)
    assert exact == 6


def test_other_codes_of_a_class_count_as_the_class(recorded):
    from ecg_transformers.corpora.label_matrix import label_matrix

    cases, official = recorded
    for case in cases["label_mapping"]:
        found = label_matrix([case["codes"]], label_set("challenge2021")).values[0]
        assert [name for name, flag in zip(official["abbreviations"], found, strict=True) if flag] == case["classes"]


def test_some_classes_in_another_order_and_resamples_are_a_loop_over_records():
    generator = np.random.default_rng(3)
    codes = ("39732003", SINUS_RHYTHM, "164889003")
    labels, outputs = ((generator.random((30, 3)) < 0.4).astype(int) for _ in range(2))
    weights = generator.integers(0, 4, (30, 5))
    rewards = challenge_weights()
    places = [challenge_codes().index(code) for code in codes]

    def credit(record, output):
        named = max(len({*record, *output}), 1)
        return sum(rewards[places[one], places[other]] for one in record for other in output) / named

    expected = []
    for counts in weights.T:
        sums = np.zeros(3)
        for row, count in enumerate(counts):
            record, output = (np.flatnonzero(values[row]).tolist() for values in (labels, outputs))
            sums += count * np.array([credit(record, output), credit(record, record), credit(record, [1])])
        expected.append((sums[0] - sums[2]) / (sums[1] - sums[2]))
    found = challenge_score(labels, outputs, codes=codes, weights=weights)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
    interval = bootstrap(labels, outputs, metric=lambda *given, **more: challenge_score(*given, codes=codes, **more))
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(
    ("labels", "codes", "fact"),
    [
        (np.zeros((2, 3)), None, "26"),
        (np.full((2, 26), 0.5), None, "probabilities > 0.5"),
        (np.zeros((2, 2)), ("AF", SINUS_RHYTHM), "AF is no scored class"),
        (np.zeros((2, 2)), ("39732003", "164889003"), "sinus rhythm"),
    ],
)
def test_what_cannot_be_scored_is_named(labels, codes, fact):
    with pytest.raises(EcgError, match=fact):
        challenge_score(labels, labels, codes=codes)
