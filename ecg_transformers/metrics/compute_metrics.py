"""The metrics in the form that `transformers.Trainer(compute_metrics=...)` wants."""

import numpy as np
import torch
from transformers import EvalPrediction

from ..errors import EcgError
from ..inference.aggregation import Aggregate, aggregate_windows
from ..inference.encode import probabilities
from .metrics import fmax, micro_auroc, one_hot
from .table import main_metric, reported_values

__all__ = ["compute_metrics"]

# Decisions before thresholds have been fitted.
_THRESHOLD = 0.5


def compute_metrics(prediction: EvalPrediction, *, aggregate: Aggregate = "mean") -> dict[str, float]:
    """Macro metrics of a classifier's logits.

    The kind of task is read from the labels: class numbers `(windows,)` are single-label, 0 and 1 `(windows, labels)`
    multi-label, other numbers a regression. With `label_names=["labels", "record_index"]` in the Trainer's arguments
    the windows of a record are joined first. A metric that has no value (a label with one class only) is left out.

    Args:
        prediction: Logits, and labels or (labels, record index).
        aggregate: How the windows of a record are joined.

    Returns:
        `macro_auroc`, `macro_average_precision` and, by the kind of task, `micro_auroc`, `fmax`, `macro_f1` (at 0.5),
        or `one_vs_one_auroc`, `accuracy`, `macro_f1`; for a regression `mean_absolute_error`.

    Raises:
        EcgError: Logits and labels do not fit together.

    Example:
        >>> logits, labels = np.array([[2.0, -1.0], [-1.0, 3.0]]), np.array([0, 1])
        >>> compute_metrics(EvalPrediction(logits, labels))["accuracy"]
        1.0
    """
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    given = prediction.label_ids
    record_index = np.asarray(given[1]) if isinstance(given, tuple) and len(given) > 1 else None
    logits, labels = np.asarray(logits), np.asarray(given[0] if isinstance(given, tuple) else given)
    if logits.ndim != 2 or len(logits) != len(labels):
        raise EcgError(f"logits have shape {logits.shape}, labels {labels.shape}; expected (windows, labels) logits.")
    kind = _kind(labels)
    scores = probabilities(torch.as_tensor(logits).float(), kind).double().numpy()
    if record_index is not None:
        record = np.unique(record_index, return_index=True, return_inverse=True)
        scores, labels = aggregate_windows(scores, record[2], aggregate=aggregate), labels[record[1]]
    if kind == "regression":
        return {"mean_absolute_error": float(np.abs(labels.reshape(scores.shape) - scores).mean())}
    if kind == "single_label_classification":
        labels, decisions = one_hot(labels, scores.shape[1]), one_hot(scores.argmax(axis=1), scores.shape[1])
        values = {}
    else:
        decisions = scores >= _THRESHOLD
        values = {"micro_auroc": micro_auroc(labels, scores), "fmax": fmax(labels, scores)}
    main = main_metric(kind)
    values |= {main.name: main.value(labels, scores)} | reported_values(kind, labels, scores, decisions)
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _kind(labels: np.ndarray) -> str:
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        return "single_label_classification"
    return "multi_label_classification" if np.isin(labels, (0, 1)).all() else "regression"
