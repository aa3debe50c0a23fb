"""Poolings: one vector per window from the tokens of one or several layers of an encoder.

Every pooling ignores tokens without signal (`token_mask`); mean and max ignore the [CLS] token, which has no position
in time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

__all__ = ["POOLINGS", "AttentionPooling", "LayerTokens", "Pooling", "masked_max", "masked_mean"]

POOLINGS = ("cls", "mean", "max", "cls_mean", "attention")

# Heads of the attention pooling; fewer if the hidden size is not divisible by 8.
_NUM_HEADS = 8


class LayerTokens(NamedTuple):
    """Tokens of one layer, ready to be pooled.

    Args:
        tokens: `(batch, tokens, hidden)`.
        token_mask: Bool `(batch, tokens)`, true = present; `None` if all are present.
        pooled: `(batch, pooled)`: the encoder's own pooling of these tokens.
    """

    tokens: torch.Tensor
    token_mask: torch.Tensor | None
    pooled: torch.Tensor


def masked_mean(tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the tokens with signal.

    Args:
        tokens: `(batch, tokens, hidden)`.
        token_mask: `(batch, tokens)`, true = present; `None` = all present.

    Returns:
        `(batch, hidden)`; zeros for a window without any present token.
    """
    if token_mask is None:
        return tokens.mean(dim=1)
    weights = token_mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def masked_max(tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Maximum of each feature over the tokens with signal.

    Args:
        tokens: `(batch, tokens, hidden)`.
        token_mask: `(batch, tokens)`, true = present; `None` = all present.

    Returns:
        `(batch, hidden)`; zeros for a window without any present token.
    """
    if token_mask is None:
        return tokens.amax(dim=1)
    present = token_mask.bool().unsqueeze(-1)
    largest = tokens.masked_fill(~present, torch.finfo(tokens.dtype).min).amax(dim=1)
    return largest.masked_fill(~present.any(dim=1), 0.0)


class AttentionPooling(nn.Module):
    """Attention of one learned query over the tokens: `concat_h(V_h · sum_t softmax_t(x_t · q_h / sqrt(d/H)) x_t)`.

    A key projection would be absorbed by the query (`q' W_k x` is linear in `x`), so each head has a score vector `q_h`
    over the whole width. The value projection follows the weighted mean, where it costs one product per window instead
    of one per token. The initial query is zero, which weights all tokens equally.

    Args:
        hidden_size: Width of the tokens.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.num_heads = math.gcd(hidden_size, _NUM_HEADS)
        self.head_size = hidden_size // self.num_heads
        self.query = nn.Parameter(torch.zeros(self.num_heads, hidden_size))
        self.value = nn.Linear(hidden_size, hidden_size)

    def weights(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the attention weights `(batch, heads, tokens)`; each row sums to 1.

        Args:
            tokens: `(batch, tokens, hidden)`.
            token_mask: `(batch, tokens)`, true = present; `None` = all present.
        """
        scores = torch.einsum("bth,nh->bnt", tokens, self.query.to(tokens.dtype)).float() / math.sqrt(self.head_size)
        if token_mask is not None:
            scores = scores.masked_fill(~token_mask.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)

    def forward(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `(batch, tokens, hidden)` to `(batch, hidden)`; for the arguments see `weights`."""
        pooled = self.weights(tokens, token_mask).to(tokens.dtype) @ tokens  # (batch, heads, hidden)
        kernel = self.value.weight.view(self.num_heads, self.head_size, -1).to(pooled.dtype)
        return torch.einsum("bnh,nsh->bns", pooled, kernel).flatten(1) + self.value.bias.to(pooled.dtype)

    def extra_repr(self) -> str:
        """Describe the layer in a printed model."""
        return f"num_heads={self.num_heads}"


class Pooling(nn.Module):
    """Pooling of tokens to one vector per window.

    Args:
        kind: `"cls"`: the encoder's own pooling (the [CLS] token of a transformer, the concatenated poolings of a
            convolutional encoder); `"mean"`, `"max"`: over the tokens with signal, without [CLS]; `"cls_mean"`: the
            first two concatenated; `"attention"`: one learned query over all tokens, [CLS] included.
        hidden_size: Width of the tokens; for several layers the sum of their widths.
        cls_token: Whether the first token is a [CLS] token.
        pooled_size: Width of the encoder's own pooling, for several layers their sum; `hidden_size` by default.

    Raises:
        ValueError: `kind` is unknown.

    Example:
        >>> pooling = Pooling("cls_mean", hidden_size=8, cls_token=True)
        >>> tokens = torch.ones(2, 5, 8)
        >>> pooling(tokens, None, tokens[:, 0]).shape, pooling.output_size
        (torch.Size([2, 16]), 16)
    """

    def __init__(self, kind: str, hidden_size: int, cls_token: bool, pooled_size: int | None = None) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(
                f"pooling is {kind!r}; expected one of {', '.join(POOLINGS)}. Set config.pooling to one of them."
            )
        self.kind = kind
        self.cls_token = cls_token
        pooled_size = hidden_size if pooled_size is None else pooled_size
        self.output_size = {"cls": pooled_size, "cls_mean": pooled_size + hidden_size}.get(kind, hidden_size)
        if kind == "attention":
            self.attention = AttentionPooling(hidden_size)

    def forward(
        self,
        tokens: torch.Tensor,
        token_mask: torch.Tensor | None = None,
        pooled: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pool the tokens of one layer.

        Args:
            tokens: `(batch, tokens, hidden)`, [CLS] first if there is one.
            token_mask: `(batch, tokens)`, [CLS] included, true = present; `None` = all present.
            pooled: `(batch, pooled)`, the encoder's own pooling; needed by `"cls"` and `"cls_mean"`.

        Returns:
            `(batch, output_size)`.

        Raises:
            ValueError: The pooling needs `pooled` and got none.
        """
        if self.kind == "attention":
            return self.attention(tokens, token_mask)
        first = int(self.cls_token)
        tokens = tokens[:, first:]
        mask = None if token_mask is None else token_mask[:, first:]
        if self.kind == "max":
            return masked_max(tokens, mask)
        if self.kind == "mean":
            return masked_mean(tokens, mask)
        if pooled is None:
            raise ValueError(
                f"pooling {self.kind!r} got no pooler_output; expected one from the encoder. "
                "Choose mean, max or attention."
            )
        return pooled if self.kind == "cls" else torch.cat([pooled, masked_mean(tokens, mask)], dim=-1)

    def join(self, layers: Sequence[LayerTokens]) -> torch.Tensor:
        """Pool the tokens of each layer and concatenate the vectors in order: `(batch, output_size)`."""
        vectors = [self(*layer) for layer in layers]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)

    def extra_repr(self) -> str:
        """Describe the layer in a printed model."""
        return f"kind={self.kind!r}, cls_token={self.cls_token}"
