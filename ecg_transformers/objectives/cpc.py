"""Contrastive predictive coding (van den Oord et al. 2018): identify the latent some steps ahead among other latents.

As in Mehari & Strodthoff 2022 and the public code ecg-selfsupervised, whose loop over anchors is a few large operations
here.
"""

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from ..errors import SignalError
from .precision import at_least_float32, similarities

__all__ = ["Cpc", "cpc_loss", "negative_records", "negative_times", "num_anchors", "skip_target"]

# Scores that are computed at a time (64 MiB of float32): large enough for fast products, small compared with a network.
CHUNK = 2**24


class Cpc(NamedTuple):
    """The contrast of a batch.

    Args:
        loss: Scalar.
        accuracy: Share of the anchors whose target has a higher score than every negative, without gradient. Equal
            scores are no hit, so that a collapse shows.
    """

    loss: torch.Tensor
    accuracy: torch.Tensor


def num_anchors(steps: int, offset: int) -> int:
    """Anchors of a record whose target is inside it.

    Args:
        steps: Latents of a record.
        offset: Steps from an anchor to its target.

    Raises:
        SignalError: There is none.
    """
    if not 0 < offset < steps:
        raise SignalError(
            f"CPC predicts {offset} steps ahead in windows of {steps} steps; expected an offset from 1 to {steps - 1}. "
            "Set smaller offsets or a longer window."
        )
    return steps - offset


def skip_target(times: torch.Tensor, offset: int) -> torch.Tensor:
    """Times counted without the target's: the same up to it, one more from it on.

    Args:
        times: From 0 to steps - 2, `(records, anchors, negatives)`.
        offset: Steps from an anchor to its target.
    """
    target = torch.arange(offset, offset + times.shape[1], device=times.device)[:, None]
    return times + (times >= target)


def negative_times(uniform: torch.Tensor, offset: int) -> torch.Tensor:
    """Times of negatives, with replacement: any but the target's, also the past and the anchor's own.

    Args:
        uniform: In [0, 1), `(records, anchors, negatives)`, see `num_anchors`.
        offset: Steps from an anchor to its target.

    Returns:
        int64 of the same shape.
    """
    places = uniform.shape[1] + offset - 1
    return skip_target((uniform * places).long().clamp_max(places - 1), offset)


def negative_records(uniform: torch.Tensor, num_records: int) -> torch.Tensor:
    """Records of negatives that come from the whole batch, the anchor's own included.

    Args:
        uniform: In [0, 1), `(records, anchors, negatives)`.
        num_records: Records of the combined batch of all processes.

    Returns:
        int64 of the same shape.
    """
    return (uniform * num_records).long().clamp_max(num_records - 1)


def cpc_loss(
    predictions: torch.Tensor,
    latents: torch.Tensor,
    offset: int,
    times: torch.Tensor,
    records: torch.Tensor | None = None,
    *,
    columns: torch.Tensor | None = None,
    reduction: str = "mean",
) -> Cpc:
    """Cross-entropy of the target among target and negatives, for every anchor; scores are inner products.

    Anchor i of a record predicts its latent `i + offset`. Mean over the records; gradients flow into predictions,
    targets and negatives. In float32 at least.

    Args:
        predictions: Projected states of the context network `(records, steps, size)`; the last `offset` are not used.
        latents: `(records, steps, size)`.
        offset: Steps from an anchor to its target.
        times: Of the negatives `(records, steps - offset, negatives)`.
        records: Of the negatives, rows of `columns`; the anchor's own record if not given.
        columns: Latents of all processes `(all records, steps, size)`, gathered with gradient; `latents` if not given.
        reduction: `"mean"` or `"sum"` over the anchors of a record; published: the sum (quirk Q11).

    Raises:
        SignalError: The offset leaves no anchor.
    """
    positions = num_anchors(latents.shape[1], offset)
    predictions, latents = at_least_float32(predictions[:, :positions], latents)
    if records is None:
        total, hits = _own_record(predictions, latents, offset, times)
    else:
        table = (latents if columns is None else columns.to(latents.dtype)).flatten(0, 1)
        index = (records * latents.shape[1] + times).flatten(0, 1)
        negative = _ListedProducts.apply(predictions.flatten(0, 1), table, index)
        total, hits = _contrast((predictions * latents[:, offset:]).sum(dim=2).flatten(), negative)
    loss = total / len(latents)
    return Cpc(loss if reduction == "sum" else loss / positions, hits / (len(latents) * positions))


def _own_record(
    predictions: torch.Tensor, latents: torch.Tensor, offset: int, times: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed losses and hits: scores of all pairs of times of a record, out of which the negatives are taken."""
    size = max(CHUNK // (predictions.shape[1] * latents.shape[1]), 1)
    losses, hits = [], []
    for anchors, values, chosen in zip(predictions.split(size), latents.split(size), times.split(size), strict=True):
        scores = similarities(anchors, values.mT)  # (records, positions, steps)
        loss, hit = _contrast(scores.diagonal(offset, dim1=1, dim2=2), scores.gather(2, chosen))
        losses.append(loss)
        hits.append(hit)
    return torch.stack(losses).sum(), torch.stack(hits).sum()


class _ListedProducts(torch.autograd.Function):
    """Inner products of each row with those rows of a table that it lists, which are never gathered.

    `products[a, n] = rows[a] . table[index[a, n]]` is the gradient of `bags = sum_n weights[a, n] table[index[a, n]]`
    by its weights, contracted with `rows`; and `bags` is the gradient of the products by the rows.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Products `(rows, listed)` of `rows (rows, size)`, `table (table, size)`, `index (rows, listed)`."""
        ctx.save_for_backward(rows, table, index)
        with torch.enable_grad():
            weights = torch.zeros(index.shape, dtype=rows.dtype, device=rows.device, requires_grad=True)
            bags = functional.embedding_bag(index, table.detach(), mode="sum", per_sample_weights=weights)
        return torch.autograd.grad(bags, weights, rows)[0]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:  # type: ignore[override]
        """Gradients by rows and table."""
        rows, table, index = ctx.saved_tensors
        with torch.enable_grad():
            table = table.detach().requires_grad_()
            bags = functional.embedding_bag(index, table, mode="sum", per_sample_weights=gradient.contiguous())
        return bags.detach(), torch.autograd.grad(bags, table, rows)[0], None


def _contrast(positive: torch.Tensor, negative: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy of `positive (...)` among it and `negative (..., negatives)`, and its hits."""
    logits = torch.cat([positive[..., None], negative], dim=-1)
    return (logits.logsumexp(dim=-1) - positive).sum(), (positive > negative.amax(dim=-1)).sum()
