"""The base Trainer of the package: learning rates, record order, random numbers of a step, exact resumption."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.optimization import get_scheduler
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalLoopOutput, TrainOutput
from transformers.utils import logging

from ..augmentations.row_generator import RowGenerator
from ..errors import CheckpointError
from ..inference.loading import quiet_loading
from .callbacks import LogAtSave
from .data import EpochSampler, WindowDataset, check_dataset, identity_collator
from .draws import step_seed
from .published_schedules import published_factor
from .resume import (
    UNFINISHED,
    check_checkpoint,
    check_weights,
    discard_unfinished,
    keep_newest,
    newest_complete_checkpoint,
    seal_checkpoint,
)
from .schedules import PlateauAfterWarmup, start_above_zero
from .settings import NO_DECAY

__all__ = ["EcgTrainer"]

logger = logging.get_logger(__name__)


class EcgTrainer(Trainer):
    """Transformers' Trainer with exact resumption; the base of `PretrainingTrainer` and `FineTuneTrainer`.

    What it adds:

    - `row_generator`: the one source of random numbers in a step, keyed by (seed, step, micro-batch, row). A resumed
      run is the same run bit for bit, and two processes train like one.
    - Record order keyed by (seed, epoch); every validation record counts; evaluation leaves training undisturbed.
    - Warm-up from a rate above zero, and reduce-on-plateau after it.
    - Checkpoints are written atomically; `train(resume_from_checkpoint=True)` takes the newest complete one.
    - Norms, biases, position tables and tokens are exempt from weight decay.

    Args:
        model: The model to train.
        args: Arguments of the run; plain `TrainingArguments` will do.
        train_dataset: `WindowDataset`, or any dataset whose items hold the model's inputs.
        eval_dataset: The same for validation.
        callbacks: Further callbacks.
        **kwargs: As for `transformers.Trainer`; `processing_class` is the feature extractor, saved with each
            checkpoint.

    Raises:
        CorpusError: A dataset holds recordings instead of windows.
        CheckpointError: Several GPUs are visible to one process.

    Attributes:
        first_step: Number of finished steps when this training began: 0, or that of the checkpoint.
        micro_step: Number of the micro-batch within the accumulated step, from 0.
        epoch_sampler: The sampler of the training records, once it is made.
        plateau_scheduler: The scheduler of `lr_scheduler_type="reduce_lr_on_plateau"`, once it is made.
    """

    # The loss is a mean over the micro-batch, to be divided by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        *,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ):
        check_dataset(train_dataset, "train_dataset")
        check_dataset(eval_dataset, "eval_dataset")
        if isinstance(train_dataset, WindowDataset):
            kwargs.setdefault("data_collator", identity_collator)
        self.epoch_sampler: EpochSampler | None = None
        self.plateau_scheduler: PlateauAfterWarmup | None = None
        self.first_step = 0
        self.micro_step = 0
        self._evaluation_batch = 0
        self._unwrapped: tuple[Any, PreTrainedModel] | None = None
        super().__init__(
            model=cast(Any, model),
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[_StepCallback(self), *(callbacks or [])],
            **kwargs,
        )
        if self.args.n_gpu > 1:
            raise CheckpointError(
                f"{self.args.n_gpu} GPUs are visible to one process, which would split each batch and lose the queue. "
                "Start with `accelerate launch` (one process per GPU), or set CUDA_VISIBLE_DEVICES=0."
            )
        # Last of all, after the callbacks that decide about saving.
        self.add_callback(LogAtSave())

    # ---- steps -----------------------------------------------------------------------------------------------------

    @property
    def core_model(self) -> PreTrainedModel:
        """The model without the wrappers of DDP or torch.compile."""
        # Asked for several times a step; accelerate looks on the disk for packages with wrappers each time.
        if self._unwrapped is None or self._unwrapped[0] is not self.model:
            core = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            self._unwrapped = self.model, cast(PreTrainedModel, core)
        return self._unwrapped[1]

    @property
    def output_dir(self) -> Path:
        """Folder of the run."""
        return Path(str(self.args.output_dir))

    def row_generator(self, values: torch.Tensor) -> RowGenerator:
        """Random numbers for this process's rows of the current micro-batch, on their device.

        Everything random in a step comes from here. The numbers of a row depend on the seed of the run, the step, the
        micro-batch and the row's place in the combined batch of all processes. In evaluation the step is the number
        of the batch: every evaluation draws the same, so that epochs can be compared.

        Args:
            values: Any tensor of the batch, rows first.
        """
        if self.core_model.training:
            seed = step_seed(self.args.seed, self.state.global_step, self.micro_step, stream="train")
            rows = self._train_batch_size
        else:
            seed = step_seed(self.args.seed, self._evaluation_batch, stream="evaluate")
            rows = self.args.eval_batch_size
        return RowGenerator(
            len(values),
            seed=seed,
            first_row=self.args.process_index * rows,
            total_rows=self.args.world_size * rows,
            device=values.device,
        )

    def prediction_step(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """As in Transformers; the batches are counted for `row_generator`."""
        output = super().prediction_step(*args, **kwargs)
        self._evaluation_batch += 1
        return output

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """No estimate: the Trainer's takes each sample of a signal for a token and walks over the model every step."""
        return 0

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate with fixed random numbers; training then continues as if nothing had been evaluated."""
        self._evaluation_batch = 0
        if self.args.world_size > 1 and self.args.ddp_broadcast_buffers is not False:
            # Judge the model that is kept: BatchNorm statistics are the first process's, as in DDP's next forward pass.
            from accelerate.utils import broadcast

            broadcast(list(self.core_model.buffers()))
        # A loader takes a number from torch's global generator when it starts; dropout must not notice.
        with torch.random.fork_rng(devices=[]):
            return super().evaluation_loop(*args, **kwargs)

    # ---- data, optimizer, learning rate ------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.epoch_sampler = EpochSampler(len(dataset), seed=seed, carry_epoch=isinstance(dataset, WindowDataset))
        return self.epoch_sampler

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay applies to: norms and biases if requested, no exempted ones."""
        if getattr(self.args, "decay_norms_and_biases", False):
            decayed = [name for name, _ in model.named_parameters()]
        else:
            shapes = {name: parameter.ndim for name, parameter in model.named_parameters()}
            # One axis: a bias, or the scale of a norm of whatever class.
            decayed = [name for name in super().get_decay_parameter_names(model) if shapes[name] > 1]
        exempt = [re.compile(pattern) for pattern in getattr(self.args, "no_decay", NO_DECAY)]
        return [name for name in decayed if not any(pattern.search(name) for pattern in exempt)]

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: PreTrainedModel | None = None) -> tuple[Any, Any]:
        """As in Transformers, which has no Adam with the weight decay in the gradient (`optim: adam`)."""
        if args.optim == "adam":
            betas = (args.adam_beta1, args.adam_beta2)
            return torch.optim.Adam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
        return Trainer.get_optimizer_cls_and_kwargs(args, model)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Create the schedule of the learning rate; its first step has a rate above zero."""
        if self.lr_scheduler is not None:
            return self.lr_scheduler
        args = self.args
        optimizer = cast(torch.optim.Optimizer, self.optimizer) if optimizer is None else optimizer
        warmup_steps = self._warmup_steps(num_training_steps)
        options: dict[str, Any] = dict(args.lr_scheduler_kwargs or {})  # type: ignore[arg-type]  # text is parsed by now
        published = getattr(args, "published_schedule", None)
        if published is not None:
            counted = self._steps_per_epoch if published == "epoch" else 1
            schedule = partial(published_factor, steps=counted, warmup_steps=warmup_steps, max_steps=num_training_steps)
            self.lr_scheduler = LambdaLR(optimizer, schedule)
        elif args.lr_scheduler_type == "reduce_lr_on_plateau":
            self.plateau_scheduler = PlateauAfterWarmup(optimizer, warmup_steps, **options)
            self.lr_scheduler = self.plateau_scheduler  # type: ignore[assignment]  # the Trainer expects either
        else:
            kind = args.lr_scheduler_type
            if kind == "constant" and warmup_steps:
                # Transformers' "constant" ignores the warm-up silently.
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

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As in Transformers, but every record counts: only training needs batches of one size."""
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple[Any, ...]:
        """As in Transformers; the steps of an epoch are kept for a warm-up that is given in epochs."""
        values = super().set_initial_training_values(args, dataloader)
        self._steps_per_epoch = values[1]
        return values

    def _warmup_steps(self, num_training_steps: int) -> int:
        epochs = getattr(self.args, "warmup_epochs", None)
        if epochs is None:
            return self.args.get_warmup_steps(num_training_steps)
        return round(epochs * self._steps_per_epoch)

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def train(
        self,
        resume_from_checkpoint: str | Path | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: True for the newest complete checkpoint of `args.output_dir`, or a checkpoint
                folder. Default: start from the beginning.
            trial: As for `transformers.Trainer.train`.
            ignore_keys_for_eval: As for `transformers.Trainer.train`.

        Raises:
            CheckpointError: If the checkpoint is not complete, of another size than the model, or there is none.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_complete_checkpoint(self.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(
                    f"{self.args.output_dir} has no complete checkpoint to resume from. Start without resuming."
                )
        elif resume_from_checkpoint:
            resume_from_checkpoint = check_checkpoint(resume_from_checkpoint)
        if resume_from_checkpoint:
            check_weights(Path(resume_from_checkpoint), self.core_model.state_dict())
        if self.args.should_save:
            discard_unfinished(self.output_dir)
        resume = str(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(resume, trial, ignore_keys_for_eval)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As in Transformers; nothing where a run was resumed at its end, inside an epoch or not."""
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as in Transformers, but no mean loss of a training without a step."""
        if "train_loss" not in logs or self.state.global_step > self.first_step:
            super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write the checkpoint under a temporary name, rename it, write its marker last."""
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
            # A dictionary since the state was made, contrary to its annotation.
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
        with quiet_loading():
            self.core_model.save_pretrained(folder, state_dict=state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)


class _StepCallback(TrainerCallback):
    """What `EcgTrainer` needs at fixed places: its first step, epoch of the sampler, micro-batch, plateau's warm-up.

    Args:
        trainer: The Trainer to keep up to date.
    """

    def __init__(self, trainer: EcgTrainer):
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """End a run that was resumed at its last step before it takes another one."""
        self.trainer.first_step = state.global_step
        if state.global_step >= state.max_steps:
            logger.warning(f"all {state.max_steps} steps are done: nothing is left to train.")
            control.should_training_stop = True
        return control

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the sampler the epoch; Trainer and accelerate do not reach it in every set-up."""
        if self.trainer.epoch_sampler is not None:
            self.trainer.epoch_sampler.epoch = int(state.epoch or 0)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first micro-batch of a step follows."""
        self.trainer.micro_step = 0

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Another micro-batch of the same step follows."""
        self.trainer.micro_step += 1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step for the plateau's warm-up."""
        scheduler = self.trainer.plateau_scheduler
        if isinstance(scheduler, PlateauAfterWarmup):
            scheduler.finish_train_step()
