"""Arguments of `training/finetune.py` and `training/score.py`: names with types, checked like those of pretraining."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from ..errors import ArgumentsError, check_names
from ..trainer.arguments import EcgTrainingArguments
from .command_line import convert, field_types, parse_command_line, read_yaml
from .recipe import recipe_names

__all__ = ["DownstreamArguments", "FineTuneArguments", "ScoreArguments", "read_arguments", "unused_settings"]


@dataclass
class DownstreamArguments:
    """What fine-tuning and scoring share.

    Args:
        corpus: Folder of the prepared corpus.
        labels: Label set.
        mode: What learns.
        pooling: What the head reads.
        layer: Whose tokens it reads.
        window_seconds: Length of the windows.
        window_stride_seconds: Their distance where a record is scored.
        head_first: Start fine-tuning from the probe's head.
        head_epochs: Epochs of the head alone.
        head_learning_rate: Their rate.
        choose_epoch: The best or the last.
        one_cycle: Schedule of rate and momentum.
        train_folds: Folds to learn from.
        validation_folds: Folds to choose on.
        train_fraction: Share of the training records.
        label_efficiency: Numbers of first training folds.
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
        noise_levels: Levels of noise to score under, too.
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
    pooling: Literal["cls", "mean", "max", "cls_mean", "attention"] | None = field(
        default=None,
        metadata={
            "help": "What the head reads. Default: cls_mean of an encoder with [CLS], of another cls, its own pooling."
        },
    )
    layer: int = field(
        default=-1,
        metadata={"help": "Whose tokens it reads: -1 the output, 0 the input of layer 1, k the output of layer k."},
    )
    window_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Length of the windows. Longer records: a random crop per epoch in training, every "
            "window_stride_seconds in scoring. Default: the checkpoint's."
        },
    )
    window_stride_seconds: float | None = field(
        default=None,
        metadata={"help": "Distance of two windows in scoring. Default: the checkpoint's, as a share of a window."},
    )
    head_first: bool = field(
        default=True,
        metadata={"help": "fine_tune: start from the probe's head instead of a random one (linear heads)."},
    )
    head_epochs: float = field(
        default=0.0,
        metadata={"help": "fine_tune: epochs in which the head learns alone on the frozen encoder, before everything."},
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of these epochs. Default: that of the run."}
    )
    choose_epoch: Literal["best", "last"] = field(
        default="best",
        metadata={
            "help": "best: the epoch is chosen on held-out training records. last: every training record trains, "
            "nothing is chosen; the thresholds come from the validation folds, or the reported ones without any."
        },
    )
    one_cycle: bool = field(
        default=False, metadata={"help": "Learning rate and momentum in one cycle instead of lr_scheduler_type."}
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
    label_efficiency: list[int] | None = field(
        default=None,
        metadata={
            "help": "Evaluate with the first n training folds, for each of these n (1,2,4,8), with table and plot."
        },
    )
    balanced: bool | None = field(
        default=None, metadata={"help": "Let rare and common classes count alike. Default: below 1,000 records."}
    )
    aggregate: Literal["mean", "max"] = field(
        default="mean", metadata={"help": "How the probabilities of a record's windows are joined."}
    )
    no_baseline: bool = field(default=False, metadata={"help": "Leave out the randomly initialized encoder."})
    unit: Literal["record", "patient"] = field(default="record", metadata={"help": "What the bootstrap draws."})
    resamples: int = field(default=1000, metadata={"help": "Bootstrap resamples."})
    layer_decay: float = field(
        default=0.9, metadata={"help": "fine_tune: factor on the rate per group of layers below the head."}
    )
    max_shift_seconds: float = field(
        default=0.12, metadata={"help": "Fine-tuning shifts windows in time by at most so much."}
    )
    early_stopping_patience: int | None = field(default=5, metadata={"help": "Epochs without a better held-out score."})
    max_seconds: float | None = field(default=None, metadata={"help": "Stop each training cleanly after this time."})
    attn_implementation: str | None = field(default=None, metadata={"help": "eager, sdpa, ..."})
    encode_batch_size: int = field(default=256, metadata={"help": "Windows per pass where nothing learns."})
    noise_levels: list[int] | None = field(
        default=None,
        metadata={"help": "Score under these levels of noise too, 1 (least) to 6, e.g. 1-6; nothing learns under it."},
    )
    seed: int = field(default=0, metadata={"help": "Of heads, orders and splits."})


@dataclass
class FineTuneArguments(DownstreamArguments):
    """What `training/finetune.py` adds.

    Args:
        model: The checkpoint.
        model_type: Architecture of a recipe.
        config: The YAML file.
        architecture: Settings of a recipe's architecture.
        table: A user's own table of labels instead of a corpus.
        root: The folder its records are in.
        evaluate_folds: Folds to report.
        min_examples: Labels of a table with fewer training records are dropped.
        resume: Go on with an interrupted training.
        card: Card that gets the entries.
        num_proc: Processes that read a table's records.
        read_sampling_rate: Rate of files that state none.
        read_units: Unit of files that state none.
        read_leads: Leads of files that name none.
    """

    model: str = field(default="", metadata={"help": "Checkpoint: folder or Hub name."})
    model_type: str | None = field(
        default=None, metadata={"help": "Architecture to train from scratch, instead of --model; usually in CONFIG."}
    )
    config: str | None = field(default=None, metadata={"help": "The YAML file, usually named first."})
    architecture: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Filled from the names that the architecture knows."}
    )
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
    card: str | None = field(
        default=None,
        metadata={"help": "Add the entries to hub_cards/NAME/results.json, with run.json and labels.csv of the run."},
    )
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
    """Read `[CONFIG.yaml] --name value ...`; the command line wins over the file.

    Where `model_type` is set instead of `model`, the fields of that architecture's config and feature extractor are
    names too.

    Args:
        words: Without the program's name.
        kind: `FineTuneArguments` or `ScoreArguments`.

    Returns:
        The arguments, and the fields of the Trainer that were set.

    Raises:
        ArgumentsError: An unknown name (the nearest known one is named), a value of the wrong type, a missing setting.
    """
    positional, options = parse_command_line(words)
    recipes = kind is FineTuneArguments
    if len(positional) > int(recipes):
        raise ArgumentsError(f"{positional[-1]!r} stands alone; expected --name value. See --help.")
    from_file = read_yaml(positional[0]) if positional else {}
    model_type = options.get("model_type", from_file.get("model_type")) if recipes else None
    own, training = field_types(kind), field_types(EcgTrainingArguments)
    known = {**training, **own}
    architecture = {} if model_type is None else recipe_names(model_type)
    architecture = {name: type_ for name, type_ in architecture.items() if name not in known}
    known |= architecture
    check_names(from_file, known, where=str(positional[0]) if positional else "")
    check_names(options, known, where="the command line")
    values = {name: convert(name, value, known[name]) for name, value in {**from_file, **options}.items()}
    given = {name: value for name, value in values.items() if name in own}
    if recipes:
        given["config"] = positional[0] if positional else None
        given["architecture"] = {name: value for name, value in values.items() if name in architecture}
    arguments = kind(**given)
    if bool(getattr(arguments, "model", None)) == (model_type is not None):
        raise ArgumentsError(
            "Pass either --model CHECKPOINT, or a recipe such as training/configs/xresnet1d50_ptbxl.yaml (model_type)."
            if recipes
            else "--model CHECKPOINT must be given."
        )
    return arguments, {
        name: value for name, value in values.items() if (name in training and name not in own) or name == "seed"
    }


# Settings of training that a frozen encoder, new weights, or a saved classifier have no use for.
_TRAINING = (
    "choose_epoch", "one_cycle", "layer_decay", "max_shift_seconds", "early_stopping_patience", "max_seconds",
)  # fmt: skip
_HEAD = ("head_epochs", "head_learning_rate")
_PREPARATION = ("pooling", "layer", "train_folds", "validation_folds", "train_fraction", "balanced")
# Of the Trainer's, what is used where nothing trains.
_ALWAYS = {"output_dir", "seed", "bf16", "disable_tqdm"}


def unused_settings(mode: str | None, arguments: DownstreamArguments, training: Mapping[str, Any]) -> list[str]:
    """Settings that differ from their defaults and that a mode does not use: nothing is passed over silently.

    Args:
        mode: What learns; `None`: a classifier is scored as it was saved.
        arguments: The settings.
        training: Fields of the Trainer that were set.

    Returns:
        Their names.
    """
    trains = mode in ("fine_tune", "from_scratch")
    names: list[str] = []
    if not trains:
        names += [*_TRAINING, *_HEAD]
    if mode is None:
        names += _PREPARATION
    if mode == "from_scratch":
        names += ["layer_decay", *_HEAD]
    if trains and not arguments.head_epochs:
        names += ["head_learning_rate"]
    if trains and arguments.choose_epoch == "last":
        names += ["early_stopping_patience"]
    default = {field.name: field.default for field in fields(arguments)}
    found = [name for name in dict.fromkeys(names) if getattr(arguments, name) != default[name]]
    found += [name for name in training if not trains and name not in _ALWAYS]
    if trains and arguments.one_cycle:
        found += [name for name in ("lr_scheduler_type", "warmup_steps", "warmup_epochs") if name in training]
    return found
