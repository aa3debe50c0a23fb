# ecg_transformers/layers/transformer.py, copied beside the checkpoint with its imports made flat.
"""The pre-norm transformer block of the one-dimensional vision transformer (ViT), and a stack of them.

Attention goes through Transformers' attention interface, so that `attn_implementation` chooses the kernel.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

__all__ = ["TransformerLayer", "TransformerStack", "additive_attention_mask", "eager_attention"]


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention as three plain operations; on a CPU its backward pass is faster than the fused kernel's.

    Args:
        module: The attention layer, for its training state.
        query: `(batch, heads, tokens, size)`, as are `key` and `value`.
        key: Keys.
        value: Values.
        attention_mask: Added to the scores, `(batch, 1, 1, tokens)`.
        scaling: Factor on the scores.
        dropout: Probability of dropping an attention weight in training.
        **kwargs: What other kernels take.

    Returns:
        The result `(batch, tokens, heads, size)` and the weights `(batch, heads, tokens, tokens)`.
    """
    scores = (query * scaling) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


def additive_attention_mask(token_mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Turn `(batch, tokens)` booleans, True = attend, into scores `(batch, 1, 1, tokens)`: 0 or the lowest number.

    The lowest finite number instead of minus infinity keeps a row without any key free of NaN.
    """
    if token_mask is None:
        return None
    mask = torch.zeros(token_mask.shape, dtype=dtype, device=token_mask.device)
    return mask.masked_fill(~token_mask, torch.finfo(dtype).min)[:, None, None, :]


class Attention(nn.Module):
    """Multi-head self-attention with biases, scores divided by the root of the head size."""

    def __init__(self, config, hidden_size: int, num_heads: int, dropout: float, qkv_bias: bool):
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
        """Attend over `(batch, tokens, hidden)`; returns the same shape and the weights where the kernel has them."""
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
    """First half of the MLP: linear map and activation."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: str):
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)
        self.activation = ACT2FN[activation]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map `(..., hidden)` to `(..., intermediate)`."""
        return self.activation(self.dense(hidden))


class Output(nn.Module):
    """Second half of the MLP: linear map back."""

    def __init__(self, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.dense = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map `(..., intermediate)` to `(..., hidden)`."""
        return self.dense(hidden)


class TransformerLayer(GradientCheckpointingLayer):
    """`x = x + attention(norm(x)); x = x + mlp(norm(x))`."""

    def __init__(
        self,
        config,
        *,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
    ):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.attention = Attention(config, hidden_size, num_heads, config.attention_probs_dropout_prob, config.qkv_bias)
        self.layernorm_after = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.intermediate = Intermediate(hidden_size, intermediate_size, config.hidden_act)
        self.output = Output(hidden_size, intermediate_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map `(batch, tokens, hidden)` to the same shape; also returns the attention weights or None."""
        residual = hidden
        hidden, weights = self.attention(self.layernorm_before(hidden), attention_mask)
        hidden = residual + self.dropout(hidden)
        residual = hidden
        hidden = self.output(self.intermediate(self.layernorm_after(hidden)))
        return residual + self.dropout(hidden), weights


class TransformerStack(nn.Module):
    """Several layers in a row."""

    def __init__(self, config, *, num_layers: int, hidden_size: int, num_heads: int, intermediate_size: int):
        super().__init__()
        self.layer = nn.ModuleList(
            TransformerLayer(config, hidden_size=hidden_size, num_heads=num_heads, intermediate_size=intermediate_size)
            for _ in range(num_layers)
        )

    def forward(
        self, hidden: torch.Tensor, token_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor | None, ...]]:
        """Run the layers.

        Args:
            hidden: `(batch, tokens, hidden)`.
            token_mask: `(batch, tokens)` booleans, True = may be attended to.

        Returns:
            Output of the last layer, input of the first and output of every layer, attention weights of every layer
            (None where the kernel gives none).
        """
        mask = additive_attention_mask(token_mask, hidden.dtype)
        states: tuple[torch.Tensor, ...] = (hidden,)
        attentions: tuple[torch.Tensor | None, ...] = ()
        for layer in self.layer:
            hidden, weights = layer(hidden, mask)
            states += (hidden,)
            attentions += (weights,)
        return hidden, states, attentions
