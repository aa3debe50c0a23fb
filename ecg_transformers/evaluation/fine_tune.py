"""Fine-tuning a classifier, encoder included, with Transformers' Trainer; from scratch: the same from random weights.

Layers near the input have a lower learning rate than those near the head (`layer_decay`), windows of longer records are
random crops (one per record and epoch), and every window is shifted in time by a few samples. The epoch with the best
score on the held-out records is kept, and training ends when it has not risen for some epochs; or all training records
are trained on and the last epoch is kept (`choose_epoch="last"`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback
from transformers.utils import logging

from ..errors import ArgumentsError, EcgError
from ..files import replace_file
from ..inference.encode import predict_records
from ..objectives.class_weights import class_weights
from ..trainer.arguments import EcgTrainingArguments
from ..trainer.callbacks import ClockCallback, ResumedEarlyStopping
from ..trainer.fine_tuning import FineTuneTrainer, HeldOutWindows, LabeledWindows
from ..trainer.resume import newest_complete_checkpoint
from ..trainer.settings import FineTuneSettings
from .fit_probe import fit_head
from .fitting import Fitting
from .modes import FINE_TUNING
from .probes.linear import HeldOut
from .settings import FINE_TUNING_DEFAULTS, REPLACED_BY_ONE_CYCLE, TRAINING_DEFAULTS, LearningSettings

if TYPE_CHECKING:
    from ..corpora.protocol import Splits
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

logger = logging.get_logger(__name__)

__all__ = ["TrainingData", "fine_tune", "fit_classifier", "fitting_arguments", "trained", "training_arguments"]

# What the Trainer of classifiers needs; no settings of a run.
_NEEDED: dict[str, Any] = {
    "metric_for_best_model": "selection_score",
    "greater_is_better": True,
    "prediction_loss_only": False,
    "report_to": "none",
    "label_names": ["labels", "record_index"],
}
# Arguments of the machine and the screen: they leave no trace in a result.
_UNRECORDED = {
    "output_dir", "disable_tqdm", "use_cpu", "report_to", "logging_steps", "logging_dir", "run_name",
    "save_total_limit", "dataloader_num_workers", "dataloader_pin_memory",
}  # fmt: skip


def training_arguments(output_dir: str | Path, **values: Any) -> EcgTrainingArguments:
    """The Trainer's arguments for fine-tuning: the defaults here, overridden by what is given.

    Args:
        output_dir: Folder of the run; checkpoints go there.
        **values: Fields of `EcgTrainingArguments`.

    Raises:
        ArgumentsError: Values that the Trainer refuses.
    """
    given = TRAINING_DEFAULTS | _NEEDED | {"use_cpu": not torch.accelerator.is_available()} | values
    try:
        return EcgTrainingArguments(output_dir=str(output_dir), **given)
    except ArgumentsError:
        raise
    except ValueError as error:
        hint = " With --choose_epoch last no evaluation is needed." if given["load_best_model_at_end"] else ""
        raise ArgumentsError(f"The Trainer refuses these settings: {error}{hint}") from error


def fit_classifier(fitting: Fitting) -> tuple[str, HeldOut, np.ndarray]:
    """Train encoder and head; in fine-tuning the head starts as that of a probe unless `head_first` is off.

    The probe is epoch 0. Where no epoch is better on the held-out records, the result is the probe, on the encoder as
    it was and fitted on all training records.

    Returns:
        Name of what was chosen, the choice, and the scores of the reported records.

    Raises:
        EcgError: There is no `output_dir`, or `fine_tune` refuses.
    """
    settings, splits, model = fitting.settings, fitting.splits, fitting.model
    from_probe = FINE_TUNING in fitting.mode.uses and settings.head_first and not settings.head_epochs
    start: dict[str, torch.Tensor] | None = None
    if from_probe and model.config.has_linear_head:
        # What chooses the epoch must be unseen by the head that the epochs start from.
        everything = settings.choose_epoch == "last" and splits.refit
        seen = splits if everything else splits.without_held_out(seed=settings.seed)
        if seen.held_out:
            fit_head(fitting, seen)
            if settings.choose_epoch == "best":
                start = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
    arguments = replace(fitting_arguments(fitting, settings), eval_on_start=start is not None)
    held_out = fine_tune(
        model, fitting.extractor, splits, arguments=arguments, settings=settings, callbacks=fitting.callbacks
    )
    if start is not None and held_out.chosen == 0:
        logger.warning(
            "fine-tuning: no epoch is better on the held-out records than the probe it started from, so the probe is "
            "kept. --choose_epoch last would keep the last epoch."
        )
        model.load_state_dict(start)
        probe = fit_head(fitting, splits)
        held_out = replace(probe.held_out, chosen=0.0, scores=held_out.scores, unfinished=held_out.unfinished)
    return "epoch", held_out, fitting.predict()


def fitting_arguments(fitting: Fitting, settings: LearningSettings) -> EcgTrainingArguments:
    """The Trainer's arguments of a fit, recorded in `fitting.training`.

    Args:
        fitting: The fit.
        settings: Its settings as they are used.

    Raises:
        EcgError: There is no `output_dir`, or the Trainer refuses.
    """
    if fitting.output_dir is None:
        raise EcgError("fine-tuning needs a folder for its checkpoints; set output_dir.")
    defaults = FINE_TUNING_DEFAULTS if FINE_TUNING in fitting.mode.uses else {}
    given = {**defaults, "seed": settings.seed, **settings.training}
    if settings.choose_epoch == "last":
        given = {"load_best_model_at_end": False} | given
    arguments = training_arguments(fitting.output_dir, **given)
    unused = {*_UNRECORDED, *(REPLACED_BY_ONE_CYCLE if settings.one_cycle else ())}
    used = {**TRAINING_DEFAULTS, **given}
    fitting.training.update({name: value for name, value in used.items() if name not in unused})
    return arguments


def fine_tune(
    model: "EcgForSequenceClassification",
    extractor: "EcgFeatureExtractor",
    splits: "Splits",
    *,
    arguments: EcgTrainingArguments,
    settings: FineTuneSettings | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> HeldOut:
    """Train the whole classifier on the training records and leave it at its best epoch.

    Args:
        model: The classifier, changed in place.
        extractor: The checkpoint's feature extractor.
        splits: The protocol; the first held-out part chooses the epoch.
        arguments: The Trainer's arguments, see `training_arguments`.
        settings: See `FineTuneSettings`.
        callbacks: Of the training of everything; not of epochs of the head alone.

    Returns:
        The epoch that was kept and the held-out scores, for the thresholds.

    Raises:
        EcgError: There are fewer training records than one batch needs.
    """
    settings = settings or FineTuneSettings()
    held_out = splits.held_out[0]
    train, part = splits.train.select(~held_out), splits.train.select(held_out)
    reported = settings.choose_epoch == "last" and splits.refit
    if reported:
        # Nothing is chosen, so nothing is held out; the reported records are only looked at on the way.
        train, part = splits.train, splits.evaluate
    if len(train) < 2:
        raise EcgError(f"{len(train)} training records are left without those held out; expected more.")
    batch = arguments.train_batch_size * arguments.world_size
    if arguments.dataloader_drop_last and len(train) < batch:
        raise EcgError(
            f"{len(train)} training records do not fill one batch of {batch}, and dataloader_drop_last leaves smaller "
            "ones out. Set a smaller per_device_train_batch_size, or dataloader_drop_last: false."
        )
    data = TrainingData(LabeledWindows(train, extractor, seed=arguments.seed), HeldOutWindows(part, extractor))
    task = splits.task
    balance = class_weights(train.targets, task.problem_type, task.num_labels) if settings.balanced else None
    trainers: dict[str, Any] = {
        "balance": balance,
        "max_shift": settings.max_shift(extractor.sampling_rate),
        "processing_class": extractor,
    }
    clock = ClockCallback(settings.max_seconds)
    if settings.head_epochs:
        _train_head(model, data, arguments=arguments, settings=settings, clock=clock, **trainers)
    chosen, history = math.nan, dict[float, float]()
    if not clock.unfinished:
        trainer = trained(
            model, data, arguments=arguments, settings=settings, callbacks=[*callbacks, clock], **trainers
        )
        chosen, history = _chosen_epoch(trainer, settings)
    model.eval()
    scores = predict_records(model, part.corpus, extractor, aggregate=settings.aggregate, bf16=arguments.bf16)
    return HeldOut(chosen, history, part.targets, scores, reported, clock.unfinished)


def _chosen_epoch(trainer: FineTuneTrainer, settings: FineTuneSettings) -> tuple[float, dict[float, float]]:
    """The epoch whose weights are kept, and the held-out score of every epoch."""
    history = {
        float(entry["epoch"]): float(entry["eval_selection_score"])
        for entry in trainer.state.log_history
        if "eval_selection_score" in entry
    }
    if settings.choose_epoch == "last":
        return float(trainer.state.epoch or math.nan), history
    scores = {epoch: np.nan_to_num(score, nan=-math.inf) for epoch, score in history.items()}
    return max(scores, key=lambda epoch: (scores[epoch], -epoch), default=math.nan), history


@dataclass(frozen=True)
class TrainingData:
    """What a training reads.

    Args:
        train: The windows that are learned from.
        watched: The windows that are scored after each epoch, if any.
    """

    train: LabeledWindows
    watched: HeldOutWindows | None = None


def trained(
    model: "EcgForSequenceClassification",
    data: TrainingData,
    *,
    arguments: EcgTrainingArguments,
    settings: FineTuneSettings,
    callbacks: Sequence[TrainerCallback] = (),
    trainer_class: type[FineTuneTrainer] = FineTuneTrainer,
    **options: Any,
) -> FineTuneTrainer:
    """One training, to its end or from where it was interrupted.

    Args:
        model: The model, changed in place.
        data: Its windows.
        arguments: The Trainer's arguments.
        settings: See `FineTuneSettings`.
        callbacks: Further callbacks.
        trainer_class: The Trainer.
        **options: For the Trainer.
    """
    callbacks = list(callbacks)
    batch = arguments.train_batch_size * arguments.world_size
    has_norms = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    if has_norms and len(data.train) % batch == 1:
        # BatchNorm has no statistics over one record; it comes in another batch of the next epoch.
        arguments = replace(arguments, dataloader_drop_last=True)
    if settings.early_stopping_patience is not None and settings.choose_epoch == "best":
        callbacks.append(ResumedEarlyStopping(settings.early_stopping_patience))
    trainer = trainer_class(
        model,
        settings=settings,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.watched,
        callbacks=callbacks,
        **options,
    )
    resumed = newest_complete_checkpoint(str(arguments.output_dir)) if settings.resume else None
    # What a resumed run starts from was scored already.
    trainer.args.eval_on_start &= resumed is None
    trainer.train(resume_from_checkpoint=resumed)
    return trainer


def _train_head(
    model: "EcgForSequenceClassification",
    data: TrainingData,
    *,
    arguments: EcgTrainingArguments,
    settings: FineTuneSettings,
    clock: ClockCallback,
    **options: Any,
) -> None:
    """Train the head alone on the frozen encoder; a finished head is kept for a resumed run."""
    folder = Path(str(arguments.output_dir))
    finished, prefix = folder / "head.safetensors", f"{model.base_model_prefix}."
    if settings.resume and finished.is_file():
        model.load_state_dict(load_file(finished), strict=False)
        return
    learning = [parameter for parameter in model.base_model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    rate = arguments.learning_rate if settings.head_learning_rate is None else settings.head_learning_rate
    stage = replace(
        arguments,
        output_dir=str(folder / "head"),
        num_train_epochs=settings.head_epochs,
        learning_rate=rate,
        max_steps=-1,
    )
    head_only = replace(settings, layer_decay=1.0)
    trained(model, data, arguments=stage, settings=head_only, callbacks=[clock], **options)
    for parameter in learning:
        parameter.requires_grad_(True)
    if arguments.should_save and not clock.unfinished:
        head = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith(prefix)}
        with replace_file(finished) as temporary:
            save_file(head, temporary)
