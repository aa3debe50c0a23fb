"""The Trainer of classifiers: labeled windows, layer-wise learning rates, one cycle, a score over whole records."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel

from ..inference.aggregation import aggregate_windows
from ..inference.encode import iterate_windows, probabilities
from ..metrics.selection import selection_score
from ..objectives.class_weights import weighted_losses
from .data import WindowDataset, identity_collator
from .settings import FineTuneSettings
from .trainer import EcgTrainer

if TYPE_CHECKING:
    from ..corpora.protocol import Part
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = ["FineTuneTrainer", "HeldOutWindows", "IdentificationTrainer", "LabeledWindows", "layer_depths"]


class LabeledWindows(WindowDataset):
    """Windows of the training records with their labels.

    Args:
        part: Records and labels.
        extractor: The checkpoint's feature extractor.
        seed: Seed of the window starts.
        device: Where the signals are kept. Default: the CPU.
    """

    def __init__(
        self, part: "Part", extractor: "EcgFeatureExtractor", *, seed: int, device: torch.device | None = None
    ):
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
    """All windows of the held-out records, prepared once; `record_index` is the record of each window.

    Args:
        part: Records and labels.
        extractor: The checkpoint's feature extractor.
    """

    def __init__(self, part: "Part", extractor: "EcgFeatureExtractor"):
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


def layer_depths(model: "EcgForSequenceClassification") -> dict[str, int]:
    """Depth of each parameter above the input, for layer-wise learning rates.

    Args:
        model: A classifier whose encoder groups its layers (`layer_groups`).

    Returns:
        Depth by parameter name: 0 for the group nearest to the input, and the largest for what is in no group (final
        norm, head).
    """
    prefix, encoder = model.base_model_prefix, cast(Any, model.base_model)
    groups = encoder.layer_groups()
    places = [(f"{prefix}.{part}.", depth) for depth, parts in enumerate(groups) for part in parts]
    return {
        name: next((depth for place, depth in places if name.startswith(place)), len(groups))
        for name, _ in model.named_parameters()
    }


class FineTuneTrainer(EcgTrainer):
    """`EcgTrainer` for classifiers: labels, layer-wise learning rates, time shifts, a score over whole records.

    Args:
        model: The classifier. An encoder without trainable parameters stays in evaluation mode.
        settings: See `FineTuneSettings`.
        balance: Class weights of the loss, or `None`.
        max_shift: Maximum random time shift (samples).
        **kwargs: As for `EcgTrainer`.
    """

    def __init__(
        self,
        model: "EcgForSequenceClassification",
        *,
        settings: FineTuneSettings,
        balance: torch.Tensor | None = None,
        max_shift: int = 0,
        **kwargs: Any,
    ):
        self.settings = settings
        self.balance = balance
        self.max_shift = max_shift
        super().__init__(model=model, compute_metrics=self._held_out_score, data_collator=identity_collator, **kwargs)

    @property
    def classifier(self) -> PreTrainedModel:
        """The model without the wrappers of DDP or torch.compile."""
        return cast(PreTrainedModel, self.core_model)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of the windows, which are shifted in training only."""
        inputs = dict(inputs)
        inputs.pop("record_index", None)
        core = self.classifier
        if core.training and not any(parameter.requires_grad for parameter in core.base_model.parameters()):
            core.base_model.eval()
        if core.training and self.max_shift:
            inputs |= self._shifted(inputs)
        loss, outputs = self.loss_of(model, inputs)
        return (loss, outputs) if return_outputs else loss

    def loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """Loss and outputs of windows.

        Args:
            model: The model as it is trained.
            inputs: Its inputs, and `labels`.
        """
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        balance = None if self.balance is None else self.balance.to(labels.device)
        loss = weighted_losses(logits, labels, self.classifier.config.problem_type, balance).mean()
        return loss, {"loss": loss, "logits": logits}

    @torch.no_grad()
    def _shifted(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Each window moved in time by its own draw of this step, zeros filling the gap."""
        values = inputs["input_values"]
        samples = values.shape[-1]
        draws = self.row_generator(values).uniform()  # (batch,)
        shifts = (draws * (2 * self.max_shift + 1)).long() - self.max_shift
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

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a learning rate per layer; weight decay for `get_decay_parameter_names`."""
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

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """One cycle if the settings ask for it, else the schedule of the Trainer's arguments."""
        if self.lr_scheduler is not None or not self.settings.one_cycle:
            return super().create_scheduler(num_training_steps, optimizer)
        optimizer = cast(torch.optim.Optimizer, self.optimizer) if optimizer is None else optimizer
        rates = [group["lr"] for group in optimizer.param_groups]
        one_cycle = OneCycleLR(optimizer, rates, total_steps=num_training_steps)
        self.lr_scheduler = one_cycle  # type: ignore[assignment]  # the Trainer's annotation knows LambdaLR only
        self._created_lr_scheduler = True
        return self.lr_scheduler


class IdentificationTrainer(FineTuneTrainer):
    """`FineTuneTrainer` for models with a loss of their own over patients, such as ArcFace; nothing is held out."""

    def loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """The model's own loss, and its outputs."""
        outputs = model(**inputs)
        return outputs.loss, outputs
