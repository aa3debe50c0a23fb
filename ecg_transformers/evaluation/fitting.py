"""What the function of a mode works on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback

from ..corpora.protocol import Splits
from ..inference.encode import predict_records
from .modes import Mode
from .settings import LearningSettings

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = ["Fitting"]


@dataclass
class Fitting:
    """What the function of a mode works on.

    Args:
        mode: The mode.
        model: The classifier on its device, in evaluation mode; its head is new.
        extractor: The checkpoint's feature extractor.
        splits: The protocol.
        settings: With `balanced` and `training["bf16"]` resolved.
        output_dir: Where a training keeps its checkpoints.
        callbacks: Callbacks of the Trainer.
        training: Filled by the function: the Trainer's arguments that were used, by name.
    """

    mode: Mode
    model: "EcgForSequenceClassification"
    extractor: "EcgFeatureExtractor"
    splits: Splits
    settings: LearningSettings
    output_dir: Path | None = None
    callbacks: Sequence[TrainerCallback] = ()
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def bf16(self) -> bool:
        """Whether bfloat16 autocast is on."""
        return bool(self.settings.training["bf16"])

    def predict(self) -> np.ndarray:
        """The classifier's scores of the reported records, `(records, labels)` float64."""
        settings = self.settings
        return predict_records(
            self.model, self.splits.evaluate.corpus, self.extractor, aggregate=settings.aggregate,
            batch_size=settings.encode_batch_size, bf16=self.bf16,
        )  # fmt: skip
