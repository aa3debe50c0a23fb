"""The last steps of the preprocessing as batched tensor functions: scaling, cutting, normalization, masking, patching.

The feature extractor applies them to the windows of a call, training to a corpus of integers on the device.
"""

from typing import NamedTuple

import torch

from ..errors import SignalError

__all__ = [
    "NORMALIZATIONS",
    "LeadStatistics",
    "apply_lead_mask",
    "cut_stored_windows",
    "draw_lead_mask",
    "is_flat",
    "keep_leads",
    "lead_statistics",
    "normalize_windows",
    "patch_attention_mask",
    "patchify",
    "scale_to_millivolts",
    "unpatchify",
]

NORMALIZATIONS = ("none", "record_lead", "record", "constants", "minmax_lead")

# mV; a lead with a smaller standard deviation (or range) is flat and becomes zero.
FLAT_EPSILON = 1e-6

# The float32 mean of a constant of 30 mV (a saturated amplifier) is off by some units in the last place, which gives a
# deviation above FLAT_EPSILON. This many units of the mean also count as flat: 0.05 uV at 100 mV, far below any noise.
ROUNDING_UNITS = 4.0


def scale_to_millivolts(stored: torch.Tensor, gain: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Convert stored values to float32 mV: `(stored - baseline) / gain`.

    Args:
        stored: Integers or floats `(batch, leads, samples)`.
        gain: Stored units per mV, `(leads,)` or `(batch, leads)`.
        baseline: Stored value of 0 mV, in the shape of `gain`.
    """
    return (stored.to(torch.float32) - baseline.unsqueeze(-1)).div_(gain.unsqueeze(-1))


def cut_stored_windows(
    stored: torch.Tensor,
    offsets: torch.Tensor,
    lengths: torch.Tensor,
    starts: torch.Tensor,
    *,
    num_leads: int,
    window_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut windows from a corpus that is stored as one flat tensor, record after record, each lead-major.

    Args:
        stored: All samples `(total,)`; lead `l` of a record with `n` samples starts at `offset + l * n`.
        offsets: Start of each selected record, int64 `(batch,)`.
        lengths: Samples per lead of each record, int64 `(batch,)`.
        starts: First sample of each window, int64 `(batch,)`, less than the length of the record.
        num_leads: Number of leads of every record.
        window_size: Length of a window in samples.

    Returns:
        The windows in the type of `stored`, `(batch, leads, window_size)`, zero beyond the end of a record, and the
        attention mask, bool `(batch, window_size)`, 1 = signal.
    """
    leads = torch.arange(num_leads, device=stored.device)
    rows = offsets.unsqueeze(1) + leads * lengths.unsqueeze(1) + starts.unsqueeze(1)  # (batch, leads)
    remaining = lengths - starts
    attention_mask = torch.arange(window_size, device=stored.device) < remaining.unsqueeze(1)
    last_row = stored.numel() - window_size
    if last_row >= 0 and bool((rows[:, -1] <= last_row).all()):
        # Overlapping rows as a view: one contiguous copy per row is several times faster than an index per sample.
        windows = stored.unfold(0, window_size, 1)[rows]
    else:
        places = rows.unsqueeze(-1) + torch.arange(window_size, device=stored.device)
        windows = stored[places.clamp_(max=stored.numel() - 1)]
    if bool((remaining < window_size).any()):
        # With a baseline, a stored zero is not 0 mV; normalization uses the mask, so that the value does not matter.
        windows = windows * attention_mask.unsqueeze(1).to(windows.dtype)
    return windows, attention_mask


class LeadStatistics(NamedTuple):
    """Statistics of each lead of each window over the samples that are signal.

    Args:
        mean: `(batch, leads, 1)`.
        deviation: Population standard deviation `(batch, leads, 1)`.
        centered: The windows minus the mean `(batch, leads, samples)`, zero for padding.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    centered: torch.Tensor


def lead_statistics(windows: torch.Tensor, attention_mask: torch.Tensor | None = None) -> LeadStatistics:
    """Mean and population standard deviation of each lead of each window, over the samples that are signal.

    Args:
        windows: Floating point `(batch, leads, samples)`.
        attention_mask: `(batch, samples)`, 1 = signal; None: all.
    """
    # Sums instead of torch.mean, so that a window has the same bits with and without padded neighbors.
    count: torch.Tensor | int
    if attention_mask is None:
        count = windows.shape[-1]
        mean = windows.sum(-1, keepdim=True).div_(count)
        centered = windows - mean
    else:
        valid = attention_mask.unsqueeze(1).to(windows.dtype)
        count = valid.sum(-1, keepdim=True).clamp_(min=1)
        mean = (windows * valid).sum(-1, keepdim=True) / count
        centered = (windows - mean).mul_(valid)
    return LeadStatistics(mean, centered.square().sum(-1, keepdim=True).div_(count).sqrt_(), centered)


def is_flat(mean: torch.Tensor, deviation: torch.Tensor, epsilon: float = FLAT_EPSILON) -> torch.Tensor:
    """Whether leads are constant: a standard deviation in mV below `epsilon` plus the rounding error of the mean."""
    return deviation < ROUNDING_UNITS * torch.finfo(mean.dtype).eps * mean.abs() + epsilon


def normalize_windows(
    windows: torch.Tensor,
    *,
    normalization: str,
    mean: torch.Tensor | None = None,
    std: torch.Tensor | None = None,
    epsilon: float = FLAT_EPSILON,
    attention_mask: torch.Tensor | None = None,
    lead_mask: torch.Tensor | None = None,
    statistics: LeadStatistics | None = None,
    any_flat: bool = True,
) -> torch.Tensor:
    """Normalize windows in mV; padding becomes zero.

    For one lead x of a window, with means and population standard deviations over the samples that are signal:

    - `"none"`: x.
    - `"record_lead"`: (x - mean(x)) / deviation(x).
    - `"record"`: the same with one mean and one deviation over all leads that are present.
    - `"constants"`: (x - mean(x)) / std with a fixed `std` per lead; (x - mean) / std if a fixed `mean` is given.
    - `"minmax_lead"`: 2 (x - min x) / (max x - min x) - 1, from -1 to 1.

    A flat lead becomes zero, except with `"none"`, so that nothing is divided by a number close to zero.

    Args:
        windows: `(batch, leads, samples)` in mV. Half precision and integers are computed in float32.
        normalization: One of the above.
        mean: Mean per lead in mV `(leads,)` for `"constants"`. Default: the mean of the lead in the window.
        std: Standard deviation per lead in mV `(leads,)` for `"constants"`.
        epsilon: Standard deviation (range for `"minmax_lead"`) in mV below which a lead is flat. Default: 1e-6.
        attention_mask: `(batch, samples)`, 1 = signal. Default: all.
        lead_mask: `(batch, leads)`, 1 = present. Missing leads become zero and are not part of the statistics of
            `"record"`. Default: all present.
        statistics: Result of `lead_statistics` for these windows, if already computed; `centered` is overwritten
            unless it requires a gradient.
        any_flat: False skips the search for flat leads if there are none. Default: True.

    Returns:
        Float32 `(batch, leads, samples)` (float64 for float64).

    Raises:
        SignalError: If the normalization is unknown, or `"constants"` has no `std`.
    """
    if normalization not in NORMALIZATIONS:
        raise SignalError(f"normalization is {normalization!r}; expected one of {', '.join(NORMALIZATIONS)}.")
    values = windows if windows.dtype == torch.float64 else windows.to(torch.float32)
    if normalization == "minmax_lead":
        values = _scale_to_range(values, attention_mask, epsilon)
    elif normalization != "none":
        mean_here, deviation, centered = statistics or lead_statistics(values, attention_mask)
        flat = is_flat(mean_here, deviation, epsilon) if any_flat else None
        # One pass less. An accelerator would have to wait for the answer, a graph would keep it.
        eager = not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        if flat is not None and flat.device.type == "cpu" and eager and not flat.any():
            flat = None
        if normalization == "record":
            center, deviation = _over_leads(mean_here, deviation, lead_mask)
            centered = values - center
        elif normalization == "constants":
            if std is None:
                raise SignalError("normalization='constants' has no std; expected one deviation in mV per lead.")
            deviation = std.to(values).unsqueeze(-1)
            centered = centered if mean is None else values - mean.to(values).unsqueeze(-1)
        if flat is not None:
            deviation = torch.where(flat, torch.ones_like(flat, dtype=values.dtype), deviation)
        # In place unless a gradient needs it: a tensor of this call or of the statistics.
        values = centered / deviation if centered.requires_grad else centered.div_(deviation)
        if flat is not None:
            values = values.masked_fill_(flat, 0.0)
    if attention_mask is not None:
        values = values * attention_mask.unsqueeze(1).to(values.dtype)
    return values if lead_mask is None else apply_lead_mask(values, lead_mask)


def _over_leads(
    mean: torch.Tensor, deviation: torch.Tensor, lead_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation `(batch, 1, 1)` over all present leads, from those of each lead.

    Since all leads have the same number of samples, the variance is the mean of the variances of the leads plus the
    variance of their means.
    """
    weight = torch.ones_like(mean) if lead_mask is None else lead_mask.unsqueeze(-1).to(mean.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp_(min=1)
    center = (weight * mean).sum(1, keepdim=True)
    variance = (weight * (deviation.square() + (mean - center).square())).sum(1, keepdim=True)
    return center, variance.sqrt_()


def _scale_to_range(values: torch.Tensor, attention_mask: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    """Scale each lead of each window to the range from -1 to 1; flat leads become zero."""
    if attention_mask is None:
        low, high = torch.aminmax(values, dim=-1, keepdim=True)
    else:
        padding = ~attention_mask.unsqueeze(1).bool()
        low = values.masked_fill(padding, float("inf")).amin(-1, keepdim=True)
        high = values.masked_fill(padding, float("-inf")).amax(-1, keepdim=True)
    extent = high - low
    flat = ~(extent >= epsilon)
    return ((values - low) * (2.0 / extent.masked_fill(flat, 1.0)) - 1.0).masked_fill_(flat, 0.0)


def apply_lead_mask(windows: torch.Tensor, lead_mask: torch.Tensor) -> torch.Tensor:
    """Set missing leads of windows to zero; `lead_mask` is `(batch, leads)`, 1 = present."""
    return windows * lead_mask.unsqueeze(-1).to(windows.dtype)


def draw_lead_mask(
    lead_mask: torch.Tensor, probability: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Mask each present lead with a probability, independently for each window.

    At least one lead of a window is kept: that with the largest draw.

    Args:
        lead_mask: `(batch, leads)`, 1 = present.
        probability: Masking probability, from 0 to 1.
        generator: Random generator on the device of `lead_mask`. Default: the global one.

    Returns:
        Bool `(batch, leads)`, True = present.
    """
    draws = torch.rand(lead_mask.shape, generator=generator, device=lead_mask.device)
    return keep_leads(lead_mask, draws, probability, min_kept=1)


def keep_leads(lead_mask: torch.Tensor, draws: torch.Tensor, probability: float, *, min_kept: int) -> torch.Tensor:
    """Keep the present leads whose draw is at least `probability`, and those with the largest draws in any case.

    Args:
        lead_mask: `(..., leads)`, 1 = present.
        draws: Uniform numbers in [0, 1), `(..., leads)`.
        probability: Masking probability, from 0 to 1.
        min_kept: Leads that are kept at least, as far as they are present; may be 0.

    Returns:
        Bool `(..., leads)`, True = present.
    """
    present = lead_mask.bool()
    rank = draws.masked_fill(~present, -1.0).argsort(dim=-1, descending=True).argsort(dim=-1)
    return present & ((draws >= probability) | (rank < min_kept))


def patchify(windows: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut `(batch, leads, samples)` into patches `(batch, patches, patch_size * leads)`, sample-major, lead fastest.

    Element `s * leads + c` of patch `n` is sample `n * patch_size + s` of lead `c`.
    """
    batch, leads, samples = windows.shape
    split = windows.reshape(batch, leads, samples // patch_size, patch_size)
    return split.permute(0, 2, 3, 1).reshape(batch, samples // patch_size, patch_size * leads)


def unpatchify(patches: torch.Tensor, num_leads: int) -> torch.Tensor:
    """Exact inverse of `patchify`: returns `(batch, leads, samples)`."""
    batch, count, width = patches.shape
    split = patches.reshape(batch, count, width // num_leads, num_leads)
    return split.permute(0, 3, 1, 2).reshape(batch, num_leads, count * (width // num_leads))


def patch_attention_mask(attention_mask: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Mask `(batch, patches)` in the type of `attention_mask`: 1 for patches with at least one sample of signal."""
    batch, samples = attention_mask.shape
    return attention_mask.reshape(batch, samples // patch_size, patch_size).amax(dim=-1)
