"""MAE-NextClip pretraining: masked reconstruction, and the half cardiac cycle that follows a cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.utils import ModelOutput

from ...augmentations.row_generator import RowGenerator
from ...objectives.nextclip import HALF_CYCLE_RANGE, clip_loss, clip_starts, cut_clip, half_cycles
from ..mae_moco.masked_autoencoder import MaskedAutoencoderPreTrainedModel, TransformerDecoder
from .configuration_mae_nextclip import MaeNextclipConfig
from .modeling_mae_nextclip import MaeNextclipModel

__all__ = ["MaeNextclipForPreTraining", "MaeNextclipForPreTrainingOutput"]


@dataclass
class MaeNextclipForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Fields of a task that the model was built without are None.

    Args:
        loss: Weighted sum of the terms.
        nextclip_loss: Mean squared error over the samples of the clips.
        reconstruction_loss: Mean squared error over removed patches.
        nextclip: Predicted clips `(batch, leads, nextclip_size)` in normalized units.
        nextclip_starts: First hidden sample of each record, int64 `(batch,)`.
        nextclip_sizes: Samples of each clip that count, int64 `(batch,)`; 0 = the record is too short.
        nextclip_skipped: Share of the records that are too short for context and clip, and so have weight 0.
        reconstruction: `(batch, patches, patch_size * leads)` in normalized units.
        patch_mask: `(batch, patches)`, 1 = removed, 0 = visible.
        ids_restore: Place of each patch in the shuffled order `(batch, patches)`.
        last_hidden_state: Tokens of the record up to its clip `(batch, 1 + patches, hidden_size)`.
        hidden_states: Of the same pass, as in `EcgModelOutput`, if requested.
        attentions: Of the same pass, as in `EcgModelOutput`, if requested.
    """

    loss: torch.Tensor | None = None
    nextclip_loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    nextclip: torch.Tensor | None = None
    nextclip_starts: torch.Tensor | None = None
    nextclip_sizes: torch.Tensor | None = None
    nextclip_skipped: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None
    ids_restore: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class NextclipDecoder(TransformerDecoder):
    """[CLS] alone to a clip (paper); there is no mask token and no position.

    One token attends to itself alone, so query and key of the blocks have no influence and get a gradient of 0.
    """

    def __init__(self, config: MaeNextclipConfig):
        super().__init__(config, config.nextclip_size * config.num_leads)
        self.num_leads = config.num_leads

    def forward(self, cls: torch.Tensor) -> torch.Tensor:
        """Decode `(batch, hidden)` to `(batch, leads, nextclip_size)`."""
        # Sample-major, lead fastest, as a patch.
        return self.decode(self.embed(cls)[:, None])[:, 0].unflatten(1, (-1, self.num_leads)).transpose(1, 2)


class MaeNextclipForPreTraining(MaskedAutoencoderPreTrainedModel):
    """Encoder, MAE decoder and NextClip decoder: `L = L_NextClip + alpha * L_MAE`.

    Everything from a random sample on is hidden; the encoder sees the rest of the window, unmasked, and its [CLS] token
    predicts the half cardiac cycle that follows. `loss_weights` starts at the values of the config and may be set at
    any time. A task whose weight is 0 in the config is left out, with its decoder.

    Args:
        config: The configuration.

    Raises:
        CheckpointError: If both tasks have weight 0, or context and clip do not fit in the window.
    """

    config_class = MaeNextclipConfig
    config: MaeNextclipConfig
    logged_values = ("nextclip_skipped",)

    def __init__(self, config: MaeNextclipConfig):
        super().__init__(config)
        self.mae_moco = MaeNextclipModel(config)
        self.loss_weights: dict[str, float] = {}
        if config.nextclip_weight:
            config.check_clip()
            self.nextclip_decoder = NextclipDecoder(config)
            self.loss_weights["nextclip_loss"] = float(config.nextclip_weight)
        self._build_reconstruction(config)
        self.post_init()

    @property
    def has_nextclip(self) -> bool:
        """Whether the NextClip task was built."""
        return "nextclip_loss" in self.loss_weights

    def _resized_config(self, window_size: int) -> Any:
        config = super()._resized_config(window_size)
        if self.has_nextclip:
            config.check_clip()
        return config

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw everything random of one step.

        Args:
            generator: Source of the numbers, one stream per record.

        Returns:
            `patch_noise` `(batch, patches)` and `nextclip_uniform` `(batch,)`, the place of the clip as a share of the
            possible starts. Only what the tasks of this model need.
        """
        draws = {}
        if self.has_reconstruction:
            draws["patch_noise"] = generator.uniform(self.config.num_patches)
        if self.has_nextclip:
            draws["nextclip_uniform"] = generator.uniform()
        return draws

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into keywords of `forward`: patch noise, starts and sizes of the clips.

        Args:
            inputs: The batch; `input_values` and, if it is there, `attention_mask` are used.
            draws: From `draw`.
        """
        keywords = {name: draws[name] for name in ("patch_noise",) if name in draws}
        if self.has_nextclip:
            signal, mask = inputs["input_values"], inputs.get("attention_mask")
            keywords["nextclip_starts"], keywords["nextclip_sizes"] = clip_starts(
                draws["nextclip_uniform"],
                self._valid_sizes(signal, mask),
                self._clip_sizes(signal, mask),
                self.config.nextclip_context_size,
            )
        return keywords

    def record_notes(self, lengths: np.ndarray) -> list[str]:
        """Say how many training records are too short for context and clip.

        Args:
            lengths: Length of each record in samples, int64 `(records,)`.

        Returns:
            One line; none if every record has a clip.
        """
        config = self.config
        size = config.nextclip_size
        if config.nextclip_mode == "rr":
            size = round(HALF_CYCLE_RANGE[0] * config.sampling_rate)
        short = int((lengths < config.nextclip_context_size + size).sum()) if self.has_nextclip else 0
        if not short:
            return []
        return [
            f"{short:,} of {len(lengths):,} training records are shorter than {config.nextclip_context_size} + {size} "
            "samples (nextclip_context_size, clip): they have no clip, and weight 0 in nextclip_loss"
        ]

    @staticmethod
    def _valid_sizes(input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Samples of signal of each record, int64 `(batch,)`; padding is at the end."""
        if attention_mask is None:
            return torch.full((len(input_values),), input_values.shape[-1], device=input_values.device)
        return attention_mask.long().sum(dim=1)

    def _clip_sizes(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Samples of half a cardiac cycle of each record, int64 `(batch,)`."""
        config = self.config
        if config.nextclip_mode == "fixed":
            return torch.full((len(input_values),), config.nextclip_size, device=input_values.device)
        return (half_cycles(input_values, config.sampling_rate, attention_mask) * config.sampling_rate).round().long()

    def forward(
        self,
        input_values: torch.Tensor,
        patch_noise: torch.Tensor | None = None,
        nextclip_starts: torch.Tensor | None = None,
        nextclip_sizes: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaeNextclipForPreTrainingOutput | tuple:
        """Compute the losses.

        Args:
            input_values: The record `(batch, leads, samples)`, normalized.
            patch_noise: Uniform noise `(batch, patches)` that decides the mask. Default: drawn from torch's global
                generator.
            nextclip_starts: First hidden sample of each record, int64 `(batch,)`. Default: drawn likewise.
            nextclip_sizes: Samples to predict of each record, int64 `(batch,)`; what lies beyond the signal does not
                count. Default: by `nextclip_mode`.
            attention_mask: `(batch, samples)`, 1 = signal.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: Accepted and ignored.
            record_ids: Accepted and ignored.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the NextClip pass.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        if (patch_noise is None and self.has_reconstruction) or (nextclip_starts is None and self.has_nextclip):
            inputs = {"input_values": input_values, "attention_mask": attention_mask}
            drawn = self.apply_draws(inputs, self.draw(RowGenerator(len(input_values), device=input_values.device)))
            patch_noise = drawn.get("patch_noise") if patch_noise is None else patch_noise
            if nextclip_starts is None:
                nextclip_starts, nextclip_sizes = drawn.get("nextclip_starts"), drawn.get("nextclip_sizes")
        terms: dict[str, Any] = {}
        if nextclip_starts is not None and self.has_nextclip:
            if nextclip_sizes is None:
                nextclip_sizes = self._clip_sizes(input_values, attention_mask)
            terms |= self._predict_clip(
                input_values,
                (nextclip_starts, nextclip_sizes),
                {"attention_mask": attention_mask, "lead_mask": lead_mask},
                {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions},
            )
        if patch_noise is not None and self.has_reconstruction:
            terms |= self.reconstruct(self.mae_moco.to_patches(input_values, lead_mask), patch_noise, attention_mask)
        result = MaeNextclipForPreTrainingOutput(loss=self._total(terms), **terms)
        return self.finish_output(result, return_dict=return_dict)

    def _predict_clip(
        self,
        input_values: torch.Tensor,
        places: tuple[torch.Tensor, torch.Tensor],
        masks: dict[str, torch.Tensor | None],
        wanted: dict[str, bool | None],
    ) -> dict[str, Any]:
        """NextClip: the loss term and the output fields of this task."""
        self.mae_moco.check_input(input_values)
        lead_mask = masks["lead_mask"]
        if lead_mask is not None:
            # An absent lead counts as 0, also where it is predicted.
            input_values = input_values * lead_mask[:, :, None].to(input_values.dtype)
        starts, sizes = places
        left = self._valid_sizes(input_values, masks["attention_mask"]) - starts
        sizes = torch.minimum(sizes, left).clamp_min(0)
        clip = cut_clip(input_values, starts, sizes, self.config.nextclip_size)
        encoded = self.mae_moco(clip.input_values, **masks, **wanted, return_dict=True)
        prediction = self.nextclip_decoder(encoded.pooler_output)
        return {
            "nextclip_loss": clip_loss(prediction, clip.target, clip.target_mask),
            "nextclip": prediction,
            "nextclip_starts": starts,
            "nextclip_sizes": sizes,
            "nextclip_skipped": (sizes == 0).float().mean(),
            "last_hidden_state": encoded.last_hidden_state,
            "hidden_states": encoded.hidden_states,
            "attentions": encoded.attentions,
        }

    def figures(self, outputs: MaeNextclipForPreTrainingOutput, example: Any, plots: Any) -> dict[str, Any]:
        """Plot the reconstruction of one record, and its past with the true and the predicted half cycle.

        Args:
            outputs: Of this model for the example.
            example: Record, window and feature extractor, see `trainer.protocol.Example`.
            plots: The module `ecg_transformers.viz`.

        Returns:
            Matplotlib figures by file name.
        """
        figures = self._reconstruction_figure(outputs, example, plots)
        if outputs.nextclip is None or outputs.nextclip_starts is None or outputs.nextclip_sizes is None:
            return figures
        start, size = int(outputs.nextclip_starts[0]), int(outputs.nextclip_sizes[0])
        if not size:
            return figures
        window = example.inputs["input_values"][0].float().cpu().clone()
        window[:, start : start + size] = outputs.nextclip[0, :, :size].float().cpu()
        extractor = example.extractor
        plot = plots.plot_nextclip(
            example.record,
            example.signal[:, : start + size],
            example.to_millivolts(window)[:, start : start + size],
            sampling_rate=extractor.sampling_rate,
            lead_names=extractor.lead_names,
        )
        return {**figures, "nextclip": plot}
