"""Metrics of multi-label and single-label classification as functions on arrays.

All of them take `labels (records, labels)` of zeros and ones and `scores` of the same shape, and give one value per
label. A label that has only one class among the records has no value: NaN, which the macro forms leave out and count
(the published code of Mehari and Strodthoff 2022 counts such a label as 0.5: `missing="half"`).

`weights (records, resamples)` gives every record a whole-number weight in each of many resamples at once and turns the
result into `(resamples, labels)`: a weight of 2 is the record twice. So the bootstrap sorts each label once, and a
resample costs sums over the sorted weights only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import EcgError

__all__ = [
    "OneVsOne",
    "accuracy",
    "auroc",
    "average_precision",
    "best_f1_cuts",
    "f1",
    "fmax",
    "macro",
    "macro_auroc",
    "micro_auroc",
    "negative_absolute_error",
    "one_hot",
    "one_vs_one_auroc",
    "one_vs_one_pairs",
    "precision",
    "r2",
    "recall",
    "root_mean_square_error",
]


def auroc(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The area under the exact ROC curve of each label; ties count half (the Mann-Whitney statistic).

    Args:
        labels: `(records, labels)` or `(records,)`, 0 or 1.
        scores: The same shape; larger = more probable. Any monotone scale.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(labels,)`, or `(resamples, labels)` with weights; NaN where a label has one class only.

    Raises:
        EcgError: Shapes differ, labels are not 0 and 1, scores are not finite.

    Example:
        >>> auroc(np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.4], [0.35], [0.8]]))
        array([0.75])
    """
    return _per_label(_weighted_auroc, labels, scores, weights)


def average_precision(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean precision over the positives of each label, `sum_n (R_n - R_{n-1}) P_n` over distinct scores.

    Args:
        labels: `(records, labels)` or `(records,)`, 0 or 1.
        scores: The same shape.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(labels,)`, or `(resamples, labels)` with weights; NaN where a label has one class only.

    Raises:
        EcgError: As `auroc`.

    Example:
        >>> average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).round(4)
        array([0.8333])
    """
    return _per_label(_weighted_average_precision, labels, scores, weights)


def f1(labels: np.ndarray, predictions: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The F1 score `2 TP / (2 TP + FP + FN)` of each label, from decisions (0 or 1), not from scores.

    Args:
        labels: `(records, labels)` or `(records,)`, 0 or 1.
        predictions: The same shape, 0 or 1: scores at or above their threshold.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(labels,)`, or `(resamples, labels)` with weights; NaN where a label neither occurs nor is predicted.

    Raises:
        EcgError: As `auroc`.
    """
    labels, predictions = _checked_decisions(labels, predictions)
    columns = np.ones((len(labels), 1)) if weights is None else np.asarray(weights, np.float64)
    hits = columns.T @ (labels * predictions)
    total = columns.T @ labels + columns.T @ predictions
    value = np.divide(2 * hits, total, out=np.full(hits.shape, np.nan), where=total > 0)
    return value[0] if weights is None else value


def precision(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The share of true positives in what is called positive, of each label; NaN where nothing is.

    Args:
        labels: `(records, labels)` or `(records,)`, 0 or 1.
        predictions: The same shape, 0 or 1.

    Raises:
        EcgError: As `auroc`.
    """
    labels, predictions = _checked_decisions(labels, predictions)
    return _share((labels * predictions).sum(axis=0), predictions.sum(axis=0))


def recall(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The share of the positives that is called positive (sensitivity), of each label; NaN where there are none.

    Args:
        labels: `(records, labels)` or `(records,)`, 0 or 1.
        predictions: The same shape, 0 or 1.

    Raises:
        EcgError: As `auroc`.
    """
    labels, predictions = _checked_decisions(labels, predictions)
    return _share((labels * predictions).sum(axis=0), labels.sum(axis=0))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _checked_decisions(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = _checked(labels, predictions)
    if not np.isin(predictions, (0, 1)).all():
        raise EcgError("expected decisions, 0 or 1, but got scores. Pass scores >= thresholds.")
    return labels, predictions


def macro(
    values: np.ndarray, *, missing: Literal["skip", "half", "raise"] = "skip", include: np.ndarray | None = None
) -> np.ndarray:
    """The mean over labels with the rule for labels that have no value.

    Args:
        values: `(..., labels)`, NaN where a label has no value.
        missing: `"skip"` leaves such a label out of this mean; `"half"` counts it as 0.5 (published code of
            ecg-selfsupervised); `"raise"` refuses.
        include: `(labels,)`, true = the label is averaged; `None` = all.

    Returns:
        `(...,)`; NaN where no label is left.

    Raises:
        EcgError: A label has no value and `missing="raise"`.
    """
    values = np.asarray(values, np.float64)
    if include is not None:
        values = values[..., np.asarray(include, bool)]
    present = ~np.isnan(values)
    if missing == "raise" and not present.all():
        absent = np.flatnonzero(~present.reshape(-1, values.shape[-1]).all(axis=0)).tolist()
        raise EcgError(f'labels {absent} have one class only; expected both. Pass missing="skip" to leave them out.')
    if missing == "half":
        return np.where(present, values, 0.5).mean(axis=-1)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def macro_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    missing: Literal["skip", "half", "raise"] = "skip",
    min_positives: int = 1,
) -> float:
    """The mean AUROC over the labels that occur on both sides.

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: The same shape.
        missing: The rule for labels with one class only, see `macro`.
        min_positives: Labels with fewer positives are left out whatever the rule.

    Returns:
        The mean, NaN if no label is left.

    Raises:
        EcgError: As `auroc` and `macro`.
    """
    counts = np.asarray(labels).reshape(len(labels), -1).sum(axis=0)
    include = counts >= min_positives if min_positives > 1 else None
    return float(macro(auroc(labels, scores), missing=missing, include=include))


def micro_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The AUROC of the flattened matrix: one ranking of all (record, label) pairs."""
    labels, scores = _checked(labels, scores)
    return float(auroc(labels.reshape(-1), scores.reshape(-1))[0])


@dataclass(frozen=True)
class OneVsOne:
    """A one-vs-one AUROC and over how many pairs of classes it was averaged.

    Args:
        value: The mean over the pairs used; NaN without any.
        num_pairs_used: Pairs of which both classes occur.
        num_pairs: All pairs, `classes · (classes - 1) / 2`.
    """

    value: float
    num_pairs_used: int
    num_pairs: int


def one_vs_one_auroc(labels: np.ndarray, scores: np.ndarray) -> OneVsOne:
    """The mean AUROC over all pairs of classes (Hand and Till 2001).

    For a pair i < j only the records that carry exactly one of the two count; the pair's value is the mean of the AUROC
    of score i with positives i and the AUROC of score j with positives j. For one class per record this is
    scikit-learn's `roc_auc_score(..., multi_class="ovo", average="macro")`. A pair with one class absent is left out.

    Args:
        labels: `(records,)` class numbers, or `(records, classes)` of 0 and 1.
        scores: `(records, classes)`.

    Returns:
        Value and number of pairs used.

    Raises:
        EcgError: As `auroc`, or fewer than two classes.

    Example:
        >>> one_vs_one_auroc(np.array([0, 1, 2]), np.eye(3))
        OneVsOne(value=1.0, num_pairs_used=3, num_pairs=3)
    """
    pairs = one_vs_one_pairs(labels, scores)
    return OneVsOne(float(macro(pairs)), int((~np.isnan(pairs)).sum()), len(pairs))


def one_vs_one_pairs(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The value of each pair of classes (0, 1), (0, 2), ..., see `one_vs_one_auroc`.

    Args:
        labels: `(records,)` class numbers, or `(records, classes)` of 0 and 1.
        scores: `(records, classes)`.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(pairs,)`, or `(resamples, pairs)` with weights; NaN where a class of the pair is absent.

    Raises:
        EcgError: As `auroc`, or fewer than two classes.
    """
    if np.ndim(labels) == 1 and np.ndim(scores) == 2:
        labels = one_hot(labels, np.shape(scores)[1])
    labels, scores = _checked(labels, scores)
    num_classes = labels.shape[1]
    if num_classes < 2:
        raise EcgError(f"one-vs-one AUROC got {num_classes} class; expected at least two. Use auroc for one label.")
    columns = np.ones((len(labels), 1), np.int32) if weights is None else np.asarray(weights)
    values = []
    for i in range(num_classes):
        for j in range(i + 1, num_classes):
            rows = np.flatnonzero(labels[:, i] != labels[:, j])
            kept = columns[rows]
            both = [_weighted_auroc(labels[rows, k], scores[rows, k], kept) for k in (i, j)]
            values.append((both[0] + both[1]) / 2)
    result = np.stack(values, axis=-1)
    return result[0] if weights is None else result


def one_hot(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Class numbers `(records,)` as `(records, num_classes)` of 0 and 1.

    Raises:
        EcgError: A number is outside `0 ... num_classes - 1`.
    """
    classes = np.asarray(classes)
    if classes.size and (classes.min() < 0 or classes.max() >= num_classes):
        raise EcgError(
            f"class numbers go from {classes.min()} to {classes.max()}; expected 0 to {num_classes - 1}. "
            "Give one score per class."
        )
    return np.eye(num_classes, dtype=np.uint8)[classes.astype(np.int64)]


def accuracy(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The share of records whose largest score is that of their class.

    Args:
        labels: `(records,)` class numbers, or `(records, classes)` with a single 1.
        scores: `(records, classes)`.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(1,)`, or `(resamples, 1)` with weights.
    """
    labels = np.asarray(labels)
    classes = labels.argmax(axis=1) if labels.ndim == 2 else labels
    hits = np.asarray(scores).argmax(axis=1) == classes
    if weights is None:
        return hits.mean(keepdims=True)
    return ((weights.T @ hits) / weights.sum(axis=0))[:, None]


def fmax(labels: np.ndarray, scores: np.ndarray, *, num_thresholds: int = 101) -> float:
    """The largest F1 of record-centered precision and recall over one threshold for all labels.

    At each threshold precision is averaged over the records with at least one predicted label, recall over all records
    (Strodthoff et al. 2021). Records without any label are left out.

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: Probabilities of the same shape.
        num_thresholds: Points of the grid from 0 to 1.

    Returns:
        The best F1, NaN without any positive.
    """
    labels, scores = _checked(labels, scores)
    rows = labels.any(axis=1)
    if not rows.any():
        return float("nan")
    labels, scores = labels[rows], scores[rows]
    # A score in bin k is predicted at the thresholds 0 ... k - 1, so counts from the top give all thresholds at once.
    bins = np.digitize(scores, np.linspace(0.0, 1.0, num_thresholds))
    cells = bins + np.arange(len(labels))[:, None] * (num_thresholds + 1)
    size, shape = len(labels) * (num_thresholds + 1), (len(labels), num_thresholds + 1)
    predicted = np.bincount(cells.ravel(), minlength=size).reshape(shape)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    hits = np.bincount(cells.ravel(), labels.ravel(), minlength=size).reshape(shape)
    hits = hits[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    answered = predicted > 0
    precision = np.divide(hits, predicted, out=np.zeros(hits.shape), where=answered).sum(axis=0)
    precision = precision / np.maximum(answered.sum(axis=0), 1)
    recall = (hits / labels.sum(axis=1, keepdims=True)).mean(axis=0)
    total = precision + recall
    return float(np.divide(2 * precision * recall, total, out=np.zeros(total.shape), where=total > 0).max())


def best_f1_cuts(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The cut of each label that gives the largest F1, halfway to the next lower score (see `metrics.thresholds`).

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: Probabilities of the same shape.

    Returns:
        `(labels,)` float64; NaN for a label without positives.

    Raises:
        EcgError: As `auroc`.
    """
    labels, scores = _checked(labels, scores)
    order = np.argsort(-scores, axis=0, kind="stable")
    scores = np.take_along_axis(scores, order, axis=0)
    hits = np.take_along_axis(labels, order, axis=0).cumsum(axis=0, dtype=np.float64)
    taken = np.arange(1, len(labels) + 1)[:, None]
    value = 2 * hits / (taken + hits[-1])
    following = np.concatenate([scores[1:], np.zeros((1, scores.shape[1]))])
    value[:-1][scores[:-1] == scores[1:]] = -1.0  # a cut between equal scores cannot be made
    best = value.argmax(axis=0)[None]
    cut = (np.take_along_axis(scores, best, axis=0) + np.take_along_axis(following, best, axis=0))[0] / 2
    return np.where(hits[-1] > 0, cut, np.nan)


def negative_absolute_error(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Minus the mean absolute error of each target, so that higher is better as for every other metric.

    Args:
        labels: `(records, targets)`.
        scores: Predictions of the same shape.
        weights: `(records, resamples)`, whole numbers; see the module.

    Returns:
        `(targets,)`, or `(resamples, targets)` with weights.
    """
    errors = -np.abs(np.asarray(labels, np.float64) - scores)
    if weights is None:
        return errors.mean(axis=0)
    return (weights.T @ errors) / weights.sum(axis=0)[:, None]


def root_mean_square_error(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The root of the mean squared error over records and targets, as an array of one value."""
    return np.sqrt(np.square(labels - scores).mean(keepdims=True)).reshape(1)


def r2(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The coefficient of determination of each target, `(targets,)`; NaN for a constant one."""
    residual = np.square(labels - scores).sum(axis=0)
    spread = np.square(labels - labels.mean(axis=0)).sum(axis=0)
    return 1 - np.divide(residual, spread, out=np.full(spread.shape, np.nan), where=spread > 0)


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int8 and scores as float64, both `(records, labels)`; or a clear error."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim not in (1, 2) or not labels.size:
        raise EcgError(
            f"labels have shape {labels.shape}, scores {scores.shape}; expected the same (records, labels) for both. "
            "Give one score per record and label."
        )
    if not np.isin(labels, (0, 1)).all():
        raise EcgError(f"labels hold {np.unique(labels)[:5].tolist()}; expected 0 and 1. Turn classes into one_hot.")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise EcgError(
            f"{int((~np.isfinite(scores)).sum())} scores are not finite; expected numbers. Look for NaN in the model."
        )
    return labels.reshape(len(labels), -1).astype(np.int8), scores.reshape(len(scores), -1)


def _per_label(
    metric: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    labels, scores = _checked(labels, scores)
    columns = np.ones((len(labels), 1), np.int32) if weights is None else np.asarray(weights)
    if len(columns) != len(labels):
        raise EcgError(f"weights have {len(columns)} rows; expected one for each of {len(labels)} records.")
    # The loop runs over labels, each with its own order of the records; resamples are done together.
    values = [metric(labels[:, k], scores[:, k], columns) for k in range(labels.shape[1])]
    result = np.stack(values, axis=-1)
    return result[0] if weights is None else result


def _cumulative(weights: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Sums of the first `stops[i]` rows of `weights (rows, resamples)`: `(stops, resamples)`.

    Only the sums at the stops are wanted, so the rows between two stops are added at once: several times faster than a
    cumulative sum of every row.
    """
    edges = np.unique(np.concatenate([[0], stops]))
    edges = edges[edges < len(weights)]
    if not len(edges):
        return np.zeros((len(stops), weights.shape[1]))
    pieces = np.add.reduceat(weights, edges, axis=0).astype(np.float64)
    sums = np.concatenate([np.zeros((1, weights.shape[1])), pieces.cumsum(axis=0)])
    return sums[np.searchsorted(np.append(edges, len(weights)), stops)]


def _ranked(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> Sequence[np.ndarray]:
    """Weights around each distinct score of a positive record, ascending.

    Returns:
        `positives`, `negatives_below`, `negatives_up_to` (ties included), each `(scores, resamples)`, and the summed
        weight of all negatives `(resamples,)`.
    """
    chosen, others = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    chosen = chosen[np.argsort(score[chosen], kind="stable")]
    others = others[np.argsort(score[others], kind="stable")]
    distinct, first = np.unique(score[chosen], return_index=True)
    below = np.searchsorted(score[others], distinct, side="left")
    up_to = np.searchsorted(score[others], distinct, side="right")
    stops = np.concatenate([below, up_to, [len(others)]])
    sums = _cumulative(weights[others], stops)
    positives = np.add.reduceat(weights[chosen], first, axis=0).astype(np.float64)
    return positives, sums[: len(below)], sums[len(below) : -1], sums[-1]


def _weighted_auroc(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    value = np.full(weights.shape[1], np.nan)
    if not 0 < label.sum() < len(label):
        return value
    positives, below, up_to, negatives = _ranked(label, score, weights)
    wins = np.einsum("sr,sr->r", positives, below + up_to) / 2
    pairs = positives.sum(axis=0) * negatives
    return np.divide(wins, pairs, out=value, where=pairs > 0)


def _weighted_average_precision(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    value = np.full(weights.shape[1], np.nan)
    if not 0 < label.sum() < len(label):
        return value
    positives, below, _, negatives = _ranked(label, score, weights)
    hits = positives[::-1].cumsum(axis=0)[::-1]  # positives with at least this score
    alarms = negatives - below  # negatives with at least this score
    precision = np.divide(hits, hits + alarms, out=np.zeros(hits.shape), where=hits > 0)
    total = hits[0]
    return np.divide((positives * precision).sum(axis=0), total, out=value, where=(total > 0) & (negatives > 0))
