"""The transformer block, with the norms before its two parts (vision transformer) or after them (wav2vec 2.0).

Sources: Dosovitskiy et al. 2021 (arXiv 2010.11929), section 3.1; Vaswani et al. 2017 (arXiv 1706.03762), section 3.1.
Attention uses Transformers' attention interface: `attn_implementation` selects the kernel.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

__all__ = [
    "TransformerLayer",
    "TransformerStack",
    "additive_attention_mask",
    "eager_attention",
    "final_layer_norm",
    "plain_layer_norm",
]

_PLAIN_NORM_EPS = 1e-6


def plain_layer_norm(tokens: torch.Tensor) -> torch.Tensor:
    """Parameter-free LayerNorm over the last axis, for the output of an inner layer."""
    return nn.functional.layer_norm(tokens, tokens.shape[-1:], eps=_PLAIN_NORM_EPS)


def final_layer_norm(config: PreTrainedConfig) -> nn.LayerNorm:
    """LayerNorm after the last layer of an encoder; of a truncated one (`final_norm` False) the parameter-free one."""
    eps = config.layer_norm_eps if config.final_norm else _PLAIN_NORM_EPS
    return nn.LayerNorm(config.hidden_size, eps=eps, elementwise_affine=config.final_norm)


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in elementary operations; its backward pass on a CPU is faster than that of the fused kernel.

    Args:
        module: Attention layer.
        query: `(batch, heads, tokens, size)`.
        key: `(batch, heads, tokens, size)`.
        value: `(batch, heads, tokens, size)`.
        attention_mask: Added to the scores `(batch, 1, 1, tokens)`, or None.
        scaling: Factor on the scores.
        dropout: Dropout probability of the attention weights in training. Default: 0.
        **kwargs: Arguments of other kernels, ignored.

    Returns:
        The output `(batch, tokens, heads, size)` and the attention weights `(batch, heads, tokens, tokens)`.
    """
    scores = (query * scaling) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


def additive_attention_mask(token_mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Convert a token mask to an additive mask `(batch, 1, 1, tokens)`: 0, or the lowest finite number.

    With the lowest finite number instead of minus infinity, a row without any key contains no NaN.

    Args:
        token_mask: Bool `(batch, tokens)`, True = attend; None: no mask.
        dtype: Type of the scores.
    """
    if token_mask is None:
        return None
    mask = torch.zeros(token_mask.shape, dtype=dtype, device=token_mask.device)
    return mask.masked_fill(~token_mask, torch.finfo(dtype).min)[:, None, None, :]


class Attention(nn.Module):
    """Multi-head self-attention with scores scaled by the square root of the head size."""

    def __init__(
        self, config: PreTrainedConfig, hidden_size: int, num_heads: int, dropout: float, qkv_bias: bool
    ) -> None:
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.head_size = hidden_size // num_heads
        self.dropout = dropout
        self.is_causal = False
        self.query = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.key = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.value = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map `(batch, tokens, hidden)` to the same shape; also return the weights if the kernel provides them."""
        batch, tokens, width = hidden.shape
        shape = (batch, tokens, self.num_heads, self.head_size)
        query, key, value = (layer(hidden).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        mixed, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.head_size**-0.5,
            dropout=self.dropout if self.training else 0.0,
            is_causal=False,
        )
        return self.output(mixed.reshape(batch, tokens, width)), weights


class Intermediate(nn.Module):
    """First half of the MLP: linear layer and activation."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: str) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)
        self.activation = ACT2FN[activation]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map `(..., hidden)` to `(..., intermediate)`."""
        return self.activation(self.dense(hidden))


class Output(nn.Module):
    """Second half of the MLP: dropout of the activations and linear layer."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation_dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(activation_dropout)
        self.dense = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map `(..., intermediate)` to `(..., hidden)`."""
        return self.dense(self.dropout(hidden))


class TransformerLayer(GradientCheckpointingLayer):
    """Attention and MLP, each with a residual connection and a LayerNorm.

    `norm_first`: `x = x + attention(norm(x)); x = x + mlp(norm(x))`; else
    `x = norm(x + attention(x)); x = norm(x + mlp(x))`.

    Args:
        config: Configuration of the model: `layer_norm_eps`, `qkv_bias`, `hidden_act` and dropout probabilities.
        hidden_size: Width of the tokens.
        num_heads: Attention heads.
        intermediate_size: Width of the MLP.
        norm_first: Whether the norms precede their parts. Default: yes.
        activation_dropout: Dropout probability of the activations of the MLP. Default: 0.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        norm_first: bool = True,
        activation_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        # The norm of the attention and that of the MLP, wherever they stand: one name per tensor in checkpoints.
        self.layernorm_before = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.attention = Attention(config, hidden_size, num_heads, config.attention_probs_dropout_prob, config.qkv_bias)
        self.layernorm_after = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.intermediate = Intermediate(hidden_size, intermediate_size, config.hidden_act)
        self.output = Output(hidden_size, intermediate_size, activation_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map `(batch, tokens, hidden)` to the same shape; also return the attention weights, or None."""
        if not self.norm_first:
            mixed, weights = self.attention(hidden, attention_mask)
            hidden = self.layernorm_before(hidden + self.dropout(mixed))
            return self.layernorm_after(hidden + self.dropout(self.output(self.intermediate(hidden)))), weights
        residual = hidden
        hidden, weights = self.attention(self.layernorm_before(hidden), attention_mask)
        hidden = residual + self.dropout(hidden)
        residual = hidden
        hidden = self.output(self.intermediate(self.layernorm_after(hidden)))
        return residual + self.dropout(hidden), weights


class TransformerStack(nn.Module):
    """A sequence of transformer layers.

    Args:
        config: As in `TransformerLayer`.
        num_layers: Number of layers.
        **layer: Further arguments of every `TransformerLayer`.
    """

    def __init__(self, config: PreTrainedConfig, *, num_layers: int, **layer: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(TransformerLayer(config, **layer) for _ in range(num_layers))

    def forward(
        self, hidden: torch.Tensor, token_mask: torch.Tensor | None = None, num_layers: int | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor | None, ...]]:
        """Apply all layers.

        Args:
            hidden: `(batch, tokens, hidden)`.
            token_mask: Bool `(batch, tokens)`, True = attend. Default: all.
            num_layers: Number of layers to run, from the first on. Default: all.

        Returns:
            Output of the last layer; input of the first layer and output of every layer; attention weights of every
            layer (None if the kernel does not provide them).
        """
        mask = additive_attention_mask(token_mask, hidden.dtype)
        states: tuple[torch.Tensor, ...] = (hidden,)
        attentions: tuple[torch.Tensor | None, ...] = ()
        for layer in islice(self.layer, num_layers):
            hidden, weights = layer(hidden, mask)
            states += (hidden,)
            attentions += (weights,)
        return hidden, states, attentions
