"""NextClip: predict the half cardiac cycle that follows a cut, from what lies before it.

Source: "MAE-MoCo / MAE-NextClip" (OpenReview iTjqAWYw2K), the NextClip task. The paper does not define the half cycle;
`half_cycles` and every constant in seconds below are ours.
"""

from typing import NamedTuple

import torch
from torch.nn import functional

__all__ = ["HALF_CYCLE_RANGE", "Clip", "clip_loss", "clip_starts", "cut_clip", "half_cycles"]

# Half cycles in s of 200 and of 40 beats per minute.
HALF_CYCLE_RANGE = (0.15, 0.75)
# Half a cycle at 72 beats per minute, in s: 150 samples at 360 Hz.
_DEFAULT_HALF_CYCLE = 150 / 360

# The QRS detector, in s: lag of the difference, width of the moving average, minimum distance between peaks, and the
# range of accepted RR intervals.
_LAG = 0.02
_AVERAGE = 0.1
_PEAK_DISTANCE = 0.25
_RR_RANGE = (0.3, 2.0)
# Minimum height of a peak: this share of this quantile of the energy.
_HEIGHT = 0.4
_HEIGHT_QUANTILE = 0.98


def half_cycles(
    input_values: torch.Tensor,
    sampling_rate: float,
    attention_mask: torch.Tensor | None = None,
    default: float = _DEFAULT_HALF_CYCLE,
) -> torch.Tensor:
    """Half of each record's median RR interval in seconds, within `HALF_CYCLE_RANGE`.

    QRS complexes are the peaks of the squared slope, summed over leads and averaged over 0.1 s. A peak is the largest
    value within 0.25 s on both sides and at least 0.4 of the record's 98 % quantile; RR intervals from 0.3 to 2.0 s
    count. `scipy.signal.find_peaks` thins out close peaks from the largest down instead, which differs only where three
    or more candidates follow one another within 0.25 s each.

    Args:
        input_values: Signals `(batch, leads, samples)`, in mV or normalized: the scale does not matter.
        sampling_rate: Hz.
        attention_mask: `(batch, samples)`, 1 = signal, 0 = padding at the end; without it every sample is signal.
        default: Result in seconds for a record with fewer than two RR intervals. Default: 150 samples at 360 Hz.

    Returns:
        Seconds `(batch,)` in float32 (or the float64 of the input).
    """
    energy = _slope_energy(input_values, sampling_rate, attention_mask)
    peaks = _peaks(energy, max(1, int(_PEAK_DISTANCE * sampling_rate)))
    # Time since the previous peak, at every peak that has one.
    samples = torch.arange(energy.shape[1], device=energy.device)
    latest = torch.where(peaks, samples, -1).cummax(dim=1).values
    previous = functional.pad(latest[:, :-1], (1, 0), value=-1)
    intervals = (samples - previous).to(energy.dtype) / sampling_rate
    counted = peaks & (previous >= 0) & (intervals >= _RR_RANGE[0]) & (intervals <= _RR_RANGE[1])
    median = intervals.masked_fill(~counted, torch.nan).nanquantile(0.5, dim=1)
    half = torch.where(counted.sum(dim=1) < 2, default, 0.5 * median)
    return half.clamp(*HALF_CYCLE_RANGE)


def _slope_energy(
    input_values: torch.Tensor, sampling_rate: float, attention_mask: torch.Tensor | None
) -> torch.Tensor:
    """Moving average of the squared slope, summed over leads: `(batch, samples - lag)`, NaN in padding."""
    signal = input_values.to(torch.promote_types(input_values.dtype, torch.float32))
    lag = max(1, round(_LAG * sampling_rate))
    width = max(1, round(_AVERAGE * sampling_rate))
    energy = (signal[..., lag:] - signal[..., :-lag]).square().sum(dim=1)
    if attention_mask is not None:
        padding = attention_mask[:, lag:] == 0
        energy = energy.masked_fill(padding, 0.0)
    energy = functional.avg_pool1d(functional.pad(energy, (width // 2, (width - 1) // 2))[:, None], width, 1)[:, 0]
    return energy if attention_mask is None else energy.masked_fill(padding, torch.nan)


def _peaks(energy: torch.Tensor, distance: int) -> torch.Tensor:
    """Booleans `(batch, samples)`: the first of the largest values within `distance` on both sides, and high enough."""
    height = _HEIGHT * energy.nanquantile(_HEIGHT_QUANTILE, dim=1, keepdim=True)
    lowest = torch.finfo(energy.dtype).min
    energy = energy.nan_to_num(nan=lowest)
    before = functional.pad(energy, (distance, 0), value=lowest)[:, :-1]
    after = functional.pad(energy, (0, distance), value=lowest)[:, 1:]
    before, after = (functional.max_pool1d(side[:, None], distance, 1)[:, 0] for side in (before, after))
    # Strictly above what comes before: a record of zeros has no peak, a plateau has one.
    return (energy > before) & (energy >= after) & (energy >= height)


def clip_starts(
    uniform: torch.Tensor, valid_sizes: torch.Tensor, clip_sizes: torch.Tensor, context_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn one uniform number per record into the sample at which its clip begins.

    Starts are uniform over `context_size ... valid_size - clip_size`, both included. A record that is too short for
    context and clip gets clip size 0: nothing of it is cut and it does not count in `clip_loss`.

    Args:
        uniform: `(batch,)`, from 0 up to, not including, 1.
        valid_sizes: Samples of signal of each record, padding not counted, `(batch,)`.
        clip_sizes: Samples of each clip `(batch,)`.
        context_size: Samples that are always seen before the clip.

    Returns:
        Starts and clip sizes, int64 `(batch,)`.
    """
    places = valid_sizes - clip_sizes - context_size + 1
    # Rounding may carry a number just below 1 to the end of the range.
    offsets = torch.minimum((uniform * places).long(), places - 1)
    fits = places > 0
    return torch.where(fits, context_size + offsets, valid_sizes), torch.where(fits, clip_sizes, 0)


class Clip(NamedTuple):
    """Batch with everything from the start of each clip on hidden.

    Args:
        input_values: `(batch, leads, samples)`, zero from each record's start on.
        target: `(batch, leads, clip_size)`, the hidden samples that followed; zero beyond each clip's own size.
        target_mask: `(batch, clip_size)`, 1 = counts.
    """

    input_values: torch.Tensor
    target: torch.Tensor
    target_mask: torch.Tensor


def cut_clip(input_values: torch.Tensor, starts: torch.Tensor, sizes: torch.Tensor, clip_size: int) -> Clip:
    """Hide everything from `starts` on; the target is the signal that followed.

    Args:
        input_values: `(batch, leads, samples)`.
        starts: First hidden sample of each record, int64 `(batch,)`; not bound to patches.
        sizes: Samples to predict, int64 `(batch,)`, at most `clip_size` and not beyond the signal; 0 = none.
        clip_size: Samples of the target.
    """
    samples = torch.arange(input_values.shape[2], device=input_values.device)
    visible = samples < starts[:, None]
    places = torch.arange(clip_size, device=input_values.device)
    target_mask = places < sizes[:, None]
    ids = (starts[:, None] + places).clamp_max(input_values.shape[2] - 1)
    target = input_values.gather(2, ids[:, None].expand(-1, input_values.shape[1], -1))
    return Clip(
        input_values=torch.where(visible[:, None], input_values, 0),
        target=torch.where(target_mask[:, None], target, 0),
        target_mask=target_mask.to(input_values.dtype),
    )


def clip_loss(prediction: torch.Tensor, target: torch.Tensor, target_mask: torch.Tensor) -> torch.Tensor:
    r"""Mean squared error over the samples that count: `sum(mask * (prediction - target)^2) / (leads * sum(mask))`.

    One ratio over the whole batch, not a mean of per-record means.

    Args:
        prediction: `(batch, leads, clip_size)`.
        target: Same shape.
        target_mask: `(batch, clip_size)`, 1 = counts.

    Returns:
        A scalar in float32 (or the float64 of its input); 0 if nothing counts.
    """
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    mask = target_mask.to(dtype)
    error = (prediction.to(dtype) - target.to(dtype)).square().mean(dim=1)
    # A batch of records that are all too short counts nothing: 0 / 0 without the floor.
    return (error * mask).sum() / mask.sum().clamp_min(torch.finfo(dtype).tiny)
