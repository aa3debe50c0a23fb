"""Poolings: from the tokens of an encoder to one vector per window.

Every pooling leaves out tokens without signal (`token_mask`), and mean and max leave out the [CLS] token: it is no
place in time.
"""

import math

import torch
from torch import nn

__all__ = ["POOLINGS", "AttentionPooling", "Pooling", "masked_max", "masked_mean"]

POOLINGS = ("cls", "mean", "max", "cls_mean", "attention")

# The attention pooling splits its one query into this many heads (fewer where the hidden size is not divisible by it).
_NUM_HEADS = 8


def masked_mean(tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The mean over the tokens that carry signal.

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
    """The largest value of each feature over the tokens that carry signal.

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
    """One learned query that attends over the tokens: `concat_h(V_h · sum_t softmax_t(x_t · q_h / sqrt(d/H)) x_t)`.

    A key projection would only be absorbed by the query (`q' W_k x` is linear in `x`), so each head has its score
    vector `q_h` over the whole width, and the value projection is applied after the weighted mean, where it costs one
    product per window instead of one per token. A zero query weighs all tokens alike: the start is the mean.

    Args:
        hidden_size: Width of a token.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.num_heads = math.gcd(hidden_size, _NUM_HEADS)
        self.head_size = hidden_size // self.num_heads
        self.query = nn.Parameter(torch.zeros(self.num_heads, hidden_size))
        self.value = nn.Linear(hidden_size, hidden_size)

    def weights(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The attention of each head on each token, `(batch, heads, tokens)`; each row sums to 1."""
        scores = torch.einsum("bth,nh->bnt", tokens, self.query.to(tokens.dtype)).float() / math.sqrt(self.head_size)
        if token_mask is not None:
            scores = scores.masked_fill(~token_mask.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)

    def forward(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Gives `(batch, hidden)` for tokens `(batch, tokens, hidden)`; `token_mask` true = present."""
        pooled = self.weights(tokens, token_mask).to(tokens.dtype) @ tokens  # (batch, heads, hidden)
        kernel = self.value.weight.view(self.num_heads, self.head_size, -1).to(pooled.dtype)
        return torch.einsum("bnh,nsh->bns", pooled, kernel).flatten(1) + self.value.bias.to(pooled.dtype)

    def extra_repr(self) -> str:
        """What a printed model says about this layer."""
        return f"num_heads={self.num_heads}"


class Pooling(nn.Module):
    """Turns the output of an encoder into one vector per window.

    Args:
        kind: `"cls"` hands on the encoder's own `pooler_output` (the [CLS] token of a transformer, the joined
            poolings of a convolutional encoder); `"mean"` and `"max"` run over the tokens with signal, without [CLS];
            `"cls_mean"` joins the first two; `"attention"` is one learned query over all tokens, [CLS] among them.
        hidden_size: Width of a token.
        cls_token: Whether the first token is a [CLS] token.
        pooled_size: Width of `pooler_output`; `hidden_size` when `None`.

    Raises:
        ValueError: `kind` is none of the five.

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
        last_hidden_state: torch.Tensor,
        token_mask: torch.Tensor | None = None,
        pooler_output: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pools a batch of windows.

        Args:
            last_hidden_state: `(batch, tokens, hidden)`, [CLS] first where there is one.
            token_mask: `(batch, tokens)` with a place for [CLS] where there is one, true = present; `None` = all
                present.
            pooler_output: `(batch, pooled)`, needed by `"cls"` and `"cls_mean"`.

        Returns:
            `(batch, output_size)`.

        Raises:
            ValueError: The pooling needs `pooler_output` and got none.
        """
        if self.kind == "attention":
            return self.attention(last_hidden_state, token_mask)
        first = int(self.cls_token)
        tokens = last_hidden_state[:, first:]
        mask = None if token_mask is None else token_mask[:, first:]
        if self.kind == "max":
            return masked_max(tokens, mask)
        if self.kind == "mean":
            return masked_mean(tokens, mask)
        if pooler_output is None:
            raise ValueError(
                f"pooling {self.kind!r} got no pooler_output; expected one from the encoder. "
                "Choose mean, max or attention."
            )
        return pooler_output if self.kind == "cls" else torch.cat([pooler_output, masked_mean(tokens, mask)], dim=-1)

    def extra_repr(self) -> str:
        """What a printed model says about this layer."""
        return f"kind={self.kind!r}, cls_token={self.cls_token}"
