"""The shifted-window transformer in one dimension: attention within short windows, tokens merged from stage to stage.

Source: Swin Transformer (Liu et al. 2021, sections 3.1 and 3.2) and its public code, with time as the only axis; sizes
of Swin-T. The translation is ours.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import nn
from transformers.configuration_utils import PreTrainedConfig

from .transformer import Attention, TransformerLayer

__all__ = ["PatchMerging", "SwinLayer", "SwinStack"]

# Added to the scores of tokens that lie side by side only because the sequence was rolled (public code).
_SEAM_SCORE = -100.0
# Width of the MLP over that of its tokens (Swin-T).
_MLP_RATIO = 4


class WindowAttention(Attention):
    """Self-attention within windows of `window` tokens, with a learned bias for each distance and head.

    A shifted layer rolls the sequence by `shift` tokens first, so that its windows cross the borders of the layer
    before; the two ends of the sequence that then share a window do not attend to each other.
    """

    def __init__(self, config: PreTrainedConfig, hidden_size: int, num_heads: int, *, window: int, shift: int) -> None:
        super().__init__(config, hidden_size, num_heads, config.attention_probs_dropout_prob, config.qkv_bias)
        self.window = window
        self.shift = shift
        self.relative_position_bias = nn.Parameter(torch.zeros(2 * window - 1, num_heads))

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over `(batch, tokens, hidden)`, a whole number of windows; there is no padding.

        Returns:
            The same shape, and the weights `(batch * windows, heads, window, window)` where the kernel has them.
        """
        batch, tokens, width = hidden.shape
        # One window sees everything: the public code does not shift it.
        shift = self.shift if tokens > self.window else 0
        if shift:
            hidden = hidden.roll(-shift, dims=1)
        windows = hidden.reshape(-1, self.window, width)
        scores = self._added_scores(tokens // self.window, shift).to(hidden.dtype)
        mixed, weights = super().forward(windows, scores.repeat(batch, 1, 1, 1) if shift else scores)
        mixed = mixed.reshape(batch, tokens, width)
        return (mixed.roll(shift, dims=1) if shift else mixed), weights

    def _added_scores(self, windows: int, shift: int) -> torch.Tensor:
        """Position bias `(1, heads, window, window)`; shifted, with the seam in the last of `(windows, ...)`."""
        place = torch.arange(self.window, device=self.relative_position_bias.device)
        distance = place[:, None] - place + self.window - 1
        bias = self.relative_position_bias[distance].permute(2, 0, 1)[None]
        if not shift:
            return bias
        at_end = place < self.window - shift
        seam = torch.where(at_end[:, None] == at_end, 0.0, _SEAM_SCORE)
        return torch.cat([bias.expand(windows - 1, -1, -1, -1), bias + seam])


class SwinLayer(TransformerLayer):
    """`x = x + attention(norm(x)); x = x + mlp(norm(x))`, with attention within windows.

    Args:
        config: Configuration with the fields of `TransformerLayer` and `attention_window_size` in tokens.
        hidden_size: Width of the tokens.
        num_heads: Attention heads.
        is_shifted: Whether the windows are shifted by half their size.
    """

    def __init__(self, config: PreTrainedConfig, *, hidden_size: int, num_heads: int, is_shifted: bool) -> None:
        super().__init__(
            config, hidden_size=hidden_size, num_heads=num_heads, intermediate_size=_MLP_RATIO * hidden_size
        )
        window = config.attention_window_size
        self.attention = WindowAttention(
            config, hidden_size, num_heads, window=window, shift=window // 2 if is_shifted else 0
        )


class PatchMerging(nn.Module):
    """Two neighboring tokens become one of twice the width."""

    def __init__(self, hidden_size: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(2 * hidden_size, eps=layer_norm_eps)
        self.reduction = nn.Linear(2 * hidden_size, 2 * hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map `(batch, tokens, hidden)` to `(batch, tokens / 2, 2 * hidden)`."""
        batch, tokens, width = hidden.shape
        return self.reduction(self.layernorm(hidden.reshape(batch, tokens // 2, 2 * width)))


class SwinStage(nn.Module):
    """Layers of one width, every second one shifted, after the merging that gives that width."""

    def __init__(
        self, config: PreTrainedConfig, *, merging: PatchMerging | None, depth: int, hidden_size: int, num_heads: int
    ) -> None:
        super().__init__()
        self.merging = merging
        self.layer = nn.ModuleList(
            SwinLayer(config, hidden_size=hidden_size, num_heads=num_heads, is_shifted=bool(number % 2))
            for number in range(depth)
        )

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """Return the tokens after the last layer, and every layer's attention weights."""
        if self.merging is not None:
            hidden = self.merging(hidden)
        attentions: tuple[torch.Tensor | None, ...] = ()
        for layer in self.layer:
            hidden, weights = layer(hidden)
            attentions += (weights,)
        return hidden, attentions


class SwinStack(nn.Module):
    """Several stages in a row; tokens halve and widths double between them.

    Args:
        config: Configuration with the fields of `TransformerLayer` and `attention_window_size` in tokens.
        embedding_size: Width of the first stage (96 in Swin-T).
        depths: Layers of each stage (2, 2, 6, 2 in Swin-T).
        num_heads: Attention heads of each stage (3, 6, 12, 24 in Swin-T).
    """

    def __init__(
        self, config: PreTrainedConfig, *, embedding_size: int, depths: Sequence[int], num_heads: Sequence[int]
    ) -> None:
        super().__init__()
        widths = [embedding_size * 2**number for number in range(len(depths))]
        self.stage = nn.ModuleList(
            SwinStage(
                config,
                merging=PatchMerging(width // 2, config.layer_norm_eps) if number else None,
                depth=depth,
                hidden_size=width,
                num_heads=heads,
            )
            for number, (depth, width, heads) in enumerate(zip(depths, widths, num_heads, strict=True))
        )

    def forward(
        self, hidden: torch.Tensor, num_stages: int | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor | None, ...]]:
        """Run the stages.

        Args:
            hidden: `(batch, tokens, embedding_size)`, in every stage a whole number of windows.
            num_stages: Number of stages to run, from the first on; all by default.

        Returns:
            Output of the last stage, input of the first and output of every stage (before the tokens are merged for
            the next), attention weights of every layer (None where the kernel gives none).
        """
        states: tuple[torch.Tensor, ...] = (hidden,)
        attentions: tuple[torch.Tensor | None, ...] = ()
        for stage in islice(self.stage, num_stages):
            hidden, weights = stage(hidden)
            states += (hidden,)
            attentions += weights
        return hidden, states, attentions
