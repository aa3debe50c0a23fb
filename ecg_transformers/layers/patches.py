"""Windows cut into patches, and patches turned into tokens.

Layout of a patch, everywhere in the package: sample-major, lead fastest. Element `s * leads + c` of patch `n` is sample
`n * patch_size + s` of lead `c` (specification of MAE-MoCo, section 3.5; as in the public MTAE code).
"""

from math import gcd

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ConvolutionPatchEmbedding", "LinearPatchEmbedding"]


class LinearPatchEmbedding(nn.Conv1d):
    """One linear map per patch; its weight is that of a convolution `(hidden, leads, patch_size)`.

    Computed as a matrix product on patches, which equals the strided convolution and serves single patches too.
    """

    def __init__(self, num_leads: int, patch_size: int, hidden_size: int):
        super().__init__(num_leads, hidden_size, kernel_size=patch_size, stride=patch_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Embed `(batch, patches, patch_size * leads)` as `(batch, patches, hidden)`."""
        return functional.linear(patches, self.weight.transpose(1, 2).flatten(1), self.bias)


class ConvolutionPatchEmbedding(nn.Module):
    """Three small convolutions inside each patch, pooled, joined with the raw samples and mapped to a token.

    Nothing crosses the border of a patch, so masking stays exact. Not part of the publication: it names a
    convolutional transformer as its next step. Widths grow as hidden/4, hidden/2, hidden.
    """

    def __init__(self, num_leads: int, patch_size: int, hidden_size: int):
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
