"""The plain vision transformer on patches of a signal: encoder and classifier.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929); initialization as in MoCo v3 (Chen et al. 2021, arXiv 2104.02057)
and masked autoencoders (He et al. 2021, arXiv 2111.06377). See `docs/systems/ecg_vit.md`.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from ...errors import SignalError
from ...features.steps import patchify
from ...layers.patches import ConvolutionPatchEmbedding, LinearPatchEmbedding
from ...layers.positions import interpolate_positions, sincos_positions
from ...layers.transformer import TransformerStack, final_layer_norm, plain_layer_norm
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_ecg_vit import EcgVitConfig

__all__ = ["EcgVitForSequenceClassification", "EcgVitModel", "EcgVitPreTrainedModel"]


class EcgVitEmbeddings(nn.Module):
    """Patch embedding with positions and a [CLS] token.

    Args:
        config: Configuration of the model.
    """

    def __init__(self, config: EcgVitConfig):
        super().__init__()
        self.config = config
        embedding = LinearPatchEmbedding if config.patch_embedding == "linear" else ConvolutionPatchEmbedding
        self.patch_embeddings = embedding(config.num_leads, config.patch_size, config.hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.num_patches, config.hidden_size))

    def forward(self, patches: torch.Tensor, ids: torch.Tensor | None = None) -> torch.Tensor:
        """Embed patches and add their positions.

        Args:
            patches: `(batch, patches, patch_size * leads)`.
            ids: Position of each patch in the window `(batch, patches)`; all positions in order by default.
        """
        positions = self.position_embeddings[:, 1:]
        if ids is not None:
            positions = positions[0][ids]
        tokens = self.patch_embeddings(patches)
        return tokens + positions.to(tokens.dtype)

    def prepend_cls(self, tokens: torch.Tensor) -> torch.Tensor:
        """Prepend [CLS], with its position, to `(batch, patches, hidden)`."""
        cls = (self.cls_token + self.position_embeddings[:, :1]).to(tokens.dtype)
        return torch.cat([cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class EcgVitPreTrainedModel(EcgPreTrainedModel):
    """Base of the vision transformers: initialization, windows of another length."""

    config_class: type[EcgVitConfig] = EcgVitConfig
    base_model_prefix = "ecg_vit"
    _supports_sdpa = True
    _no_split_modules = ["TransformerLayer"]

    @torch.no_grad()
    def resize_window(self, window_size: int) -> None:
        """Adapt the model to windows of another length by interpolating its position tables in time.

        Args:
            window_size: New length in samples, a multiple of `patch_size`.
        """
        # Validates that the new window is a whole number of patches before anything is changed.
        config = self._resized_config(window_size)
        for module in self.modules():
            table = getattr(module, "position_embeddings", None)
            if isinstance(table, nn.Parameter):
                has_cls = isinstance(module, EcgVitEmbeddings)
                resized = interpolate_positions(table, config.num_patches, cls_token=has_cls)
                module.position_embeddings = nn.Parameter(resized, requires_grad=table.requires_grad)
        self.config.window_size = window_size

    def _resized_config(self, window_size: int) -> Any:
        return type(self.config)(**{**self.config.to_dict(), "window_size": window_size})

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, nn.Conv1d):
            # Xavier on the (outputs, leads * patch_size) view, as the public MAE code has it.
            bound = math.sqrt(6 / (module.weight[0].numel() + module.out_channels))
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            if module.weight is not None:
                init.ones_(module.weight)
                init.zeros_(module.bias)
        elif isinstance(module, EcgVitEmbeddings):
            init.normal_(module.cls_token, std=std)
            self._init_positions(module.position_embeddings, cls_token=True)

    def _init_positions(self, table: nn.Parameter, cls_token: bool) -> None:
        if self.config.position_initialization == "normal":
            init.normal_(table, std=self.config.initializer_range)
        else:
            rows = table.shape[1] - int(cls_token)
            init.copy_(table, sincos_positions(rows, table.shape[2], cls_token=cls_token)[None])


class EcgVitModel(Encoder, EcgVitPreTrainedModel):
    """Encoder: patch tokens and [CLS] through pre-norm transformer blocks.

    `pooler_output` is [CLS] after the final norm.
    """

    has_cls_token = True

    def __init__(self, config: EcgVitConfig):
        super().__init__(config)
        self.embeddings = EcgVitEmbeddings(config)
        self.encoder = TransformerStack(
            config,
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
        )
        self.layernorm = final_layer_norm(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch embedding."""
        return self.embeddings.patch_embeddings

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks."""
        return self.config.num_hidden_layers

    def patch_weight(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Compute which patches hold a valid sample.

        Args:
            attention_mask: `(batch, samples)`, 1 = signal.

        Returns:
            Bool `(batch, patches)`; `None` without a mask.
        """
        if attention_mask is None:
            return None
        return attention_mask.unflatten(1, (-1, self.config.patch_size)).amax(dim=2).bool()

    def token_mask(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Compute which tokens may be attended to, bool `(batch, 1 + patches)`; [CLS] always."""
        patches = self.patch_weight(attention_mask)
        return None if patches is None else nn.functional.pad(patches, (1, 0), value=True)

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return [CLS]: `(batch, 1 + patches, hidden)` to `(batch, hidden)`."""
        return tokens[:, 0]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: the embedding, then each block."""
        return [("embeddings",), *((f"encoder.layer.{number}",) for number in range(self.num_layers))]

    def normalize_layer(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a parameter-free LayerNorm to the output of an inner block (MoCo v3 with SRCL, layer study)."""
        return plain_layer_norm(tokens)

    def _drop_layers(self, kept: int) -> None:
        self.config.num_hidden_layers, self.config.final_norm = kept, False
        self.encoder.layer = self.encoder.layer[:kept]
        self.layernorm = final_layer_norm(self.config)

    def to_patches(self, input_values: torch.Tensor, lead_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Check the input and cut it into patches.

        Args:
            input_values: `(batch, leads, samples)`.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.

        Returns:
            `(batch, patches, patch_size * leads)`.
        """
        return patchify(self.prepare_input(input_values, lead_mask), self.config.patch_size)

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        last_layer: int | None = None,
    ) -> EcgModelOutput | tuple:
        """Encode windows without masking of patches.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal; patches without a valid sample are no attention keys.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            patches: `(batch, patches, patch_size * leads)` instead of `input_values`, with the same result.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the hidden states of the layers that are run.
            output_attentions: Return their attention weights; needs `attn_implementation="eager"`.
            return_dict: Return a tuple if False.
            last_layer: Last block to run; by default all, with the final norm.
        """
        if (input_values is None) == (patches is None):
            raise SignalError("Pass exactly one of input_values and patches.")
        if input_values is not None:
            patches = self.to_patches(input_values, lead_mask)
        tokens = self.embeddings.prepend_cls(self.embeddings(patches))
        mask = self.token_mask(attention_mask)
        last, states, attentions = self.encoder(tokens, mask, last_layer)
        last = self.layernorm(last) if last_layer in (None, self.num_layers) else self.normalize_layer(last)
        return self.make_output(
            last,
            states,
            attentions,
            token_mask=mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )


class EcgVitForSequenceClassification(EcgForSequenceClassification, EcgVitPreTrainedModel):
    """Vision transformer with a linear layer on [CLS] or on another vector of its tokens."""

    encoder_class = EcgVitModel
