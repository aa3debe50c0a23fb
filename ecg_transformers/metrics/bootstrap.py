"""Bootstrap intervals of a metric and of the paired difference of two systems.

Records (or patients) are drawn with replacement; the interval is that of the percentiles. A label that has one class
only in a resample is left out of *that resample's* mean, and the share of resamples in which this happened to any
averaged label is reported. `scheme="benchmark"` is the rule of
the PTB-XL benchmark instead: resamples are drawn again until every label keeps a positive, which favors resamples with
the rare records, and the interval is 90 % (Strodthoff et al. 2021).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..corpora.patients import patient_groups
from ..errors import EcgError
from .metrics import macro
from .table import find_metric

__all__ = ["Difference", "Interval", "bootstrap", "compare", "holm", "resample_weights"]

# Weights of records times resamples that are held at once: 64 MB of int32.
_BLOCK = 1 << 24
_MAX_REDRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A macro metric with its bootstrap interval.

    Args:
        value: The metric on all records.
        low: Lower end of the interval.
        high: Upper end.
        num_labels: Labels that were averaged.
        left_out: Labels left out of `value`: one class only, or fewer positives than `min_positives`.
        vanished: Share of resamples in which an averaged label had one class only.
        resamples: Number of resamples.
        confidence: Share of resamples inside the interval.
        unit: Resampling unit, `"record"` or `"patient"`.
        samples: The metric of each resample `(resamples,)`.
    """

    value: float
    low: float
    high: float
    num_labels: int
    left_out: tuple[int, ...]
    vanished: float
    resamples: int
    confidence: float
    unit: str
    samples: np.ndarray = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """The paired difference of two systems, first minus second, on the same resamples.

    Args:
        value: Difference on all records.
        low: Lower end of the interval.
        high: Upper end.
        p_value: Two-sided: twice the smaller share of resamples on one side of zero, counted with the point itself.
        resamples: Number of resamples.
    """

    value: float
    low: float
    high: float
    p_value: float
    resamples: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def bootstrap(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    metric: str | Callable[..., np.ndarray] = "macro_auroc",
    patient_ids: np.ndarray | None = None,
    resamples: int = 1000,
    confidence: float | None = None,
    min_positives: int = 1,
    scheme: Literal["skip", "benchmark"] = "skip",
    seed: int = 0,
    indices: np.ndarray | None = None,
) -> Interval:
    """The macro metric of one system with its interval.

    Args:
        labels: `(records, labels)`, 0 or 1.
        scores: The same shape (decisions for `"macro_f1"`).
        metric: A name in `metrics.table.METRICS`, or a function with `weights` like those of that table.
        patient_ids: `(records,)`: draw patients, each with all its records; -1 = unknown, a patient of its own.
            `None` draws records.
        resamples: Number of resamples.
        confidence: 0.95, or 0.9 for `scheme="benchmark"`, when `None`.
        min_positives: Labels with fewer positives among all records are left out.
        scheme: Treatment of a label that vanishes in a resample, see the module.
        seed: Seed of the draws; the same seed gives the same resamples for every system.
        indices: `(resamples, records)`: the records of each resample, instead of drawing them.

    Returns:
        Value, interval and what was left out.

    Raises:
        EcgError: As the metric; an unknown metric; no label to average.
    """
    function = _function(metric)
    point = function(labels, scores)
    include = _included(labels, point, min_positives)
    values = _resampled(function, labels, [scores], patient_ids, resamples, scheme, seed, indices)[0][:, include]
    samples = macro(values)
    low, high = _percentiles(samples, confidence, scheme)
    return Interval(
        value=float(macro(point[include])),
        low=low,
        high=high,
        num_labels=int(include.sum()),
        left_out=tuple(np.flatnonzero(~include).tolist()),
        vanished=float(np.isnan(values).any(axis=1).mean()),
        resamples=len(samples),
        confidence=_confidence(confidence, scheme),
        unit="record" if patient_ids is None else "patient",
        samples=samples,
    )


def compare(
    labels: np.ndarray,
    scores: np.ndarray,
    baseline_scores: np.ndarray,
    *,
    metric: str | Callable[..., np.ndarray] = "macro_auroc",
    patient_ids: np.ndarray | None = None,
    resamples: int = 1000,
    confidence: float | None = None,
    min_positives: int = 1,
    scheme: Literal["skip", "benchmark"] = "skip",
    seed: int = 0,
    indices: np.ndarray | None = None,
) -> Difference:
    """The paired bootstrap of `metric(scores) - metric(baseline_scores)`.

    Args:
        labels: `(records, labels)`, 0 or 1, the same records for both.
        scores: Scores of the system.
        baseline_scores: Scores of the system it is compared with.
        metric: As in `bootstrap`, as are the other arguments.
        patient_ids: See `bootstrap`.
        resamples: See `bootstrap`.
        confidence: See `bootstrap`.
        min_positives: See `bootstrap`.
        scheme: See `bootstrap`.
        seed: See `bootstrap`.
        indices: See `bootstrap`.

    Returns:
        Difference with interval and two-sided p.

    Raises:
        EcgError: As `bootstrap`.
    """
    function = _function(metric)
    points = [function(labels, one) for one in (scores, baseline_scores)]
    include = _included(labels, points[0], min_positives)
    both = [scores, baseline_scores]
    first, second = _resampled(function, labels, both, patient_ids, resamples, scheme, seed, indices)
    differences = macro(first[:, include]) - macro(second[:, include])
    low, high = _percentiles(differences, confidence, scheme)
    # The observed difference counts as one more resample on either side, so that p is never 0.
    tails = [(differences <= 0).sum() + 1, (differences >= 0).sum() + 1]
    return Difference(
        value=float(macro(points[0][include]) - macro(points[1][include])),
        low=low,
        high=high,
        p_value=float(min(1.0, 2 * min(tails) / (len(differences) + 1))),
        resamples=len(differences),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values, np.float64)[order]))
    result = np.empty(len(order))
    result[order] = adjusted
    return result.tolist()


def resample_weights(
    num_records: int, resamples: int, *, patient_ids: np.ndarray | None = None, seed: int = 0
) -> Iterator[np.ndarray]:
    """Counts of each record in each resample, in blocks `(records, resamples of the block)` int32.

    Args:
        num_records: Records to draw from.
        resamples: Number of resamples.
        patient_ids: `(records,)`: draw patients instead; -1 = unknown, a patient of its own.
        seed: Seed of the draws.

    Yields:
        Blocks of at most 64 MB.
    """
    groups = np.arange(num_records) if patient_ids is None else patient_groups(patient_ids)
    num_groups = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    size = max(1, _BLOCK // num_records)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = generator.integers(0, num_groups, (count, num_groups))
        yield _counts(drawn, num_groups)[groups]


def _counts(drawn: np.ndarray, size: int) -> np.ndarray:
    """How often each of `size` things occurs in each row of `drawn (resamples, draws)`: `(size, resamples)`."""
    cells = drawn + np.arange(len(drawn))[:, None] * size
    counts = np.bincount(cells.ravel(), minlength=len(drawn) * size).reshape(len(drawn), size)
    return np.ascontiguousarray(counts.T, dtype=np.int32)


def _resampled(
    function: Callable[..., np.ndarray],
    labels: np.ndarray,
    systems: Sequence[np.ndarray],
    patient_ids: np.ndarray | None,
    resamples: int,
    scheme: str,
    seed: int,
    indices: np.ndarray | None,
) -> list[np.ndarray]:
    """The metric per label of each system on the same resamples, each `(resamples, labels)`."""
    if scheme not in ("skip", "benchmark"):
        raise EcgError(f'scheme is {scheme!r}; expected "skip" or "benchmark".')
    blocks: Iterator[np.ndarray]
    if indices is not None:
        blocks = iter([_counts(np.asarray(indices, np.int64), len(labels))])
    elif scheme == "benchmark":
        blocks = _redrawn(np.asarray(labels), resamples, patient_ids, seed)
    else:
        blocks = resample_weights(len(labels), resamples, patient_ids=patient_ids, seed=seed)
    parts = [[function(labels, scores, weights=weights) for scores in systems] for weights in blocks]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _redrawn(labels: np.ndarray, resamples: int, patient_ids: np.ndarray | None, seed: int) -> Iterator[np.ndarray]:
    """Resamples in which every label keeps a positive; the others are discarded and drawn again."""
    missing = resamples
    for attempt in range(_MAX_REDRAWS):
        kept = []
        for weights in resample_weights(len(labels), missing, patient_ids=patient_ids, seed=seed + attempt):
            kept.append(weights[:, (labels.T.astype(np.int64) @ weights > 0).all(axis=0)])
        block = np.concatenate(kept, axis=1)
        missing -= block.shape[1]
        if block.shape[1]:
            yield block
        if not missing:
            return
    raise EcgError(
        f"{missing} of {resamples} resamples still lack a label after {_MAX_REDRAWS} draws; expected a positive of "
        'every label in each. Use scheme="skip" or leave out labels without positives.'
    )


def _function(metric: str | Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return metric if callable(metric) else find_metric(metric).function


def _included(labels: np.ndarray, point: np.ndarray, min_positives: int) -> np.ndarray:
    """Which labels (or pairs) are averaged: those with a value and enough positives."""
    include = ~np.isnan(point)
    if min_positives > 1:
        counts = np.asarray(labels).sum(axis=0)
        if counts.shape != include.shape:
            raise EcgError("min_positives counts positives of labels; this metric averages pairs. Leave it at 1.")
        include &= counts >= min_positives
    if not include.any():
        raise EcgError(
            f"none of {len(point)} labels has both classes and at least {min_positives} positives in "
            f"{len(labels)} records. Evaluate more folds or lower min_positives."
        )
    return include


def _confidence(confidence: float | None, scheme: str) -> float:
    return confidence if confidence is not None else (0.9 if scheme == "benchmark" else 0.95)


def _percentiles(samples: np.ndarray, confidence: float | None, scheme: str) -> tuple[float, float]:
    tail = (1 - _confidence(confidence, scheme)) / 2
    kept = samples[~np.isnan(samples)]
    low, high = np.quantile(kept, [tail, 1 - tail]) if len(kept) else (np.nan, np.nan)
    return float(low), float(high)
