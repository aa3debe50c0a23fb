"""The Trainer of self-supervised models: random views and masks of the step, named loss terms, adversarial phases."""

from typing import Any, cast

import torch
from torch import nn
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import ModelOutput

from ..errors import ArgumentsError, CheckpointError
from ..objectives.progress import Progress
from .callbacks import HookCallback, LossCallback
from .loss_log import LossLog
from .protocol import PretrainingModel
from .schedules import ScheduleCallback, reason_unbuilt
from .trainer import EcgTrainer

__all__ = ["PretrainingTrainer"]


class PretrainingTrainer(EcgTrainer):
    """`EcgTrainer` for every `XForPreTraining` of the package; see `PretrainingModel` for what a model offers.

    What it adds:

    - Everything random of a step (views, masks, noise) is drawn on the device for this process's rows and passed to
      `forward` explicitly.
    - Every loss term, and every value that the model names in `logged_values`, is logged under its own name in
      training and evaluation; `LossCallback` adds and re-weights terms, `ScheduleCallback` changes weights, momentum
      and temperature over the run.
    - Schedules that the model names in `default_schedules` run, unless the caller schedules the same value.
    - The hooks `before_step`, `before_optimizer_step` and `after_step` of the model are called once per optimizer
      step.
    - A model with `phases` is trained adversarially: one optimizer step per phase.

    Args:
        model: The pretraining model.
        args: Arguments of the run; plain `TrainingArguments` will do.
        **kwargs: As for `EcgTrainer`.

    Raises:
        ArgumentsError: If a model with phases is to be trained with gradient accumulation, gradient clipping or in
            several processes.
        CheckpointError: If the phases of a model do not cover its trainable parameters.

    Example:
        A new loss term and a schedule without a subclass::

            class SmallTokens(LossCallback):
                def on_compute_loss(self, args, state, control, model, inputs, outputs):
                    return {"token_norm_loss": 1e-3 * outputs.last_hidden_state.square().mean()}

            PretrainingTrainer(model, args, train_dataset=data, callbacks=[SmallTokens()]).train()
    """

    def __init__(self, model: nn.Module | None = None, args: Any = None, **kwargs: Any):
        super().__init__(model, args, **kwargs)
        self.add_callback(HookCallback(self.call_hook))
        self._add_default_schedules()
        self._log = LossLog()
        self._evaluation_log = LossLog()
        self._phase_parameters = self._check_phases()

    def _add_default_schedules(self) -> None:
        """Run the schedules that the model has of its own, except for what a schedule of the caller sets."""
        callbacks = [callback for callback in self.callback_handler.callbacks if isinstance(callback, ScheduleCallback)]
        taken = {name for callback in callbacks for name in callback.schedules}
        own = getattr(self.core_model, "default_schedules", {})
        if left := {name: own[name] for name in own if name not in taken}:
            self.add_callback(ScheduleCallback(left))

    @property
    def pretraining_model(self) -> PretrainingModel:
        """The model without the wrappers of DDP or torch.compile."""
        return cast(PretrainingModel, self.core_model)

    def call_hook(self, name: str) -> None:
        """Call a hook of the model, if it offers it, with the position in the run.

        Args:
            name: `"before_step"`, `"before_optimizer_step"` or `"after_step"`.
        """
        hook = getattr(self.core_model, name, None)
        if hook is not None:
            state = self.state
            hook(Progress(state.global_step, state.max_steps, float(state.epoch or 0.0)))

    # ---- the loss --------------------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor | Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """As in Transformers, between the hooks of the model, and phase by phase if it has phases."""
        if self.micro_step == 0:
            self.call_hook("before_step")
        if self._phase_parameters:
            return self._phased_step(model, inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Draw this step's random numbers, call the model with them, and add up the loss."""
        loss, outputs = self._loss_and_outputs(model, self._with_draws(inputs))
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _with_draws(self, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
        """The batch with this step's views, noise and masks."""
        core = self.pretraining_model
        draws = core.draw(self.row_generator(inputs[core.main_input_name]))
        return {**inputs, **core.apply_draws(inputs, draws)}

    def _loss_and_outputs(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        core = self.pretraining_model
        outputs = model(**inputs)
        loss, terms = self._total_loss(core, inputs, outputs)
        values = {name: outputs[name] for name in getattr(core, "logged_values", ()) if outputs.get(name) is not None}
        log = self._log if core.training else self._evaluation_log
        log.add({**terms, **values}, rows=len(inputs[core.main_input_name]))
        return loss, outputs

    def _total_loss(
        self, core: PretrainingModel, inputs: dict[str, Any], outputs: ModelOutput
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss with the extra terms and weights of the callbacks, and all terms by name."""
        loss = outputs["loss"]
        weights = dict(core.loss_weights)
        terms = {name: outputs[name] for name in weights if outputs.get(name) is not None}
        extra: dict[str, torch.Tensor] = {}
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, LossCallback):
                extra |= callback.on_compute_loss(self.args, self.state, self.control, core, inputs, outputs) or {}
        for name in core.loss_weights.keys() - terms.keys() - extra.keys():
            if reason := reason_unbuilt(core, name):
                raise CheckpointError(f"model.loss_weights has {reason}")
        if any(core.loss_weights[name] != weight for name, weight in weights.items()):
            loss = sum(core.loss_weights[name] * term for name, term in terms.items())
        for name, term in extra.items():
            if name in terms:
                raise CheckpointError(
                    f"A callback returned the term {name!r}, which {type(core).__name__} computes itself; return a "
                    "new name, or set model.loss_weights[...] to re-weight."
                )
            loss = loss + core.loss_weights.get(name, 1.0) * term
        return loss, {**terms, **extra}

    # ---- adversarial phases ----------------------------------------------------------------------------------------

    def _check_phases(self) -> dict[str, set[nn.Parameter]]:
        """Trainable parameters of each phase of the model; empty without phases."""
        core, args = self.pretraining_model, self.args
        phases = getattr(core, "phases", None) or {}
        if not phases:
            return {}
        name = type(core).__name__
        refused = {
            f"gradient_accumulation_steps is {args.gradient_accumulation_steps}: every phase steps the optimizer, so "
            "that a later micro-batch would meet other weights. Set it to 1.": args.gradient_accumulation_steps > 1,
            f"max_grad_norm is {args.max_grad_norm}: only the last phase would be clipped, which neither network's "
            "publication has. Set it to 0.": args.max_grad_norm > 0,
            f"there are {args.world_size} processes: gradients are synchronized for one backward pass per forward "
            "pass of the whole model, not per phase. Start one process.": args.world_size > 1,
        }
        for reason, is_so in refused.items():
            if is_so:
                raise ArgumentsError(f"{name} is trained in phases ({', '.join(phases)}), but {reason}")
        module = cast(nn.Module, core)
        parameters = {
            phase: {p for part in parts for p in module.get_submodule(part).parameters()}
            for phase, parts in phases.items()
        }
        covered = set().union(*parameters.values())
        left = [name for name, p in module.named_parameters() if p.requires_grad and p not in covered]
        if left:
            raise CheckpointError(f"No phase of {name} trains {left[0]} ({len(left)} parameters); name its module.")
        return parameters

    def _phased_step(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """One optimizer step per phase; the last one is left to the Trainer, whose schedule and callbacks follow it.

        A parameter without gradient is skipped by Adam, moments and step count included. One optimizer over all
        parameters, stepped once a phase with only that phase's gradients present, is therefore exactly one optimizer
        per phase.
        """
        model.train()
        inputs = self._with_draws(cast(dict[str, Any], self._prepare_inputs(inputs)))
        last = next(reversed(self._phase_parameters))
        loss = torch.zeros(())
        for phase, learning in self._phase_parameters.items():
            with self.compute_loss_context_manager():
                loss, outputs = self._loss_and_outputs(model, {**inputs, "phase": phase})
            self.accelerator.backward(loss)
            for parameter in model.parameters():
                if parameter not in learning:
                    parameter.grad = None
            if phase != last:
                inputs = {**inputs, **(outputs.get("handed") or {})}
                self.call_hook("before_optimizer_step")
                cast(torch.optim.Optimizer, self.optimizer).step()
                model.zero_grad(set_to_none=True)
        return loss.detach()

    # ---- logs ------------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with the mean of every loss term and logged value, and with the values that schedules set."""
        if "loss" in logs:
            logs |= self._log.drain(self.accelerator)
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ScheduleCallback):
                    logs |= callback.values
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """As in `EcgTrainer`; the metrics hold every loss term and logged value."""
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        terms = self._evaluation_log.drain(self.accelerator)
        named = {f"{metric_key_prefix}_{name}": value for name, value in terms.items()}
        return output._replace(metrics={**(output.metrics or {}), **named})
