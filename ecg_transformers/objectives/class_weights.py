"""Weights of windows and classes in a loss."""

import numpy as np
import torch
from torch.nn import functional

__all__ = ["class_weights", "weighted_losses", "window_weights"]


def window_weights(record_index: np.ndarray) -> torch.Tensor:
    """Weights that give every record the same total, however many windows it has; their sum is 1.

    Args:
        record_index: int64 `(windows,)`, number of the record of each window.

    Returns:
        float32 `(windows,)`.
    """
    counts = np.bincount(record_index)
    return torch.from_numpy(1.0 / (counts[record_index] * (counts > 0).sum())).float()


def class_weights(targets: np.ndarray, problem_type: str, num_labels: int) -> torch.Tensor | None:
    """Weights that balance both classes of a label, or all classes of a single-label task.

    Args:
        targets: `(records, labels)` of 0 and 1, or `(records,)` class numbers.
        problem_type: As in Transformers' configs, e.g. `"multi_label_classification"`.
        num_labels: Labels or classes.

    Returns:
        `(2, labels)`, for absent and present; `(classes,)` for single-label; `None` for regression. A label that does
        not occur keeps weight 1.
    """
    if problem_type == "regression":
        return None
    if problem_type == "single_label_classification":
        counts = torch.from_numpy(np.bincount(targets, minlength=num_labels)).float()
        return torch.where(counts > 0, len(targets) / (counts.clamp(min=1) * (counts > 0).sum()), 1.0)
    present = torch.from_numpy(targets.sum(axis=0)).float()
    counts = torch.stack([len(targets) - present, present])
    weights = len(targets) / (2 * counts.clamp(min=1))
    return torch.where((counts > 0).all(dim=0), weights, 1.0)


def weighted_losses(
    logits: torch.Tensor, targets: torch.Tensor, problem_type: str | None, balance: torch.Tensor | None = None
) -> torch.Tensor:
    """Loss of each window: binary cross-entropy, cross-entropy, or the squared error, as a mean over labels.

    Args:
        logits: `(windows, labels)`.
        targets: `(windows, labels)`, or `(windows,)` class numbers for single-label.
        problem_type: As in Transformers' configs, e.g. `"multi_label_classification"`.
        balance: From `class_weights`; `None` = unweighted.

    Returns:
        `(windows,)` float32.
    """
    logits = logits.float()
    if problem_type == "single_label_classification":
        return functional.cross_entropy(logits, targets, weight=balance, reduction="none")
    targets = targets.float()
    if problem_type == "regression":
        return (logits - targets).square().mean(dim=1)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if balance is not None:
        losses = losses * torch.where(targets > 0, balance[1], balance[0])
    return losses.mean(dim=1)
