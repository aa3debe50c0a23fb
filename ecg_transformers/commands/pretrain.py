"""A pretraining run from its settings to its output folder: data, model, Trainer, records, figures."""

import json
import math
import time
from pathlib import Path

import torch
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from ..corpora.prepared import Corpus, load_corpus
from ..corpora.splits import nested_fraction
from ..errors import CheckpointError, CorpusError
from ..evaluation.probes.curve import ProbeCallback
from ..trainer.callbacks import ClockCallback, ResumedEarlyStopping
from ..trainer.data import WindowDataset, split_off_patients
from ..trainer.pretraining import PretrainingTrainer
from ..trainer.resume import checkpoint_folders, newest_complete_checkpoint
from ..trainer.run_record import RunRecord, SpeedCallback, find_commit, peak_memory
from ..trainer.schedules import ScheduleCallback
from .figures import draw_figures
from .settings import RunSettings, build_model

__all__ = ["PretrainingRun"]

logger = logging.get_logger(__name__)


class PretrainingRun:
    """Everything that `training/pretrain.py` does after reading its settings.

    Args:
        settings: From `read_settings`.
        started: `time.monotonic()` at which the clock of `max_seconds` started.

    Attributes:
        trainer: The Trainer.
        train_corpus: Records that are trained on.
        validation_corpus: Records of the validation loss and the probe; None without any.
    """

    def __init__(self, settings: RunSettings, *, started: float | None = None):
        self.settings = settings
        self.started = time.monotonic() if started is None else started
        run, training = settings.run, settings.training
        self.folder = Path(str(training.output_dir))
        self.checkpoint = self._checkpoint_to_resume()
        self.corpus = load_corpus(str(run.corpus))
        self.train_corpus, self.validation_corpus = self._split(self.corpus)
        device = training.device if run.data_on_device else None
        self.train_data = WindowDataset(self.train_corpus, settings.extractor, seed=training.seed, device=device)
        self.validation_data = None
        if self.validation_corpus is not None:
            self.validation_data = WindowDataset(
                self.validation_corpus, settings.extractor, seed=training.seed, device=device
            )
        self._check_sizes()
        batches = len(self.train_data) // (training.train_batch_size * training.world_size)
        self.steps_per_epoch = max(1, math.ceil(batches / training.gradient_accumulation_steps))
        self.speed = SpeedCallback()
        self.probe = self._probe()
        self.trainer = self._trainer()

    def _checkpoint_to_resume(self) -> Path | None:
        if self.settings.run.resume:
            checkpoint = newest_complete_checkpoint(self.folder)
            if checkpoint is None:
                logger.warning(f"{self.folder} has no complete checkpoint: starting from the beginning.")
            else:
                self._note_changes()
            return checkpoint
        found = checkpoint_folders(self.folder)
        if found:
            raise CheckpointError(
                f"{self.folder} already holds {found[0].name} of an earlier run. Add --resume to go on with it, or "
                "choose another --output_dir."
            )
        return None

    def _note_changes(self) -> None:
        """Say which settings differ from those of the interrupted run: it then does not go on bit for bit."""
        path = self.folder / "run.json"
        if not path.is_file():
            return
        record = json.loads(path.read_text(encoding="utf-8"))
        # Through JSON, so that both sides have its types.
        now = json.loads(json.dumps(self._settings(), default=str))
        before = record.get("settings", {})
        changed = [
            f"{name} {before.get(name)} -> {now.get(name)}"
            for name in sorted({*before, *now} - {"max_seconds"})
            if before.get(name) != now.get(name)
        ]
        if record.get("world_size", 1) != self.settings.training.world_size:
            changed.append(f"processes {record['world_size']} -> {self.settings.training.world_size}")
        if changed:
            logger.warning(f"settings differ from those of the interrupted run: {', '.join(changed)}.")

    def _settings(self) -> dict:
        """What was set, without the places on this machine."""
        kept_out = ("corpus", "output_dir", "model", "resume")
        return {name: value for name, value in self.settings.values.items() if name not in kept_out}

    def _split(self, corpus: Corpus) -> tuple[Corpus, Corpus | None]:
        run, training = self.settings.run, self.settings.training
        needed = training.eval_strategy != "no" or run.probe_labels is not None
        if run.train_folds is None and run.validation_folds is None:
            parts = (
                split_off_patients(corpus, run.validation_fraction, seed=training.seed) if needed else (corpus, None)
            )
            train, validation = parts
        else:
            held_out = set(run.validation_folds or ())
            both = held_out & set(run.train_folds or ())
            if both:
                raise CorpusError(
                    f"Folds {sorted(both)} are in train_folds and in validation_folds; they must not overlap."
                )
            train = corpus.select(folds=run.train_folds or sorted(set(corpus.folds.tolist()) - held_out))
            if needed and not held_out:
                raise CorpusError("An evaluation or a probe needs validation_folds beside train_folds.")
            validation = corpus.select(folds=sorted(held_out)) if needed else None
        if validation is not None:
            shared = set(train.patient_ids.tolist()) & set(validation.patient_ids.tolist()) - {-1}
            if shared:
                raise CorpusError(
                    f"{len(shared)} patients are in the training and in the validation records (first: {min(shared)}). "
                    "Choose folds that keep patients apart."
                )
        return nested_fraction(train, run.data_fraction, seed=training.seed), validation

    def _check_sizes(self) -> None:
        training, config = self.settings.training, self.settings.config
        needed = training.train_batch_size * training.world_size
        if len(self.train_data) < needed:
            raise CorpusError(
                f"{len(self.train_data)} training records do not fill one batch of {needed}. Set a smaller "
                "per_device_train_batch_size."
            )
        queue = getattr(config, "queue_size", 0)
        if queue > len(self.train_data) and not getattr(config, "exclude_same_source", True):
            logger.warning(
                f"queue_size {queue} exceeds the {len(self.train_data)} training records: a record meets its own older "
                "keys as negatives. Set exclude_same_source: true."
            )

    def _probe(self) -> ProbeCallback | None:
        run = self.settings.run
        if run.probe_labels is None or self.validation_data is None:
            return None
        return ProbeCallback(
            self.folder / "probe.json",
            train=self.train_data,
            test=self.validation_data,
            label_set=run.probe_labels,
            every_steps=run.probe_steps or max(1, round((run.probe_epochs or 1.0) * self.steps_per_epoch)),
            max_records=run.probe_records,
            pooling=run.probe_pooling,
            l2=run.probe_l2,
            seed=self.settings.training.seed,
            speed=self.speed,
            resumed=self.checkpoint is not None,
        )

    def _trainer(self) -> PretrainingTrainer:
        run, training = self.settings.run, self.settings.training
        self.batch_size = training.train_batch_size * training.world_size * training.gradient_accumulation_steps
        self.record = RunRecord(self.folder, self._facts(), self.speed, resumed=self.checkpoint is not None)
        callbacks: list[TrainerCallback] = [self.speed, self.record]
        if run.schedules:
            callbacks.append(ScheduleCallback(run.schedules))
        if run.early_stopping_patience is not None:
            callbacks.append(ResumedEarlyStopping(run.early_stopping_patience))
        if run.max_seconds is not None:
            callbacks.append(ClockCallback(run.max_seconds, started=self.started))
        if self.probe is not None:
            callbacks.append(self.probe)
        model = build_model(self.settings)
        if run.compile:
            for module in model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    module.compile(dynamic=False)
        trainer = PretrainingTrainer(
            model=model,
            args=training,
            train_dataset=self.train_data,
            eval_dataset=self.validation_data,
            processing_class=self.settings.extractor,
            callbacks=callbacks,
        )
        if self.probe is not None:
            self.probe.log = trainer.log
        return trainer

    def _facts(self) -> dict:
        run, training = self.settings.run, self.settings.training
        return {
            "model_type": self.settings.config.model_type,
            "config": self.settings.config_file,
            "settings": self._settings(),
            "continued_from": Path(run.model).name if run.model else None,
            "commit": find_commit(),
            "seed": training.seed,
            "corpus": {"name": self.corpus.name, "version": self.corpus.info.get("version"), "hash": self.corpus.hash},
            "train_folds": run.train_folds,
            "validation_folds": run.validation_folds,
            "data_fraction": run.data_fraction,
            "records": len(self.train_data),
            "patients": len(set(self.train_data.corpus.patient_ids.tolist())),
            "validation_records": 0 if self.validation_data is None else len(self.validation_data),
        }

    def train(self) -> None:
        """Train, then leave the final model, the figures and the record in the output folder."""
        self.trainer.train(resume_from_checkpoint=self.checkpoint)
        self.trainer.save_model()
        self.trainer.save_state()
        if self.trainer.is_world_process_zero():
            draw_figures(
                self.folder,
                self.trainer.pretraining_model,
                self.settings.extractor,
                self.validation_data if self.validation_data is not None else self.train_data,
                self.trainer.state.log_history,
                seed=self.settings.training.seed,
            )
        self.trainer.accelerator.wait_for_everyone()

    def planned_steps(self) -> int:
        """Optimizer steps of the run as the YAML file plans it."""
        planned = self.settings.full_run
        if planned["max_steps"] > 0:
            return planned["max_steps"]
        return math.ceil(planned["num_train_epochs"] * self.steps_per_epoch)

    def introduction(self) -> str:
        """What is about to happen, in three lines."""
        training, model, corpus = self.settings.training, self.trainer.pretraining_model, self.corpus
        steps: int = training.max_steps
        if steps <= 0:
            steps = math.ceil(self.steps_per_epoch * training.num_train_epochs)
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
        validation = 0 if self.validation_data is None else len(self.validation_data)
        return "\n".join(
            [
                f"{type(model).__name__}: {trainable / 1e6:.2f} M trainable parameters, encoder {encoder / 1e6:.2f} M",
                f"{len(self.train_data):,} training and {validation:,} validation records of {corpus.name} "
                f"{corpus.info.get('version', '')} ({corpus.hash[:12]})",
                f"{steps:,} steps of {self.batch_size} records ({steps / self.steps_per_epoch:.1f} epochs) on "
                f"{training.device}, processes: {training.world_size}",
            ]
        )

    def summary(self) -> str:
        """Speed, memory and time, in three lines."""
        state, seconds = self.trainer.state, self.speed.step_seconds
        lines = [f"{state.global_step} of {state.max_steps} steps, {self.record.hours:.2f} h; results in {self.folder}"]
        memory = f"peak memory {peak_memory() / 2**30:.2f} GiB"
        if seconds is None:
            return "\n".join([*lines, f"{memory}; at least two steps are needed to measure the speed"])
        steps = self.planned_steps()
        epochs = steps * self.batch_size / len(self.train_data)
        lines.append(
            f"{self.batch_size / seconds:,.0f} records/s ({seconds:.3f} s per step of {self.batch_size} records), "
            f"{memory}, {torch.get_num_threads()} threads"
        )
        lines.append(
            f"the full run of {steps:,} steps ({epochs:.1f} epochs of {len(self.train_data):,} records) takes about "
            f"{steps * seconds / 3600:.2f} h at this speed"
        )
        return "\n".join(lines)
