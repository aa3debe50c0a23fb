"""`TrainingArguments` with the defaults and the additions of `EcgTrainer`."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

__all__ = ["NO_DECAY", "EcgTrainingArguments"]

# Regular expressions for parameters without weight decay, besides norms and biases.
NO_DECAY = ("position_embeddings", "cls_token", "mask_token")


@dataclass
class EcgTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults that self-supervised pretraining needs, and what `EcgTrainer` adds.

    Args:
        no_decay: Regular expressions; parameters whose names match are exempt from weight decay, as norms and biases
            always are. Default: position tables, [CLS] and mask tokens. An empty list decays them.
        decay_norms_and_biases: Decay norms and biases too, as some published runs did.
        warmup_epochs: Warm-up in epochs, instead of `warmup_steps`.
        remove_unused_columns: Off: the batches hold exactly what the model takes.
        prediction_loss_only: On: reconstructions of a whole validation set would fill the memory.
        logging_nan_inf_filter: Off: a NaN must be seen.
        dataloader_drop_last: On: contrastive batches and queue writes keep their size.
        save_total_limit: Checkpoints kept.
    """

    no_decay: list[str] = field(
        default_factory=lambda: list(NO_DECAY),
        metadata={"help": "Parameters (regular expressions) without weight decay, besides norms and biases."},
    )
    decay_norms_and_biases: bool = field(default=False, metadata={"help": "Weight decay for norms and biases too."})
    warmup_epochs: float | None = field(default=None, metadata={"help": "Warm-up in epochs instead of warmup_steps."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave off."})
    prediction_loss_only: bool = field(default=True, metadata={"help": "Evaluate the loss and its terms only."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide NaN and inf in the logged loss."})
    dataloader_drop_last: bool = field(default=True, metadata={"help": "Leave out the last, smaller batch."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept."})
