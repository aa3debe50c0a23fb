"""Poolings: one vector per window from the tokens of one or several layers of an encoder.

Every pooling ignores tokens without signal (`token_mask`); mean and max ignore the [CLS] token, which has no position
in time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..readout import POOLINGS
from .token_reductions import AttentionPooling, masked_max, masked_mean

__all__ = ["LayerTokens", "Pooling"]


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
