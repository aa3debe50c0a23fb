"""The line for the screen."""

from dataclasses import replace

import numpy as np

from ecg_transformers.evaluation.results.predictions import Predictions, score_interval
from ecg_transformers.evaluation.results.report import _values, summary_line
from ecg_transformers.metrics.challenge_score import SINUS_RHYTHM, challenge_score


def entry(records):
    return {
        "metric": "macro_auroc",
        "value": 0.9,
        "low": 0.8,
        "high": 1.0,
        "num_labels": 2,
        "records": records,
        "min_positives": 1,
    }


def test_a_figure_of_few_records_is_said_to_say_little():
    assert "only 3 records are reported" in summary_line([entry(3)], [], "folds 2")
    assert "only" not in summary_line([entry(2183)], [], "validation (fold 9)")


def test_scored_classes_have_the_challenge_score_with_its_interval():
    generator = np.random.default_rng(0)
    codes = ("164889003", SINUS_RHYTHM)
    labels = (generator.random((60, 2)) < 0.5).astype(np.uint8)
    scores = np.clip(labels * 0.6 + generator.random((60, 2)) * 0.6, 0, 1).astype(np.float32)
    ids = np.arange(60)
    predictions = Predictions(labels, scores, ids, ids // 2, codes, "multi_label_classification")
    values = _values(score_interval(predictions, unit="patient", resamples=50), predictions, 1)
    assert values["challenge_score"] == challenge_score(labels, scores > 0.5, codes=codes)[0]
    assert values["challenge_score_low"] < values["challenge_score"] < values["challenge_score_high"]
    other = replace(predictions, codes=("AFIB", "SR"))
    assert "challenge_score" not in _values(score_interval(other, resamples=50), other, 1)
    line = summary_line([entry(60) | values], [], "validation (fold 9)")
    assert f"Challenge score {values['challenge_score']:.3f}" in line
