"""Multi-label F1, macro or per label, at given thresholds as an `evaluate` module.

The loader of `evaluate` copies this file and reads its imports line by line: absolute imports, one per line.
"""

import datasets
import evaluate
import numpy as np

from ecg_transformers.metrics.metrics import f1, fmax, macro

_CITATION = """Strodthoff, N. et al. (2021). Deep learning for ECG analysis. IEEE J. Biomed. Health Inform. 25,
1519-1528."""


class EcgF1(evaluate.Metric):
    """Multi-label F1, macro or per label, at given thresholds.

    `compute(predictions=, references=, average="macro", thresholds=0.5)` takes probabilities and 0/1 labels `(records,
    labels)` and returns `{"f1": ..., "fmax": ...}`: F1 of scores at or above `thresholds` (one, or one per
    label; `average=None` gives the list per label) and the record-centered Fmax over one common threshold.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation=_CITATION,
            inputs_description="probabilities and 0/1 labels, one list per record",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                }
            ),
        )

    def _compute(
        self, predictions: list, references: list, average: str | None = "macro", thresholds: float | list = 0.5
    ) -> dict:
        labels, scores = np.asarray(references), np.asarray(predictions)
        values = f1(labels, scores >= np.asarray(thresholds))
        return {"f1": values.tolist() if average is None else float(macro(values)), "fmax": fmax(labels, scores)}
