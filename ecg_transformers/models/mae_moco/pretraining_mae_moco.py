"""MAE-MoCo pretraining: masked reconstruction of the record and momentum contrast of two views, on one encoder."""

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
from ...objectives.gather import all_gather, shuffled_key_pass, world_size
from ...objectives.key_contrast import KeyContrastMixin
from ...objectives.precision import at_least_float32
from ...objectives.queue import KeyQueue
from ...objectives.sources import source_numbers
from .configuration_mae_moco import MaeMocoConfig
from .masked_autoencoder import MaskedAutoencoderPreTrainedModel
from .modeling_mae_moco import MaeMocoModel

__all__ = ["MaeMocoForPreTraining", "MaeMocoForPreTrainingOutput"]


@dataclass
class MaeMocoForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Fields of a task that the model was built without are None.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss: InfoNCE of query view against key view and queue (without a queue: the batch).
        reconstruction_loss: Mean squared error over removed patches.
        logits: `(batch, 1 + candidates)`, own key first, divided by the temperature; -inf where a candidate is left
            out.
        num_positives: Mean number of extra positives of a query.
        positive_similarity: Mean cosine similarity of a query with its own key.
        sampling_active: 1 if positives are chosen at this step, 0 before the warm-up of the sampling is over.
        reconstruction: `(batch, patches, patch_size * leads)` in normalized units.
        patch_mask: `(batch, patches)`, 1 = removed, 0 = visible.
        ids_restore: Place of each patch in the shuffled order `(batch, patches)`.
        queries: Unit vectors `(batch, projection_size)` of the first view.
        positive_keys: Unit vectors `(batch, projection_size)` of the second view, from the momentum encoder. (Not
            `keys`: an output is a mapping, and its method of that name would be hidden.)
        last_hidden_state: Tokens of the first view `(batch, 1 + patches, hidden_size)`.
        hidden_states: Of the first view, as in `EcgModelOutput`, if requested.
        attentions: Of the first view, as in `EcgModelOutput`, if requested.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    num_positives: torch.Tensor | None = None
    positive_similarity: torch.Tensor | None = None
    sampling_active: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None
    ids_restore: torch.Tensor | None = None
    queries: torch.Tensor | None = None
    positive_keys: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MaeMocoMomentumEncoder(MaeMocoModel):
    """The momentum encoder: the same network, a class of its own so that it is never taken for the base model."""


class MaeMocoForPreTraining(KeyContrastMixin, MaskedAutoencoderPreTrainedModel):
    """Encoder, MAE decoder, projection head, momentum encoder and key queue: `L = L_MoCo + alpha * L_MAE`.

    `loss_weights`, `momentum` and `temperature` start at the values of the config and may be set at any time, e.g. by a
    schedule. A task whose weight is 0 in the config is left out: no decoder, or no projector, momentum encoder and
    queue. Only this class holds the momentum encoder and the queue; `MaeMocoModel.from_pretrained` on its checkpoint
    gives the encoder.

    The momentum encoder moves once per optimizer step, before the keys are encoded (He et al. 2020, algorithm 1); see
    `MomentumEncoderMixin`. Which keys count as positives, and from when on: `KeyContrastMixin`.

    Args:
        config: The configuration.

    Raises:
        CheckpointError: If both tasks have weight 0.
    """

    config: MaeMocoConfig

    def __init__(self, config: MaeMocoConfig):
        super().__init__(config)
        self.mae_moco = MaeMocoModel(config)
        self.loss_weights: dict[str, float] = {}
        if config.contrastive_weight:
            self._build_contrast(config)
        self._build_reconstruction(config)
        self.post_init()

    def _build_contrast(self, config: MaeMocoConfig) -> None:
        self.projector = self._projection_head(config)
        self.momentum_encoder = MaeMocoMomentumEncoder(config)
        self.momentum_projector = self._projection_head(config)
        if config.queue_size:
            self.queue = KeyQueue(config.projection_size, config.queue_size)
        self.views = MaeMocoViews(probability=config.view_probability, policy=config.view_policy)
        self.loss_weights["contrastive_loss"] = float(config.contrastive_weight)
        self.momentum = config.momentum
        self.temperature = config.temperature
        self.momentum_parts = {"momentum_encoder": "mae_moco", "momentum_projector": "projector"}

    @property
    def has_contrast(self) -> bool:
        """Whether the contrastive task was built."""
        return "contrastive_loss" in self.loss_weights

    @staticmethod
    def _projection_head(config: MaeMocoConfig) -> ProjectionHead:
        hidden = [config.projector_hidden_size] * (config.projector_num_layers - 1)
        return ProjectionHead(
            [config.hidden_size, *hidden, config.projection_size],
            bias=config.projector_bias,
            last_relu=config.projector_last_relu,
            last_affine=config.projector_last_norm_affine,
        )

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw everything random of one step.

        Args:
            generator: Source of the numbers, one stream per record.

        Returns:
            Draws of both views and `patch_noise`, batch first; `shuffle_indices`, a permutation of the combined batch
            of all processes. Only what the tasks of this model need.
        """
        draws = {}
        if self.has_reconstruction:
            draws["patch_noise"] = generator.uniform(self.config.num_patches)
        if self.has_contrast:
            draws["shuffle_indices"] = torch.randperm(
                generator.total_rows, generator=generator.shared, device=generator.device
            )
            draws |= self.views.draw_pair(generator, self.config.num_leads, self.config.window_size)
        return draws

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into keywords of `forward`: two views, shuffling order, patch noise.

        Args:
            inputs: The batch; `input_values` and, if it is there, `attention_mask` are used.
            draws: From `draw`.
        """
        keywords = {name: draws[name] for name in ("patch_noise", "shuffle_indices") if name in draws}
        if self.has_contrast:
            keywords["views"] = self.views.apply_pair(inputs["input_values"], draws, inputs.get("attention_mask"))
        return keywords

    # ---- the two tasks ---------------------------------------------------------------------------------------------

    def forward(
        self,
        input_values: torch.Tensor,
        views: torch.Tensor | None = None,
        patch_noise: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        shuffle_indices: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaeMocoForPreTrainingOutput | tuple:
        """Compute the losses; in training mode also fill the queue.

        Args:
            input_values: The un-augmented record `(batch, leads, samples)`, normalized.
            views: Query and key view `(batch, 2, leads, samples)`. Default: drawn from torch's global generator.
            patch_noise: Uniform noise `(batch, patches)` that decides the mask. Default: drawn likewise.
            attention_mask: `(batch, samples)`, 1 = signal.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: int64 `(batch,)`, -1 = unknown; used by `same_source`.
            record_ids: int64 `(batch,)`; compared instead for a row without a patient.
            record_index: Accepted and ignored.
            shuffle_indices: Permutation of the combined batch, the same on every process (shuffling BN).
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the query view.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        drawn: dict[str, Any] = {"views": views, "patch_noise": patch_noise}
        if (views is None and self.has_contrast) or (patch_noise is None and self.has_reconstruction):
            inputs = {"input_values": input_values, "attention_mask": attention_mask}
            draws = self.draw(RowGenerator(len(input_values), device=input_values.device))
            drawn |= {name: value for name, value in self.apply_draws(inputs, draws).items() if drawn.get(name) is None}
        reconstructed, contrasted = {}, {}
        if self.has_reconstruction:
            # Task 1, on the record itself: reconstruct the removed patches.
            patches = self.mae_moco.to_patches(input_values, lead_mask)
            reconstructed = self.reconstruct(patches, drawn["patch_noise"], attention_mask)
        if self.has_contrast:
            # Task 2, on two views: identify the record's own key among those of earlier steps.
            contrasted = self._contrast(
                drawn["views"],
                {"attention_mask": attention_mask, "lead_mask": lead_mask},
                source_numbers(patient_ids, record_ids),
                shuffle_indices,
                {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions},
            )
        terms = {**contrasted, **reconstructed}
        result = MaeMocoForPreTrainingOutput(loss=self._total(terms), **terms)
        return self.finish_output(result, return_dict=return_dict)

    def _contrast(
        self,
        views: torch.Tensor,
        masks: dict[str, torch.Tensor | None],
        sources: torch.Tensor | None,
        shuffle_indices: torch.Tensor | None,
        wanted: dict[str, bool | None],
    ) -> dict[str, Any]:
        """Momentum contrast: the loss term and the output fields of this task."""
        # Queries from the online encoder ...
        encoded = self.mae_moco(views[:, 0], **masks, **wanted, return_dict=True)
        queries = self._unit_projection(self.projector, encoded.pooler_output)
        # ... keys from the momentum encoder, which moves before it encodes ...
        keys = self._encode_keys(views[:, 1], masks, shuffle_indices)
        # ... own key against the keys of earlier steps (without a queue: of the other records), ...
        gathered, all_sources = all_gather(keys), None if sources is None else all_gather(sources)
        contrast = self.contrast(
            queries, gathered, all_sources, with_batch=False, ignore_unfilled=self.config.queue_ignore_unfilled
        )
        # ... and this step's keys replace the oldest.
        if self.training and self.queue is not None:
            self.queue.enqueue(gathered, all_sources)
        return {
            "contrastive_loss": contrast.loss,
            "logits": contrast.logits,
            **self.contrast_values(contrast),
            "queries": queries,
            "positive_keys": keys,
            "last_hidden_state": encoded.last_hidden_state,
            "hidden_states": encoded.hidden_states,
            "attentions": encoded.attentions,
        }

    @staticmethod
    def _unit_projection(projector: ProjectionHead, pooled: torch.Tensor) -> torch.Tensor:
        # Outside autocast: keys that were rounded to bfloat16 are no unit vectors any more.
        with torch.autocast(device_type=pooled.device.type, enabled=False):
            weight = next(projector.parameters())
            (projected,) = at_least_float32(projector(pooled.to(weight.dtype)))
            return functional.normalize(projected, dim=1)

    @torch.no_grad()
    def _encode_keys(
        self, view: torch.Tensor, masks: dict[str, torch.Tensor | None], shuffle_indices: torch.Tensor | None
    ) -> torch.Tensor:
        # Only the projector has BatchNorm, so only it needs a shuffled batch: encode here, project elsewhere.
        [pooled] = self.encode_momentum(view, **masks)
        shuffle = self.config.shuffle_bn
        if shuffle == "auto":
            shuffle = any(type(module) is nn.BatchNorm1d for module in self.momentum_projector.modules())
        if not (shuffle and self.training and world_size() > 1 and shuffle_indices is not None):
            return self._unit_projection(self.momentum_projector, pooled)
        return shuffled_key_pass(
            lambda rows: self._unit_projection(self.momentum_projector, rows), pooled, shuffle_indices
        )

    # ---- plots -----------------------------------------------------------------------------------------------------

    def figures(self, outputs: MaeMocoForPreTrainingOutput, example: Any, plots: Any) -> dict[str, Any]:
        """Plot the reconstruction of one record.

        Args:
            outputs: Of this model for the example.
            example: Record, window and feature extractor, see `trainer.protocol.Example`.
            plots: The module `ecg_transformers.viz`.

        Returns:
            Matplotlib figures by file name.
        """
        return self._reconstruction_figure(outputs, example, plots)
