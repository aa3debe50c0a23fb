"""Callbacks of the training loop: loss terms of the user, hooks of the model, a time limit, early stopping."""

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import ModelOutput, logging

from .protocol import PretrainingModel

__all__ = ["ClockCallback", "HookCallback", "LogAtSave", "LossCallback", "ResumedEarlyStopping"]

logger = logging.get_logger(__name__)


class LossCallback(TrainerCallback):
    """A callback that adds terms to the loss or re-weights its terms; override `on_compute_loss`.

    Example:
        >>> class SmallTokens(LossCallback):
        ...     def on_compute_loss(self, args, state, control, model, inputs, outputs):
        ...         model.loss_weights["reconstruction_loss"] = 40.0 if state.global_step < 1000 else 4.0
        ...         return {"token_norm_loss": 1e-3 * outputs.last_hidden_state.square().mean()}
    """

    def on_compute_loss(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PretrainingModel,
        inputs: dict[str, torch.Tensor],
        outputs: ModelOutput,
    ) -> dict[str, torch.Tensor] | None:
        """Called after every forward pass, in training and in evaluation (see `model.training`).

        Args:
            args: Arguments of the run.
            state: State of the run; `state.global_step` is the number of finished steps.
            control: The Trainer's control object.
            model: The unwrapped model; a change of `model.loss_weights` counts from this very step.
            inputs: What the model was called with, views and noise included.
            outputs: What it returned.

        Returns:
            Extra terms by name, scalars with gradient. Each is added to the loss times `model.loss_weights[name]` (1 if
            the name is not there) and logged under its name.
        """
        return None


class HookCallback(TrainerCallback):
    """Calls the hooks of a pretraining model before and after `optimizer.step()`.

    Args:
        call: Called with the name of the hook.
    """

    def __init__(self, call: Callable[[str], None]):
        self.call = call

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Gradients are complete."""
        self.call("before_optimizer_step")

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Weights are new; the step is not yet counted."""
        self.call("after_step")


class LogAtSave(TrainerCallback):
    """Logs whenever a checkpoint is due: running means are not saved, so a checkpoint must hold none."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Close the running means before the checkpoint is written."""
        if control.should_save:
            control.should_log = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Do the same at the end of an epoch."""
        return self.on_step_end(args, state, control)


class ClockCallback(TrainerCallback):
    """Ends a training after a given time, with a checkpoint from which it can be resumed.

    Args:
        max_seconds: Time limit (s); the step during which it passes is the last. `None` = no limit.
        started: `time.monotonic()` at which the clock started. Default: now.

    Attributes:
        unfinished: Once it ended a training: its steps done (`steps`) and planned (`max_steps`); else empty.
    """

    def __init__(self, max_seconds: float | None, *, started: float | None = None):
        self.max_seconds = max_seconds
        self.unfinished: dict[str, int] = {}
        self.started = time.monotonic() if started is None else started

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop if the time limit has passed."""
        if self.max_seconds is None:
            return control
        over = time.monotonic() - self.started >= self.max_seconds
        if args.world_size > 1:
            # All processes must stop at the same step: the first one decides.
            from accelerate.utils import broadcast

            over = bool(broadcast(torch.tensor([over], dtype=torch.int32, device=args.device)).item())
        if over and state.global_step < state.max_steps:
            logger.warning(f"time limit of {self.max_seconds:g} s reached: stopping after step {state.global_step}.")
            self.unfinished = {"steps": state.global_step, "max_steps": state.max_steps}
            control.should_training_stop = True
            control.should_save = True
        return control


class ResumedEarlyStopping(EarlyStoppingCallback):
    """Early stopping whose count of evaluations without improvement survives a resume."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Take the count from the checkpoint's Trainer state; a run that it had ended stays ended."""
        super().on_train_begin(args, state, control, **kwargs)
        saved = cast(dict[str, Any], state.stateful_callbacks).get(type(self).__name__, {})
        self.early_stopping_patience_counter = saved.get("attributes", {}).get("early_stopping_patience_counter", 0)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            logger.warning(f"early stopping ended this run at step {state.global_step}: nothing is left to train.")
            control.should_training_stop = True
        return control
