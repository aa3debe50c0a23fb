"""Arguments of `training/finetune.py` and `training/score.py`, declared without torch, and how they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ..corpora.evaluation_split import Protocol
from ..corpora.label_table import Task
from ..errors import ArgumentsError, check_names
from ..evaluation.modes import MODES, Mode
from ..evaluation.settings import REPLACED_BY_ONE_CYCLE, LearningSettings, ReportSettings
from ..option import option
from .command_line import field_types, read_command_line, with_negations
from .options import build, converted, declared_options, option_types, unused_options
from .recordings import FileSettings, RecordingSettings

__all__ = ["DownstreamArguments", "FineTuneArguments", "ScoreArguments", "read_arguments", "unused_settings"]

_WINDOWS: dict[str, Any] = {"group": "Windows and records"}


@dataclass(frozen=True)
class DownstreamArguments:
    """What fine-tuning and scoring share.

    Args:
        recordings: Rules for unusual recordings.
        protocol: Labels and folds.
        learning: How a classifier is built and fitted.
        report: How results are computed.
    """

    # Whether a YAML file may precede the options.
    takes_config: ClassVar[bool] = False

    mode: str | None = option(
        None,
        help="Training mode. Default: fine_tune; linear_probe below 1,000 rows of a table, and in score.py.",
        choices=MODES,
        recorded=False,
    )
    corpus: str | None = option(
        None,
        help="Folder of the prepared corpus (training/prepare.py), several as A,B, or its name with --source.",
        group="Data",
        recorded=False,
    )
    source: str | None = option(
        None,
        help="Official tree of the corpus that --corpus names (georgia, cpsc2018, ...): prepared into OUTPUT_DIR when "
        "it is first used.",
        group="Data",
        recorded=False,
    )
    num_proc: int = option(1, help="Processes that read records.", group="Data", recorded=False)
    window_seconds: float | None = option(
        None,
        help="Window length (s). Longer records: a random crop per epoch in training, every window_stride_seconds in "
        "scoring. Default: the checkpoint's.",
        **_WINDOWS,
    )
    window_stride_seconds: float | None = option(
        None, help="Stride between windows in scoring (s). Default: the checkpoint's share of a window.", **_WINDOWS
    )
    leads: list[str] | None = option(
        None,
        help="Leads that are used, e.g. I,II; the others are zeros and marked in lead_mask. Saved with the checkpoint. "
        "Default: the checkpoint's; in finetune.py with missing_leads mask, those that training records have.",
        **_WINDOWS,
    )
    output_dir: str = option("", help="Output folder.", required=True, recorded=False)
    recordings: RecordingSettings = field(default_factory=RecordingSettings)
    protocol: Protocol = field(default_factory=Protocol)
    learning: LearningSettings = field(default_factory=LearningSettings)
    report: ReportSettings = field(default_factory=ReportSettings)

    @property
    def extractor_options(self) -> dict[str, Any]:
        """The arguments of `evaluation.classifier.load_extractor` in addition to the checkpoint."""
        return {
            "window_seconds": self.window_seconds,
            "window_stride_seconds": self.window_stride_seconds,
            "policies": self.recordings.policies,
            "used_leads": self.leads,
        }


@dataclass(frozen=True)
class FineTuneArguments(DownstreamArguments):
    """What `training/finetune.py` adds.

    Args:
        files: What is taken for files of a table that do not state it.
        config: The YAML file.
        architecture: Settings of a recipe's architecture.
    """

    takes_config: ClassVar[bool] = True

    model: str = option("", help="Checkpoint: folder or Hub name.", group="Data", recorded=False)
    model_type: str | None = option(
        None, help="Architecture to train from random weights instead of --model; usually in CONFIG.", group="Data"
    )
    table: str | None = option(
        None,
        help="Own labels instead of a corpus: CSV with record[, patient, fold, age, sex] and labels.",
        group="Data",
        recorded=False,
    )
    root: str | None = option(None, help="Folder of the table's records.", group="Data", recorded=False)
    task: Task | None = option(
        None, help="Kind of task of a table. Default: inferred from its cells and printed.", group="Data"
    )
    cross_validation: int | None = option(
        None,
        help="Parts of a cross-validation by patient, for a table without folds; 0 = one split 8:1:1 into training, "
        "validation and test. Default: 5 below 500 records, else 0.",
        group="Data",
    )
    files: FileSettings = field(default_factory=FileSettings)
    config: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreArguments(DownstreamArguments):
    """What `training/score.py` adds."""

    model: list[str] = option(
        default_factory=list,
        help="Checkpoints: folders or Hub names; the others are compared with the first.",
        group="Data",
        required=True,
        recorded=False,
    )
    fit_thresholds: bool = option(
        False,
        help="Of a classifier that is scored as it was saved: fit its decision thresholds on the reported records and "
        "save it with them in OUTPUT_DIR/NAME, with labels.csv. Precision, recall and F1 are judged out of fold.",
        group="Report",
    )
    output_dir: str = option("runs/score", help="Folder of results and predictions.", recorded=False)


Arguments = TypeVar("Arguments", bound=DownstreamArguments)


def read_arguments(argv: Sequence[str], kind: type[Arguments]) -> Arguments:
    """Read `[CONFIG.yaml] --name value ...`; the command line wins over the file.

    Fields of the Trainer's arguments are names too, and where `model_type` is set instead of `model`, the fields of
    that architecture's config and feature extractor.

    Args:
        argv: Without the program's name.
        kind: `FineTuneArguments` or `ScoreArguments`.

    Raises:
        ArgumentsError: An unknown name (the nearest known one is named), a value of the wrong type, a missing setting.
    """
    from ..trainer.arguments import EcgTrainingArguments
    from .recipe import recipe_names

    config, from_file, options = read_command_line(argv, takes_config=kind.takes_config)
    options = with_negations(options, {**field_types(EcgTrainingArguments), **option_types(kind)})
    model_type = options.get("model_type", from_file.get("model_type"))
    own, training = declared_options(kind), field_types(EcgTrainingArguments)
    architecture: dict[str, Any] = {}
    if model_type is not None and kind.takes_config:
        architecture = recipe_names(model_type, from_file.get("backbone_config"))
    others = {name: type_ for name, type_ in {**training, **architecture}.items() if name not in own}
    known = {*own, *others, *(one.facts["alias"] for one in own.values() if one.facts["alias"])}
    check_names(from_file, known, where=str(config))
    check_names(options, known, where="the command line")
    values = {**converted(from_file, own, others), **converted(options, own, others)}
    if values.get("scratch"):
        check_names(values["scratch"], {*declared_options(LearningSettings), *training}, where="scratch")
        values["scratch"] = converted(values["scratch"], declared_options(LearningSettings), training)
    if kind.takes_config and bool(values.get("model")) == bool(model_type):
        raise ArgumentsError(
            "Pass either --model CHECKPOINT, or a recipe such as training/configs/xresnet1d50_ptbxl.yaml (model_type)."
        )
    return build(
        kind,
        values,
        config=config,
        given=frozenset(values),
        training={name: value for name, value in values.items() if name in training and name not in own},
        architecture={name: value for name, value in values.items() if name in architecture and name not in training},
    )


# Of the Trainer's arguments, what has an effect where nothing is trained.
_ALWAYS = {"bf16", "disable_tqdm"}


def unused_settings(mode: Mode | None, arguments: DownstreamArguments) -> list[str]:
    """Settings that were given and have no effect in a mode.

    Args:
        mode: The mode; `None`: a classifier is scored as it was saved.
        arguments: The settings.
    """
    learning = arguments.learning
    uses = frozenset() if mode is None else mode.uses
    found = unused_options(arguments, learning.given, uses)
    if mode is None or not mode.trains:
        found += [name for name in learning.training if name not in _ALWAYS]
    elif learning.one_cycle:
        found += [name for name in REPLACED_BY_ONE_CYCLE if name in learning.training]
    return found
