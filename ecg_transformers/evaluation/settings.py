"""Settings of an evaluation (its protocol: `corpora.evaluation_split`), each declared once: learning, report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ..auto import ARCHITECTURES
from ..option import option
from ..readout import Readout
from ..trainer.settings import NO_DECAY, FineTuneSettings
from .modes import Mode

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "REPLACED_BY_ONE_CYCLE",
    "TRAINING_DEFAULTS",
    "FINE_TUNING_DEFAULTS",
    "LearningSettings",
    "ReportSettings",
    "supervised_recipe",
]

# Defaults of `TrainingArguments` for fine-tuning; whatever the caller sets wins.
TRAINING_DEFAULTS: dict[str, Any] = {
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
    # The newest and the best: at 1 the Trainer ends with the best alone, from which a killed run would train on.
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "dataloader_drop_last": False,
    "no_decay": [*NO_DECAY, "attention.query"],
}
# What differs where training starts from pretrained weights. At 1e-3, large encoders lost what they knew in the few
# steps that tens of recordings make; with 200 and 1,000 recordings the two rates gave the same.
FINE_TUNING_DEFAULTS: dict[str, Any] = {"learning_rate": 3e-4}
# Arguments that the one-cycle schedule replaces.
REPLACED_BY_ONE_CYCLE = ("lr_scheduler_type", "warmup_steps", "warmup_epochs")
_TRAINED_HEAD: dict[str, Any] = {"group": "Classification head", "used_by": "training"}
_REPORT: dict[str, Any] = {"group": "Report"}


@dataclass(frozen=True)
class LearningSettings(FineTuneSettings, Readout):
    """How a classifier is built on an encoder and fitted; the `help` of each option describes it.

    Args:
        training: Fields of the Trainer's arguments that were set.
        given: Names that were set explicitly, here and in `training`.
    """

    head_first: bool = option(
        True,
        help="Start fine-tuning from the head of a probe instead of a random one (linear heads, no head_epochs).",
        group="Classification head",
        used_by="fine_tuning",
        # The head of a probe is linear, and epochs of the head alone take its place.
        only_if=lambda one: not one.head_first or not (one.head_epochs or one.head_hidden_sizes),
    )
    head_hidden_sizes: list[int] | None = option(
        None, help="Widths of the hidden layers of the head. Default: those of the checkpoint.", **_TRAINED_HEAD
    )
    head_dropout: float | None = option(
        None, help="Dropout before the last layer of the head. Default: that of the checkpoint.", **_TRAINED_HEAD
    )
    head_batch_norm: bool | None = option(
        None, help="BatchNorm before each layer of the head. Default: as in the checkpoint.", **_TRAINED_HEAD
    )
    arcface_scale: float | None = option(
        None, help="Scale of the ArcFace loss (labels patients). Default: that of the checkpoint.", **_TRAINED_HEAD
    )
    arcface_margin: float | None = option(
        None, help="Angular margin of the ArcFace loss (rad). Default: that of the checkpoint.", **_TRAINED_HEAD
    )
    scratch: dict[str, Any] = option(
        default_factory=dict,
        help="Settings of the baseline from_scratch, by name. Default: the supervised recipe of the architecture.",
        group="Training",
        used_by="fine_tuning",
    )
    attn_implementation: str | None = option(None, help="Attention kernel (eager, sdpa, ...).")
    encode_batch_size: int = option(256, help="Inference batch size, in windows.", recorded=False)
    seed: int = option(0, help="Seed for head initialization, data order and splits.")
    training: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    @property
    def head(self) -> dict[str, Any]:
        """The fields of a config that were set for the head."""
        return self._set_among("head_hidden_sizes", "head_dropout", "head_batch_norm")

    @property
    def arcface(self) -> dict[str, Any]:
        """The fields of a config that were set for the ArcFace loss."""
        return self._set_among("arcface_scale", "arcface_margin")

    def _set_among(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def with_values(self, values: Mapping[str, Any]) -> "LearningSettings":
        """These settings with others by name: fields of this class, or of the Trainer's arguments."""
        own = {entry.name for entry in fields(self)}
        changed = {name: value for name, value in values.items() if name in own}
        training = {**self.training, **{name: value for name, value in values.items() if name not in own}}
        return replace(self, **changed, training=training)

    def of_mode(self, mode: Mode, config: "PreTrainedConfig") -> "LearningSettings":
        """These settings with the supervised recipe of the architecture where a training starts from random weights.

        In such a mode the recipe is the default of what was not set; in a mode whose baseline is such a mode it is the
        default of what `scratch` does not set.

        Args:
            mode: The mode.
            config: Config of the checkpoint.
        """
        recipe = supervised_recipe(config)
        if mode.initialization == "random":
            unset = {name: value for name, value in recipe.items() if name not in self.given}
            return self.with_values({**unset, **self.scratch})
        return replace(self, scratch={**recipe, **self.scratch})

    def of_baseline(self, mode: Mode) -> "LearningSettings":
        """The settings of a mode's baseline: those of the mode, with `scratch` where the baseline is another mode."""
        return self if mode.baseline == mode.name else replace(self.with_values(self.scratch), scratch={})


@dataclass(frozen=True)
class ReportSettings:
    """How results are computed and where they go."""

    unit: Literal["record", "patient"] = option("record", help="Resampling unit of the bootstrap.", **_REPORT)
    resamples: int = option(1000, help="Number of bootstrap resamples.", **_REPORT)
    no_baseline: bool = option(False, help="Leave out the baseline.", **_REPORT)
    noise_levels: list[int] | None = option(
        None, help="Score under these levels of added noise too, 1 (least) to 6, e.g. 1-6.", **_REPORT
    )
    label_efficiency: list[float] | None = option(
        None,
        help="Repeat with the first n training folds, for each of these n (1,2,4,8), or with shares of all (0.0115), "
        "with table and plot.",
        recorded=False,
        **_REPORT,
    )
    card: str | None = option(
        None,
        help="Add the entries to hub_cards/CARD/results.json, with run.json and labels.csv of the run.",
        recorded=False,
        **_REPORT,
    )


def supervised_recipe(config: "PreTrainedConfig") -> dict[str, Any]:
    """The settings with which an architecture is trained from random weights on labels, by name.

    It is in `recipe_<model_type>.py`, next to the config class; a family without one has that of the family whose
    config it subclasses, one that trains any backbone that of the backbone.

    Args:
        config: Config of the checkpoint.

    Returns:
        Fields of `LearningSettings` and of the Trainer's arguments; none for an architecture without a recipe.
    """
    config = getattr(config, "backbone_config", None) or config
    for model_type in dict.fromkeys(getattr(family, "model_type", None) for family in type(config).__mro__):
        if model_type in ARCHITECTURES:
            module = f"{ARCHITECTURES[model_type].config.__module__.rpartition('.')[0]}.recipe_{model_type}"
            if find_spec(module) is not None:
                return dict(import_module(module).SUPERVISED_RECIPE)
    return {}
