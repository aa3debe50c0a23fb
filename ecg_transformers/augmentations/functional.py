"""View augmentations as deterministic functions of a batch and explicit parameters.

Every function takes `(batch, leads, samples)` and one parameter value per record, and returns a new tensor of the same
shape and type. Zero is the neutral value, since records are normalized. Definitions follow the public code of ST-MEM
(Na et al. 2024, arXiv:2402.09450), RandECG (seitalab) and ecg-selfsupervised (Mehari and Strodthoff 2022,
arXiv:2103.12676).
"""

import torch

__all__ = ["drop_samples", "erase_lead", "lead_time_out", "partial_noise", "resized_crop", "time_out"]


def _window(samples: int, start: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Mask `(batch, 1, samples)`, True on `[start, start + width)` of each record."""
    time = torch.arange(samples, device=start.device)
    return ((time >= start[:, None]) & (time < (start + width)[:, None]))[:, None, :]


def resized_crop(
    signal: torch.Tensor, length: torch.Tensor, start: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Stretch the interval `[start, start + length)` of each record to its full length by linear interpolation.

    `out[t] = signal at start + t * (length - 1) / (valid - 1)` in all leads; a crop of full length is the identity.

    Args:
        signal: `(batch, leads, samples)`.
        length: Length of the crop in samples `(batch,)`, at least 2.
        start: First sample of the crop `(batch,)`.
        valid: Samples of signal per record `(batch,)`; the remaining padding becomes 0. Default: all samples.
    """
    samples = signal.shape[-1]
    full = torch.full_like(length, samples) if valid is None else valid
    dtype = torch.promote_types(signal.dtype, torch.float32)
    time = torch.arange(samples, device=signal.device, dtype=dtype)
    # Multiply before dividing: a crop of full length must hit the samples exactly.
    place = start[:, None] + time * (length - 1)[:, None] / (full - 1).clamp_min(1)[:, None]
    left = place.floor().clamp(0, samples - 1)
    weight = (place - left).to(signal.dtype)[:, None, :]
    left = left.long()
    right = (left + 1).clamp_max(samples - 1)
    shape = signal.shape
    low = signal.gather(-1, left[:, None, :].expand(shape))
    high = signal.gather(-1, right[:, None, :].expand(shape))
    crop = high.sub_(low).mul_(weight).add_(low)
    return crop if valid is None else crop.masked_fill((time >= full[:, None])[:, None, :], 0)


def erase_lead(signal: torch.Tensor, lead: torch.Tensor) -> torch.Tensor:
    """Set one lead of each record to 0; records with a single lead are unchanged.

    Args:
        signal: `(batch, leads, samples)`.
        lead: Index of the lead `(batch,)`; -1: none.
    """
    leads = signal.shape[1]
    if leads == 1:
        return signal.clone()
    return signal.masked_fill((torch.arange(leads, device=signal.device) == lead[:, None])[:, :, None], 0)


def time_out(signal: torch.Tensor, width: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Set all leads to 0 on `[start, start + width)`.

    Args:
        signal: `(batch, leads, samples)`.
        width: Width in samples `(batch,)`.
        start: First sample `(batch,)`.
    """
    return signal.masked_fill(_window(signal.shape[-1], start, width), 0)


def lead_time_out(signal: torch.Tensor, width: int, start: torch.Tensor) -> torch.Tensor:
    """Set each lead to 0 on `[start, start + width)` of its own; what goes beyond the end continues at the start.

    Args:
        signal: `(batch, leads, samples)`.
        width: Width in samples.
        start: First sample `(batch, leads)`.
    """
    samples = signal.shape[-1]
    since = torch.arange(samples, device=signal.device) - start[:, :, None]
    return signal.masked_fill(since % samples < width, 0)


def partial_noise(
    signal: torch.Tensor, width: torch.Tensor, start: torch.Tensor, noise: torch.Tensor, amplitude: float = 0.3
) -> torch.Tensor:
    """Add noise on `[start, start + width)`, independent per lead and sample.

    Args:
        signal: `(batch, leads, samples)`.
        width: Width in samples `(batch,)`.
        start: First sample `(batch,)`.
        noise: Standard normal noise `(batch, leads, samples)`.
        amplitude: Standard deviation of the added noise, in units of the normalized signal. Default: 0.3.
    """
    window = _window(signal.shape[-1], start, width).to(signal.dtype)
    return torch.addcmul(signal, noise.to(signal.dtype), window, value=amplitude)


def drop_samples(
    signal: torch.Tensor, uniform: torch.Tensor, count: torch.Tensor, max_count: int | None = None
) -> torch.Tensor:
    """Set the `count` samples with the smallest values of `uniform` to 0, in all leads.

    Args:
        signal: `(batch, leads, samples)`.
        uniform: One draw per sample `(batch, samples)`.
        count: Number of samples to drop `(batch,)`.
        max_count: No count is larger; only so many samples are sorted. Default: all samples.
    """
    samples = uniform.shape[1]
    ordered = uniform.topk(samples if max_count is None else min(max_count + 1, samples), dim=1, largest=False).values
    # Everything below the count-th smallest value; ties are negligible.
    limit = ordered.gather(1, count[:, None].clamp_max(samples - 1))
    return signal.masked_fill((uniform < limit)[:, None, :], 0)
