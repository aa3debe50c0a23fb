"""Warps of time as functions of a batch and explicit parameters; nothing here draws a random number.

Every function takes `(batch, leads, samples)` and returns a new tensor of its type; all leads of a record are warped
alike. Values between known samples are interpolated linearly. Source: the augmentations of Mehari & Strodthoff 2022
("Self-supervised representation learning from 12-lead ECG data") and their public code ecg-selfsupervised.
"""

import torch

__all__ = [
    "cut_windows",
    "down_sample",
    "dynamic_time_warp",
    "random_positions",
    "random_time_warp",
    "time_warp",
]


def cut_windows(signal: torch.Tensor, start: torch.Tensor, window_size: int) -> torch.Tensor:
    """Cut several windows out of each record.

    Args:
        signal: `(batch, leads, samples)`.
        start: First sample of each window `(batch, windows)`.
        window_size: Samples of a window, at most `samples`.

    Returns:
        `(batch, windows, leads, window_size)`.
    """
    rows = torch.arange(len(signal), device=signal.device)[:, None]
    return signal.unfold(-1, window_size, 1)[rows, :, start]


def random_positions(uniform: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Choose `count` samples of each record: both ends, and the inner samples with the smallest `uniform`.

    Args:
        uniform: One number in [0, 1) per sample `(batch, samples)`; evenly drawn, every choice is equally likely.
        count: Samples to choose `(batch,)`, from 2 to `samples`.

    Returns:
        Booleans `(batch, samples)`, True = chosen.
    """
    samples = uniform.shape[1]
    ends = torch.zeros(samples, dtype=torch.bool, device=uniform.device)
    ends[0] = ends[-1] = True
    order = uniform.masked_fill(ends, -1.0).argsort(dim=1)
    smallest = torch.arange(samples, device=uniform.device) < count[:, None]
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, smallest)


def random_time_warp(signal: torch.Tensor, kept: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Spread a piece of each record over the whole window: its samples, in order, onto the kept places.

    The density of the kept places varies, so the piece is stretched here and squeezed there. This is what the
    publication calls random resized crop; for a uniform stretch see `resized_crop`.

    Args:
        signal: `(batch, leads, samples)`.
        kept: Places of the piece's samples `(batch, samples)` booleans, both ends among them (`random_positions`).
        start: First sample of the piece `(batch,)`; the piece is as long as the number of kept places.
    """
    left, right = _neighbors(kept)
    # The piece's sample at the last kept place up to each sample.
    rank = kept.cumsum(dim=1) - 1
    time = torch.arange(kept.shape[1], device=kept.device)
    first = start[:, None] + rank
    return _between(
        signal, first, (first + 1).clamp_max(kept.shape[1] - 1), (time - left) / (right - left).clamp_min(1)
    )


def dynamic_time_warp(signal: torch.Tensor, centers: torch.Tensor, *, radius: int = 10, step: int = 2) -> torch.Tensor:
    """Squeeze the surroundings of a center and stretch their neighborhood, several times one after the other.

    With d the distance to the center c: for `d <= radius` every `step`-th sample of the `radius * step` around c; from
    there to `d = radius * (step + 1)` the next `radius` samples, each `step` samples long; beyond, nothing changes.

    Args:
        signal: `(batch, leads, samples)`.
        centers: c of each warp `(batch, warps)`, at least `radius * (step + 1)` from both ends.
        radius: Samples on each side of the squeezed part in the result.
        step: Factor of squeezing and stretching.
    """
    time = torch.arange(signal.shape[-1], device=signal.device)
    # A loop over the few warps: each works on the result of the one before.
    for center in centers.unbind(dim=1):
        offset = time - center[:, None]
        distance = offset.abs()
        flank = radius * step + (distance - radius) / step
        source = torch.where(distance <= radius, (distance * step).to(flank.dtype), flank)
        source = torch.where(distance <= radius * (step + 1), source, distance.to(flank.dtype))
        place = center[:, None] + offset.sign() * source
        left = place.floor()
        first = left.long()
        signal = _between(signal, first, (first + 1).clamp_max(signal.shape[-1] - 1), place - left)
    return signal


def time_warp(signal: torch.Tensor, steps: torch.Tensor, *, epsilon: float = 10.0) -> torch.Tensor:
    """Let time run at the speed of a random walk, from the first sample to the last.

    `w = cumsum(steps); w = w - min(w) + epsilon`: the speed. Sample i is moved to the time `cumsum(w)[i]`, scaled so
    that both ends stay where they are.

    Args:
        signal: `(batch, leads, samples)`.
        steps: Steps of the walk `(batch, samples)`, standard normal where drawn.
        epsilon: The least speed; the larger, the milder the warp.
    """
    samples = signal.shape[-1]
    walk = steps.to(torch.promote_types(steps.dtype, torch.float32)).cumsum(dim=1)
    moved = (walk - walk.amin(dim=1, keepdim=True) + epsilon).cumsum(dim=1)
    first, last = moved[:, :1], moved[:, -1:]
    moved = ((moved - first) / (last - first) * (samples - 1)).contiguous()
    time = torch.arange(samples, device=signal.device, dtype=moved.dtype).expand_as(moved).contiguous()
    left = (torch.searchsorted(moved, time, right=True) - 1).clamp(0, samples - 2)
    low, high = moved.gather(1, left), moved.gather(1, left + 1)
    return _between(signal, left, left + 1, (time - low) / (high - low))


def down_sample(signal: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Replace all samples but the kept ones by the line between their kept neighbors.

    Args:
        signal: `(batch, leads, samples)`.
        kept: `(batch, samples)` booleans, both ends among them (`random_positions`).
    """
    left, right = _neighbors(kept)
    time = torch.arange(kept.shape[1], device=kept.device)
    return _between(signal, left, right, (time - left) / (right - left).clamp_min(1))


def _neighbors(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Last kept sample up to, and first kept sample from each sample on, `(batch, samples)` each."""
    time = torch.arange(kept.shape[1], device=kept.device)
    left = time.where(kept, 0).cummax(dim=1).values
    right = time.where(kept, kept.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    return left, right


def _between(signal: torch.Tensor, left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`(1 - weight) * signal[left] + weight * signal[right]`, indices and weight `(batch, samples)` for all leads."""
    shape = signal.shape
    low = signal.gather(-1, left[:, None, :].expand(shape))
    high = signal.gather(-1, right[:, None, :].expand(shape))
    return low.lerp(high, weight[:, None, :].to(signal.dtype))
