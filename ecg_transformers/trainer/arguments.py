"""`TrainingArguments` with the defaults and the additions of `EcgTrainer`."""

from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from ..errors import ArgumentsError
from .settings import NO_DECAY

__all__ = ["EcgTrainingArguments"]


@dataclass
class EcgTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults that self-supervised pretraining needs, and what `EcgTrainer` adds.

    Args:
        optim (`str`): Name of an optimizer of Transformers, or `"adam"`: Adam with the weight decay in the gradient
            (L2), as in publications before AdamW.
        no_decay: Regular expressions; parameters whose names match are exempt from weight decay, as norms and biases
            always are. Default: position tables and biases, [CLS] and mask tokens. An empty list decays them.
        decay_norms_and_biases: Weight decay for norms and biases too, as in some published runs. Default: False.
        warmup_epochs: Warm-up in epochs, instead of `warmup_steps`. Default: `warmup_steps` counts.
        published_schedule: Warm-up and cosine as ecg-selfsupervised computes them, from a rate of 0 and with a new rate
            each `"step"` or each `"epoch"`, instead of `lr_scheduler_type`. Default: ours.
        max_grad_norm: Largest norm of the gradient; a longer one is scaled down. Default: 0, no clipping.
        remove_unused_columns: Drop batch entries that the model does not name. Default: False.
        prediction_loss_only: Evaluate the loss and its terms without keeping outputs, which would fill the memory.
            Default: True.
        logging_nan_inf_filter: Hide NaN and infinity in the logged loss. Default: False.
        dataloader_drop_last: Leave out the last, smaller batch, so that contrastive batches and queue writes keep
            their size. Default: True.
        save_total_limit: Number of checkpoints to keep. Default: 2.
    """

    def __post_init__(self) -> None:
        """Check what the library would refuse only after the data are loaded.

        Raises:
            ArgumentsError: A logger to report to is unknown or not installed; no step or epoch is asked for.
        """
        l2_in_gradient = self.optim == "adam"
        if l2_in_gradient:
            # The library checks the name among its own; `EcgTrainer` makes the optimizer.
            self.optim = "adamw_torch"
        super().__post_init__()
        if l2_in_gradient:
            self.optim = "adam"
        missing = sorted(set(self.report_to or ()) - {*get_available_reporting_integrations(), "none"})
        if missing:
            raise ArgumentsError(
                f"report_to is {', '.join(missing)}, which is not installed here. Install it (pip install "
                f"{missing[0]}), or set --report_to none."
            )
        if self.max_steps == 0 or (self.max_steps < 0 and self.num_train_epochs <= 0):
            raise ArgumentsError(
                f"max_steps is {self.max_steps} and num_train_epochs {self.num_train_epochs:g}: nothing would be "
                "trained. Set one of them above 0; max_steps counts if it is not -1."
            )

    no_decay: list[str] = field(
        default_factory=lambda: list(NO_DECAY),
        metadata={"help": "Parameters (regular expressions) without weight decay, in addition to norms and biases."},
    )
    decay_norms_and_biases: bool = field(default=False, metadata={"help": "Weight decay for norms and biases too."})
    warmup_epochs: float | None = field(default=None, metadata={"help": "Warm-up in epochs instead of warmup_steps."})
    published_schedule: Literal["step", "epoch"] | None = field(
        default=None, metadata={"help": "Warm-up and cosine of ecg-selfsupervised, one rate per step or epoch."}
    )
    max_grad_norm: float = field(default=0.0, metadata={"help": "Largest norm of the gradient; 0 does not clip."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop what the model does not name."})
    prediction_loss_only: bool = field(default=True, metadata={"help": "Evaluate the loss and its terms only."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide NaN and inf in the logged loss."})
    dataloader_drop_last: bool = field(default=True, metadata={"help": "Leave out the last, smaller batch."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Number of checkpoints to keep."})
