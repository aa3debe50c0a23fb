"""Contrast of masked frames: each identifies its own target among those of other masked frames (wav2vec 2.0).

Source: Baevski et al. 2020 (arXiv 2006.11477), equation 3, and its public code.
"""

from typing import NamedTuple

import torch
from torch.nn import functional

from .precision import at_least_float32, similarities

__all__ = ["FrameContrast", "frame_contrast", "negative_frames"]

# Of a norm, as in `torch.cosine_similarity`.
_EPSILON = 1e-8


class FrameContrast(NamedTuple):
    """Result of the contrast.

    Args:
        losses: Of each masked frame `(rows, frames)`; 0 where every negative equals the target.
        logits: Cosine similarities divided by the temperature `(rows, frames, 1 + negatives)`, the own target first;
            -inf where a negative equals it.
    """

    losses: torch.Tensor
    logits: torch.Tensor

    @property
    def loss(self) -> torch.Tensor:
        """Mean over the frames."""
        return self.losses.mean()

    @property
    def accuracy(self) -> torch.Tensor:
        """Share of the frames nearest to their own target; where all are equally near, none is."""
        logits = self.logits.detach()
        own, negatives = logits[..., 0], logits[..., 1:]
        return ((own >= negatives.amax(dim=-1)) & (own > negatives.amin(dim=-1))).float().mean()


def negative_frames(uniform: torch.Tensor) -> torch.Tensor:
    """Turn uniform numbers into negatives: for each masked frame others of the same row, drawn with replacement.

    Args:
        uniform: Numbers in [0, 1), `(..., frames, negatives)`.

    Returns:
        Places among the masked frames of the row, int64 `(..., frames, negatives)`, never the frame's own.
    """
    frames = uniform.shape[-2]
    places = (uniform * (frames - 1)).long()
    return places + (places >= torch.arange(frames, device=uniform.device)[:, None])


def frame_contrast(
    contexts: torch.Tensor,
    targets: torch.Tensor,
    negative_indices: torch.Tensor,
    codes: torch.Tensor,
    temperature: float,
) -> FrameContrast:
    """Contrast the contexts of masked frames with their targets, in at least float32, under autocast too.

    All similarities of a row are one product, out of which those of the negatives are taken.

    Args:
        contexts: `(rows, frames, size)`.
        targets: `(rows, frames, size)`.
        negative_indices: Places of the negatives among the frames of the row, int64 `(rows, frames, negatives)`.
        codes: Codes of the targets, int64 `(rows, frames, groups)`: targets are equal if all their codes are.
        temperature: Positive divisor of the similarities.
    """
    contexts, targets = (
        functional.normalize(vectors, dim=-1, eps=_EPSILON) for vectors in at_least_float32(contexts, targets)
    )
    similarity = similarities(contexts, targets.transpose(1, 2)) / temperature
    equal = (codes[:, :, None] == codes[:, None]).all(dim=-1)
    negatives = similarity.masked_fill(equal, -torch.inf).gather(2, negative_indices)
    own = similarity.diagonal(dim1=1, dim2=2)[..., None]
    logits = torch.cat([own, negatives], dim=-1)
    return FrameContrast(logits.logsumexp(dim=-1) - own[..., 0], logits)
