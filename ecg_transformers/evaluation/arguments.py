"""Arguments of `training/finetune.py` and `training/score.py`: names with types, checked like those of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ..trainer.arguments import (
    ArgumentsError,
    EcgTrainingArguments,
    check_names,
    convert,
    field_types,
    parse_command_line,
)

__all__ = ["DownstreamArguments", "FineTuneArguments", "ScoreArguments", "read_arguments"]


@dataclass
class DownstreamArguments:
    """What fine-tuning and scoring share.

    Args:
        corpus: Folder of the prepared corpus.
        labels: Label set.
        mode: What learns.
        pooling: What the head reads.
        layer: Whose tokens it reads.
        head_first: Start fine-tuning from the probe's head.
        train_folds: Folds to learn from.
        validation_folds: Folds to choose on.
        train_fraction: Share of the training records.
        balanced: Class weights.
        aggregate: How the windows of a record are joined.
        no_baseline: Leave out the baseline.
        unit: What the bootstrap draws.
        resamples: How many.
        layer_decay: Rate per layer below the head.
        max_shift_seconds: Shift in time during fine-tuning.
        early_stopping_patience: Epochs without a better score.
        max_seconds: Limit of each training.
        attn_implementation: Attention kernel.
        encode_batch_size: Windows per pass where nothing learns.
        seed: Of heads, orders, splits.
    """

    corpus: str | None = field(default=None, metadata={"help": "Folder of the prepared corpus (training/prepare.py)."})
    labels: str = field(default="all", metadata={"help": "Label set of the corpus."})
    mode: Literal["linear_probe", "attentive_probe", "fine_tune", "from_scratch"] | None = field(
        default=None,
        metadata={
            "help": "What learns. Default: fine_tune; linear_probe below 1,000 rows of a table, and in score.py."
        },
    )
    pooling: Literal["cls", "mean", "max", "cls_mean", "attention"] = field(
        default="cls_mean", metadata={"help": "What the head reads."}
    )
    layer: int = field(
        default=-1,
        metadata={"help": "Whose tokens it reads: -1 the output, 0 the input of layer 1, k the output of layer k."},
    )
    head_first: bool = field(
        default=True, metadata={"help": "fine_tune: start from the probe's head instead of a random one."}
    )
    train_folds: list[int] | None = field(default=None, metadata={"help": "Folds to learn from, e.g. 1-8."})
    validation_folds: list[int] | None = field(
        default=None,
        metadata={
            "help": "Folds to choose on (epoch, L2, thresholds). Default: a part of the training folds, by patient."
        },
    )
    train_fraction: float = field(
        default=1.0, metadata={"help": "Share of the training records, whole patients, nested."}
    )
    balanced: bool | None = field(
        default=None, metadata={"help": "Let rare and common classes count alike. Default: below 1,000 records."}
    )
    aggregate: Literal["mean", "max"] = field(
        default="mean", metadata={"help": "How the probabilities of a record's windows are joined."}
    )
    no_baseline: bool = field(default=False, metadata={"help": "Leave out the randomly initialised encoder."})
    unit: Literal["record", "patient"] = field(default="record", metadata={"help": "What the bootstrap draws."})
    resamples: int = field(default=1000, metadata={"help": "Bootstrap resamples."})
    layer_decay: float = field(
        default=0.9, metadata={"help": "fine_tune: factor on the rate per layer below the head."}
    )
    max_shift_seconds: float = field(
        default=0.12, metadata={"help": "Fine-tuning shifts windows in time by at most so much."}
    )
    early_stopping_patience: int | None = field(default=5, metadata={"help": "Epochs without a better held-out score."})
    max_seconds: float | None = field(default=None, metadata={"help": "Stop each training cleanly after this time."})
    attn_implementation: str | None = field(default=None, metadata={"help": "eager, sdpa, ..."})
    encode_batch_size: int = field(default=256, metadata={"help": "Windows per pass where nothing learns."})
    seed: int = field(default=0, metadata={"help": "Of heads, orders and splits."})


@dataclass
class FineTuneArguments(DownstreamArguments):
    """What `training/finetune.py` adds.

    Args:
        model: The checkpoint.
        table: A user's own table of labels instead of a corpus.
        root: The folder its records are in.
        evaluate_folds: Folds to report.
        min_examples: Labels of a table with fewer training records are dropped.
        resume: Go on with an interrupted training.
        num_proc: Processes that read a table's records.
        read_sampling_rate: Rate of files that state none.
        read_units: Unit of files that state none.
        read_leads: Leads of files that name none.
    """

    model: str = field(default="", metadata={"help": "Checkpoint: folder or Hub name."})
    table: str | None = field(
        default=None, metadata={"help": "Your own labels: CSV with record[, patient, fold, age, sex], labels."}
    )
    root: str | None = field(default=None, metadata={"help": "Folder that the table's records are in."})
    evaluate_folds: list[int] | None = field(
        default=None, metadata={"help": "Folds to report. Default: the validation fold."}
    )
    min_examples: int = field(
        default=3, metadata={"help": "Labels of a table with fewer training records are dropped."}
    )
    resume: bool = field(default=False, metadata={"help": "Go on with an interrupted training."})
    num_proc: int = field(default=1, metadata={"help": "Processes that read a table's records."})
    read_sampling_rate: float | None = field(default=None, metadata={"help": "Rate in Hz of files that state none."})
    read_units: str | None = field(default=None, metadata={"help": "Unit of files that state none (mV, uV, V)."})
    read_leads: list[str] | None = field(default=None, metadata={"help": "Leads of files that name none."})


@dataclass
class ScoreArguments(DownstreamArguments):
    """What `training/score.py` adds.

    Args:
        model: The checkpoints.
        folds: Folds to report.
        card: Checkpoint whose card gets the entries.
        output_dir: Where results, predictions and trainings go.
    """

    model: list[str] = field(
        default_factory=list,
        metadata={"help": "Checkpoints: folders or Hub names; the first is compared with the others."},
    )
    folds: list[int] | None = field(default=None, metadata={"help": "Folds to report. Default: the validation fold."})
    card: str | None = field(
        default=None, metadata={"help": "Add the entries of the first checkpoint to hub_cards/NAME/results.json."}
    )
    output_dir: str = field(default="runs/score", metadata={"help": "Where results and predictions go."})


Arguments = TypeVar("Arguments", bound=DownstreamArguments)


def read_arguments(words: Sequence[str], kind: type[Arguments]) -> tuple[Arguments, dict[str, Any]]:
    """Read a command line.

    Args:
        words: Without the program's name; a YAML or JSON file of settings is not expected here.
        kind: `FineTuneArguments` or `ScoreArguments`.

    Returns:
        The arguments, and the fields of the Trainer that were set.

    Raises:
        ArgumentsError: An unknown name (the nearest known one is named), a value of the wrong type, a missing setting.
    """
    positional, options = parse_command_line(words)
    if positional:
        raise ArgumentsError(f"{positional[0]!r} stands alone; expected --name value. See --help.")
    own, training = field_types(kind), field_types(EcgTrainingArguments)
    check_names(options, {**training, **own}, where="the command line")
    values = {name: convert(name, value, {**training, **own}[name]) for name, value in options.items()}
    arguments = kind(**{name: value for name, value in values.items() if name in own})
    if not getattr(arguments, "model", None):
        raise ArgumentsError("--model CHECKPOINT must be given.")
    return arguments, {name: value for name, value in values.items() if name not in own or name == "seed"}
