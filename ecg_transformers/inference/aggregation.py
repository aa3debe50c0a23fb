"""Aggregation of window results to records, for evaluation and pipelines."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import EcgError

__all__ = ["Aggregate", "aggregate_windows"]

Aggregate = Literal["mean", "max"]


def aggregate_windows(
    values: np.ndarray,
    record_index: np.ndarray,
    *,
    aggregate: Aggregate = "mean",
    max_columns: Sequence[int] = (),
) -> np.ndarray:
    """Compute the mean or maximum over the windows of each record.

    Published evaluations take the mean of the window probabilities (ecg-selfsupervised) or their maximum (PTB-XL
    benchmark). Pass probabilities, not logits.

    Args:
        values: `(windows, ...)`, for example probabilities `(windows, labels)`.
        record_index: `(windows,)`: number of each window's record, from 0.
        aggregate: `"mean"` (default) or `"max"`.
        max_columns: Columns of which the maximum is taken with `"mean"` too (`config.max_columns`).

    Returns:
        float64 `(records, ...)`, in the order of the record numbers.

    Raises:
        EcgError: Lengths differ, a record has no window, or `aggregate` is unknown.

    Example:
        >>> aggregate_windows(np.array([[0.2], [0.4], [0.9]]), np.array([0, 0, 1]))
        array([[0.3],
               [0.9]])
    """
    values, record_index = np.asarray(values, np.float64), np.asarray(record_index, np.int64)
    if aggregate not in ("mean", "max"):
        raise EcgError(f'aggregate is {aggregate!r}; expected "mean" or "max".')
    if len(values) != len(record_index) or not len(values):
        raise EcgError(
            f"{len(values)} windows have {len(record_index)} record numbers; expected one each, and at least one. "
            "Pass the record_index that the feature extractor returned."
        )
    counts = np.bincount(record_index)
    if (counts == 0).any():
        raise EcgError(f"record {int(np.argmin(counts))} has no window; expected one or more. Number records from 0.")
    order = np.argsort(record_index, kind="stable")
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    if aggregate == "max":
        return np.maximum.reduceat(values[order], starts, axis=0)
    sums = np.add.reduceat(values[order], starts, axis=0)
    means = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
    if len(max_columns):
        means[:, max_columns] = np.maximum.reduceat(values[order][:, max_columns], starts, axis=0)
    return means
