"""Regression of the momentum encoder's projections (BYOL, Grill et al. 2020, equation 2), and a sign of collapse."""

import torch
from torch.nn import functional

from .precision import at_least_float32, similarities

__all__ = ["regression_loss", "spread"]


def regression_loss(predictions: torch.Tensor, targets: torch.Tensor, *, constants: bool = True) -> torch.Tensor:
    """Squared distance of unit vectors, `2 - 2 cos`, of each view's prediction and another view's target.

    For two views the sum of both directions, `(2 - 2 cos(h1, z2)) + (2 - 2 cos(h2, z1))`; for more, twice the mean over
    all ordered pairs. Means over the records are taken in float32 at least.

    Args:
        predictions: Of the online network `(records, views, size)`, of any length.
        targets: Projections of the momentum encoder `(records, views, size)`; no gradient flows into them.
        constants: Whether the two constants are added; the published code leaves them out (quirk Q5). Gradients are the
            same.
    """
    cosine = similarities(_unit(predictions), _unit(targets.detach()).mT)  # (records, views, views)
    count = predictions.shape[1]
    others = ~torch.eye(count, dtype=torch.bool, device=cosine.device)
    mean = cosine[:, others].mean()
    return 4 - 4 * mean if constants else -4 * mean


@torch.no_grad()
def spread(vectors: torch.Tensor) -> torch.Tensor:
    """How much the directions of a batch differ: deviation of the unit vectors times the root of their size.

    About 1 for directions that are evenly spread, 0 where all are the same (collapse; Chen & He 2021, section 4.1).

    Args:
        vectors: `(batch, size)`, of any length.
    """
    unit = _unit(vectors)
    return unit.std(dim=0, correction=0).mean() * vectors.shape[1] ** 0.5


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    (vectors,) = at_least_float32(vectors)
    return functional.normalize(vectors, dim=-1)
