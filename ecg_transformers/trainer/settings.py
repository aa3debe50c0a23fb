"""Settings of a training apart from the Trainer's arguments. Neither torch nor Transformers is imported."""

from dataclasses import dataclass
from typing import Any, Literal

from ..inference.aggregation import Aggregate
from ..option import option

__all__ = ["NO_DECAY", "FineTuneSettings"]

# Regular expressions for parameters without weight decay, in addition to norms and biases.
NO_DECAY = ("position_embeddings", "relative_position_bias", "cls_token", "mask_token")

_TRAINING: dict[str, Any] = {"group": "Training", "used_by": "training"}
_FINE_TUNING: dict[str, Any] = {"group": "Training", "used_by": "fine_tuning"}


@dataclass(frozen=True)
class FineTuneSettings:
    """Settings of fine-tuning apart from the Trainer's arguments; the `help` of each field describes it."""

    choose_epoch: Literal["best", "last"] = option(
        "best",
        help="best: the epoch is chosen on held-out training records. last: all training records are trained on, "
        "nothing is chosen; thresholds are fitted on the validation folds, or on the reported ones without any (and "
        "judged out of fold).",
        **_TRAINING,
    )
    # 25th of the rate -> rate over 30 % of the run -> 250,000th, along cosines; beta 1 from 0.95 to 0.85 and back.
    one_cycle: bool = option(
        False, help="One-cycle schedule of learning rate and momentum instead of lr_scheduler_type.", **_TRAINING
    )
    layer_decay: float = option(
        0.9, help="Factor on the learning rate per group of layers below the head.", **_FINE_TUNING
    )
    head_epochs: float = option(
        0.0, help="Epochs of the head alone on the frozen encoder, before both are trained.", **_FINE_TUNING
    )
    head_learning_rate: float | None = option(
        None,
        help="Learning rate of these epochs. Default: learning_rate.",
        only_if=lambda settings: settings.head_epochs > 0,
        **_FINE_TUNING,
    )
    max_shift_seconds: float = option(0.12, help="Maximum random time shift of a training window (s).", **_TRAINING)
    early_stopping_patience: int | None = option(
        5,
        help="Epochs without a better held-out score after which training ends; none = never.",
        only_if=lambda settings: settings.choose_epoch == "best",
        **_TRAINING,
    )
    max_seconds: float | None = option(None, help="Time limit of each training (s).", **_TRAINING)
    balanced: bool | None = option(
        None,
        help="Balance class weights. Default: below 1,000 training records.",
        group="Classification head",
        used_by="learning",
    )
    aggregate: Aggregate = option("mean", help="Aggregation of a record's windows.", group="Windows and records")
    resume: bool = option(False, help="Resume an interrupted training.", recorded=False)

    def max_shift(self, sampling_rate: float) -> int:
        """Maximum random time shift in samples.

        Args:
            sampling_rate: Sampling rate of the model in Hz.
        """
        return round(self.max_shift_seconds * sampling_rate)
