"""MAE-MoCo: one-dimensional vision transformer (the encoder that is kept after pretraining) and its classifier.

Source: "MAE-MoCo / MAE-NextClip" (OpenReview iTjqAWYw2K), hyper-parameter table; masking as in masked autoencoders (He
et al. 2021), in one dimension. See `docs/systems/mae_moco.md`.
"""

import torch
from torch import nn

from ...modeling import EcgForSequenceClassification, EcgPreTrainedModel
from ..ecg_vit.modeling_ecg_vit import EcgVitModel, EcgVitPreTrainedModel
from .configuration_mae_moco import MaeMocoConfig, MaskedAutoencoderConfig

__all__ = ["MaeMocoForSequenceClassification", "MaeMocoModel", "MaeMocoPreTrainedModel"]


class MaeMocoPreTrainedModel(EcgVitPreTrainedModel):
    """Base of the MAE-MoCo family: names of its parts."""

    config_class: type[MaskedAutoencoderConfig] = MaeMocoConfig
    base_model_prefix = "mae_moco"
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(decoder|nextclip_decoder|projector|momentum_encoder|momentum_projector|queue)\.",
    ]


class MaeMocoModel(MaeMocoPreTrainedModel, EcgVitModel):
    """Encoder of MAE-MoCo: the plain vision transformer, and its pass over visible patches only.

    `pooler_output` is [CLS] after the final norm, the embedding that the contrastive loss trains.
    """

    def encode_visible(
        self, patches: torch.Tensor, ids_keep: torch.Tensor, patch_weight: torch.Tensor | None, use_cls_token: bool
    ) -> torch.Tensor:
        """Encode the visible patches only: the pass of the masked autoencoder.

        Args:
            patches: Visible patches `(batch, kept, patch_size * leads)`.
            ids_keep: Their positions in the window `(batch, kept)`.
            patch_weight: Bool `(batch, kept)`, False = padding; `None` = all valid.
            use_cls_token: Whether [CLS] attends too; it is removed from the result.

        Returns:
            Their vectors after the final norm `(batch, kept, hidden)`, in the order given.
        """
        tokens = self.embeddings(patches, ids_keep)
        mask = patch_weight
        if use_cls_token:
            tokens = self.embeddings.prepend_cls(tokens)
            mask = None if mask is None else nn.functional.pad(mask, (1, 0), value=True)
        last, _, _ = self.encoder(tokens, mask)
        return self.layernorm(last)[:, int(use_cls_token) :]


class MaeMocoForSequenceClassification(EcgForSequenceClassification, MaeMocoPreTrainedModel):
    """MAE-MoCo encoder with a linear layer on [CLS] or on another vector of its tokens."""

    encoder_class = MaeMocoModel
