# ecg_transformers/layers/positions.py, copied beside the checkpoint with its imports made flat.
"""Position tables of one-dimensional transformers."""

import torch
from torch.nn import functional

__all__ = ["interpolate_positions", "sincos_positions"]


def sincos_positions(num_positions: int, hidden_size: int, cls_token: bool = False) -> torch.Tensor:
    """Fixed sine and cosine table `(num_positions (+ 1), hidden_size)`, a row of zeros first for [CLS].

    Frequencies are `10000 ** (-i / (hidden_size / 2))`; the first half of a row holds sines, the second cosines, as in
    the public one-dimensional masked autoencoder (MTAE).
    """
    half = hidden_size // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
    angle = torch.arange(num_positions, dtype=torch.float64, device="cpu")[:, None] * frequency
    table = functional.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, hidden_size - 2 * half))
    if cls_token:
        table = functional.pad(table, (0, 0, 1, 0))
    return table.float()


def interpolate_positions(table: torch.Tensor, num_positions: int, cls_token: bool = False) -> torch.Tensor:
    """Stretch a table `(1, positions, hidden)` to `num_positions` places, linearly in time.

    A leading [CLS] row is kept as it is and not counted. Specification of MAE-MoCo, section 2.6.
    """
    first = int(cls_token)
    stretched = functional.interpolate(
        table[:, first:].transpose(1, 2).float(), size=num_positions, mode="linear", align_corners=False
    )
    return torch.cat([table[:, :first], stretched.transpose(1, 2).to(table.dtype)], dim=1)
