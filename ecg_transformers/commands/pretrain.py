"""A pretraining run from its settings to its output folder: data, model, Trainer, record, plots."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedConfig, TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from ..auto import ARCHITECTURES
from ..corpora.patients import count_patients
from ..corpora.prepared import Corpus, load_corpus
from ..corpora.pretraining_split import PretrainingSplit, split_beats, split_for_pretraining
from ..errors import ArgumentsError, CheckpointError, CorpusError
from ..evaluation.probes.curve import ProbeCallback
from ..readout import Readout
from ..trainer.arguments import EcgTrainingArguments
from ..trainer.callbacks import ClockCallback, ResumedEarlyStopping
from ..trainer.data import WindowDataset
from ..trainer.resume import checkpoint_folders, newest_complete_checkpoint
from ..trainer.run_record import RunRecord, SpeedCallback, find_commit, peak_memory
from ..trainer.schedules import ScheduleCallback
from .plots import draw_plots
from .pretraining_options import PretrainingArguments
from .settings import RunSettings, build_model

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["PretrainingRun"]

logger = logging.get_logger(__name__)


class PretrainingRun:
    """Everything that `training/pretrain.py` does after reading its settings.

    Args:
        settings: From `read_settings`.
        started: `time.monotonic()` at which the clock of `max_seconds` started. Default: now.

    Attributes:
        data: Training and validation windows.
        trainer: The Trainer.
        record: Keeper of `run.json`.
    """

    def __init__(self, settings: RunSettings, *, started: float | None = None):
        corpora = [load_corpus(path) for path in settings.run.corpus or ()]
        settings = replace(settings, run=_suited_to(corpora, settings.run, settings.of_the_file))
        options, training, extractor = settings.run, settings.training, settings.extractor
        facts = _facts(settings)
        self.folder = Path(str(training.output_dir))
        self.checkpoint = _checkpoint_to_resume(
            self.folder, facts["settings"], resume=options.resume, world_size=training.world_size
        )
        self.data = _load_data(
            corpora,
            options,
            extractor,
            evaluated=training.eval_strategy != "no",
            seed=training.seed,
            config=settings.config,
            device=training.device if options.data_on_device else None,
        )
        self.plan = _Plan(training, len(self.data.train), settings.full_run)
        self.queue_note = _fit_queue(settings.config, self.plan, options.data_fraction)
        resumed = self.checkpoint is not None
        self.speed = SpeedCallback()
        facts |= {**_objective_facts(settings.config), **self.data.facts}
        self.record = RunRecord(self.folder, facts, self.speed, resumed=resumed)
        callbacks: list[TrainerCallback] = [self.speed, self.record]
        probe = _probe(options, self.data, self.folder, self.plan, self.speed, resumed=resumed)
        if options.schedules:
            callbacks.append(ScheduleCallback(options.schedules))
        if options.early_stopping_patience is not None:
            callbacks.append(ResumedEarlyStopping(options.early_stopping_patience))
        self.clock = ClockCallback(options.max_seconds, started=started)
        callbacks += [self.clock] if probe is None else [self.clock, probe]
        model = build_model(settings)
        if options.compile:
            for module in model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    module.compile(dynamic=False)
        self.trainer = ARCHITECTURES[settings.config.model_type].trainer_class(
            model,
            training,
            train_dataset=self.data.train,
            eval_dataset=self.data.validation,
            processing_class=extractor,
            callbacks=callbacks,
        )
        if probe is not None:
            probe.log = self.trainer.log

    def train(self) -> None:
        """Train, then leave the final model, the plots and the record in the output folder."""
        trainer = self.trainer
        trainer.train(resume_from_checkpoint=self.checkpoint)
        calibrate = getattr(trainer.pretraining_model, "calibrate", None)
        if calibrate is not None and self.data.validation is not None:
            calibrate(batch["input_values"] for batch in trainer.get_eval_dataloader())
        trainer.save_model()
        trainer.save_state()
        if trainer.is_world_process_zero():
            draw_plots(
                self.folder,
                trainer.pretraining_model,
                self.data.train if self.data.validation is None else self.data.validation,
                trainer.state.log_history,
                seed=trainer.args.seed,
            )
        trainer.accelerator.wait_for_everyone()

    def introduction(self) -> str:
        """What the run will do, in a few lines."""
        plan, model, corpus = self.plan, self.trainer.pretraining_model, self.data.split.corpus
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
        return "\n".join(
            [
                f"{type(model).__name__}: {trainable / 1e6:.2f} M trainable parameters, encoder {encoder / 1e6:.2f} M",
                f"{plan.records:,} training and {self.data.validation_records:,} validation records of {corpus.name} "
                f"{corpus.info.get('version', '')} ({corpus.hash[:12]})",
                *(
                    f"{count:,} records of the test folds of {name} are left out"
                    for name, count in self.data.split.test_records_left_out.items()
                ),
                *([self.queue_note] if self.queue_note else []),
                *(model.record_notes(self.data.train.lengths) if hasattr(model, "record_notes") else []),
                f"{plan.steps:,} steps of {plan.batch_size} records ({plan.steps / plan.steps_per_epoch:.1f} epochs) "
                f"on {self.trainer.args.device}, processes: {self.trainer.args.world_size}",
            ]
        )

    def summary(self) -> str:
        """Speed, memory and time, in a few lines."""
        plan, state, seconds = self.plan, self.trainer.state, self.speed.step_seconds
        lines = [f"{state.global_step} of {state.max_steps} steps, {self.record.hours:.2f} h; results in {self.folder}"]
        if self.clock.unfinished:
            lines.append("unfinished: the time limit ended the training; add --resume to continue it")
        memory = f"peak memory {peak_memory() / 2**30:.2f} GiB"
        if seconds is None:
            return "\n".join([*lines, f"{memory}; at least two steps are needed to measure the speed"])
        epochs = plan.full_steps * plan.batch_size / plan.records
        lines.append(
            f"{plan.batch_size / seconds:,.0f} records/s ({seconds:.3f} s per step of {plan.batch_size} records), "
            f"{memory}, {torch.get_num_threads()} threads"
        )
        lines.append(
            f"the full run of {plan.full_steps:,} steps ({epochs:.1f} epochs of {plan.records:,} records) takes about "
            f"{plan.full_steps * seconds / 3600:.2f} h at this speed"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class PretrainingData:
    """Records of a pretraining run.

    Args:
        split: The records.
        train: Windows to train on.
        validation: Windows of the validation loss and the probe; None without any.
    """

    split: PretrainingSplit
    train: WindowDataset
    validation: WindowDataset | None

    @property
    def validation_records(self) -> int:
        """Number of validation records."""
        return 0 if self.validation is None else len(self.validation)

    @property
    def facts(self) -> dict:
        """Facts of `run.json` about the records."""
        return {
            "corpus": self.split.corpus.identity,
            "test_records_left_out": self.split.test_records_left_out,
            "shares_patients": self.split.shares_patients,
            "records": len(self.train),
            "patients": count_patients(self.train.corpus.patient_ids),
            "validation_records": self.validation_records,
        }


def _suited_to(
    corpora: Sequence[Corpus], options: PretrainingArguments, of_the_file: frozenset[str]
) -> PretrainingArguments:
    """The options without folds and labels of the YAML file, such as those of PTB-XL, that other corpora do not have.

    What the command line names stays, and is refused where it does not exist.
    """
    unused: dict[str, Any] = {}
    named = {*(options.train_folds or ()), *(options.validation_folds or ())}
    if any(named - {int(fold) for fold in corpus.folds} for corpus in corpora):
        unused |= {name: None for name in ("train_folds", "validation_folds") if getattr(options, name)}
    if any(options.probe_labels not in corpus.label_sets for corpus in corpora):
        unused["probe_labels"] = None
    unused = {name: None for name in unused if name in of_the_file}
    if unused:
        logger.warning(
            f"not used from the configuration, because {' and '.join(corpus.name for corpus in corpora)} has no such "
            f"folds or labels: {', '.join(unused)}."
        )
    return replace(options, **unused)


def _load_data(
    corpora: Sequence[Corpus],
    options: PretrainingArguments,
    extractor: "EcgFeatureExtractor",
    *,
    evaluated: bool,
    seed: int,
    config: PreTrainedConfig,
    device: torch.device | None,
) -> PretrainingData:
    """Split the corpora and prepare their windows.

    Args:
        corpora: The corpora.
        options: Folds, fractions, probe.
        extractor: Feature extractor of the model.
        evaluated: Whether the run has a validation loss.
        seed: Seed of splits, fractions and window starts.
        config: Configuration of the model, which decides what a row holds: `num_segments` adjacent windows, a longer
            piece for its own views (`source_window_size`), two recordings (`positives` "patient"), its recording
            (`needs_places`); see `WindowDataset`.
        device: Where the signals are kept.

    Raises:
        CorpusError: Folds that overlap or do not exist, patients in both parts, no validation part where one is
            needed.
    """
    split = _split(corpora, options, validate=evaluated or options.probe_labels is not None, seed=seed)

    def windows(part: Corpus) -> WindowDataset:
        return WindowDataset(
            part,
            extractor,
            seed=seed,
            segments=getattr(config, "num_segments", 1),
            source_window_size=getattr(config, "source_window_size", None),
            partners=getattr(config, "positives", None) == "patient",
            places=getattr(config, "needs_places", False),
            device=device,
        )

    validation = None if split.validation is None else windows(split.validation)
    return PretrainingData(split, windows(split.train), validation)


def _split(corpora: Sequence[Corpus], options: PretrainingArguments, *, validate: bool, seed: int) -> PretrainingSplit:
    """Training and validation records: of a named split of beats, or by folds."""
    if options.split is None:
        return split_for_pretraining(
            corpora,
            train_folds=options.train_folds,
            validation_folds=options.validation_folds,
            validation_fraction=options.validation_fraction,
            data_fraction=options.data_fraction,
            exclude_downstream_test=options.exclude_downstream_test,
            validate=validate,
            seed=seed,
        )
    if options.train_folds or options.validation_folds:
        raise ArgumentsError(f"split {options.split!r} names the training records already. Leave out the folds.")
    split = split_beats(corpora, options.split, data_fraction=options.data_fraction, validate=validate, seed=seed)
    if split.shares_patients:
        logger.warning(
            f"The split {options.split} has the same patients in training and in test: its test results say nothing "
            "about other patients. Use patients/0 to patients/4 or de_chazal for those."
        )
    return split


class _Plan:
    """Batches and steps of a run.

    Args:
        training: Arguments of the Trainer.
        records: Training records.
        full_run: `max_steps` and `num_train_epochs` of the YAML file.

    Attributes:
        compared: Records of a micro-batch of all processes, which contrastive objectives compare.

    Raises:
        CorpusError: If the records do not fill one batch.
    """

    def __init__(self, training: EcgTrainingArguments, records: int, full_run: Mapping[str, Any]):
        needed = training.train_batch_size * training.world_size
        if records < needed:
            raise CorpusError(
                f"{records} training records do not fill one batch of {needed}. Set a smaller "
                "per_device_train_batch_size."
            )
        self.records = records
        self.compared = needed
        self.batch_size = needed * training.gradient_accumulation_steps
        self.steps_per_epoch = max(1, math.ceil(records // needed / training.gradient_accumulation_steps))
        self.steps = self._steps(training.max_steps, training.num_train_epochs)
        self.full_steps = self._steps(full_run["max_steps"], full_run["num_train_epochs"])

    def _steps(self, max_steps: int, epochs: float) -> int:
        return max_steps if max_steps > 0 else math.ceil(epochs * self.steps_per_epoch)


def _facts(settings: RunSettings) -> dict[str, Any]:
    """Facts of `run.json` about the settings."""
    options = settings.run
    # Places on this machine, and how the run was started.
    left_out = {"output_dir", *(field.name for field in fields(options) if not field.metadata["recorded"])}
    return {
        "model_type": settings.config.model_type,
        "config": settings.config_file,
        "settings": {name: value for name, value in settings.values.items() if name not in left_out},
        "continued_from": Path(options.model).name if options.model else None,
        "commit": find_commit(),
        "seed": settings.training.seed,
        "train_folds": options.train_folds,
        "validation_folds": options.validation_folds,
        "split": options.split,
        "data_fraction": options.data_fraction,
        "budget": "steps" if settings.training.max_steps > 0 else "epochs",
    }


def _objective_facts(config: PreTrainedConfig) -> dict[str, Any]:
    """Facts of `run.json` about the keys that a contrastive objective compares, once the queue fits the records."""
    own = vars(config)
    names = ("queue_size", "sampling", "reduction", "select_by", "same_source")
    return {name: own[name] for name in names if name in own}


def _checkpoint_to_resume(folder: Path, values: dict[str, Any], *, resume: bool, world_size: int) -> Path | None:
    """The newest complete checkpoint if the run is to be resumed."""
    if not resume:
        found = checkpoint_folders(folder)
        if found:
            raise CheckpointError(
                f"{folder} already holds {found[0].name} of an earlier run. Add --resume to continue it, or choose "
                "another --output_dir."
            )
        return None
    checkpoint = newest_complete_checkpoint(folder)
    if checkpoint is None:
        logger.warning(f"{folder} has no complete checkpoint: starting from the beginning.")
    elif (folder / "run.json").is_file():
        _note_changes(json.loads((folder / "run.json").read_text(encoding="utf-8")), values, world_size)
    return checkpoint


def _note_changes(record: Mapping[str, Any], values: dict[str, Any], world_size: int) -> None:
    """Report settings that differ from those of the interrupted run, which is then not resumed exactly."""
    # Through JSON, so that both sides have its types.
    now, before = json.loads(json.dumps(values, default=str)), record.get("settings", {})
    changed = [
        f"{name} {before.get(name)} -> {now.get(name)}"
        for name in sorted({*before, *now} - {"max_seconds"})
        if before.get(name) != now.get(name)
    ]
    if record.get("world_size", 1) != world_size:
        changed.append(f"processes {record['world_size']} -> {world_size}")
    if changed:
        logger.warning(f"settings differ from those of the interrupted run: {', '.join(changed)}.")


def _fit_queue(config: PreTrainedConfig, plan: _Plan, data_fraction: float) -> str | None:
    """Shorten the queue of a run on a share of the data to half the records, in whole batches if it holds one.

    In a longer queue the most similar keys of a record are its own older ones.

    Returns:
        A line that reports it; None if the queue stays.

    Raises:
        ArgumentsError: Positives are to be chosen, and there is neither a queue nor another record in a batch.
    """
    # The system's own fields: a queue in the config of its backbone is not in use.
    own = vars(config)
    asked = own.get("queue_size", 0) if own.get("contrastive_weight", 1) else 0
    if own.get("sampling", "none") != "none" and not asked and plan.compared == 1:
        raise ArgumentsError(
            f"sampling {own['sampling']!r} has no candidate to choose from: batches of 1 record and no queue. Set "
            "per_device_train_batch_size or queue_size."
        )
    half = plan.records // 2
    longest = half // plan.batch_size * plan.batch_size or half
    # Only keys that are compared: the queue of SwAV holds no negatives.
    if data_fraction < 1 and asked > longest and "same_source" in own:
        config.queue_size = longest
        return (
            f"queue of {longest:,} keys instead of {asked:,} (queue_size): at most half of the {plan.records:,} records"
        )
    if asked > plan.records and own.get("same_source") == "ignore":
        logger.warning(
            f"queue_size {asked} exceeds the {plan.records} training records: a record meets its own older keys as "
            "negatives. Set same_source: exclude."
        )
    return None


def _probe(
    options: PretrainingArguments,
    data: PretrainingData,
    folder: Path,
    plan: _Plan,
    speed: SpeedCallback,
    *,
    resumed: bool,
) -> ProbeCallback | None:
    if options.probe_labels is None or data.validation is None:
        return None
    return ProbeCallback(
        folder / "probe.json",
        train=data.train.corpus,
        test=data.validation.corpus,
        extractor=data.train.extractor,
        label_set=options.probe_labels,
        every_steps=options.probe_steps or max(1, round((options.probe_epochs or 1.0) * plan.steps_per_epoch)),
        max_records=options.probe_records,
        readout=Readout(options.probe_pooling),
        l2=options.probe_l2,
        seed=data.train.seed,
        speed=speed,
        resumed=resumed,
    )
