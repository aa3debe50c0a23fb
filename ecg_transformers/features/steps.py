"""The last, cheap steps of the signal contract as batched tensor functions: scale, cut, normalize, mask, patch.

They exist once. The feature extractor runs them on the windows of a call; training runs them on a corpus that lies on
the device as integers. Nothing here knows a file, a lead's name or a sampling rate.
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
    "lead_statistics",
    "normalize_windows",
    "patch_attention_mask",
    "patchify",
    "scale_to_millivolts",
    "unpatchify",
]

NORMALIZATIONS = ("none", "record_lead", "record", "constants", "minmax_lead")

# mV; below this deviation (or range) a lead is flat and becomes zeros. MAE-MoCo's specification, section 1.3.
FLAT_EPSILON = 1e-6

# A constant of 30 mV (an amplifier at its limit) has a float32 mean that is off by some units in the last place, and
# with it a deviation above FLAT_EPSILON. So many units of the mean count as flat too: 0.05 uV at 100 mV, far below any
# noise.
ROUNDING_UNITS = 4.0


def scale_to_millivolts(stored: torch.Tensor, gain: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Stored numbers as float32 mV, `(stored - baseline) / gain`.

    Args:
        stored: `(batch, leads, samples)`, integers or floats.
        gain: units of `stored` per mV, `(leads,)` or `(batch, leads)`.
        baseline: the stored number that means 0 mV, same shape as `gain`.
    """
    return (stored.to(torch.float32) - baseline.unsqueeze(-1)) / gain.unsqueeze(-1)


def cut_stored_windows(
    stored: torch.Tensor,
    offsets: torch.Tensor,
    lengths: torch.Tensor,
    starts: torch.Tensor,
    *,
    num_leads: int,
    window_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows out of a corpus that lies as one flat tensor, record after record, each lead-major.

    Args:
        stored: all samples, `(total,)`; lead `l` of a record with `n` samples begins at `offset + l * n`.
        offsets: where each wanted record begins, int64 `(batch,)`.
        lengths: samples per lead of each, int64 `(batch,)`.
        starts: first sample of the window in each, int64 `(batch,)`, below the record's length.
        num_leads: leads of every record.
        window_size: length of a window.

    Returns:
        The windows in the type of `stored`, `(batch, leads, window_size)`, zero behind the end of a record, and the
        attention mask, bool `(batch, window_size)`, 1 = signal.
    """
    leads = torch.arange(num_leads, device=stored.device)
    rows = offsets.unsqueeze(1) + leads * lengths.unsqueeze(1) + starts.unsqueeze(1)  # (batch, leads)
    remaining = lengths - starts
    attention_mask = torch.arange(window_size, device=stored.device) < remaining.unsqueeze(1)
    last_row = stored.numel() - window_size
    if last_row >= 0 and bool((rows[:, -1] <= last_row).all()):
        # Overlapping rows as a view: each row is one contiguous copy, several times faster than an index per sample.
        windows = stored.unfold(0, window_size, 1)[rows]
    else:
        places = rows.unsqueeze(-1) + torch.arange(window_size, device=stored.device)
        windows = stored[places.clamp_(max=stored.numel() - 1)]
    if bool((remaining < window_size).any()):
        # Stored zero is not 0 mV where there is a baseline: normalization sees the mask, so the value does not matter.
        windows = windows * attention_mask.unsqueeze(1).to(windows.dtype)
    return windows, attention_mask


class LeadStatistics(NamedTuple):
    """Each lead of each window taken apart: mean, deviation (both `(batch, leads, 1)`), and the rest.

    Args:
        mean: over the samples that are signal.
        deviation: population deviation over them.
        centered: `(batch, leads, samples)`, the windows minus the mean, zero where they are padding.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    centered: torch.Tensor


def lead_statistics(windows: torch.Tensor, attention_mask: torch.Tensor | None = None) -> LeadStatistics:
    """Mean and population deviation of each lead of each window, over the samples that are signal.

    Args:
        windows: `(batch, leads, samples)`, floating.
        attention_mask: `(batch, samples)`, 1 = signal; None: all are.
    """
    # Sums, not torch.mean, so that a window has the same bits with and without padded neighbors.
    count: torch.Tensor | int
    if attention_mask is None:
        count = windows.shape[-1]
        mean = windows.sum(-1, keepdim=True) / count
        centered = windows - mean
    else:
        valid = attention_mask.unsqueeze(1).to(windows.dtype)
        count = valid.sum(-1, keepdim=True).clamp_(min=1)
        mean = (windows * valid).sum(-1, keepdim=True) / count
        centered = (windows - mean).mul_(valid)
    return LeadStatistics(mean, (centered.square().sum(-1, keepdim=True) / count).sqrt_(), centered)


def is_flat(mean: torch.Tensor, deviation: torch.Tensor, epsilon: float = FLAT_EPSILON) -> torch.Tensor:
    """Which leads are constant, in the shape of the two: the deviation (mV) is below `epsilon` and some rounding."""
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
    """Windows in mV, normalized; samples that are padding become zero.

    With x one lead of one window, and means and deviations over the samples that are signal (population form, divided
    by their number):

    - `"none"`: x.
    - `"record_lead"`: (x - mean(x)) / deviation(x).
    - `"record"`: as before with one mean and one deviation over all leads that are present.
    - `"constants"`: (x - mean(x)) / std of that lead, `std` fixed; with a fixed `mean` given, (x - mean) / std.
    - `"minmax_lead"`: 2 (x - min x) / (max x - min x) - 1, from -1 to 1.

    A flat lead becomes zeros under all but `"none"`; nothing is divided by a number near zero.

    Args:
        windows: `(batch, leads, samples)` in mV. Half precision and integers are computed in float32.
        normalization: one of the above.
        mean: mV per lead, `(leads,)`, for `"constants"` only; None: the window's own lead mean.
        std: mV per lead, `(leads,)`, for `"constants"`.
        epsilon: mV, the deviation (range for `"minmax_lead"`) below which a lead is flat.
        attention_mask: `(batch, samples)`, 1 = signal; None: all are.
        lead_mask: `(batch, leads)`, 1 = present; absent leads do not enter the statistics of `"record"` and become
            zero.
        statistics: what `lead_statistics` gave for these windows, where it is at hand.
        any_flat: False spares the look for flat leads where it is known that there are none.

    Returns:
        float32 `(batch, leads, samples)` (float64 for float64).

    Raises:
        SignalError: the normalization is unknown, or `"constants"` has no `std`.
    """
    if normalization not in NORMALIZATIONS:
        raise SignalError(f"normalization is {normalization!r}; expected one of {', '.join(NORMALIZATIONS)}.")
    values = windows if windows.dtype == torch.float64 else windows.to(torch.float32)
    if normalization == "minmax_lead":
        values = _scale_to_range(values, attention_mask, epsilon)
    elif normalization != "none":
        mean_here, deviation, centered = statistics or lead_statistics(values, attention_mask)
        flat = is_flat(mean_here, deviation, epsilon) if any_flat else None
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
        values = centered / deviation
        if flat is not None:
            values = values.masked_fill_(flat, 0.0)
    if attention_mask is not None:
        values = values * attention_mask.unsqueeze(1).to(values.dtype)
    return values if lead_mask is None else apply_lead_mask(values, lead_mask)


def _over_leads(
    mean: torch.Tensor, deviation: torch.Tensor, lead_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One mean and deviation `(batch, 1, 1)` over the leads that are present, from those of each lead.

    Every lead has the same number of samples, so the variance is the mean of the leads' variances plus the variance of
    their means.
    """
    weight = torch.ones_like(mean) if lead_mask is None else lead_mask.unsqueeze(-1).to(mean.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp_(min=1)
    center = (weight * mean).sum(1, keepdim=True)
    variance = (weight * (deviation.square() + (mean - center).square())).sum(1, keepdim=True)
    return center, variance.sqrt_()


def _scale_to_range(values: torch.Tensor, attention_mask: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    """Each lead of each window from -1 to 1; flat leads zero."""
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
    """The windows with every absent lead zero; `lead_mask` is `(batch, leads)`, 1 = present."""
    return windows * lead_mask.unsqueeze(-1).to(windows.dtype)


def draw_lead_mask(
    lead_mask: torch.Tensor, probability: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Takes each present lead away with this probability, for each window on its own.

    A window never loses all its leads: where all would go, the one with the largest draw stays.

    Args:
        lead_mask: `(batch, leads)`, 1 = present.
        probability: from 0 to 1.
        generator: source of the draws, on the device of `lead_mask`; None: torch's own.

    Returns:
        bool `(batch, leads)`.
    """
    present = lead_mask.bool()
    draws = torch.rand(present.shape, generator=generator, device=present.device).masked_fill(~present, -1.0)
    best = torch.nn.functional.one_hot(draws.argmax(dim=1), present.shape[1]).bool()
    kept = present & (draws >= probability)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present & best)


def patchify(windows: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cuts `(batch, leads, samples)` into `(batch, patches, patch_size * leads)`, sample-major, lead fastest.

    Element `s * leads + c` of patch `n` is sample `n * patch_size + s` of lead `c` (specification of MAE-MoCo,
    3.5).
    """
    batch, leads, samples = windows.shape
    split = windows.reshape(batch, leads, samples // patch_size, patch_size)
    return split.permute(0, 2, 3, 1).reshape(batch, samples // patch_size, patch_size * leads)


def unpatchify(patches: torch.Tensor, num_leads: int) -> torch.Tensor:
    """The exact inverse of `patchify`: `(batch, leads, samples)` again."""
    batch, count, width = patches.shape
    split = patches.reshape(batch, count, width // num_leads, num_leads)
    return split.permute(0, 3, 1, 2).reshape(batch, num_leads, count * (width // num_leads))


def patch_attention_mask(attention_mask: torch.Tensor, patch_size: int) -> torch.Tensor:
    """`(batch, patches)` in the type of the mask: 1 where a patch holds at least one sample that is signal."""
    batch, samples = attention_mask.shape
    return attention_mask.reshape(batch, samples // patch_size, patch_size).amax(dim=-1)
