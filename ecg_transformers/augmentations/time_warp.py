"""Time warps of single beats: some samples are doubled, as many left out, and the R peak stays where it is.

Source: Zhou et al. 2019 (BeatGAN, section 3.4) and its public code. Other warps of time are in `warps`.
"""

from typing import NamedTuple

import torch

from .row_generator import RowGenerator

__all__ = ["WarpPlaces", "draw_beat_warp", "warp_beats", "warp_places"]


class WarpPlaces(NamedTuple):
    """Which samples of a beat each sample of its warp is the mean of.

    Args:
        first: int64 `(batch, samples)`.
        second: The same, or the next sample where a doubled one is interpolated.
    """

    first: torch.Tensor
    second: torch.Tensor


def draw_beat_warp(generator: RowGenerator, num_samples: int, peak: int, *, views: int = 1) -> dict[str, torch.Tensor]:
    """Draw the order of the samples on both sides of the R peak, of which `warp_places` takes the first ones.

    Args:
        generator: Source of the numbers, one stream per record.
        num_samples: Samples of a beat.
        peak: Samples before the R peak.
        views: Warps of each beat.

    Returns:
        Permutations, int64: `left (rows, views, peak)` of the samples before the R peak, `right (rows, views,
        num_samples - peak - 1)` of those from the R peak on; the last sample of a beat has no successor to be
        interpolated with, and is never chosen.
    """
    return {
        "left": generator.uniform(views, peak).argsort(dim=-1),
        "right": generator.uniform(views, num_samples - peak - 1).argsort(dim=-1) + peak,
    }


def warp_places(left: torch.Tensor, right: torch.Tensor, count: int, num_samples: int) -> WarpPlaces:
    """Places of the samples of warped beats.

    On each side, the first `count` samples in the drawn order are doubled, the next `count` left out. Where a sample is
    doubled, the second one is its mean with the next sample of the beat, even if that one is left out.

    Args:
        left: Drawn order of the samples on one side `(batch, samples before)`.
        right: On the other side `(batch, samples behind)`.
        count: Samples that are doubled on each side.
        num_samples: Samples of a beat.
    """
    copies = torch.ones(len(left), num_samples, dtype=torch.long, device=left.device)
    for side in (left, right):
        copies.scatter_(1, side[:, :count], 2)
        copies.scatter_(1, side[:, count : 2 * count], 0)
    ends = copies.cumsum(dim=1)
    places = torch.arange(num_samples, device=left.device).expand_as(copies).contiguous()
    first = torch.searchsorted(ends, places, right=True)
    is_second_copy = (copies.gather(1, first) == 2) & (places == ends.gather(1, first) - 1)
    return WarpPlaces(first, first + is_second_copy.long())


def warp_beats(beats: torch.Tensor, places: WarpPlaces) -> torch.Tensor:
    """Warp beats in time; all leads alike, values stay within the range of the beat.

    Args:
        beats: `(batch, leads, samples)`.
        places: From `warp_places`.
    """
    first, second = (beats.gather(-1, place[:, None, :].expand_as(beats)) for place in places)
    return (first + second) / 2
