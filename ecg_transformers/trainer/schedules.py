"""Schedules: of the learning rate, and of loss weights, momentum and temperature of the objective."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..errors import CheckpointError

if TYPE_CHECKING:
    from .protocol import PretrainingModel

__all__ = ["PlateauAfterWarmup", "Schedule", "ScheduleCallback", "reason_unbuilt", "start_above_zero"]

logger = logging.get_logger(__name__)


def start_above_zero(scheduler: LambdaLR, warmup_steps: int) -> LambdaLR:
    """Shift the warm-up by one step: the rate of step s (from 0) is `base * (s + 1) / warmup_steps`.

    Transformers' schedules give the first step a rate of exactly zero, which wastes it; here the rate reaches its base
    at the last step of the warm-up. After the warm-up nothing changes.
    """

    def shifted(rate: Callable[[int], float]) -> Callable[[int], float]:
        return lambda step: rate(step + 1) if step < warmup_steps else rate(step)

    scheduler.lr_lambdas = [shifted(rate) for rate in scheduler.lr_lambdas]
    factors = [rate(scheduler.last_epoch) for rate in scheduler.lr_lambdas]
    for group, base, factor in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, factors, strict=True):
        group["lr"] = base * factor
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]
    return scheduler


class PlateauAfterWarmup(ReduceLROnPlateau):
    """Linear warm-up, then the rate is multiplied by `factor` when the validation loss stays on a plateau.

    The Trainer calls `step(metric)` after each evaluation because the type is a `ReduceLROnPlateau`;
    `finish_train_step` is called after each optimizer step. Evaluations during the warm-up are not counted. All state
    is plain numbers in `state_dict()`, so a resumed run resumes exactly.

    Args:
        optimizer: Its current rates are the base rates.
        warmup_steps: Optimizer steps of the warm-up; step s (from 0) has `base * (s + 1) / warmup_steps`.
        factor: 0.9, MAE-MoCo section 5.4.
        patience: 15 evaluations without improvement are tolerated, the 16th reduces (MAE-MoCo section 5.4).
        threshold: Relative improvement that counts.
        min_lr: Rate below which nothing is reduced.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int = 0,
        *,
        factor: float = 0.9,
        patience: int = 15,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
    ):
        super().__init__(optimizer, mode="min", factor=factor, patience=patience, threshold=threshold, min_lr=min_lr)
        self.warmup_steps = warmup_steps
        self.train_steps = 0
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self._set_warmup_rate()

    def _set_warmup_rate(self) -> None:
        if self.train_steps < self.warmup_steps:
            for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
                group["lr"] = base * (self.train_steps + 1) / self.warmup_steps

    def finish_train_step(self) -> None:
        """Count one optimizer step and set the rate of the next while the warm-up lasts."""
        self.train_steps += 1
        self._set_warmup_rate()

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]  # torch's own base class does the same
        """Judge one evaluation; nothing happens before the warm-up is over."""
        if self.train_steps >= self.warmup_steps:
            super().step(metrics) if epoch is None else super().step(metrics, epoch)


def reason_unbuilt(model: "PretrainingModel", name: str) -> str | None:
    """Why a model has no such loss term although its config knows it; None for any other name.

    Args:
        model: The pretraining model.
        name: Name of a loss term; its weight in the config ends in `_weight` instead of `_loss`.
    """
    field = f"{name.removesuffix('_loss')}_weight"
    if getattr(model.config, field, None) != 0:
        return None
    return (
        f"{name!r}, but this {type(model).__name__} was built without that term because {field} is 0 in its config. "
        f"Set {field} above 0; a schedule may start at 0 then."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


@dataclass(frozen=True)
class Schedule:
    """A value as a function of the optimizer step.

    Args:
        kind: `"constant"`, `"linear"`, `"cosine"` (half a period, flat at both ends) or `"exponential"` (a factor per
            step).
        start: Value at and before `from_step`.
        end: Value at and after `to_step`, never passed; not used by `"constant"`.
        from_step: Step at which the change begins.
        to_step: Step at which it is complete; the end of the run if not given.
        decay: Factor per step of `"exponential"`, until `end` is reached. Default: that which reaches it at `to_step`.

    Example:
        >>> Schedule("linear", 0.99, 1.0, to_step=100)(50, max_steps=1000)
        0.995
    """

    kind: str
    start: float
    end: float | None = None
    from_step: int = 0
    to_step: int | None = None
    decay: float | None = None

    def __post_init__(self) -> None:
        kinds = ("constant", "linear", "cosine", "exponential")
        if self.kind not in kinds:
            raise CheckpointError(f"Schedule kind {self.kind!r} is not known; set one of {', '.join(kinds)}.")
        if self.kind != "constant" and self.end is None:
            raise CheckpointError(f"A {self.kind} schedule needs `end`, the value it ends at.")
        if self.kind == "exponential":
            self._check_exponential()
        elif self.decay is not None:
            raise CheckpointError(f"A {self.kind} schedule has no `decay`; leave it out, or set kind to 'exponential'.")

    def _check_exponential(self) -> None:
        end = cast(float, self.end)
        if not self.start > 0 or not end > 0:
            raise CheckpointError(f"An exponential schedule from {self.start} to {end}: both must be positive.")
        if self.decay is not None and self.to_step is not None:
            raise CheckpointError(
                "An exponential schedule has `decay` or `to_step`, not both: either says when `end` is reached."
            )
        if self.decay is not None and not (self.decay > 0 and (self.decay - 1) * (end - self.start) > 0):
            raise CheckpointError(
                f"decay {self.decay} does not lead from {self.start} to {end}; set a factor "
                f"{'between 0 and 1' if end < self.start else 'above 1'}."
            )

    def __call__(self, step: int, max_steps: int) -> float:
        """Value at `step` of a run of `max_steps`."""
        if self.kind == "constant" or self.end is None:
            return float(self.start)
        last = self.to_step if self.to_step is not None else max_steps
        if self.decay is not None:
            value = self.start * self.decay ** max(0, step - self.from_step)
            return float(max(value, self.end) if self.end < self.start else min(value, self.end))
        progress = min(1.0, max(0.0, (step - self.from_step) / max(1, last - self.from_step)))
        if self.kind == "exponential":
            return float(self.start * (self.end / self.start) ** progress)
        if self.kind == "cosine":
            progress = 0.5 - 0.5 * math.cos(math.pi * progress)
        return float(self.start + (self.end - self.start) * progress)


class ScheduleCallback(TrainerCallback):
    """Sets weights of loss terms, momentum and temperature at the beginning of each step.

    Values are functions of `state.global_step` alone, so nothing has to be saved. A name in `model.loss_weights` (such
    as `"reconstruction_loss"`) sets that weight, any other name (such as `"momentum"`) the model's attribute.

    Args:
        schedules: Name to `Schedule`, or to a dictionary of its fields as a YAML file has it, for example
            `{"momentum": {"kind": "cosine", "start": 0.99, "end": 1.0}}`.
    """

    def __init__(self, schedules: dict[str, Schedule | dict]):
        self.schedules = {name: self._schedule(name, value) for name, value in schedules.items()}
        self.values: dict[str, float] = {}

    @staticmethod
    def _schedule(name: str, value: Schedule | dict) -> Schedule:
        if isinstance(value, Schedule):
            return value
        try:
            return Schedule(**value)
        except TypeError as error:
            raise CheckpointError(
                f"The schedule of {name!r} is {value!r}; expected a dictionary with kind, start, end, from_step, "
                "to_step, decay (the last four as needed)."
            ) from error

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: "PretrainingModel | None" = None,
        **kwargs: Any,
    ) -> None:
        """Refuse names that the model does not have, and terms that it was built without."""
        model = cast("PretrainingModel", model)
        for name in self.schedules:
            if name not in model.loss_weights and not _is_number(getattr(model, name, None)):
                if reason := reason_unbuilt(model, name):
                    raise CheckpointError(f"There is a schedule for {reason}")
                offered = ("momentum", "temperature", *getattr(model, "default_schedules", {}))
                numbers = [other for other in offered if _is_number(getattr(model, other, None))]
                known = [*model.loss_weights, *numbers]
                near = difflib.get_close_matches(name, known, n=1)
                raise CheckpointError(
                    f"{type(model).__name__} has nothing called {name!r} to schedule"
                    + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}.")
                )

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: "PretrainingModel | None" = None,
        **kwargs: Any,
    ) -> None:
        """Write this step's values to the model."""
        model = cast("PretrainingModel", model)
        for name, schedule in self.schedules.items():
            value = schedule(state.global_step, state.max_steps)
            if name in model.loss_weights:
                model.loss_weights[name] = value
                self.values[f"{name}_weight"] = value
            else:
                setattr(model, name, value)
                self.values[name] = value
