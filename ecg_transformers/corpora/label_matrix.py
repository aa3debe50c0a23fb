"""The labels of records as a matrix under one label set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .definition import LabelSet

__all__ = ["LabelMatrix", "label_matrix", "target_matrix"]


@dataclass(frozen=True)
class LabelMatrix:
    """Labels of a corpus under one label set.

    Args:
        values: uint8 `(records, labels)`, 1 = present; float64 for regression, NaN where a number is not known.
        codes: the columns' codes.
        names: names of the columns.
        system: the label system ("scp", "snomed-ct", "own" ...).
        problem_type: Transformers' `problem_type`.
    """

    values: np.ndarray
    codes: tuple[str, ...]
    names: tuple[str, ...]
    system: str
    problem_type: str = "multi_label_classification"

    @property
    def has_label(self) -> np.ndarray:
        """Which records have any label of the set (for regression: all numbers), bool `(records,)`."""
        if self.problem_type == "regression":
            return np.asarray(np.isfinite(self.values).all(axis=1))
        return np.asarray(self.values.astype(bool).any(axis=1))


def label_matrix(labels: Sequence[Sequence[str]], label_set: LabelSet) -> LabelMatrix:
    """The matrix of these label lists; a label is present where any of its source codes is.

    Example:
        >>> merged = LabelSet(("X",), ("either",), "own", (("A", "B"),))
        >>> label_matrix([["B"], ["C"], []], merged).values.tolist()
        [[1], [0], [0]]
    """
    columns: dict[str, list[int]] = {}
    for column, sources in enumerate(label_set.sources):
        for code in sources:
            columns.setdefault(code, []).append(column)
    rows: list[int] = []
    marks: list[int] = []
    for row, codes in enumerate(labels):
        hits = [column for code in codes for column in columns.get(code, ())]
        rows += [row] * len(hits)
        marks += hits
    values = np.zeros((len(labels), len(label_set.codes)), np.uint8)
    values[rows, marks] = 1
    return LabelMatrix(values, label_set.codes, label_set.names, label_set.system, label_set.problem_type)


def target_matrix(targets: Sequence[Sequence[float] | None], label_set: LabelSet) -> LabelMatrix:
    """The matrix of these numbers; NaN where a record has none."""
    width = len(label_set.codes)
    values = np.array([[np.nan] * width if row is None else row for row in targets], np.float64).reshape(-1, width)
    return LabelMatrix(values, label_set.codes, label_set.names, label_set.system, label_set.problem_type)
