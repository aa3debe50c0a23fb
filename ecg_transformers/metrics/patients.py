"""Metrics within patients: another patient's normal beats are no help and no harm."""

from collections.abc import Callable

import numpy as np

from .metrics import auroc

__all__ = ["MIN_BEATS", "patient_auroc", "patient_aurocs"]

# A patient counts with at least this many beats of each kind.
MIN_BEATS = 10


def patient_aurocs(
    labels: np.ndarray, scores: np.ndarray, patient_ids: np.ndarray, *, min_beats: int = MIN_BEATS
) -> dict[int, float]:
    """AUROC of each patient who has enough beats of both kinds.

    Args:
        labels: `(beats,)`, 0 = normal, 1 = abnormal.
        scores: `(beats,)`, larger = more abnormal.
        patient_ids: `(beats,)`.
        min_beats: Least number of beats of each kind. Default: 10.

    Example:
        >>> patient_aurocs(np.array([0, 1, 0, 0]), np.array([0.1, 0.2, 0.9, 0.8]), np.array([1, 1, 2, 2]), min_beats=1)
        {1: 1.0}
    """
    values = {}
    for patient in np.unique(patient_ids).tolist():
        own = patient_ids == patient
        abnormal = int(labels[own].sum())
        if min(abnormal, int(own.sum()) - abnormal) >= min_beats:
            values[patient] = float(auroc(labels[own], scores[own])[0])
    return values


def patient_auroc(patient_ids: np.ndarray, *, min_beats: int = MIN_BEATS) -> Callable[..., np.ndarray]:
    """The mean AUROC over patients as a metric for `bootstrap`, which draws patients.

    Args:
        patient_ids: `(beats,)`.
        min_beats: Least number of beats of each kind. Default: 10.
    """

    def metric(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
        values = patient_aurocs(labels[:, 0], scores[:, 0], patient_ids, min_beats=min_beats)
        if weights is None:
            return np.array([np.mean(list(values.values())) if values else np.nan])
        # All beats of a patient are drawn together: their counts are equal.
        _, first = np.unique(patient_ids, return_index=True)
        known = np.array([patient in values for patient in np.unique(patient_ids).tolist()], dtype=bool)
        drawn = weights[first[known]].astype(np.float64)
        total = drawn.sum(axis=0)
        sums = np.array(list(values.values())) @ drawn
        return np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)[:, np.newaxis]

    return metric
