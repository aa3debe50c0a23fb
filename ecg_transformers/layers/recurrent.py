"""Recurrent networks over tokens, and vectors of their states."""

from collections.abc import Callable

import torch
from torch import nn

from .token_reductions import masked_max, masked_mean

__all__ = ["RecurrentStack", "mean_max_last"]

KINDS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentStack(nn.ModuleList):
    """Several recurrent layers, one direction, from a state of zeros; equals torch's own stack without dropout.

    One module per layer, so that the states of every layer are available and the upper ones can be left out.

    Args:
        kind: `"lstm"` or `"gru"`.
        input_size: Width of a token.
        hidden_size: Width of a state.
        num_layers: Number of layers.
    """

    def __init__(self, kind: str, input_size: int, hidden_size: int, *, num_layers: int):
        if kind not in KINDS:
            raise ValueError(f"A recurrent network of kind {kind!r} is not known; expected one of {', '.join(KINDS)}.")
        widths = [input_size] + [hidden_size] * (num_layers - 1)
        super().__init__(KINDS[kind](width, hidden_size, batch_first=True) for width in widths)

    def forward(self, tokens: torch.Tensor, num_layers: int | None = None) -> tuple[torch.Tensor, ...]:
        """States of every layer, `(batch, tokens, hidden)` each.

        Args:
            tokens: `(batch, tokens, input)`.
            num_layers: Run so many layers only. Default: all.
        """
        states: tuple[torch.Tensor, ...] = ()
        for layer in list(self)[:num_layers]:
            tokens, _ = layer(tokens)
            states += (tokens,)
        return states


def mean_max_last(tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean and maximum over time and the last token, concatenated.

    Args:
        tokens: `(batch, tokens, hidden)`.
        token_mask: `(batch, tokens)`, true = present, one at least and the first ones; `None` = all present.

    Returns:
        `(batch, 3 * hidden)`.
    """
    last = tokens[:, -1]
    if token_mask is not None:
        place = token_mask.sum(dim=1) - 1
        last = tokens[torch.arange(len(tokens), device=tokens.device), place]
    return torch.cat([masked_mean(tokens, token_mask), masked_max(tokens, token_mask), last], dim=1)
