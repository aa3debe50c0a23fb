"""Options of `training/pretrain.py`."""

from dataclasses import dataclass
from typing import Any

from ..option import option
from ..readout import FixedPooling

__all__ = ["PretrainingArguments"]

_DATA: dict[str, Any] = {"group": "Data"}
_REPORT: dict[str, Any] = {"group": "Report"}


@dataclass
class PretrainingArguments:
    """Settings of pretraining apart from the fields of the model's config, the feature extractor and the Trainer.

    The `help` of each option describes it.
    """

    corpus: list[str] | None = option(
        None, help="Folders of one or more prepared corpora (training/prepare.py).", required=True, recorded=False,
        **_DATA,
    )  # fmt: skip
    train_folds: list[int] | None = option(
        None, help="Training folds of every corpus, e.g. 1-8. Default: all but its validation and test folds.", **_DATA
    )
    validation_folds: list[int] | None = option(
        None, help="Folds of the validation loss and the linear probe. Default: those of each corpus.", **_DATA
    )
    split: str | None = option(
        None,
        help="Named split of a corpus of beats instead of folds (published/0, patients/0, de_chazal, ...): its normal "
        "beats train and validate.",
        **_DATA,
    )
    validation_fraction: float = option(
        0.05, help="Share of the patients held out of a corpus without validation folds.", **_DATA
    )
    exclude_downstream_test: bool = option(
        True, help="Leave out the test folds of every corpus where no train_folds are named.", **_DATA
    )
    data_fraction: float = option(1.0, help="Share of the training patients, nested.", **_DATA)
    data_on_device: bool = option(False, help="Keep the signals on the accelerator.", **_DATA)
    model_type: str = option("mae_moco", help="Architecture to pretrain; usually in CONFIG.", group="Training")
    model: str | None = option(
        None,
        help="Checkpoint to continue from; momentum encoder and queue are reinitialized.",
        group="Training",
        recorded=False,
    )
    # Values that change over the run, by name; see `Schedule`.
    schedules: dict[str, Any] | None = option(
        None, help='Schedules, e.g. {"momentum": {"kind": "cosine", "start": 0.99, "end": 1.0}}.', group="Training"
    )
    early_stopping_patience: int | None = option(
        None, help="Evaluations without a better validation loss after which training ends.", group="Training"
    )
    attn_implementation: str | None = option(None, help="Attention kernel (eager, sdpa, ...).", group="Training")
    # Each block by itself: little to compile, nothing breaks the graph.
    compile: bool = option(False, help="Compile each transformer block.", group="Training")
    max_seconds: float | None = option(None, help="Time limit of the run (s).", group="Training")
    probe_labels: str | None = option(
        None, help="Label set of a linear probe during training. Default: none.", **_REPORT
    )
    probe_steps: int | None = option(None, help="Optimizer steps between two probes.", **_REPORT)
    probe_epochs: float | None = option(None, help="Epochs between two probes, instead of probe_steps.", **_REPORT)
    probe_records: int = option(4000, help="Maximum number of training records of the probe.", **_REPORT)
    probe_pooling: FixedPooling | None = option(
        None,
        help="Pooling before the probe. Default: cls_mean for an encoder with [CLS], else cls, the encoder's own.",
        **_REPORT,
    )
    probe_l2: float = option(1e-2, help="L2 regularization of the probe.", **_REPORT)
    resume: bool = option(False, help="Resume from the newest complete checkpoint.", recorded=False)
