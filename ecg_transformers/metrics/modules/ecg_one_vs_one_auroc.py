"""One-vs-one AUROC (Hand and Till) as an `evaluate` module.

The loader of `evaluate` copies this file and reads its imports line by line: absolute imports, one per line.
"""

import datasets
import evaluate
import numpy as np

from ecg_transformers.metrics.metrics import one_vs_one_auroc

_CITATION = """Hand, D. J. and Till, R. J. (2001). A simple generalization of the area under the ROC curve for multiple
class classification problems. Machine Learning 45, 171-186."""


class EcgOneVsOneAuroc(evaluate.Metric):
    """One-vs-one AUROC (Hand and Till).

    `compute(predictions=, references=)` takes scores `(records, classes)` and class numbers `(records,)` or
    0/1 labels `(records, classes)`
    and returns `{"one_vs_one_auroc": ..., "num_pairs_used": ..., "num_pairs": ...}`.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation=_CITATION,
            inputs_description="one list of scores per record; class numbers, or 0/1 lists",
            features=[
                datasets.Features(
                    {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
                ),
                datasets.Features(
                    {
                        "predictions": datasets.Sequence(datasets.Value("float64")),
                        "references": datasets.Sequence(datasets.Value("int64")),
                    }
                ),
            ],
        )

    def _compute(self, predictions: list, references: list) -> dict:
        result = one_vs_one_auroc(np.asarray(references), np.asarray(predictions))
        return {
            "one_vs_one_auroc": result.value,
            "num_pairs_used": result.num_pairs_used,
            "num_pairs": result.num_pairs,
        }
