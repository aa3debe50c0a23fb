"""Masked reconstruction on the encoder of MAE-MoCo: the task that MAE-MoCo and MAE-NextClip share.

Source: masked autoencoders (He et al. 2021, arXiv 2111.06377), in one dimension. See `docs/systems/mae_moco.md`.
"""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from ...errors import CheckpointError
from ...layers.transformer import TransformerStack, additive_attention_mask
from ...objectives.masking import random_patch_mask, restore_patches, select_patches
from ...objectives.reconstruction import masked_reconstruction_loss
from .configuration_mae_moco import MaskedAutoencoderConfig
from .modeling_mae_moco import MaeMocoModel, MaeMocoPreTrainedModel

__all__ = ["MaeMocoDecoder", "MaskedAutoencoderPreTrainedModel", "TransformerDecoder"]


class TransformerDecoder(nn.Module):
    """Tokens of the encoder to samples: map to the width of the decoder, blocks, norm, linear layer.

    Args:
        config: Configuration of the model.
        output_size: Output width of the linear layer.
    """

    def __init__(self, config: MaskedAutoencoderConfig, output_size: int):
        super().__init__()
        width = config.decoder_hidden_size
        self.embed = nn.Linear(config.hidden_size, width)
        self.layer = TransformerStack(
            config,
            num_layers=config.decoder_num_hidden_layers,
            hidden_size=width,
            num_heads=config.decoder_num_attention_heads,
            intermediate_size=config.decoder_intermediate_size,
        ).layer
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, output_size)

    def decode(self, tokens: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pass mapped tokens through blocks, norm and linear layer."""
        for layer in self.layer:
            tokens, _ = layer(tokens, attention_mask)
        return self.head(self.layernorm(tokens))


class MaeMocoDecoder(TransformerDecoder):
    """Visible tokens back to patches, with mask tokens and positions; its linear layer is the "size matcher"."""

    def __init__(self, config: MaskedAutoencoderConfig):
        super().__init__(config, config.patch_size * config.num_leads)
        width = config.decoder_hidden_size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, config.num_patches, width))

    def forward(
        self, visible: torch.Tensor, ids_restore: torch.Tensor, patch_weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Decode `(batch, kept, hidden)` to `(batch, patches, patch_size * leads)`; padding is not attended to."""
        tokens = restore_patches(self.embed(visible), self.mask_token, ids_restore)
        tokens = tokens + self.position_embeddings.to(tokens.dtype)
        return self.decode(tokens, additive_attention_mask(patch_weight, tokens.dtype))


class MaskedAutoencoderPreTrainedModel(MaeMocoPreTrainedModel):
    """Base of the pretraining classes: the encoder `mae_moco` and, unless its weight is 0, an MAE decoder.

    A subclass fills `loss_weights` with its own term, then calls `_build_reconstruction`.
    """

    mae_moco: MaeMocoModel
    loss_weights: dict[str, float]

    @property
    def has_reconstruction(self) -> bool:
        """Whether the reconstruction task was built."""
        return "reconstruction_loss" in self.loss_weights

    @property
    def encoder(self) -> MaeMocoModel:
        """The part that is kept for downstream use."""
        return self.mae_moco

    def _build_reconstruction(self, config: Any) -> None:
        if config.reconstruction_weight:
            config.check_visible_patches()
            self.decoder = MaeMocoDecoder(config)
            self.loss_weights["reconstruction_loss"] = float(config.reconstruction_weight)
        if not self.loss_weights:
            weights = " and ".join(name for name in vars(config) if name.endswith("_weight"))
            raise CheckpointError(f"{weights} are both 0: nothing is left to learn. Set one above 0.")

    def _resized_config(self, window_size: int) -> Any:
        config = super()._resized_config(window_size)
        if self.has_reconstruction:
            config.check_visible_patches()
        return config

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaeMocoDecoder):
            init.normal_(module.mask_token, std=self.config.initializer_range)
            self._init_positions(module.position_embeddings, cls_token=False)

    def _total(self, terms: dict[str, Any]) -> Any:
        return sum(weight * terms[name] for name, weight in self.loss_weights.items() if name in terms)

    def reconstruct(
        self, patches: torch.Tensor, patch_noise: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Hide patches and reconstruct them from the others; needs the decoder (`has_reconstruction`).

        Args:
            patches: `(batch, patches, patch_size * leads)`, as of `encoder.to_patches`.
            patch_noise: `(batch, patches)`; of each window the share `config.mask_ratio` of patches with the largest
                values is hidden.
            attention_mask: `(batch, samples)`, 1 = signal. Default: all.

        Returns:
            `reconstruction`, in the shape of the patches and normalized as they are for the loss; `patch_mask`, 1 =
            hidden; `ids_restore`; `reconstruction_loss`.
        """
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
        return {
            "reconstruction_loss": loss,
            "reconstruction": reconstruction,
            "patch_mask": mask.patch_mask,
            "ids_restore": mask.ids_restore,
        }

    @staticmethod
    def _reconstruction_figure(outputs: Any, example: Any, plots: Any) -> dict[str, Any]:
        """Plot of the reconstruction of one record by file name; none without that task."""
        if outputs.reconstruction is None or outputs.patch_mask is None:
            return {}
        extractor = example.extractor
        window = extractor.unpatchify(outputs.reconstruction.float().cpu())[0]
        plot = plots.plot_reconstruction(
            example.record,
            example.signal,
            example.to_millivolts(window),
            outputs.patch_mask[0].cpu(),
            sampling_rate=extractor.sampling_rate,
            lead_names=extractor.lead_names,
        )
        return {"reconstruction": plot}
