"""Multi-label average precision, macro or per label as an `evaluate` module.

The loader of `evaluate` copies this file and reads its imports line by line: absolute imports, one per line.
"""

import datasets
import evaluate
import numpy as np

from ecg_transformers.metrics.metrics import average_precision, macro

_CITATION = """Davis, J. and Goadrich, M. (2006). The relationship between precision-recall and ROC curves. ICML."""


class EcgAveragePrecision(evaluate.Metric):
    """Multi-label average precision, macro or per label.

    `compute(predictions=, references=, average="macro")` takes scores and 0/1 labels `(records, labels)`
    and returns `{"average_precision": ..., "num_labels": labels with both classes}`;
    `average=None` gives the list per label (NaN = one class only).
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation=_CITATION,
            inputs_description="scores and 0/1 labels, one list per record",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                }
            ),
        )

    def _compute(self, predictions: list, references: list, average: str | None = "macro") -> dict:
        values = average_precision(np.asarray(references), np.asarray(predictions))
        value = values.tolist() if average is None else float(macro(values))
        return {"average_precision": value, "num_labels": int((~np.isnan(values)).sum())}
