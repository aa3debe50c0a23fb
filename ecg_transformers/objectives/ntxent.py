"""NT-Xent: InfoNCE among the views of a batch (Chen et al. 2020, equation 1)."""

import math
from typing import NamedTuple

import torch

from .infonce import PLAIN, info_nce
from .precision import at_least_float32, similarities
from .selection import SelectionRule
from .sources import same_source as of_same_source

__all__ = ["NtXent", "nt_xent", "published_nt_xent"]


class NtXent(NamedTuple):
    """The contrast of a batch.

    Args:
        loss: Scalar.
        accuracy: Share of the records whose last view is nearer to another view of the record than to any negative;
            without gradient.
        num_positives: Mean number of extra positives of a view.
    """

    loss: torch.Tensor
    accuracy: torch.Tensor
    num_positives: torch.Tensor


def nt_xent(
    views: torch.Tensor,
    temperature: float,
    *,
    columns: torch.Tensor | None = None,
    first_record: int = 0,
    sources: torch.Tensor | None = None,
    column_sources: torch.Tensor | None = None,
    excluded: torch.Tensor | None = None,
    rule: SelectionRule = PLAIN,
) -> NtXent:
    """Each view against another view of its record and all views of other records.

    InfoNCE in which the row itself and the other views of its record are no negatives. With more than two views every
    other view is the positive once, and the loss is the mean. A row without negatives has a loss of 0.

    Args:
        views: Unit vectors `(records, views, size)`.
        temperature: Positive divisor of the similarities.
        columns: Views of all processes `(all records, views, size)`, gathered with gradient; `views` if not given. The
            mean of the losses of all processes is the loss of the combined batch.
        first_record: Place of this process's first record among those of `columns`.
        sources: Source of each record `(records,)`, see `source_numbers`.
        column_sources: The same of `columns`; `sources` if not given.
        excluded: Booleans `(records, all records)`, True = no view of that record is a negative, see `negatives`.
        rule: Which views of other records are positives or left out. Default: all are negatives.

    Raises:
        CheckpointError: `rule.same_source` without `sources`, or nothing to choose from.
    """
    columns = views if columns is None else columns
    records, count, _ = views.shape
    places = torch.arange(first_record, first_record + records, device=views.device)
    own = places[:, None] == torch.arange(len(columns), device=views.device)
    own = _per_view(own if excluded is None else own | excluded, count)
    alike = None
    if sources is not None:
        alike = _per_view(of_same_source(sources, sources if column_sources is None else column_sources), count)
    rows, candidates = views.flatten(0, 1), columns.flatten(0, 1).T
    losses, nearest, extra = [], [], []
    for shift in range(1, count):
        partners = views.roll(-shift, dims=1).flatten(0, 1)
        contrast = info_nce(rows, partners, candidates, temperature, rule, same_source=alike, left_out=own)
        losses.append(contrast.loss)
        extra.append(contrast.num_positives)
        last = contrast.logits.detach().unflatten(0, (records, count))[:, -1]
        nearest.append(last[:, 0] > last[:, 1:].amax(dim=1))
    accuracy = torch.stack(nearest).any(dim=0).float().mean()
    return NtXent(torch.stack(losses).mean(), accuracy, torch.stack(extra).mean())


def published_nt_xent(views: torch.Tensor, temperature: float, *, columns: torch.Tensor | None = None) -> torch.Tensor:
    """What the public code of ecg-selfsupervised computes for two views (quirk Q1).

    It subtracts e from the sum over all columns where the row itself contributes `exp(1 / temperature)`, and adds 1e-6
    to the rest; equal to `nt_xent` at a temperature of 1 only.

    Args:
        views: Unit vectors `(records, 2, size)`.
        temperature: Positive divisor of the similarities.
        columns: Views of all processes, gathered with gradient; `views` if not given.
    """
    views, columns = at_least_float32(views, views if columns is None else columns)
    similarity = (similarities(views.flatten(0, 1), columns.flatten(0, 1).T) / temperature).exp()
    rest = (similarity.sum(dim=1) - math.e).clamp_min(1e-6)
    partner = ((views * views.flip(1)).sum(dim=2).flatten() / temperature).exp()
    return -(partner / (rest + 1e-6)).log().mean()


def _per_view(pairs: torch.Tensor, count: int) -> torch.Tensor:
    """Booleans of pairs of records, `(records, all records)`, for pairs of their views."""
    return pairs.repeat_interleave(count, dim=0).repeat_interleave(count, dim=1)
