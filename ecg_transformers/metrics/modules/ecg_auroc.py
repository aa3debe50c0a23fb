"""Multi-label AUROC, macro, micro or per label as an `evaluate` module.

The loader of `evaluate` copies this file and reads its imports line by line: absolute imports, one per line.
"""

from typing import Literal

import datasets
import evaluate
import numpy as np

from ecg_transformers.metrics.metrics import auroc, macro, micro_auroc

_CITATION = """Fawcett, T. (2006). An introduction to ROC analysis. Pattern Recognition Letters 27, 861-874."""


class EcgAuroc(evaluate.Metric):
    """Multi-label AUROC, macro, micro or per label.

    `compute(predictions=, references=, average="macro", missing="skip")` takes scores and 0/1 labels `(records,
    labels)` and returns `{"auroc": ..., "num_labels": labels with both classes}`;
    `average=None` gives the list per label (NaN = one class only), `missing` is the rule of `metrics.macro`.
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

    def _compute(
        self,
        predictions: list,
        references: list,
        average: str | None = "macro",
        missing: Literal["skip", "half", "raise"] = "skip",
    ) -> dict:
        labels, scores = np.asarray(references), np.asarray(predictions)
        if average == "micro":
            return {"auroc": micro_auroc(labels, scores), "num_labels": labels.shape[1]}
        values = auroc(labels, scores)
        value = values.tolist() if average is None else float(macro(values, missing=missing))
        return {"auroc": value, "num_labels": int((~np.isnan(values)).sum())}
