"""From the tokens of a window to one vector: mean, maximum and attention over the tokens with signal."""

import math

import torch
from torch import nn

__all__ = ["AttentionPooling", "masked_max", "masked_mean"]

# Heads of the attention; fewer if the hidden size is not divisible by 8.
_NUM_HEADS = 8


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
