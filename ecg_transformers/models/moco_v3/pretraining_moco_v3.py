"""MoCo v3 pretraining: each view predicts the key of the other, against the batch and, optionally, a queue.

Source: Chen et al. 2021 (arXiv 2104.02057), algorithm 1, and its public code; queue as in MoCo v2; selection of
positives: `objectives/selection.py`. See `docs/systems/moco_v3.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ...augmentations.row_generator import RowGenerator
from ...augmentations.views import MaeMocoViews
from ...layers.heads import ProjectionHead
from ...objectives.gather import all_gather
from ...objectives.key_contrast import KeyContrastMixin
from ...objectives.precision import at_least_float32
from ...objectives.queue import KeyQueue
from ...objectives.sources import source_numbers
from .configuration_moco_v3 import MocoV3Config
from .modeling_moco_v3 import MocoV3Model, MocoV3PreTrainedModel

__all__ = ["MocoV3ForPreTraining", "MocoV3ForPreTrainingOutput"]


@dataclass
class MocoV3ForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss_1: First view as query, second as key; times 2 * temperature.
        contrastive_loss_2: Second view as query, first as key; times 2 * temperature.
        queries: Unit vectors of the first view `(batch, projection_size)`, from the predictor.
        positive_keys: Unit vectors of the second view, from the momentum encoder.
        num_positives: Mean number of extra positives of a query, over both terms.
        positive_similarity: Mean cosine similarity of a query with its own key, over both terms.
        sampling_active: 1 if positives are selected at this step, 0 before the warm-up of the sampling is over.
        last_hidden_state: Tokens of the first view `(batch, tokens, hidden_size)`.
        hidden_states: Of the first view, as in `EcgModelOutput`, if requested.
        attentions: Of the first view, as in `EcgModelOutput`, if requested.
    """

    loss: torch.Tensor | None = None
    contrastive_loss_1: torch.Tensor | None = None
    contrastive_loss_2: torch.Tensor | None = None
    queries: torch.Tensor | None = None
    positive_keys: torch.Tensor | None = None
    num_positives: torch.Tensor | None = None
    positive_similarity: torch.Tensor | None = None
    sampling_active: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MocoV3MomentumEncoder(MocoV3Model):
    """The momentum encoder: the same network, a class of its own so that it is never taken for the base model."""


class MocoV3ForPreTraining(KeyContrastMixin, MocoV3PreTrainedModel):
    """Backbone, projector, predictor and momentum encoder: `L = L(q1, k2) + L(q2, k1)`, each times 2 * temperature.

    `loss_weights`, `momentum`, `temperature` and `rule` start at the values of the config and may be set at any time.
    The momentum encoder moves once per optimizer step, before the keys are encoded (`MomentumEncoderMixin`); the choice
    of positives starts when its warm-up is over (`KeyContrastMixin`).

    Args:
        config: The configuration.

    Raises:
        CheckpointError: The fields of the sampling contradict each other.
    """

    config: MocoV3Config

    def __init__(self, config: MocoV3Config):
        super().__init__(config)
        self.moco_v3 = MocoV3Model(config)
        self.projector = self._projector(config)
        hidden = [config.projector_hidden_size] * (config.predictor_num_layers - 1)
        sizes = [config.projection_size, *hidden, config.projection_size]
        self.predictor = ProjectionHead(sizes, last_norm=config.predictor_last_norm)
        self.momentum_encoder = MocoV3MomentumEncoder(config)
        self.momentum_projector = self._projector(config)
        if config.queue_size:
            self.queue = KeyQueue(config.projection_size, config.queue_size)
        self.views = MaeMocoViews(probability=config.view_probability, policy=config.view_policy)
        self.loss_weights = {"contrastive_loss_1": 1.0, "contrastive_loss_2": 1.0}
        self.momentum = config.momentum
        self.temperature = config.temperature
        self.momentum_parts = {"momentum_encoder": "moco_v3", "momentum_projector": "projector"}
        self.post_init()

    @staticmethod
    def _projector(config: MocoV3Config) -> ProjectionHead:
        hidden = [config.projector_hidden_size] * (config.projector_num_layers - 1)
        return ProjectionHead([config.pooled_size, *hidden, config.projection_size])

    @property
    def encoder(self) -> MocoV3Model:
        """The part that is kept for downstream use."""
        return self.moco_v3

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            for parameter in self._fixed_parameters():
                parameter.requires_grad_(False)

    def _fixed_parameters(self) -> list[nn.Parameter]:
        """Patch embedding and positions of a transformer, as far as the config fixes them."""
        backbone, config = self.moco_v3.backbone, self.config
        fixed = []
        if config.freeze_patch_embedding and hasattr(backbone.config, "patch_size"):
            fixed += list(backbone.get_input_embeddings().parameters())
        if config.freeze_positions:
            fixed += [value for name, value in backbone.named_parameters() if name.endswith("position_embeddings")]
        return fixed

    def resize_window(self, window_size: int) -> None:
        """Adapt backbone and momentum encoder to windows of another length.

        Args:
            window_size: New length in samples.

        Raises:
            CheckpointError: The backbone cannot be adapted.
        """
        super().resize_window(window_size)
        for parameter in self._fixed_parameters():
            parameter.requires_grad_(False)

    # ---- hooks of the Trainer --------------------------------------------------------------------------------------

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw two views for each record.

        Args:
            generator: Source of the numbers, one stream per record.

        Returns:
            Draws of both views, batch first.
        """
        return self.views.draw_pair(generator, self.config.num_leads, self.config.window_size)

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into the keyword `views` of `forward`.

        Args:
            inputs: The batch; `input_values` and, if it is there, `attention_mask` are used.
            draws: From `draw`.
        """
        return {"views": self.views.apply_pair(inputs["input_values"], draws, inputs.get("attention_mask"))}

    # ---- the objective ---------------------------------------------------------------------------------------------

    def forward(
        self,
        input_values: torch.Tensor,
        views: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> MocoV3ForPreTrainingOutput | tuple:
        """Compute the losses; in training mode also fill the queue.

        Args:
            input_values: The un-augmented record `(batch, leads, samples)`, normalized.
            views: Two views `(batch, 2, leads, samples)`. Default: drawn from torch's global generator.
            attention_mask: `(batch, samples)`, 1 = signal.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: int64 `(batch,)`, -1 = unknown; used by `same_source`.
            record_ids: int64 `(batch,)`; compared instead for a row without a patient.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the first view.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        if views is None:
            inputs = {"input_values": input_values, "attention_mask": attention_mask}
            draws = self.draw(RowGenerator(len(input_values), device=input_values.device))
            views = self.apply_draws(inputs, draws)["views"]
        masks = {"attention_mask": attention_mask, "lead_mask": lead_mask}
        wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        first = self.moco_v3(views[:, 0], **masks, **wanted, return_dict=True)
        second = self.moco_v3(views[:, 1], **masks, return_dict=True)
        queries = [self._unit(self.predictor(self.projector(view.pooler_output))) for view in (first, second)]
        keys = self._encode_keys(views, masks)
        gathered = [all_gather(key) for key in keys]
        sources = source_numbers(patient_ids, record_ids)
        all_sources = None if sources is None else all_gather(sources)
        contrasts = [self.contrast(queries[0], gathered[1], all_sources)]
        contrasts += [self.contrast(queries[1], gathered[0], all_sources)]
        if self.training and self.queue is not None:
            # One key per record and step; the losses took copies of the queue.
            self.queue.enqueue(gathered[1], all_sources)
        terms = [2 * self.temperature * contrast.loss for contrast in contrasts]
        weights = self.loss_weights
        result = MocoV3ForPreTrainingOutput(
            loss=weights["contrastive_loss_1"] * terms[0] + weights["contrastive_loss_2"] * terms[1],
            contrastive_loss_1=terms[0],
            contrastive_loss_2=terms[1],
            queries=queries[0],
            positive_keys=keys[1],
            **self.contrast_values(*contrasts),
            last_hidden_state=first.last_hidden_state,
            hidden_states=first.hidden_states,
            attentions=first.attentions,
        )
        return self.finish_output(result, return_dict=return_dict)

    @staticmethod
    def _unit(projected: torch.Tensor) -> torch.Tensor:
        # In float32: keys that were rounded to bfloat16 are no unit vectors.
        (projected,) = at_least_float32(projected)
        return functional.normalize(projected, dim=1)

    @torch.no_grad()
    def _encode_keys(self, views: torch.Tensor, masks: dict[str, Any]) -> list[torch.Tensor]:
        """Keys of both views, each in a pass of its own, after the momentum encoder moved."""
        pooled = self.encode_momentum(views[:, 0], views[:, 1], **masks)
        return [self._unit(self.momentum_projector(rows)) for rows in pooled]
