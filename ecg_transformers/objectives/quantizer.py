"""Product quantizer with Gumbel softmax (wav2vec 2.0, Baevski et al. 2020, section 2; Jang et al. 2016)."""

from typing import NamedTuple

import torch
from torch import nn

from .precision import at_least_float32

__all__ = ["GumbelQuantizer", "Quantized", "perplexity"]


class Quantized(NamedTuple):
    """Result of the quantizer.

    Args:
        vectors: The code vectors of all groups concatenated, `(rows, frames, groups * size)`.
        codes: Number of the code in each group, int64 `(rows, frames, groups)`.
        probabilities: Mean probability of every code, without noise, `(groups, codes)`, with gradient.
        usage: Share of the frames for which a code is the most probable one, without noise, `(groups, codes)`.
    """

    vectors: torch.Tensor
    codes: torch.Tensor
    probabilities: torch.Tensor
    usage: torch.Tensor


class GumbelQuantizer(nn.Module):
    """Replaces each frame by one code vector per group; the gradient is that of the soft choice.

    The chosen vectors are looked up; products of all frames with all code vectors `(frames, codes, size)` are never
    formed.

    Args:
        input_size: Width of the frames.
        num_groups: Groups.
        num_codes: Codes of a group.
        output_size: Width of the result, a multiple of `num_groups`.
    """

    def __init__(self, input_size: int, *, num_groups: int, num_codes: int, output_size: int):
        super().__init__()
        self.num_groups, self.num_codes = num_groups, num_codes
        self.codevectors = nn.Parameter(torch.zeros(1, num_groups * num_codes, output_size // num_groups))
        self.weight_proj = nn.Linear(input_size, num_groups * num_codes)

    def forward(self, frames: torch.Tensor, temperature: float, noise: torch.Tensor | None = None) -> Quantized:
        """Quantize frames.

        Args:
            frames: `(rows, frames, input_size)`.
            temperature: Of the Gumbel softmax; without noise it has no effect.
            noise: Gumbel noise `(rows, frames, groups, codes)`. Default: none, the most probable codes are taken and
                their choice has no gradient (evaluation).
        """
        (logits,) = at_least_float32(self.weight_proj(frames))
        logits = logits.unflatten(-1, (self.num_groups, self.num_codes))
        probable = logits.argmax(dim=-1)
        noisy = logits if noise is None else logits + noise
        codes = noisy.argmax(dim=-1)
        table = self.codevectors.view(self.num_groups, self.num_codes, -1)
        vectors = table[torch.arange(self.num_groups, device=codes.device), codes]
        if noise is not None:
            soft = (noisy / temperature).softmax(dim=-1)
            mixed = torch.einsum("rfgc,gcs->rfgs", soft, table.detach().to(soft.dtype))
            # Exactly the chosen vectors, with the gradient of the mixture (straight through).
            vectors = vectors + (mixed - mixed.detach()).to(vectors.dtype)
        flat = (probable + self.num_codes * torch.arange(self.num_groups, device=codes.device)).flatten()
        counts = torch.bincount(flat, minlength=self.num_groups * self.num_codes).to(logits.dtype)
        return Quantized(
            vectors.flatten(2),
            codes,
            logits.softmax(dim=-1).mean(dim=(0, 1)),
            counts.view(self.num_groups, self.num_codes) / (codes.shape[0] * codes.shape[1]),
        )


def perplexity(probabilities: torch.Tensor) -> torch.Tensor:
    """Compute `sum over groups of exp(-sum p log(p + 1e-7))` (published), a scalar; the number of codes at most.

    Args:
        probabilities: `(groups, codes)`.
    """
    return (-(probabilities * (probabilities + 1e-7).log()).sum(dim=-1)).exp().sum()
