"""The Trainer of self-supervised ECG models: draws that belong to the step, named loss terms, whole checkpoints."""

import os
import re
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer
from transformers.optimization import get_scheduler
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalLoopOutput, TrainOutput
from transformers.utils import ModelOutput, logging

from ..errors import CheckpointError
from .arguments import NO_DECAY
from .callbacks import LogAtSave, LossCallback, MomentumCallback, StepCallback
from .data import EpochSampler, WindowDataset, as_it_is
from .draws import slice_draws, step_generator
from .loss_log import LossLog
from .protocol import PretrainingModel
from .resume import (
    UNFINISHED,
    check_checkpoint,
    discard_unfinished,
    keep_newest,
    newest_complete_checkpoint,
    seal_checkpoint,
)
from .schedules import PlateauAfterWarmup, ScheduleCallback, start_above_zero

__all__ = ["EcgTrainer"]

logger = logging.get_logger(__name__)


class EcgTrainer(Trainer):
    """Trainer for every `XForPreTraining` of the package.

    What it adds to Transformers' Trainer:

    - All random numbers of a step (views, masks, noise) are drawn on the device for the combined batch of all
      processes, from a generator seeded by (seed, global step, micro step), and passed to `forward` explicitly. A
      resumed run is the same run bit for bit, and two processes train like one.
    - Every loss term is logged under its own name, in training and evaluation; `LossCallback` adds and re-weights
      terms, `ScheduleCallback` changes weights, momentum and temperature over the run.
    - Warm-up from a rate above zero, and reduce-on-plateau after it.
    - Checkpoints appear whole or do not count; `train(resume_from_checkpoint=True)` takes the newest complete one.
    - Norms, biases, position tables and tokens are not decayed.

    A model offers `draw`, `apply_draws`, `shared_draws`, `loss_weights` and `momentum_update`; see
    `MaeMocoForPreTraining`.

    Args:
        model: The pretraining model.
        args: Arguments of the run; plain `TrainingArguments` will do.
        train_dataset: `WindowDataset`, or any dataset whose items hold the model's inputs.
        eval_dataset: The same for validation.
        processing_class: Feature extractor; saved with each checkpoint.
        callbacks: Further callbacks.
        **kwargs: As for `transformers.Trainer`.
    """

    # The loss is a mean over the micro-batch, to be divided by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(self, model=None, args=None, *, train_dataset=None, eval_dataset=None, callbacks=None, **kwargs):
        if isinstance(train_dataset, WindowDataset):
            kwargs.setdefault("data_collator", as_it_is)
        self.epoch_sampler: EpochSampler | None = None
        self.plateau_scheduler: PlateauAfterWarmup | None = None
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[StepCallback(self), *(callbacks or [])],
            **kwargs,
        )
        if self.args.n_gpu > 1:
            raise CheckpointError(
                f"{self.args.n_gpu} GPUs are visible to one process, which would split each batch and lose the queue. "
                "Start with `accelerate launch` (one process per GPU), or set CUDA_VISIBLE_DEVICES=0."
            )
        # Last of all, after the callbacks that decide about saving.
        self.add_callback(LogAtSave())
        self._set_momentum_rule()
        self._log = LossLog()
        self._evaluation_log = LossLog()
        self._micro_step = -1
        self._drawn_step = -1
        self._evaluation_batch = 0

    # ---- the loss --------------------------------------------------------------------------------------------------

    @property
    def core_model(self) -> PretrainingModel:
        """The model without the wrappers of DDP or torch.compile."""
        return cast(PretrainingModel, self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

    @property
    def output_dir(self) -> Path:
        """Folder of the run."""
        return Path(str(self.args.output_dir))

    def _set_momentum_rule(self) -> None:
        config = self.core_model.config
        if hasattr(config, "momentum_update_in_forward"):
            accumulated = self.args.gradient_accumulation_steps > 1
            config.momentum_update_in_forward = not accumulated
            if accumulated:
                self.add_callback(MomentumCallback())

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Draw this step's random numbers, call the model with them, and put the loss together."""
        core = self.core_model
        inputs = {**inputs, **self._random_inputs(core, inputs)}
        outputs = model(**inputs)
        loss, terms = self._total_loss(core, inputs, outputs)
        log = self._log if core.training else self._evaluation_log
        log.add(terms, rows=len(inputs[core.main_input_name]))
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _random_inputs(self, core: PretrainingModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """This process's views, noise and masks of this step."""
        values = inputs[core.main_input_name]
        if core.training:
            self._micro_step = self._micro_step + 1 if self._drawn_step == self.state.global_step else 0
            self._drawn_step = self.state.global_step
            generator = step_generator(
                self.args.seed, self.state.global_step, self._micro_step, stream="train", device=values.device
            )
            rows = self._train_batch_size
        else:
            # The same views and masks at every evaluation, so that epochs can be compared.
            generator = step_generator(self.args.seed, self._evaluation_batch, stream="evaluate", device=values.device)
            self._evaluation_batch += 1
            rows = self.args.eval_batch_size
        draws = core.draw(rows * self.args.world_size, generator=generator, device=values.device)
        draws = slice_draws(draws, core.shared_draws, start=self.args.process_index * rows, rows=len(values))
        masks = {"attention_mask": inputs["attention_mask"]} if "attention_mask" in inputs else {}
        return core.apply_draws(values, draws, **masks)

    def _total_loss(
        self, core: PretrainingModel, inputs: dict[str, torch.Tensor], outputs: ModelOutput
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss with the extra terms and weights of the callbacks, and all terms by name."""
        loss = outputs["loss"]
        weights = dict(core.loss_weights)
        terms = {name: outputs[name] for name in weights if name in outputs}
        extra: dict[str, torch.Tensor] = {}
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, LossCallback):
                extra |= callback.on_compute_loss(self.args, self.state, self.control, core, inputs, outputs) or {}
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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with the mean of every loss term, and with the values that schedules drive."""
        if "loss" in logs:
            logs |= self._log.drain(self.accelerator)
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ScheduleCallback):
                    logs |= callback.values
        super().log(logs, start_time)

    def floating_point_ops(self, inputs) -> int:
        """No estimate: the Trainer's takes each sample of a signal for a token and walks over the model every step."""
        return 0

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Evaluate with fixed draws; the metrics hold every loss term, and training goes on as if nothing had been."""
        self._evaluation_batch = 0
        if self.args.world_size > 1 and self.args.ddp_broadcast_buffers is not False:
            # Judge the model that is kept: BatchNorm statistics are the first process's, as in DDP's next forward pass.
            from accelerate.utils import broadcast

            broadcast(list(self.core_model.buffers()))
        # A loader takes a number from torch's global generator when it starts; dropout must not notice.
        with torch.random.fork_rng(devices=[]):
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        terms = self._evaluation_log.drain(self.accelerator)
        named = {f"{metric_key_prefix}_{name}": value for name, value in terms.items()}
        return output._replace(metrics={**(output.metrics or {}), **named})

    # ---- data, optimizer, rate -------------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.epoch_sampler = EpochSampler(len(dataset), seed=seed, carry_epoch=isinstance(dataset, WindowDataset))
        return self.epoch_sampler

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay applies to: norms and biases if asked for, no exempted ones."""
        if getattr(self.args, "decay_norms_and_biases", False):
            decayed = [name for name, _ in model.named_parameters()]
        else:
            shapes = {name: parameter.ndim for name, parameter in model.named_parameters()}
            # One axis: a bias, or the scale of a norm of whatever class.
            decayed = [name for name in super().get_decay_parameter_names(model) if shapes[name] > 1]
        exempt = [re.compile(pattern) for pattern in getattr(self.args, "no_decay", NO_DECAY)]
        return [name for name in decayed if not any(pattern.search(name) for pattern in exempt)]

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """Create the schedule of the learning rate; its first step has a rate above zero."""
        if self.lr_scheduler is not None:
            return self.lr_scheduler
        args = self.args
        optimizer = self.optimizer if optimizer is None else optimizer
        warmup_steps = self._warmup_steps(num_training_steps)
        options: dict[str, Any] = dict(args.lr_scheduler_kwargs or {})  # type: ignore[arg-type]  # text is parsed by now
        if args.lr_scheduler_type == "reduce_lr_on_plateau":
            self.plateau_scheduler = PlateauAfterWarmup(optimizer, warmup_steps, **options)
            self.lr_scheduler = self.plateau_scheduler  # type: ignore[assignment]  # the Trainer expects either
        else:
            kind = args.lr_scheduler_type
            if kind == "constant" and warmup_steps:
                # Transformers' "constant" passes over the warm-up without a word.
                kind = "constant_with_warmup"
            self.lr_scheduler = get_scheduler(
                kind,
                optimizer=optimizer,
                num_warmup_steps=warmup_steps,
                num_training_steps=num_training_steps,
                scheduler_specific_kwargs=options,
            )
            if isinstance(self.lr_scheduler, LambdaLR) and warmup_steps:
                start_above_zero(self.lr_scheduler, warmup_steps)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_eval_dataloader(self, eval_dataset=None):
        """As the Trainer makes it, but every record counts: only training needs batches of one size."""
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last

    def set_initial_training_values(self, args, dataloader):
        """As the Trainer does it; the steps of an epoch are kept for a warm-up that is given in epochs."""
        values = super().set_initial_training_values(args, dataloader)
        self._steps_per_epoch = values[1]
        return values

    def _warmup_steps(self, num_training_steps: int) -> int:
        epochs = getattr(self.args, "warmup_epochs", None)
        if epochs is None:
            return self.args.get_warmup_steps(num_training_steps)
        return round(epochs * self._steps_per_epoch)

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None) -> TrainOutput:
        """Train, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: True for the newest complete checkpoint of `args.output_dir`, or a
                checkpoint folder.
            trial: As for `transformers.Trainer.train`.
            ignore_keys_for_eval: As for `transformers.Trainer.train`.

        Raises:
            CheckpointError: If the checkpoint is not complete, or there is none.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_complete_checkpoint(self.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(
                    f"{self.args.output_dir} has no complete checkpoint to resume from. Start without resuming."
                )
        elif resume_from_checkpoint:
            resume_from_checkpoint = check_checkpoint(resume_from_checkpoint)
        if self.args.should_save:
            discard_unfinished(self.output_dir)
        resume = str(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(resume, trial, ignore_keys_for_eval)

    def _save_checkpoint(self, model, trial) -> None:
        """Write the checkpoint aside, then move it into place as a whole; the marker comes last."""
        self.store_flos()
        run = Path(self._get_output_dir(trial=trial))
        final = run / f"checkpoint-{self.state.global_step}"
        unfinished = final.with_name(final.name + UNFINISHED)
        self.save_model(str(unfinished), _internal_call=True)
        if self.state.best_global_step:
            best = run / f"checkpoint-{self.state.best_global_step}"
            if best.is_dir() or best == final:
                self.state.best_model_checkpoint = str(best)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(unfinished))
            self._save_scaler(str(unfinished))
            self._save_rng_state(str(unfinished))
        # Every process has written its part before the first one declares the whole complete.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            stateful = [
                cb for cb in [*self.callback_handler.callbacks, self.control] if isinstance(cb, ExportableState)
            ]
            saved: dict[str, Any] = {type(callback).__name__: callback.state() for callback in stateful}
            # A dictionary since the state was made, whatever its annotation says.
            cast(dict, self.state.stateful_callbacks).update(saved)
            self.state.save_to_json(str(unfinished / "trainer_state.json"))
            seal_checkpoint(unfinished, final)
            keep_newest(run, self.args.save_total_limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save weights, config and feature extractor; no pickle of the arguments."""
        if not self.args.should_save:
            return
        folder = str(self.output_dir) if output_dir is None else output_dir
        os.makedirs(folder, exist_ok=True)
        # A bar for each file written would break up the bar of the run.
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        self.core_model.save_pretrained(folder, state_dict=state_dict)
        if shown:
            logging.enable_progress_bar()
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
