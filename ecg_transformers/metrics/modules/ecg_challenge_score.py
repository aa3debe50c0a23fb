"""The score of the PhysioNet/CinC Challenge 2021 as an `evaluate` module.

The loader of `evaluate` copies this file and reads its imports line by line: absolute imports, one per line.
"""

import datasets
import evaluate
import numpy as np

from ecg_transformers.metrics.challenge_score import CHALLENGE_THRESHOLD, challenge_score

_CITATION = """Reyna, M. A. et al. (2021). Will Two Do? Varying Dimensions in Electrocardiography: The
PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology 48."""


class EcgChallengeScore(evaluate.Metric):
    """The score of the PhysioNet/CinC Challenge 2021.

    `compute(predictions=, references=, threshold=0.5, codes=None)` takes probabilities (or decisions) and 0/1 labels
    `(records, classes)` and returns `{"challenge_score": ...}`; an output is a probability above `threshold`. Without
    `codes` the classes are the 26 scored ones, in the order of `challenge_codes()`.
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
        self,
        predictions: list,
        references: list,
        threshold: float = CHALLENGE_THRESHOLD,
        codes: list[str] | None = None,
    ) -> dict:
        outputs = np.asarray(predictions) > threshold
        return {"challenge_score": float(challenge_score(np.asarray(references), outputs, codes=codes)[0])}
