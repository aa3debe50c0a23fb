"""Masks of spans of frames (wav2vec 2.0, Baevski et al. 2020, section 3.1; HuBERT's and fairseq-signals' public code).

The random numbers of a mask are uniform noise, so that every row of a batch can be masked in one operation:

1. `span_counts`: how many spans a row gets, by random rounding of their share of its frames;
2. `span_mask`: the starts with the smallest noise, each followed by a span; spans overlap;
3. `equal_counts`: the same number of masked frames in every row, as views of one tensor need it.
"""

import torch

__all__ = ["equal_counts", "longest_mask", "masked_frames", "span_counts", "span_mask"]


def span_counts(
    frames: torch.Tensor, rounding: torch.Tensor, *, probability: float, length: int, least: int
) -> torch.Tensor:
    """Compute the number of spans of each row: `max(least, floor(probability * frames / length + rounding))`.

    Args:
        frames: Valid frames of each row, int64 `(rows,)`.
        rounding: Uniform numbers in [0, 1), `(rows,)`, or one for all rows.
        probability: Sum of the lengths of the spans as a share of the frames.
        length: Frames of a span.
        least: Spans of a row at least.

    Returns:
        int64 `(rows,)`.
    """
    return (probability * frames.double() / length + rounding).floor().long().clamp_min(least)


def span_mask(start_noise: torch.Tensor, frames: torch.Tensor, spans: torch.Tensor, *, length: int) -> torch.Tensor:
    """Mask a span after each of the starts with the smallest noise.

    Spans start before the last `length` valid frames, so that the last one is never masked (published); in a row that
    is too short for that, at one of its first `spans + 1` frames. They end with the valid frames.

    Args:
        start_noise: Noise of each frame `(rows, frames)`.
        frames: Valid frames of each row, int64 `(rows,)`.
        spans: Number of spans of each row, int64 `(rows,)`.
        length: Frames of a span.

    Returns:
        Bool `(rows, frames)`, true = masked.
    """
    places = torch.arange(start_noise.shape[1], device=start_noise.device)
    last = torch.where(frames - length <= spans, spans + 1, frames - length)
    starts = _smallest(start_noise, places < last[:, None], spans[:, None])
    begun = starts.long().cumsum(dim=1)
    ended = torch.nn.functional.pad(begun, (length, 0))[:, : len(places)]
    return (begun > ended) & (places < frames[:, None])


def equal_counts(mask: torch.Tensor, noise: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Keep the same number of masked frames in every row: those with the smallest noise.

    Args:
        mask: Bool `(rows, frames)`, true = masked.
        noise: Noise of each frame `(rows, frames)`.
        count: Frames to keep, at most those of the row with the fewest.

    Returns:
        Bool `(rows, frames)`.
    """
    return _smallest(noise, mask, count)


def longest_mask(frames: int, *, probability: float, length: int, least: int) -> int:
    """Return the largest number of masked frames that a row can have.

    Args:
        frames: Frames of a row.
        probability: As in `span_counts`.
        length: As in `span_counts`.
        least: As in `span_counts`.
    """
    return min(frames, length * max(least, int(probability * frames / length + 1)))


def masked_frames(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Select the masked frames of rows that have the same number of them.

    Args:
        tokens: `(rows, frames, width)`.
        mask: Bool `(rows, frames)`.

    Returns:
        `(rows, masked, width)`.
    """
    return tokens[mask].view(len(tokens), -1, tokens.shape[-1])


def _smallest(noise: torch.Tensor, allowed: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """The `count` allowed places of each row with the smallest noise, as booleans."""
    rank = noise.masked_fill(~allowed, torch.inf).argsort(dim=1).argsort(dim=1)
    return allowed & (rank < count)
