"""The score by which an epoch or a regularization is chosen on held-out records."""

import numpy as np

from .metrics import one_hot
from .table import main_metric

__all__ = ["selection_score"]


def selection_score(labels: np.ndarray, scores: np.ndarray, problem_type: str) -> float:
    """What a choice is made by, higher = better: the task's main metric, for regression minus the squared error.

    Args:
        labels: Targets of the held-out records: `(records, labels)`, or class numbers `(records,)` for single-label.
        scores: `(records, labels)`: probabilities, or predictions for regression.
        problem_type: `multi_label_classification`, `single_label_classification` or `regression`.

    Returns:
        NaN where no label has both classes.
    """
    if problem_type == "regression":
        # The loss that was trained; the absolute error would prefer another minimum.
        return -float(np.square(labels - scores).mean())
    if problem_type == "single_label_classification":
        labels = one_hot(labels, scores.shape[1])
    return main_metric(problem_type).value(labels, scores)
