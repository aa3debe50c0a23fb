"""What `PretrainingTrainer` asks of a pretraining model: the seam between an architecture and this folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from transformers.utils import ModelOutput

from ..augmentations.row_generator import RowGenerator

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..signals.record import EcgRecord

__all__ = ["Example", "PretrainingModel"]


class PretrainingModel(Protocol):
    """Every `XForPreTraining` of the package, beyond what a `PreTrainedModel` has.

    A batch is a mapping of tensors with the rows first: `input_values (batch, leads, samples)`, or `(batch, segments,
    leads, samples)` for a system that compares segments of a recording; `attention_mask`, `lead_mask`, `patient_ids`,
    `record_ids` and whatever else the dataset returns.

    Attributes:
        loss_weights: Name of a loss term to its weight; may be changed at any time. The output has a field for each.
            A term whose weight is 0 in the config is neither built nor computed, and not listed here.
        encoder: The part that is kept for downstream use.

    A model may offer further:

    `logged_values: tuple[str, ...]`
        Scalar fields of the output that are no loss but belong in the log, averaged over rows as the terms are.

    `default_schedules: Mapping[str, Schedule | dict]`
        Values that change over every run (Gumbel temperature), by name, as `ScheduleCallback` takes them; a schedule
        of the run replaces the one of the same name.

    `before_step(progress)`, `before_optimizer_step(progress)`, `after_step(progress)`
        Hooks with the position in the run (`objectives.progress.Progress`), the same during the three of one step.
        `before_step`: after all callbacks' `on_step_begin`, before the first micro-batch (EMA of MoCo, Gumbel
        temperature). `before_optimizer_step`: gradients are complete and clipped (frozen prototypes: set them to
        None); with phases once a phase. `after_step`: right after the optimizer (EMA of BYOL, renormalized
        prototypes). Called on the unwrapped model in every process.

    `phases: Mapping[str, tuple[str, ...]]`
        Adversarial training: names of the phases in their order, each with the submodules that it trains. `forward`
        gets `phase=name`, returns that phase's loss, and may hand tensors to the later phases as the mapping
        `handed` of its output, which become keywords of their `forward`. All but the last phase are computed, stepped
        and cleared within `training_step`; the last one as in any other training. The random numbers of the step are
        the same in all phases. In evaluation `forward` is called without `phase`. Checkpoints are written between
        steps, never between phases.

    `record_notes(lengths)`
        Lines for the screen about the training records, given their lengths (samples at the rate of the model, int64
        `(records,)`); `[]` if there is nothing to report.

    `calibrate(batches)`
        Called once after the training, with the `input_values` of the validation records batch by batch, before the
        final model is saved (thresholds, statistics of scores: fields of the config).

    `figures(outputs, example, plots)`
        Plots of the trained model, see `Example`; returns matplotlib figures by file name without suffix.
    """

    config: Any
    main_input_name: str
    training: bool
    loss_weights: dict[str, float]

    @property
    def encoder(self) -> Any:
        """The part that is kept for downstream use."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw everything random of one step for the rows of the generator.

        Args:
            generator: Its methods give numbers per row; `generator.shared` and `generator.total_rows` are for what all
                processes have in common.

        Returns:
            Tensors with the rows first, and those that the rows share.
        """

    def apply_draws(self, inputs: Mapping[str, torch.Tensor], draws: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Turn draws into keywords of `forward`, which join or replace those of the batch.

        Args:
            inputs: The whole batch.
            draws: From `draw`, for the same rows.
        """

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write weights and config."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters."""

    def buffers(self) -> Iterator[torch.Tensor]:
        """All buffers."""

    def train(self, mode: bool = True) -> Any:
        """Set the training mode."""

    def __call__(self, **inputs: Any) -> ModelOutput:
        """Compute the loss and its terms."""


@dataclass(frozen=True)
class Example:
    """One window of a validation record, for `PretrainingModel.figures`.

    The model gets it together with its own outputs for it (evaluation mode, fixed random numbers) and with the module
    `ecg_transformers.viz`, because model code imports no plotting.

    Args:
        record: The record that the window is from.
        inputs: The batch of one row that the model was called with.
        signal: The window in mV `(leads, samples)`.
        extractor: Feature extractor of the model.
    """

    record: "EcgRecord"
    inputs: dict[str, torch.Tensor]
    signal: torch.Tensor
    extractor: "EcgFeatureExtractor"

    def to_millivolts(self, normalized: torch.Tensor) -> torch.Tensor:
        """Undo the normalization lead by lead, by the line that maps the normalized window to the window in mV.

        Args:
            normalized: `(leads, samples)` in units of the model's input.

        Returns:
            float32 `(leads, samples)` in mV, on the CPU.
        """
        source = self.inputs["input_values"][0].float().cpu()
        center, middle = source.mean(dim=-1, keepdim=True), self.signal.mean(dim=-1, keepdim=True)
        spread = (source - center).square().sum(dim=-1, keepdim=True)
        together = ((source - center) * (self.signal - middle)).sum(dim=-1, keepdim=True)
        # A flat lead has no spread: its reconstruction is drawn at its level.
        slope = torch.where(spread > 0, together / spread.clamp_min(torch.finfo(spread.dtype).tiny), 0.0)
        return middle + (normalized.float().cpu() - center) * slope
