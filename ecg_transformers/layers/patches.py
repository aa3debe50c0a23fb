"""Patch embeddings: from patches of a window to tokens.

Layout of a patch throughout the package: sample-major, lead fastest. Element `s * leads + c` of patch `n` is sample
`n * patch_size + s` of lead `c`, as in the public code of ST-MEM (Na et al. 2024, arXiv:2402.09450).
"""

from math import gcd

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ConvolutionPatchEmbedding", "LinearPatchEmbedding"]


class LinearPatchEmbedding(nn.Conv1d):
    """Linear projection of each patch, with the weight of a strided convolution `(hidden, leads, patch_size)`.

    Computed as a matrix product on patches, which is equivalent and also works for a subset of patches.

    Args:
        num_leads: Number of leads.
        patch_size: Samples per patch.
        hidden_size: Size of a token.
    """

    def __init__(self, num_leads: int, patch_size: int, hidden_size: int) -> None:
        super().__init__(num_leads, hidden_size, kernel_size=patch_size, stride=patch_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Embed `(batch, patches, patch_size * leads)` as `(batch, patches, hidden)`."""
        return functional.linear(patches, self.weight.transpose(1, 2).flatten(1), self.bias)


class ConvolutionPatchEmbedding(nn.Module):
    """Three convolutions within each patch, pooled, concatenated with the raw samples and projected to a token.

    No convolution crosses the border of a patch, so that masking remains exact. Not part of the publication of
    MAE-MoCo, which suggests a convolutional transformer as future work. The channels are hidden/4, hidden/2, hidden.

    Args:
        num_leads: Number of leads.
        patch_size: Samples per patch.
        hidden_size: Size of a token.
    """

    def __init__(self, num_leads: int, patch_size: int, hidden_size: int) -> None:
        super().__init__()
        self.num_leads = num_leads
        narrow, middle = max(hidden_size // 4, 1), max(hidden_size // 2, 1)
        self.convolution_1 = nn.Conv1d(num_leads, narrow, 5, padding=2)
        self.norm_1 = nn.GroupNorm(gcd(8, narrow), narrow)
        self.convolution_2 = nn.Conv1d(narrow, middle, 5, stride=2, padding=2)
        self.norm_2 = nn.GroupNorm(gcd(8, middle), middle)
        self.convolution_3 = nn.Conv1d(middle, hidden_size, 3, stride=2, padding=1)
        self.projection = nn.Linear(2 * hidden_size + num_leads * patch_size, hidden_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Embed `(batch, patches, patch_size * leads)` as `(batch, patches, hidden)`."""
        batch, count, width = patches.shape
        signal = patches.reshape(batch * count, width // self.num_leads, self.num_leads).transpose(1, 2)
        hidden = functional.gelu(self.norm_1(self.convolution_1(signal)))
        hidden = functional.gelu(self.norm_2(self.convolution_2(hidden)))
        hidden = functional.gelu(self.convolution_3(hidden))
        pooled = torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=-1).reshape(batch, count, -1)
        return self.projection(torch.cat([pooled, patches.to(pooled.dtype)], dim=-1))
