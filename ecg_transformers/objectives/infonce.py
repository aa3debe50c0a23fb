"""InfoNCE: tell a query's own key from others (van den Oord et al. 2018; He et al. 2020, section 3.1)."""

import torch
from torch.nn import functional

from .precision import at_least_float32, similarities

__all__ = ["info_nce"]


def info_nce(
    queries: torch.Tensor,
    keys: torch.Tensor,
    negatives: torch.Tensor,
    temperature: float,
    negative_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the own key against negatives, in at least float32.

    `loss = mean_i -log( exp(q_i k_i / t) / (exp(q_i k_i / t) + sum_j exp(q_i n_j / t)) )`

    Args:
        queries: Unit vectors `(batch, size)`.
        keys: The own key of each query, unit vectors `(batch, size)`.
        negatives: Unit vectors as columns `(size, negatives)`.
        temperature: Positive divisor of the similarities.
        negative_mask: `(batch, negatives)` booleans, True = not a negative of this query. Default: all count.

    Returns:
        The mean loss, and the logits `(batch, 1 + negatives)` with the own key first.
    """
    queries, keys = at_least_float32(queries, keys)
    own = (queries * keys).sum(dim=1, keepdim=True)
    others = similarities(queries, negatives)
    if negative_mask is not None:
        others = others.masked_fill(negative_mask, float("-inf"))
    logits = torch.cat([own, others], dim=1) / temperature
    labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return functional.cross_entropy(logits, labels), logits
