"""Predictions of one evaluation: the source of its results, kept for later comparisons."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from ...corpora.protocol import Part, Task
from ...errors import EcgError
from ...files import replace_file
from ...metrics.bootstrap import Difference, Interval, bootstrap, compare
from ...metrics.challenge_score import CHALLENGE_THRESHOLD, SINUS_RHYTHM, challenge_codes, challenge_score
from ...metrics.metrics import auroc, average_precision
from ...metrics.table import main_metric, reported_values
from ...metrics.thresholds import Thresholds

__all__ = [
    "FEW_POSITIVES",
    "Predictions",
    "challenge_interval",
    "label_table",
    "mean_of_logits",
    "other_metrics",
    "paired_difference",
    "score_interval",
]

# Labels with fewer positives among the reported records are noise in a macro mean (arXiv 2602.17531): every result is
# given over all labels and over those with at least so many.
FEW_POSITIVES = 10
# Columns of `label_table` that are whole numbers.
_COUNTS = ("threshold_positives", "predicted")


@dataclass(frozen=True)
class Predictions:
    """Scores of one system on the reported records, with the truth.

    Args:
        labels: `(records, labels)`: uint8 0 or 1, float64 for regression.
        scores: `(records, labels)`: probabilities, or the prediction for regression.
        record_ids: `(records,)` int64.
        patient_ids: `(records,)` int64, -1 = unknown.
        codes: Codes of the labels.
        problem_type: Transformers' `problem_type`.
        thresholds: Decision thresholds, or `None`.
    """

    labels: np.ndarray
    scores: np.ndarray
    record_ids: np.ndarray
    patient_ids: np.ndarray
    codes: tuple[str, ...]
    problem_type: str
    thresholds: Thresholds | None = None

    @classmethod
    def of(cls, part: Part, scores: np.ndarray, task: Task, thresholds: Thresholds | None) -> "Predictions":
        """The scores of a part's records.

        Stored as float32, so results from a saved file equal those of the run.
        """
        return cls(
            part.labels,
            np.asarray(scores, np.float32),
            part.corpus.record_ids,
            part.corpus.patient_ids,
            task.codes,
            task.problem_type,
            thresholds,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file atomically."""
        from safetensors.numpy import save_file

        tensors = {name: getattr(self, name) for name in ("labels", "scores", "record_ids", "patient_ids")}
        if self.thresholds is not None:
            tensors["thresholds"] = self.thresholds.values
            tensors |= {} if self.thresholds.judging is None else {"judging_thresholds": self.thresholds.judging}
        facts = {"codes": json.dumps(list(self.codes)), "problem_type": self.problem_type}
        with replace_file(path) as temporary:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary, metadata=facts)

    @classmethod
    def load(cls, path: str | Path) -> "Predictions":
        """Read a file that `save` wrote.

        Raises:
            EcgError: The file is of another kind.
        """
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        missing = {"labels", "scores", "record_ids", "patient_ids"} - tensors.keys()
        if missing or not {"codes", "problem_type"} <= facts.keys():
            raise EcgError(f"{path} holds no predictions (lacks {', '.join(sorted(missing)) or 'its metadata'}).")
        values, judging = tensors.pop("thresholds", None), tensors.pop("judging_thresholds", None)
        thresholds = None if values is None else Thresholds(values, judging=judging)
        codes = tuple(json.loads(facts["codes"]))
        return cls(codes=codes, problem_type=facts["problem_type"], thresholds=thresholds, **tensors)


def score_interval(
    predictions: Predictions, *, min_positives: int = 1, unit: str = "record", resamples: int = 1000
) -> Interval:
    """The main metric of the task with its bootstrap interval.

    Args:
        predictions: Predictions of one system.
        min_positives: Labels with fewer positives are left out.
        unit: Resampling unit, `"record"` or `"patient"`.
        resamples: Number of bootstrap resamples.

    Raises:
        EcgError: No label is left.
    """
    return bootstrap(
        predictions.labels,
        predictions.scores,
        metric=main_metric(predictions.problem_type).name,
        patient_ids=predictions.patient_ids if unit == "patient" else None,
        min_positives=min_positives,
        resamples=resamples,
    )


def _other_records(first: Predictions, second: Predictions) -> str:
    return (
        f"the predictions are of {len(first)} records with {len(first.codes)} labels and of {len(second)} with "
        f"{len(second.codes)}; expected the same records and labels in the same order."
    )


def mean_of_logits(several: Sequence[Predictions]) -> Predictions:
    """Predictions of several systems together: the mean of their logits, with equal weights.

    The logit is that of the saved probability of a record, log p - log(1 - p); for single-label tasks it is log p, and
    the probabilities sum to 1 again. Regressions are averaged as they are.

    Args:
        several: Predictions of each system, of the same records and labels.

    Returns:
        Predictions without thresholds.

    Raises:
        EcgError: The systems are of different records or labels.
    """
    first = several[0]
    for other in several[1:]:
        if first.codes != other.codes or not np.array_equal(first.record_ids, other.record_ids):
            raise EcgError(f"systems together: {_other_records(first, other)}")
    scores = np.stack([one.scores for one in several]).astype(np.float64)
    if first.problem_type == "regression":
        together = scores.mean(axis=0)
    else:
        # A float32 probability of 0 or 1 may be one that float32 cannot distinguish from it.
        scores = scores.clip(np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
        single = first.problem_type == "single_label_classification"
        together = softmax(np.log(scores).mean(axis=0), axis=1) if single else expit(logit(scores).mean(axis=0))
    return replace(first, scores=together.astype(np.float32), thresholds=None)


def paired_difference(
    first: Predictions, second: Predictions, *, min_positives: int = 1, unit: str = "record", resamples: int = 1000
) -> Difference:
    """The paired bootstrap of `first - second` over the same records.

    Args:
        first: Predictions of one system.
        second: Predictions of the other one.
        min_positives: As in `score_interval`, as are the others.
        unit: See `score_interval`.
        resamples: See `score_interval`.

    Raises:
        EcgError: The two are of different records or labels.
    """
    if first.codes != second.codes or not np.array_equal(first.record_ids, second.record_ids):
        raise EcgError(f"a paired comparison: {_other_records(first, second)}")
    return compare(
        first.labels,
        first.scores,
        second.scores,
        metric=main_metric(first.problem_type).name,
        patient_ids=first.patient_ids if unit == "patient" else None,
        min_positives=min_positives,
        resamples=resamples,
    )


def other_metrics(predictions: Predictions) -> dict[str, float]:
    """Further metrics without intervals, by name: average precision, F1 at the thresholds, and so on.

    `labels_with_threshold` counts the labels of F1. A single-label task decides for the largest score instead.
    """
    scores, thresholds = predictions.scores, predictions.thresholds
    decisions = None if thresholds is None else thresholds.decide(scores)
    if predictions.problem_type == "single_label_classification":
        decisions = scores == scores.max(axis=1, keepdims=True)
    found = reported_values(predictions.problem_type, predictions.labels, scores, decisions)
    return found if thresholds is None else found | {"labels_with_threshold": int((~np.isnan(thresholds.values)).sum())}


def challenge_interval(predictions: Predictions, *, unit: str = "record", resamples: int = 1000) -> Interval | None:
    """The Challenge score with its bootstrap interval, by the published rule that probabilities above 0.5 are outputs.

    Args:
        predictions: Predictions of one system.
        unit: See `score_interval`.
        resamples: See `score_interval`.

    Returns:
        None where the labels are not scored classes of the Challenge with sinus rhythm among them.
    """
    if SINUS_RHYTHM not in predictions.codes or not set(predictions.codes) <= set(challenge_codes()):
        return None
    return bootstrap(
        predictions.labels,
        predictions.scores > CHALLENGE_THRESHOLD,
        metric=partial(challenge_score, codes=predictions.codes),
        patient_ids=predictions.patient_ids if unit == "patient" else None,
        resamples=resamples,
    )


def label_table(predictions: Predictions) -> list[dict[str, Any]]:
    """Per label: code, positives, AUROC, average precision, threshold and what it does (NaN as `None`).

    Of a threshold: the positives it was fitted on, the records that it calls positive, precision, recall and F1 on
    records that did not fit it.
    """
    labels, scores, thresholds = predictions.labels, predictions.scores, predictions.thresholds
    columns = {"auroc": auroc(labels, scores), "average_precision": average_precision(labels, scores)}
    if thresholds is not None:
        columns["threshold"] = thresholds.values
        if thresholds.positives is not None:
            columns["threshold_positives"] = thresholds.positives
        columns |= thresholds.quality(labels, scores)
    rows = []
    for k, code in enumerate(predictions.codes):
        found = {name: None if np.isnan(column[k]) else round(float(column[k]), 4) for name, column in columns.items()}
        found |= {name: int(columns[name][k]) for name in _COUNTS if found.get(name) is not None}
        rows.append({"code": code, "positives": int(labels[:, k].sum()), **found})
    return rows
