"""What `training/finetune.py` does: one mode on a checkpoint, its baseline beside it, a checkpoint folder."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback
from transformers.utils import logging

from ..corpora.label_table import LabelTable
from ..corpora.prepared import Corpus, load_corpus
from ..corpora.protocol import Splits, make_splits
from ..errors import ArgumentsError, EcgError
from ..evaluation.classifier import load_extractor, save_classifier
from ..evaluation.modes import BASELINES, Mode, Outcome, baseline_name, run_mode
from ..evaluation.results.predictions import label_table
from ..evaluation.results.report import outcome_entries, prediction_file, summary_line
from ..evaluation.results.store import merge_results
from ..files import write_csv
from ..trainer.fine_tuning import FineTuneSettings
from ..trainer.run_record import RunRecord, SpeedCallback, find_commit
from .noise import check_noise_levels, draw_noise_robustness, noise_table, score_under_noise
from .options import DownstreamArguments, FineTuneArguments, unused_settings
from .own_table import corpus_of_table, split_table
from .recipe import write_architecture

__all__ = ["FEW_ROWS", "DownstreamRun", "checkpoint_name", "run_outcome"]

logger = logging.get_logger(__name__)

# Settings of the command line that shape a training, for `run.json`; the Trainer's own are recorded whole.
_RECORDED = (
    "labels", "pooling", "layer", "window_seconds", "train_folds", "validation_folds", "train_fraction", "balanced",
    "aggregate", "choose_epoch", "one_cycle", "max_shift_seconds", "early_stopping_patience", "max_seconds",
)  # fmt: skip

# Folders of a run that hold the checkpoints of its trainings while it lasts.
_TRAINING, _BASELINE_TRAINING = "training", "training_baseline"

# A table below this size gets a linear probe unless another mode is asked for.
FEW_ROWS = 1000


def checkpoint_name(checkpoint: str | Path) -> str:
    """What tables call a checkpoint: the last part of its path, with its run for a checkpoint inside one."""
    path = Path(str(checkpoint).rstrip("/"))
    return f"{path.parent.name}/{path.name}" if path.name.startswith("checkpoint-") else path.name


def run_outcome(
    arguments: DownstreamArguments,
    mode: Mode,
    checkpoint: str | Path,
    extractor: Any,
    splits: Splits,
    *,
    initialization: Literal["pretrained", "random"],
    folder: Path,
    training: dict[str, Any],
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> Outcome:
    """One mode with the settings of a command line.

    Args:
        arguments: The settings.
        mode: What learns.
        checkpoint: The encoder.
        extractor: Its feature extractor.
        splits: The protocol.
        initialization: `pretrained` or `random`.
        folder: Where a training keeps its checkpoints.
        training: Fields of the Trainer.
        resume: Go on with an interrupted training.
        callbacks: Of the Trainer.
    """
    options = {"attn_implementation": arguments.attn_implementation} if arguments.attn_implementation else {}
    return run_mode(
        mode,
        checkpoint,
        extractor,
        splits,
        initialization=initialization,
        pooling=arguments.pooling,
        layer=arguments.layer,
        head_first=arguments.head_first,
        balanced=arguments.balanced,
        aggregate=arguments.aggregate,
        seed=arguments.seed,
        bf16=training.get("bf16"),
        batch_size=arguments.encode_batch_size,
        output_dir=folder,
        settings=FineTuneSettings(
            choose_epoch=arguments.choose_epoch,
            one_cycle=arguments.one_cycle,
            head_epochs=arguments.head_epochs,
            head_learning_rate=arguments.head_learning_rate,
            layer_decay=arguments.layer_decay,
            max_shift_seconds=arguments.max_shift_seconds,
            early_stopping_patience=arguments.early_stopping_patience,
            max_seconds=arguments.max_seconds,
            resume=resume,
        ),
        training=training,
        model_options=options,
        callbacks=callbacks,
    )


def is_main_process() -> bool:
    """Whether this process writes; `accelerate launch` may have started several."""
    return int(os.environ.get("RANK", "0")) == 0


class DownstreamRun:
    """Everything that `training/finetune.py` does after reading its settings.

    Args:
        arguments: The settings.
        training: Fields of the Trainer that were set.
        say: Called with each line for the screen.
    """

    def __init__(
        self, arguments: FineTuneArguments, training: dict[str, Any], *, say: Callable[[str], None] = logger.info
    ) -> None:
        self.arguments = arguments
        self.training = dict(training)
        self.say = say
        if not self.training.get("output_dir"):
            raise ArgumentsError("--output_dir DIR must be given.")
        self.folder = Path(self.training.pop("output_dir"))
        if (arguments.corpus is None) == (arguments.table is None):
            raise ArgumentsError("Pass either --corpus DIR, or --table labels.csv with --root DIR.")
        self.mode: Mode = arguments.mode or "fine_tune"
        self.name = checkpoint_name(arguments.model)
        if arguments.model_type is not None:
            if arguments.mode not in (None, "from_scratch"):
                raise ArgumentsError(f"mode is {arguments.mode}; a recipe has no weights, so it is from_scratch.")
            self.mode = "from_scratch"
            self.name = Path(arguments.config or arguments.model_type).stem
            arguments.model = str(
                write_architecture(arguments.model_type, arguments.architecture, self.folder / "architecture")
            )
        self.extractor = load_extractor(
            arguments.model,
            window_seconds=arguments.window_seconds,
            window_stride_seconds=arguments.window_stride_seconds,
        )
        if arguments.table is not None:
            corpus, table, words = self._own_corpus()
            if arguments.mode is None and arguments.model_type is None and len(table.rows) < FEW_ROWS:
                self.mode = "linear_probe"
            self.say(f"labels: {table.describe()}; {words}")
        else:
            corpus = load_corpus(arguments.corpus)
        self.splits = make_splits(
            corpus,
            arguments.labels,
            self.extractor,
            train_folds=arguments.train_folds,
            evaluate_folds=arguments.evaluate_folds,
            validation_folds=arguments.validation_folds,
            train_fraction=arguments.train_fraction,
            min_examples=arguments.min_examples if arguments.table is not None else 0,
            seed=arguments.seed,
        )
        if unused := unused_settings(self.mode, arguments, self.training):
            self.say(f"not used by {self.mode}: {', '.join(unused)}")
        if arguments.choose_epoch == "last" and self.mode in ("fine_tune", "from_scratch"):
            self.splits = self.splits.without_selection()
        check_noise_levels(arguments.noise_levels, self.extractor, self.splits)

    def _own_corpus(self) -> tuple[Corpus, LabelTable, str]:
        arguments = self.arguments
        if arguments.root is None or arguments.table is None:
            raise ArgumentsError("--table needs --root DIR, the folder that its records are in.")
        table, file, words = split_table(arguments.table, self.folder / "labels_with_folds.csv", seed=arguments.seed)
        options = {
            "sampling_rate": arguments.read_sampling_rate,
            "units": arguments.read_units,
            "leads": arguments.read_leads,
        }
        corpus = corpus_of_table(
            file,
            arguments.root,
            self.folder / "corpus",
            self.extractor,
            num_proc=arguments.num_proc,
            read_options={name: value for name, value in options.items() if value is not None},
            progress=logging.is_progress_bar_enabled(),
        )
        if corpus.info["refused"]:
            refused = self.folder / "corpus" / "refused.csv"
            self.say(f"{corpus.info['refused']} records could not be read; the reasons stand in {refused}")
        return corpus, table, words

    def introduction(self) -> str:
        """What is about to happen, in three lines."""
        splits, task = self.splits, self.splits.task
        kind = task.problem_type.removesuffix("_classification").replace("_", "-")
        left_out = f" ({splits.left_out} without a label are left out)" if splits.left_out else ""
        corpus = splits.evaluate.corpus.name
        reported = f"{len(splits.evaluate):,} are reported, {splits.reported_folds}"
        selection = splits.selection_of(trains_once=self.mode != "linear_probe")
        choice = f"chosen on {selection}" if splits.selects else selection
        return (
            f"{self.mode} of {self.name} on {corpus} {task.label_set}: {kind}, {task.num_labels} labels\n"
            f"{len(splits.train):,} records train, {reported}{left_out};\n{choice}"
        )

    def run(self) -> list[dict[str, Any]]:
        """Train, evaluate, save; the baseline too unless it is left out.

        Returns:
            The entries of this run, those of the checkpoint first.
        """
        if self.mode in ("linear_probe", "attentive_probe") and not is_main_process():
            return []
        arguments = self.arguments
        outcome = self._outcome(self.mode, "pretrained", _TRAINING)
        baseline = None
        if self.mode in BASELINES and not arguments.no_baseline:
            mode, initialization = BASELINES[self.mode]
            baseline = self._outcome(mode, initialization, _BASELINE_TRAINING)
        if not is_main_process():
            return []
        self._save(outcome, self.folder)
        common: dict[str, Any] = {"checkpoint": arguments.model, "name": self.name, "seed": arguments.seed}
        common |= {"aggregate": arguments.aggregate, "unit": arguments.unit, "resamples": arguments.resamples}
        common |= {"config_file": arguments.config, "window_stride_seconds": self.extractor.stride_seconds}
        against: list[tuple[str, Outcome]] = [] if baseline is None else [(baseline_name(self.mode), baseline)]
        beside: list[dict[str, Any]] = []
        if baseline is not None:
            self._save(baseline, self.folder / "baseline")
        try:
            entries = outcome_entries(outcome, self.splits, against=against, **common)
            if baseline is not None:
                beside = outcome_entries(baseline, self.splits, **common)
        except EcgError as error:
            # The model is trained and saved; the reported part of a small table may be too small to judge it.
            self.say(f"no figure: {error}")
            self._remove_trainings()
            return []
        merge_results(self.folder / "results.json", [*entries, *beside])
        # Until here a killed run finds both trainings at their last step, and only predicts anew.
        self._remove_trainings()
        self.say(summary_line(entries, beside, self.splits.reported_folds))
        if arguments.noise_levels:
            noisy, noisy_beside = score_under_noise(
                arguments.noise_levels, outcome, baseline, self.extractor, self.splits,
                folder=self.folder, bf16=self.training.get("bf16"), batch_size=arguments.encode_batch_size, **common,
            )  # fmt: skip
            entries, beside = [*entries, *noisy], [*beside, *noisy_beside]
            merge_results(self.folder / "results.json", [*noisy, *noisy_beside])
            self.say(noise_table(entries, beside))
            self.say(f"-> {draw_noise_robustness(self.folder, [*entries, *beside])}")
        return [*entries, *beside]

    def _remove_trainings(self) -> None:
        for name in (_TRAINING, _BASELINE_TRAINING):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _outcome(self, mode: Mode, initialization: Literal["pretrained", "random"], folder: str) -> Outcome:
        return run_outcome(
            self.arguments,
            mode,
            self.arguments.model,
            self.extractor,
            self.splits,
            initialization=initialization,
            folder=self.folder / folder,
            training=self.training,
            resume=self.arguments.resume,
            callbacks=self._records() if initialization == "pretrained" else (),
        )

    def _records(self) -> list[TrainerCallback]:
        """New weights get a `run.json`, as in pretraining; fine-tuned ones keep the facts of where they come from."""
        if self.mode != "from_scratch":
            return []
        arguments, train = self.arguments, self.splits.train
        own = {field.name: getattr(arguments, field.name) for field in fields(arguments)}
        plain = {field.name: field.default for field in fields(arguments)}
        changed = {name: value for name, value in own.items() if name in _RECORDED and value != plain[name]}
        corpus = train.corpus
        facts = {
            "model_type": arguments.model_type,
            "config": arguments.config,
            "settings": {**arguments.architecture, **changed, **self.training},
            "commit": find_commit(),
            "seed": arguments.seed,
            "corpus": corpus.identity,
            "labels": self.splits.task.label_set,
            "train_folds": list(self.splits.train_folds),
            "selection": self.splits.selection_of(trains_once=self.mode != "linear_probe"),
            "records": len(train),
            "patients": len(set(corpus.patient_ids.tolist())),
        }
        speed = SpeedCallback()
        return [speed, RunRecord(self.folder, facts, speed, resumed=arguments.resume)]

    def _save(self, outcome: Outcome, folder: Path) -> None:
        save_classifier(outcome.model, self.extractor, folder, thresholds=outcome.thresholds)
        path = prediction_file(
            self.folder, outcome, self.splits, checkpoint=self.name.replace("/", "-"), seed=self.arguments.seed
        )
        outcome.predictions.save(path)
        if outcome.predictions.problem_type != "regression":
            write_csv(folder / "labels.csv", label_table(outcome.predictions))
