"""Options of `training/pretrain.py`."""

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["PretrainingArguments"]


@dataclass
class PretrainingArguments:
    """What `training/pretrain.py` needs besides the model's, the extractor's and the Trainer's own fields.

    Args:
        corpus: Folders of the prepared corpora; one path, or several (`--corpus A B`) that are pretrained on as one.
        model_type: Architecture, a row of `ecg_transformers.auto.ARCHITECTURES`.
        model: Checkpoint to go on from.
        train_folds: Training folds of every corpus. Default: all but its validation and test folds.
        validation_folds: Folds of every corpus for the validation loss and the probe. Default: its validation folds.
        validation_fraction: Share of the patients held out of a corpus without validation folds. Default: 0.05.
        exclude_downstream_test: Leave the records of each corpus's test folds out where no train_folds are named.
            Default: true.
        data_fraction: Share of the training patients that is used.
        data_on_device: Keep the signals on the accelerator.
        attn_implementation: Attention kernel.
        compile: `torch.compile` each transformer block by itself: little to compile, nothing breaks the graph.
        max_seconds: Wall-clock limit.
        resume: Go on from the newest complete checkpoint.
        schedules: Values that change over the run, by name; see `Schedule`.
        early_stopping_patience: Evaluations without improvement after which the run ends.
        probe_labels: Label set of the linear probe; none: no probe.
        probe_steps: Steps between two probes.
        probe_epochs: Epochs between two probes, instead of `probe_steps`.
        probe_records: Most training records of the probe.
        probe_pooling: What the probe reads.
        probe_l2: Its regularization.
    """

    corpus: list[str] | None = field(
        default=None, metadata={"help": "Folders of one or more prepared corpora (training/prepare.py)."}
    )
    model_type: str = field(default="mae_moco", metadata={"help": "Architecture to pretrain."})
    model: str | None = field(
        default=None, metadata={"help": "Checkpoint to go on from; momentum twin and queue start afresh."}
    )
    train_folds: list[int] | None = field(
        default=None, metadata={"help": "Training folds, e.g. 1-8. Default: by role."}
    )
    validation_folds: list[int] | None = field(
        default=None, metadata={"help": "Folds for validation and probe. Default: by role."}
    )
    validation_fraction: float = field(
        default=0.05, metadata={"help": "Share of the patients held out of a corpus without validation folds."}
    )
    exclude_downstream_test: bool = field(
        default=True, metadata={"help": "Leave the test folds of every corpus out unless train_folds are named."}
    )
    data_fraction: float = field(default=1.0, metadata={"help": "Share of the training patients that is used."})
    data_on_device: bool = field(default=False, metadata={"help": "Keep the signals on the accelerator."})
    attn_implementation: str | None = field(default=None, metadata={"help": "eager, sdpa, ..."})
    compile: bool = field(default=False, metadata={"help": "Compile each transformer block."})
    max_seconds: float | None = field(default=None, metadata={"help": "Stop cleanly after this time."})
    resume: bool = field(default=False, metadata={"help": "Go on from the newest complete checkpoint."})
    schedules: dict[str, Any] | None = field(
        default=None, metadata={"help": 'E.g. {"momentum": {"kind": "cosine", "start": 0.99, "end": 1.0}}'}
    )
    early_stopping_patience: int | None = field(default=None, metadata={"help": "In evaluations without improvement."})
    probe_labels: str | None = field(default=None, metadata={"help": "Label set of the linear probe during training."})
    probe_steps: int | None = field(default=None, metadata={"help": "Optimizer steps between two probes."})
    probe_epochs: float | None = field(default=None, metadata={"help": "Epochs between two probes."})
    probe_records: int = field(default=4000, metadata={"help": "Most training records of the probe."})
    probe_pooling: Literal["cls", "mean", "max", "cls_mean"] = field(
        default="cls_mean", metadata={"help": "Features of the probe."}
    )
    probe_l2: float = field(default=1e-2, metadata={"help": "Regularization of the probe."})
