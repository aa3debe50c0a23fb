"""The table of metrics: name in `results.json`, title, function, the Hub's name, direction, where it is reported.

A new metric is one row here: the bootstrap, the entries, tables, plots and the card read it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EcgError
from .identification import identification_accuracy
from .metrics import (
    accuracy,
    auroc,
    average_precision,
    f1,
    macro,
    negative_absolute_error,
    one_vs_one_pairs,
    r2,
    root_mean_square_error,
)

__all__ = ["METRICS", "Metric", "find_metric", "main_metric", "metric_title", "reported_values"]

MULTI_LABEL, SINGLE_LABEL = "multi_label_classification", "single_label_classification"
CLASSIFICATION, REGRESSION = (MULTI_LABEL, SINGLE_LABEL), ("regression",)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: Name in `results.json`.
        title: Name in tables and plots.
        function: From labels and scores (decisions, where `from_decisions`) to a value per label, pair or target,
            whose mean over those that have one is the metric. With `weights (records, resamples)` it gives
            `(resamples, labels)`; see `metrics.metrics`.
        hub_type: Name in the Hub's register of metrics; `None` = as `name`.
        higher_is_better: Direction; titles name the other one. The metric of an evaluation must rise: write an error
            with a minus sign.
        main_of: Kinds of task (`problem_type`; `patient_identification` has no labels) whose results are judged by it,
            with interval and difference.
        reported_of: Kinds of task whose entries hold its value.
        from_decisions: Computed from 0 and 1 (scores at or above their thresholds), over the labels that occur and
            have a threshold.
    """

    name: str
    title: str
    function: Callable[..., np.ndarray]
    hub_type: str | None = None
    higher_is_better: bool = True
    main_of: tuple[str, ...] = ()
    reported_of: tuple[str, ...] = ()
    from_decisions: bool = False

    def value(self, labels: np.ndarray, scores: np.ndarray) -> float:
        """The metric over the records: the mean over labels.

        Args:
            labels: `(records, labels)`: 0 or 1, numbers for regression.
            scores: The same shape; decisions where `from_decisions`, NaN for a label without any.

        Returns:
            NaN where no label has a value.
        """
        if not self.from_decisions:
            return float(macro(self.function(labels, scores)))
        include = np.asarray(labels).any(axis=0) & ~np.isnan(scores).any(axis=0)
        return float(macro(self.function(labels, np.nan_to_num(scores)), include=np.atleast_1d(include)))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("macro_auroc", "macro AUROC", auroc, "roc_auc", main_of=CLASSIFICATION),
        Metric(
            "macro_average_precision", "macro average precision", average_precision, "average_precision",
            reported_of=CLASSIFICATION,
        ),
        Metric("accuracy", "accuracy", accuracy, "accuracy", reported_of=(SINGLE_LABEL,)),
        Metric("macro_f1", "macro F1", f1, "f1", reported_of=CLASSIFICATION, from_decisions=True),
        Metric("one_vs_one_auroc", "one-vs-one AUROC", one_vs_one_pairs, "roc_auc", reported_of=(SINGLE_LABEL,)),
        Metric(
            "negative_mean_absolute_error", "minus the mean absolute error", negative_absolute_error,
            main_of=REGRESSION,
        ),
        Metric(
            "root_mean_square_error", "root mean square error", root_mean_square_error, "rmse",
            higher_is_better=False, reported_of=REGRESSION,
        ),
        Metric("r2", "R²", r2, "r_squared", reported_of=REGRESSION),
        Metric(
            "identification_accuracy", "identification accuracy", identification_accuracy, "accuracy",
            main_of=("patient_identification",),
        ),
    )
}  # fmt: skip


def find_metric(name: str) -> Metric:
    """The row of a metric.

    Raises:
        EcgError: There is no such metric.
    """
    if name not in METRICS:
        raise EcgError(f"metric is {name!r}; expected one of {', '.join(METRICS)}.")
    return METRICS[name]


def main_metric(problem_type: str) -> Metric:
    """The metric by which a kind of task is judged.

    Args:
        problem_type: `multi_label_classification`, `single_label_classification` or `regression`.
    """
    return next(metric for metric in METRICS.values() if problem_type in metric.main_of)


def metric_title(name: Any) -> str:
    """A metric's name in tables and plots; one that is not in the table: its name with blanks."""
    if name not in METRICS:
        return str(name).replace("_", " ")
    return METRICS[name].title + ("" if METRICS[name].higher_is_better else " (lower is better)")


def reported_values(
    problem_type: str, labels: np.ndarray, scores: np.ndarray, decisions: np.ndarray | None
) -> dict[str, float]:
    """The further metrics of a kind of task, by name; one without a value is left out.

    Args:
        problem_type: As for `main_metric`.
        labels: `(records, labels)`: 0 or 1, numbers for regression.
        scores: `(records, labels)`: probabilities, or predictions for regression.
        decisions: `(records, labels)`, 0 or 1, NaN for a label without a threshold; `None` = metrics of decisions are
            left out.
    """
    values = {
        metric.name: metric.value(labels, decisions if metric.from_decisions and decisions is not None else scores)
        for metric in METRICS.values()
        if problem_type in metric.reported_of and not (metric.from_decisions and decisions is None)
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}
