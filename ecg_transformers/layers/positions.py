"""Position embeddings of one-dimensional transformers."""

import torch
from torch.nn import functional

__all__ = ["interpolate_positions", "sincos_positions"]


def sincos_positions(num_positions: int, hidden_size: int, cls_token: bool = False) -> torch.Tensor:
    """Fixed sine-cosine position embeddings (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).

    Frequencies are `10000 ** (-i / (hidden_size / 2))`; the first half of a row holds sines, the second half cosines,
    as in the masked autoencoder of He et al. 2022 (arXiv:2111.06377).

    Args:
        num_positions: Number of positions.
        hidden_size: Size of an embedding.
        cls_token: Whether to prepend a row of zeros for [CLS]. Default: False.

    Returns:
        Float32 `(num_positions, hidden_size)`, or `(num_positions + 1, hidden_size)` with [CLS].
    """
    half = hidden_size // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
    angle = torch.arange(num_positions, dtype=torch.float64, device="cpu")[:, None] * frequency
    table = functional.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, hidden_size - 2 * half))
    if cls_token:
        table = functional.pad(table, (0, 0, 1, 0))
    return table.float()


def interpolate_positions(table: torch.Tensor, num_positions: int, cls_token: bool = False) -> torch.Tensor:
    """Resample position embeddings `(1, positions, hidden)` to `num_positions` by linear interpolation.

    Args:
        table: Position embeddings `(1, positions, hidden)`.
        num_positions: New number of positions, not counting [CLS].
        cls_token: Whether the first row belongs to [CLS] and stays unchanged. Default: False.
    """
    first = int(cls_token)
    stretched = functional.interpolate(
        table[:, first:].transpose(1, 2).float(), size=num_positions, mode="linear", align_corners=False
    )
    return torch.cat([table[:, :first], stretched.transpose(1, 2).to(table.dtype)], dim=1)
