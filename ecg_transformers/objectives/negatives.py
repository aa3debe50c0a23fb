"""Which beats of a batch are no negatives of each other: beats of one recording are nearly equal."""

from typing import Literal

import torch

from ..errors import CheckpointError
from .precision import at_least_float32
from .sources import same_source

__all__ = ["BeatNegatives", "excluded_negatives"]

BeatNegatives = Literal["all", "exclude_same_record", "exclude_neighbors", "exclude_nearest"]


def excluded_negatives(
    negatives: BeatNegatives,
    beats: torch.Tensor,
    *,
    parent_ids: torch.Tensor | None = None,
    starts: torch.Tensor | None = None,
    neighbor_samples: int = 3600,
    num_nearest: int = 2,
) -> torch.Tensor | None:
    """Find the pairs of beats that are left out as negatives.

    Args:
        negatives: `"all"`: none is left out. `"exclude_same_record"`: beats of the same recording.
            `"exclude_neighbors"`: of the same recording, at most `neighbor_samples` apart. `"exclude_nearest"`: the
            `num_nearest` beats with the smallest mean squared difference; of equal ones the first.
        beats: `(batch, leads, samples)`.
        parent_ids: Recording of each beat, int64 `(batch,)`, -1 = unknown.
        starts: First sample of each beat in its recording, int64 `(batch,)`.
        neighbor_samples: Largest distance of neighbors in samples.
        num_nearest: Number of nearest beats that are left out.

    Returns:
        Booleans `(batch, batch)`, True = the column is no negative of the row; None for `"all"`.

    Raises:
        CheckpointError: Recordings or places are not known.
    """
    if negatives == "all":
        return None
    if negatives == "exclude_nearest":
        return _nearest(beats, num_nearest)
    needed = {"parent_ids": parent_ids} | ({"starts": starts} if negatives == "exclude_neighbors" else {})
    if absent := [name for name, value in needed.items() if value is None]:
        raise CheckpointError(
            f"negatives is {negatives!r}, but the batch has no {' and no '.join(absent)}. Pass them (a corpus of beats "
            "has them), or set negatives='exclude_nearest' or 'all'."
        )
    alike = same_source(parent_ids, parent_ids)  # type: ignore[arg-type]  # checked above
    if negatives == "exclude_neighbors":
        alike &= (starts[:, None] - starts[None, :]).abs() <= neighbor_samples  # type: ignore[index]
    return alike


def _nearest(beats: torch.Tensor, count: int) -> torch.Tensor:
    (rows,) = at_least_float32(beats.flatten(1))
    # The distances themselves, not by inner products, whose rounding would reorder nearly equal beats.
    distances = torch.cdist(rows[None], rows[None], compute_mode="donot_use_mm_for_euclid_dist")[0]
    distances.fill_diagonal_(torch.inf)
    nearest = distances.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(distances, dtype=torch.bool).scatter(1, nearest, True)
