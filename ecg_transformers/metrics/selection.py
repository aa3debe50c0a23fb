"""The score by which an epoch or a regularization is chosen on held-out records."""

import numpy as np

from .metrics import auroc, macro, one_hot

__all__ = ["selection_score"]


def selection_score(labels: np.ndarray, scores: np.ndarray, problem_type: str) -> float:
    """What a choice is made by, larger = better: macro AUROC, or minus the squared error for regression."""
    if problem_type == "regression":
        return -float(np.square(labels - scores).mean())
    if problem_type == "single_label_classification":
        labels = one_hot(labels, scores.shape[1])
    return float(macro(auroc(labels, scores)))
