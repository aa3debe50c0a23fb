"""Callbacks of the pretraining loop: a user's hook into the loss, the momentum twin, the clock, early stopping."""

import time

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import ModelOutput, logging

from .protocol import PretrainingModel
from .schedules import PlateauAfterWarmup

__all__ = ["ClockCallback", "LossCallback", "MomentumCallback", "ResumedEarlyStopping", "StepCallback"]

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
        """Called after every forward pass, in training and in evaluation (`model.training` tells which).

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


class StepCallback(TrainerCallback):
    """What the loop itself needs at fixed places: the sampler's epoch and the count of the plateau's warm-up."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Give the sampler the epoch; Trainer and accelerate do not reach it in every set-up."""
        if self.trainer.epoch_sampler is not None:
            self.trainer.epoch_sampler.epoch = int(state.epoch or 0)

    def on_step_end(self, args, state, control, **kwargs):
        """Count the step for the plateau's warm-up."""
        scheduler = self.trainer.plateau_scheduler
        if isinstance(scheduler, PlateauAfterWarmup):
            scheduler.finish_train_step()
        return control


class LogAtSave(TrainerCallback):
    """Logs whenever a checkpoint is due: running means are not in a checkpoint, so none may be under way in one."""

    def on_step_end(self, args, state, control, **kwargs):
        """Close the running means before the checkpoint is written."""
        if control.should_save:
            control.should_log = True
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        """Do the same at the end of an epoch."""
        return self.on_step_end(args, state, control)


class MomentumCallback(TrainerCallback):
    """Moves the momentum twin once per optimizer step, where gradients are accumulated over several forward passes.

    With N micro-batches per step the published rule "one update per forward" would act as momentum**N
    (specification of MAE-MoCo, 4.9).
    """

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        """Update before the first micro-batch, where the forward pass would have done it."""
        model.momentum_update()


class ClockCallback(TrainerCallback):
    """Ends the run cleanly after a given time: checkpoint, then whatever follows `train()`.

    Args:
        max_seconds: Seconds after which the step under way is the last.
        started: `time.monotonic()` at which the clock started; now if not given.
    """

    def __init__(self, max_seconds: float, *, started: float | None = None):
        self.max_seconds = max_seconds
        self.started = time.monotonic() if started is None else started

    def on_step_end(self, args, state, control, **kwargs):
        """Stop if the time is over."""
        over = time.monotonic() - self.started >= self.max_seconds
        if args.world_size > 1:
            # All processes must stop at the same step: the first one decides.
            from accelerate.utils import broadcast

            over = bool(broadcast(torch.tensor([over], dtype=torch.int32, device=args.device)).item())
        if over and state.global_step < state.max_steps:
            logger.warning(f"{self.max_seconds:g} seconds are over: stopping after step {state.global_step}.")
            control.should_training_stop = True
            control.should_save = True
        return control


class ResumedEarlyStopping(EarlyStoppingCallback):
    """Early stopping whose count of evaluations without improvement survives a resume."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Take the count from the checkpoint's Trainer state."""
        super().on_train_begin(args, state, control, **kwargs)
        saved = state.stateful_callbacks.get(type(self).__name__, {})
        self.early_stopping_patience_counter = saved.get("attributes", {}).get("early_stopping_patience_counter", 0)
