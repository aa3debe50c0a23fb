"""The shifted-window transformer in one dimension: encoder and classifier.

Source: Swin Transformer (Liu et al. 2021, arXiv 2103.14030) and its public code; the translation to time is ours. See
`docs/systems/swin1d.md`.
"""

import math

import torch
from torch import nn
from transformers import initialization as init

from ...errors import SignalError
from ...features.steps import patchify
from ...layers.patches import LinearPatchEmbedding
from ...layers.swin import SwinStack, WindowAttention
from ...layers.token_reductions import masked_mean
from ...layers.transformer import final_layer_norm, plain_layer_norm
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_swin1d import Swin1dConfig

__all__ = ["Swin1dForSequenceClassification", "Swin1dModel", "Swin1dPreTrainedModel"]


class Swin1dEmbeddings(nn.Module):
    """Patch embedding, then LayerNorm.

    Args:
        config: Configuration of the model.
    """

    def __init__(self, config: Swin1dConfig):
        super().__init__()
        self.patch_embeddings = LinearPatchEmbedding(config.num_leads, config.patch_size, config.embedding_size)
        self.layernorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Embed `(batch, patches, patch_size * leads)` as `(batch, patches, embedding_size)`."""
        return self.layernorm(self.patch_embeddings(patches))


class Swin1dPreTrainedModel(EcgPreTrainedModel):
    """Base of the family: initialization, windows of another length."""

    config_class = Swin1dConfig
    base_model_prefix = "swin1d"
    _supports_sdpa = True
    _no_split_modules = ["SwinLayer"]

    def resize_window(self, window_size: int) -> None:
        """Take windows of another length; positions are relative, so that no weight changes.

        Args:
            window_size: New length in samples.

        Raises:
            CheckpointError: It is not a whole number of attention windows in every stage.
        """
        type(self.config)(**{**self.config.to_dict(), "window_size": window_size})
        self.config.window_size = window_size

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, nn.Conv1d):
            # The public code leaves the patch embedding at torch's own start.
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            if module.weight is not None:
                init.ones_(module.weight)
                init.zeros_(module.bias)
        elif isinstance(module, WindowAttention):
            init.trunc_normal_(module.relative_position_bias, std=std)


class Swin1dModel(Encoder, Swin1dPreTrainedModel):
    """Encoder: patch tokens through stages of blocks with attention in short, alternately shifted windows.

    Layer k is stage k, before its tokens are merged for the next one; its width is `config.stage_sizes[k - 1]`.
    `pooler_output` is the mean over the tokens of the last stage after the final norm.
    """

    def __init__(self, config: Swin1dConfig):
        super().__init__(config)
        self.embeddings = Swin1dEmbeddings(config)
        self.encoder = SwinStack(
            config,
            embedding_size=config.embedding_size,
            depths=config.depths,
            num_heads=config.num_attention_heads,
        )
        self.layernorm = final_layer_norm(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch embedding."""
        return self.embeddings.patch_embeddings

    @property
    def num_layers(self) -> int:
        """Number of stages."""
        return len(self.config.depths)

    def layer_size(self, layer: int) -> int:
        """Return the width of the patch tokens (layer 0) or of a stage.

        Args:
            layer: Number of the layer.
        """
        [number] = self.layer_numbers(layer)
        return [self.config.embedding_size, *self.config.stage_sizes][number]

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Average the tokens: `(batch, tokens, width)` to `(batch, width)`."""
        return masked_mean(tokens, token_mask)

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: the embedding, then each stage."""
        return [("embeddings",), *((f"encoder.stage.{number}",) for number in range(self.num_layers))]

    def normalize_layer(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a parameter-free LayerNorm to the output of an inner stage."""
        return plain_layer_norm(tokens)

    def _drop_layers(self, kept: int) -> None:
        config = self.config
        config.depths, config.num_attention_heads = config.depths[:kept], config.num_attention_heads[:kept]
        config.hidden_size, config.final_norm = config.stage_sizes[-1], False
        self.encoder.stage = self.encoder.stage[:kept]
        self.layernorm = final_layer_norm(config)

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
        """Encode windows.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            patches: `(batch, patches, patch_size * leads)` instead of `input_values`, with the same result.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the patch tokens and the output of each stage that is run.
            output_attentions: Return the attention weights of each block, `(batch * windows, heads, window, window)`
                in tokens; needs `attn_implementation="eager"`.
            return_dict: Return a tuple if False.
            last_layer: Last stage to run; by default all, with the final norm.
        """
        if (input_values is None) == (patches is None):
            raise SignalError("Pass exactly one of input_values and patches.")
        if input_values is not None:
            patches = patchify(self.prepare_input(input_values, lead_mask), self.config.patch_size)
        self.token_mask(attention_mask)
        last, states, attentions = self.encoder(self.embeddings(patches), last_layer)
        last = self.layernorm(last) if last_layer in (None, self.num_layers) else self.normalize_layer(last)
        return self.make_output(
            last,
            states,
            attentions,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )


class Swin1dForSequenceClassification(EcgForSequenceClassification, Swin1dPreTrainedModel):
    """Shifted-window transformer with a linear layer on the mean of its tokens or on another vector of them."""

    encoder_class = Swin1dModel
