"""MAE-MoCo pretraining: masked reconstruction of the record and momentum contrast of two views, on one encoder."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...augmentations.views import MaeMocoViews
from ...layers.heads import ProjectionHead
from ...layers.transformer import TransformerStack, additive_attention_mask
from ...objectives.gather import all_gather, shuffled_key_pass, world_size
from ...objectives.infonce import info_nce
from ...objectives.masking import PatchMask, random_patch_mask, restore_patches, select_patches
from ...objectives.momentum import follow, synchronize_twin
from ...objectives.queue import KeyQueue
from ...objectives.reconstruction import masked_reconstruction_loss
from ...objectives.sources import source_numbers
from .configuration_mae_moco import MaeMocoConfig
from .modeling_mae_moco import MaeMocoModel, MaeMocoPreTrainedModel

__all__ = ["MaeMocoForPreTraining", "MaeMocoForPreTrainingOutput"]


@dataclass
class MaeMocoForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss: InfoNCE of query view against key view and queue.
        reconstruction_loss: Mean squared error over removed patches.
        logits: `(batch, 1 + queue_size)`, own key first, divided by the temperature.
        reconstruction: `(batch, patches, patch_size * leads)` in normalized units.
        patch_mask: `(batch, patches)`, 1 = removed, 0 = visible.
        ids_restore: Place of each patch in the shuffled order `(batch, patches)`.
        queries: Unit vectors `(batch, projection_size)` of the first view.
        positive_keys: Unit vectors `(batch, projection_size)` of the second view, from the momentum encoder. (Not
            `keys`: an output is a mapping, and its method of that name would be hidden.)
        last_hidden_state: Tokens of the first view `(batch, 1 + patches, hidden_size)`.
        hidden_states: Of the first view, as in `EcgModelOutput`, if asked for.
        attentions: Of the first view, as in `EcgModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None
    ids_restore: torch.Tensor | None = None
    queries: torch.Tensor | None = None
    positive_keys: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MaeMocoMomentumEncoder(MaeMocoModel):
    """The momentum twin of the encoder: same network, its own class so that it is never taken for the base model."""


class MaeMocoDecoder(nn.Module):
    """Visible tokens back to patches: map, mask tokens, positions, blocks, norm, "size matcher" (paper)."""

    def __init__(self, config: MaeMocoConfig):
        super().__init__()
        width = config.decoder_hidden_size
        self.embed = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, config.num_patches, width))
        self.layer = TransformerStack(
            config,
            num_layers=config.decoder_num_hidden_layers,
            hidden_size=width,
            num_heads=config.decoder_num_attention_heads,
            intermediate_size=config.decoder_intermediate_size,
        ).layer
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.patch_size * config.num_leads)

    def forward(
        self, visible: torch.Tensor, ids_restore: torch.Tensor, patch_weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Decode `(batch, kept, hidden)` to `(batch, patches, patch_size * leads)`; padding is not attended to."""
        tokens = restore_patches(self.embed(visible), self.mask_token, ids_restore)
        tokens = tokens + self.position_embeddings.to(tokens.dtype)
        attention_mask = additive_attention_mask(patch_weight, tokens.dtype)
        for layer in self.layer:
            tokens, _ = layer(tokens, attention_mask)
        return self.head(self.layernorm(tokens))


class MaeMocoForPreTraining(MaeMocoPreTrainedModel):
    """Encoder, MAE decoder, projection head, momentum twin and key queue: `L = L_MoCo + alpha * L_MAE`.

    `loss_weights`, `momentum` and `temperature` start at the values of the config and may be set at any time, e.g. by a
    schedule. Only this class holds twin and queue; `MaeMocoModel.from_pretrained` on its checkpoint gives the encoder.
    """

    shared_draws = ("shuffle_indices",)
    twin_marker: torch.Tensor

    def __init__(self, config: MaeMocoConfig):
        super().__init__(config)
        self.mae_moco = MaeMocoModel(config)
        self.decoder = MaeMocoDecoder(config)
        self.projector = self._projection_head(config)
        self.momentum_encoder = MaeMocoMomentumEncoder(config)
        self.momentum_projector = self._projection_head(config)
        self.queue = KeyQueue(config.projection_size, config.queue_size)
        # Never in a checkpoint: makes sure that _init_weights runs for this module, whatever was loaded.
        self.register_buffer("twin_marker", torch.zeros(()), persistent=False)
        self.views = MaeMocoViews(probability=config.view_probability, policy=config.view_policy)
        self.loss_weights = {
            "contrastive_loss": float(config.contrastive_weight),
            "reconstruction_loss": float(config.reconstruction_weight),
        }
        self.momentum = config.momentum
        self.temperature = config.temperature
        self.post_init()

    @staticmethod
    def _projection_head(config: MaeMocoConfig) -> ProjectionHead:
        hidden = [config.projector_hidden_size] * (config.projector_num_layers - 1)
        return ProjectionHead(
            [config.hidden_size, *hidden, config.projection_size],
            bias=config.projector_bias,
            last_relu=config.projector_last_relu,
            last_affine=config.projector_last_norm_affine,
        )

    @property
    def encoder(self) -> MaeMocoModel:
        """The part that is kept for downstream use."""
        return self.mae_moco

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaeMocoDecoder):
            init.normal_(module.mask_token, std=self.config.initializer_range)
            self._init_positions(module.position_embeddings, cls_token=False)
        elif isinstance(module, KeyQueue):
            module.reset_state()
        elif module is self:
            init.zeros_(self.twin_marker)
            synchronize_twin(self.momentum_encoder, self.mae_moco)
            synchronize_twin(self.momentum_projector, self.projector)

    def momentum_update(self, momentum: float | None = None) -> None:
        """Move the twin towards the online networks; `momentum` defaults to the attribute of that name."""
        momentum = self.momentum if momentum is None else momentum
        follow(self.momentum_encoder, self.mae_moco, momentum)
        follow(self.momentum_projector, self.projector, momentum)

    def draw(
        self, batch_size: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw everything random of one step for the combined batch of all processes, batch first.

        The keys in `shared_draws` are the same for every process and are passed on whole.
        """
        device = self.device if device is None else device
        draws = {
            "patch_noise": torch.rand(batch_size, self.config.num_patches, generator=generator, device=device),
            "shuffle_indices": torch.randperm(batch_size, generator=generator, device=device),
        }
        for view in range(2):
            drawn = self.views.draw(
                batch_size, self.config.num_leads, self.config.window_size, generator=generator, device=device
            )
            draws.update({f"view{view}_{name}": value for name, value in drawn.items()})
        return draws

    def apply_draws(
        self,
        input_values: torch.Tensor,
        draws: dict[str, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Turn this process's share of `draw` into keywords of `forward`: two views, patch noise, shuffling order."""
        views = []
        for view in range(2):
            prefix = f"view{view}_"
            drawn = {name.removeprefix(prefix): value for name, value in draws.items() if name.startswith(prefix)}
            views.append(self.views.apply(input_values, drawn, attention_mask))
        return {
            "views": torch.stack(views, dim=1),
            "patch_noise": draws["patch_noise"],
            "shuffle_indices": draws["shuffle_indices"],
        }

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
        """Compute both losses; in training mode also move the twin and fill the queue.

        Args:
            input_values: The un-augmented record `(batch, leads, samples)`, normalized.
            views: Query and key view `(batch, 2, leads, samples)`; drawn from torch's global generator if not given.
            patch_noise: Uniform noise `(batch, patches)` that decides the mask; drawn if not given.
            attention_mask: `(batch, samples)`, 1 = signal.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: int64 `(batch,)`, -1 = unknown; used by `exclude_same_source`.
            record_ids: int64 `(batch,)`; compared instead for a row without a patient.
            record_index: Accepted and ignored.
            shuffle_indices: Permutation of the combined batch, the same on every process (shuffling BN).
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the query view.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        if views is None or patch_noise is None:
            draws = self.draw(len(input_values), device=input_values.device)
            drawn = self.apply_draws(input_values, draws, attention_mask)
            views = drawn["views"] if views is None else views
            patch_noise = drawn["patch_noise"] if patch_noise is None else patch_noise

        # Task 1, on the record itself: reconstruct the removed patches.
        patches = self.mae_moco.to_patches(input_values, lead_mask)
        mask, reconstruction, reconstruction_loss = self._reconstruct(patches, patch_noise, attention_mask)

        # Task 2, on two views: queries from the online encoder ...
        encoded = self.mae_moco(
            views[:, 0],
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        queries = self._unit_projection(self.projector, encoded.pooler_output)
        # ... keys from the twin, which moves before it encodes ...
        if self.training and self.config.momentum_update_in_forward:
            self.momentum_update()
        keys = self._encode_keys(views[:, 1], attention_mask, lead_mask, shuffle_indices)
        # ... own key against the keys of earlier steps, ...
        sources = source_numbers(patient_ids, record_ids)
        negative_mask = self.queue.negative_mask(
            sources if self.config.exclude_same_source else None, self.config.queue_ignore_unfilled
        )
        # (a copy of the queue: it is written in place before the backward pass reads it)
        contrastive_loss, logits = info_nce(
            queries, keys, self.queue.keys.to(queries.dtype, copy=True), self.temperature, negative_mask
        )
        # ... and this step's keys replace the oldest.
        if self.training:
            self.queue.enqueue(all_gather(keys), None if sources is None else all_gather(sources))

        weights = self.loss_weights
        result = MaeMocoForPreTrainingOutput(
            loss=weights["contrastive_loss"] * contrastive_loss + weights["reconstruction_loss"] * reconstruction_loss,
            contrastive_loss=contrastive_loss,
            reconstruction_loss=reconstruction_loss,
            logits=logits,
            reconstruction=reconstruction,
            patch_mask=mask.patch_mask,
            ids_restore=mask.ids_restore,
            queries=queries,
            positive_keys=keys,
            last_hidden_state=encoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return result if use_dict else result.to_tuple()

    def _reconstruct(
        self, patches: torch.Tensor, patch_noise: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[PatchMask, torch.Tensor, torch.Tensor]:
        mask = random_patch_mask(patch_noise, self.config.mask_ratio)
        valid = self.mae_moco.patch_weight(attention_mask)
        visible = self.mae_moco.encode_visible(
            select_patches(patches, mask.ids_keep),
            mask.ids_keep,
            None if valid is None else valid.gather(1, mask.ids_keep),
            self.config.mae_use_cls_token,
        )
        reconstruction = self.decoder(visible, mask.ids_restore, valid)
        counted = mask.patch_mask if self.config.reconstruction_scope == "masked" else torch.ones_like(mask.patch_mask)
        loss = masked_reconstruction_loss(
            reconstruction,
            patches,
            counted,
            valid if self.config.exclude_padded_patches else None,
            self.config.normalize_patches,
        )
        return mask, reconstruction, loss

    @staticmethod
    def _unit_projection(projector: ProjectionHead, pooled: torch.Tensor) -> torch.Tensor:
        # Outside autocast: keys that were rounded to bfloat16 are no unit vectors any more.
        with torch.autocast(device_type=pooled.device.type, enabled=False):
            weight = next(projector.parameters())
            return functional.normalize(projector(pooled.to(weight.dtype)).to(_at_least_float32(weight)), dim=1)

    @torch.no_grad()
    def _encode_keys(
        self,
        view: torch.Tensor,
        attention_mask: torch.Tensor | None,
        lead_mask: torch.Tensor | None,
        shuffle_indices: torch.Tensor | None,
    ) -> torch.Tensor:
        # Only the projector has BatchNorm, so only it needs strangers in its batch: encode here, project elsewhere.
        pooled = self.momentum_encoder(
            view, attention_mask=attention_mask, lead_mask=lead_mask, return_dict=True
        ).pooler_output
        shuffle = self.config.shuffle_bn
        if shuffle == "auto":
            shuffle = any(type(module) is nn.BatchNorm1d for module in self.momentum_projector.modules())
        if not (shuffle and self.training and world_size() > 1 and shuffle_indices is not None):
            return self._unit_projection(self.momentum_projector, pooled)
        return shuffled_key_pass(
            lambda rows: self._unit_projection(self.momentum_projector, rows), pooled, shuffle_indices
        )


def _at_least_float32(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
