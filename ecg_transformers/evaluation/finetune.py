"""Fine-tuning a classifier, encoder included, with Transformers' Trainer; from scratch is the same from new weights.

Layers near the input move at a lower rate than those near the head (`layer_decay`), windows of longer records start
anywhere (a random crop per record and epoch), and every window is shifted in time by a few samples. The epoch with the
best macro AUROC on the held-out records is kept, and training ends when it has not risen for some epochs; or all
training records train and the last epoch is kept (`choose_epoch="last"`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback
from transformers.utils import logging

from ..errors import EcgError
from ..trainer.arguments import NO_DECAY, EcgTrainingArguments
from ..trainer.callbacks import ClockCallback, ResumedEarlyStopping
from ..trainer.data import WindowDataset, as_it_is
from ..trainer.draws import step_generator
from ..trainer.resume import newest_complete_checkpoint
from ..trainer.trainer import EcgTrainer
from .aggregation import Aggregate, aggregate_windows
from .class_weights import class_weights, weighted_losses
from .encode import iterate_windows, predict_records, probabilities
from .probe import HeldOut, selection_score

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification
    from .protocol import Part, Splits

__all__ = ["FineTuneSettings", "FineTuneTrainer", "fine_tune", "layer_depths", "training_arguments"]

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class FineTuneSettings:
    """What fine-tuning has beside the Trainer's arguments.

    Args:
        choose_epoch: `"best"` on the held-out records, or `"last"`: nothing is held out or chosen.
        one_cycle: The rate rises from a 25th to its maximum over 30 % of the run and falls to a 250,000th, along
            cosines, while the momentum (beta 1) goes from 0.95 to 0.85 and back (Smith 2018; the PTB-XL benchmark).
        head_epochs: Epochs in which only the head learns, the encoder frozen and its BatchNorm statistics too, before
            everything learns.
        head_learning_rate: Rate of these epochs; that of the run when `None`.
        layer_decay: Factor on the learning rate per group of layers below the head; 1 = one rate for all.
        max_shift_seconds: Windows are shifted in time by at most so much, each by its own draw; zeros fill the gap.
        early_stopping_patience: Epochs without a better held-out score after which training ends; `None` = never.
        max_seconds: Wall-clock limit.
        balanced: Let rare and common classes count alike in the loss.
        aggregate: How the windows of a record are joined.
        resume: Go on from the newest complete checkpoint of the output folder.
    """

    choose_epoch: Literal["best", "last"] = "best"
    one_cycle: bool = False
    head_epochs: float = 0.0
    head_learning_rate: float | None = None
    layer_decay: float = 1.0
    max_shift_seconds: float = 0.12
    early_stopping_patience: int | None = 5
    max_seconds: float | None = None
    balanced: bool = False
    aggregate: Aggregate = "mean"
    resume: bool = False


# Defaults of `TrainingArguments` for fine-tuning; whatever the caller sets wins.
_DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "num_train_epochs": 12.0,
    "per_device_train_batch_size": 64,
    "per_device_eval_batch_size": 256,
    "warmup_steps": 0.05,
    "lr_scheduler_type": "cosine",
    "max_grad_norm": 1.0,
    "logging_steps": 50,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "selection_score",
    "greater_is_better": True,
    "prediction_loss_only": False,
    "dataloader_drop_last": False,
    "report_to": "none",
    "label_names": ["labels", "record_index"],
    "no_decay": [*NO_DECAY, "attention.query"],
}


def training_arguments(output_dir: str | Path, **values: Any) -> EcgTrainingArguments:
    """The Trainer's arguments for fine-tuning: the defaults here, overridden by what is given.

    Args:
        output_dir: Folder of the run; checkpoints go there.
        **values: Fields of `EcgTrainingArguments`.
    """
    given = _DEFAULTS | {"use_cpu": not torch.accelerator.is_available()} | values
    return EcgTrainingArguments(output_dir=str(output_dir), **given)


class LabelledWindows(WindowDataset):
    """Windows of the training records with their labels.

    Args:
        part: Records and labels.
        extractor: The checkpoint's feature extractor.
        seed: Seed of the window starts.
        device: Where the signals are kept.
    """

    def __init__(self, part: Part, extractor: EcgFeatureExtractor, *, seed: int, device: torch.device | None = None):
        super().__init__(part.corpus, extractor, seed=seed, device=device)
        # Records with missing samples are left out by the windows.
        kept = np.isin(part.corpus.record_ids, self.corpus.record_ids)
        self.targets = torch.as_tensor(part.targets[kept]).to(self.device)
        if part.problem_type != "single_label_classification":
            self.targets = self.targets.float()

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The batch of these records: `input_values`, masks where needed, `labels`."""
        epochs, records = np.divmod(np.asarray(indices, dtype=np.int64), len(self))
        batch = self._windows(epochs, records)
        return batch | {"labels": self.targets[torch.as_tensor(records).to(self.device)]}


class HeldOutWindows(Dataset):
    """All windows of the held-out records, prepared once; `record_index` says which record each is of."""

    def __init__(self, part: Part, extractor: EcgFeatureExtractor):
        batches = list(iterate_windows(part.corpus, extractor))
        self.record_index = torch.from_numpy(np.concatenate([index for _, index in batches]))
        names = sorted({name for inputs, _ in batches for name in inputs})
        self.inputs = {name: torch.cat([_whole(inputs, name) for inputs, _ in batches]) for name in names}
        self.targets = torch.as_tensor(part.targets)
        if part.problem_type != "single_label_classification":
            self.targets = self.targets.float()

    def __len__(self) -> int:
        return len(self.record_index)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One window."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """The batch of these windows."""
        rows = torch.as_tensor(indices)
        record_index = self.record_index[rows]
        batch = {name: value[rows] for name, value in self.inputs.items()}
        return batch | {"labels": self.targets[record_index], "record_index": record_index}


def _whole(inputs: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """A model input of a batch, or the mask of ones that it was left out for."""
    if name in inputs:
        return inputs[name]
    windows, leads, samples = inputs["input_values"].shape
    return torch.ones(windows, leads if name == "lead_mask" else samples, dtype=torch.int64)


def layer_depths(model: EcgForSequenceClassification) -> dict[str, int]:
    """How far each parameter is from the input, for discriminative learning rates.

    Args:
        model: A classifier; its encoder says which of its parts belong together (`layer_groups`).

    Returns:
        Depth by parameter name: 0 for the group nearest to the input, and the largest for what is in no group (final
        norm, pooling, head).
    """
    prefix, encoder = model.base_model_prefix, cast(Any, model.base_model)
    groups = encoder.layer_groups()
    places = [(f"{prefix}.{part}.", depth) for depth, parts in enumerate(groups) for part in parts]
    return {
        name: next((depth for place, depth in places if name.startswith(place)), len(groups))
        for name, _ in model.named_parameters()
    }


class FineTuneTrainer(EcgTrainer):
    """The package's Trainer for classifiers: labels, layer-wise rates, time shifts, a score over whole records.

    Args:
        model: The classifier. An encoder without a parameter that learns stays in evaluation mode.
        settings: See `FineTuneSettings`.
        balance: Class weights of the loss, or `None`.
        max_shift: Most samples that a window is shifted by.
        **kwargs: As for `EcgTrainer`.
    """

    def __init__(
        self,
        model: EcgForSequenceClassification,
        *,
        settings: FineTuneSettings,
        balance: torch.Tensor | None = None,
        max_shift: int = 0,
        **kwargs: Any,
    ):
        self.settings = settings
        self.balance = balance
        self.max_shift = max_shift
        super().__init__(model=model, compute_metrics=self._held_out_score, data_collator=as_it_is, **kwargs)

    @property
    def classifier(self) -> PreTrainedModel:
        """The model without the wrappers of DDP or torch.compile."""
        return cast(PreTrainedModel, self.core_model)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of the (shifted) windows; in evaluation the windows stay as they are."""
        inputs = dict(inputs)
        labels, _ = inputs.pop("labels"), inputs.pop("record_index", None)
        core = self.classifier
        if core.training and not any(parameter.requires_grad for parameter in core.base_model.parameters()):
            core.base_model.eval()
        if core.training and self.max_shift:
            inputs |= self._shifted(inputs)
        outputs = model(**inputs)
        balance = None if self.balance is None else self.balance.to(labels.device)
        loss = weighted_losses(outputs.logits, labels, core.config.problem_type, balance).mean()
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss

    @torch.no_grad()
    def _shifted(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Each window moved in time by its own draw of this step, with zeros where nothing is."""
        values = inputs["input_values"]
        self._micro_step = self._micro_step + 1 if self._drawn_step == self.state.global_step else 0
        self._drawn_step = self.state.global_step
        generator = step_generator(self.args.seed, self.state.global_step, self._micro_step, device=values.device)
        rows, batch, samples = self._train_batch_size, len(values), values.shape[-1]
        draws = torch.randint(
            -self.max_shift,
            self.max_shift + 1,
            (rows * self.args.world_size,),
            generator=generator,
            device=values.device,
        )
        shifts = draws[self.args.process_index * rows :][:batch]
        places = torch.arange(samples, device=values.device) - shifts[:, None]  # (batch, samples)
        inside = (places >= 0) & (places < samples)
        places = places.clamp(0, samples - 1)
        moved = values.gather(2, places[:, None].expand_as(values)) * inside[:, None]
        if "attention_mask" not in inputs:
            return {"input_values": moved}
        mask = inputs["attention_mask"].gather(1, places) * inside
        # A shift must not take all the signal of a short window away.
        stays = mask.any(dim=1)
        moved = torch.where(stays[:, None, None], moved, values)
        return {"input_values": moved, "attention_mask": torch.where(stays[:, None], mask, inputs["attention_mask"])}

    def _held_out_score(self, prediction: EvalPrediction) -> dict[str, float]:
        """Macro AUROC over the held-out records, their windows joined."""
        labels, record_index = (np.asarray(one) for one in tuple(prediction.label_ids))
        kind = str(self.classifier.config.problem_type)
        windows = probabilities(torch.as_tensor(prediction.predictions).float(), kind).numpy()
        scores = aggregate_windows(windows, record_index, aggregate=self.settings.aggregate)
        first = np.unique(record_index, return_index=True)[1]
        return {"selection_score": selection_score(labels[first], scores, kind)}

    def create_optimizer(self, model: nn.Module | None = None):
        """AdamW with a rate per layer, and weight decay where `get_decay_parameter_names` says."""
        if self.optimizer is not None or self.settings.layer_decay == 1.0:
            return super().create_optimizer()
        core = self.classifier
        depths = layer_depths(cast("EcgForSequenceClassification", core))
        decayed = set(self.get_decay_parameter_names(core))
        groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in core.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((depths[name], name in decayed), []).append(parameter)
        top, rate = max(depths.values()), self.args.learning_rate
        optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, core)
        options.pop("lr", None)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": rate * self.settings.layer_decay ** (top - depth),
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                }
                for (depth, decay), parameters in groups.items()
            ],
            lr=rate,
            **options,
        )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """One cycle if the settings ask for it, else what the Trainer's arguments say."""
        if self.lr_scheduler is not None or not self.settings.one_cycle:
            return super().create_scheduler(num_training_steps, optimizer)
        optimizer = self.optimizer if optimizer is None else optimizer
        rates = [group["lr"] for group in optimizer.param_groups]
        one_cycle = OneCycleLR(optimizer, rates, total_steps=num_training_steps)
        self.lr_scheduler = one_cycle  # type: ignore[assignment]  # the Trainer's annotation knows LambdaLR only
        self._created_lr_scheduler = True
        return self.lr_scheduler


def fine_tune(
    model: EcgForSequenceClassification,
    extractor: EcgFeatureExtractor,
    splits: Splits,
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
    if settings.choose_epoch == "last" and splits.refit:
        # Nothing is chosen, so nothing is held out; the reported records are only looked at on the way.
        train, part = splits.train, splits.evaluate
    if len(train) < 2:
        raise EcgError(f"{len(train)} training records are left beside those held out; expected more.")
    data = _Data(LabelledWindows(train, extractor, seed=arguments.seed), HeldOutWindows(part, extractor))
    task = splits.task
    balance = class_weights(train.targets, task.problem_type, task.num_labels) if settings.balanced else None
    trainers: dict[str, Any] = {
        "balance": balance,
        "max_shift": round(settings.max_shift_seconds * extractor.sampling_rate),
        "processing_class": extractor,
    }
    if settings.head_epochs:
        _train_head(model, data, arguments=arguments, settings=settings, **trainers)
    trainer = _trained(model, data, arguments=arguments, settings=settings, callbacks=callbacks, **trainers)
    history = {
        float(entry["epoch"]): float(entry["eval_selection_score"])
        for entry in trainer.state.log_history
        if "eval_selection_score" in entry
    }
    if settings.choose_epoch == "last":
        chosen = float(trainer.state.epoch or math.nan)
    else:
        chosen = max(
            history, key=lambda epoch: (np.nan_to_num(history[epoch], nan=-math.inf), -epoch), default=math.nan
        )
    model.eval()
    scores = predict_records(model, part.corpus, extractor, aggregate=settings.aggregate, bf16=arguments.bf16)
    return HeldOut(chosen, history, part.targets, scores)


@dataclass(frozen=True)
class _Data:
    train: LabelledWindows
    watched: HeldOutWindows


def _trained(
    model: EcgForSequenceClassification,
    data: _Data,
    *,
    arguments: EcgTrainingArguments,
    settings: FineTuneSettings,
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> FineTuneTrainer:
    """One training, to its end or from where it was interrupted."""
    callbacks = list(callbacks)
    batch = arguments.train_batch_size * arguments.world_size
    has_norms = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    if has_norms and len(data.train) % batch == 1:
        # BatchNorm has no statistics over one record; it comes in another batch of the next epoch.
        arguments = replace(arguments, dataloader_drop_last=True)
    if settings.early_stopping_patience is not None and settings.choose_epoch == "best":
        callbacks.append(ResumedEarlyStopping(settings.early_stopping_patience))
    if settings.max_seconds is not None:
        callbacks.append(ClockCallback(settings.max_seconds))
    trainer = FineTuneTrainer(
        model,
        settings=settings,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.watched,
        callbacks=callbacks,
        **options,
    )
    resumed = newest_complete_checkpoint(str(arguments.output_dir)) if settings.resume else None
    trainer.train(resume_from_checkpoint=resumed)
    return trainer


def _train_head(
    model: EcgForSequenceClassification,
    data: _Data,
    *,
    arguments: EcgTrainingArguments,
    settings: FineTuneSettings,
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
    _trained(model, data, arguments=stage, settings=replace(settings, layer_decay=1.0), **options)
    for parameter in learning:
        parameter.requires_grad_(True)
    if arguments.should_save:
        head = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith(prefix)}
        save_file(head, folder / ".head.unfinished")
        os.replace(folder / ".head.unfinished", finished)
