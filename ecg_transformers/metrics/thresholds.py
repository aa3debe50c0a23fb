"""Decision thresholds: fitted on records that the model was not trained on, judged on records that did not fit them.

A threshold that was fitted on few positives decides by chance: on other records nearly all that it calls positive is
not. A label with fewer than ten positives therefore gets none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..corpora.patients import count_patients
from ..corpora.splits import split_by_patient
from .metrics import best_f1_cuts, f1, precision, recall

__all__ = ["MIN_POSITIVES", "Thresholds", "cross_fitted", "fit_reported_thresholds", "fit_thresholds"]

# Least number of positives that a threshold is fitted on.
MIN_POSITIVES = 10
# Parts of the reported records, by patient, whose thresholds are fitted on the other parts.
_JUDGING_PARTS = 5


@dataclass(frozen=True)
class Thresholds:
    """The decision threshold of each label.

    Args:
        values: `(labels,)` float64, NaN for a label without one.
        positives: `(labels,)`: positives among the records of the fit; `None` = not known (read from a checkpoint).
        judging: Where the reported records themselves fitted `values`: `(records, labels)` thresholds that each of
            them is judged by, fitted on other records (`cross_fitted`). `None` = they are judged by `values`.
        source: Corpus and folds of the records of the fit, as saved in `config.thresholds_from`.
    """

    values: np.ndarray
    positives: np.ndarray | None = None
    judging: np.ndarray | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Decisions for the reported records, 1 and 0, for judging; NaN for a label that cannot be judged.

        Args:
            scores: `(records, labels)` probabilities.
        """
        used = np.broadcast_to(self.values if self.judging is None else self.judging, scores.shape)
        return np.where(np.isnan(used).any(axis=0) | np.isnan(self.values), np.nan, scores >= used)

    def quality(self, labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
        """Records called positive, precision, recall and F1 of each label; NaN where it cannot be judged.

        Args:
            labels: `(records, labels)`, 0 or 1.
            scores: Probabilities of the same shape.
        """
        decisions = self.decide(scores)
        judged, called = ~np.isnan(decisions).any(axis=0), np.nan_to_num(decisions)
        found = {"predicted": called.sum(axis=0)}
        found |= {"precision": precision(labels, called), "recall": recall(labels, called), "f1": f1(labels, called)}
        return {name: np.where(judged, values, np.nan) for name, values in found.items()}


def fit_thresholds(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    min_positives: int = MIN_POSITIVES,
    source: Mapping[str, Any] | None = None,
) -> Thresholds:
    """The threshold of each label that gives the largest F1: positive = score at or above it.

    The threshold lies halfway to the next lower score, so that rounding does not turn a decision. Fit on records that
    did not train the model; records that fitted it cannot judge it (`cross_fitted`).

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: Probabilities of the same shape.
        min_positives: Least number of positives that a threshold is fitted on.
        source: Corpus and folds of the records.

    Raises:
        EcgError: As `metrics.auroc`.

    Example:
        >>> fit_thresholds(np.array([[0], [1], [1]]), np.array([[0.2], [0.4], [0.9]]), min_positives=2).values
        array([0.3])
    """
    positives = np.asarray(labels).sum(axis=0).astype(np.int64)
    enough = positives >= max(min_positives, 1)
    return Thresholds(np.where(enough, best_f1_cuts(labels, scores), np.nan), positives, source=dict(source or {}))


def fit_reported_thresholds(
    labels: np.ndarray, scores: np.ndarray, patient_ids: np.ndarray, *, source: Mapping[str, Any]
) -> Thresholds:
    """Thresholds fitted on the reported records, each of which is judged by those of other patients.

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: Probabilities of the same shape.
        patient_ids: `(records,)`, negative = unknown.
        source: Corpus and folds of the records.
    """
    fitted = fit_thresholds(labels, scores, source=source)
    parts = min(_JUDGING_PARTS, count_patients(patient_ids))
    fold = split_by_patient(patient_ids, parts, stratify=labels[:, labels.sum(axis=0) >= MIN_POSITIVES])
    return replace(fitted, judging=cross_fitted(labels, scores, fold))


def cross_fitted(labels: np.ndarray, scores: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Thresholds for judging records that also fit the final ones: each part's come from all other parts.

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: Probabilities of the same shape.
        parts: `(records,)` part of each record; a patient is in one part.

    Returns:
        `(records, labels)`; NaN where the other parts have no positive.
    """
    found = np.full(scores.shape, np.nan)
    for part in np.unique(parts):
        others = parts != part
        if others.any():
            found[~others] = fit_thresholds(labels[others], scores[others], min_positives=1).values
    return found
