"""InfoNCE: identify a query's own key among others (van den Oord et al. 2018; He et al. 2020, section 3.1).

For query i there are its own key and the candidates j = 1 ... M (keys of other records in the batch, keys of a queue),
with `w_ij = exp(q_i k_j / temperature)`:

    L_i = -log[ w_i / (w_i + sum_j w_ij) ]

A `SelectionRule` makes some candidates extra positives P_i and keeps the candidates D_i (SRCL, N-Sam, DS):

    sum_in_log:    L_i = -log[ (w_i + sum_P w_ij) / (w_i + sum_D w_ij) ]
    mean_of_logs:  L_i = -mean over own key and P of log[ w_ij / (w_i + sum_D w_ij) ]
    sum_of_logs:   L_i = -sum over own key and P of log[ w_ij / (w_ij + sum over D without P of w) ]

`matrix_info_nce` is the form without own keys: rows and columns of a matrix, any pairs of which are positive (CMSC).
"""

from typing import NamedTuple

import torch
from torch.nn import functional

from ..errors import CheckpointError
from .precision import at_least_float32, similarities
from .selection import KeySelection, SelectionRule, select_keys

__all__ = ["PLAIN", "Contrast", "MatrixContrast", "info_nce", "matrix_info_nce", "unit_of_constant_norm"]

# Plain InfoNCE: the own key is the only positive.
PLAIN = SelectionRule()


class Contrast(NamedTuple):
    """Result of a contrastive loss.

    Args:
        losses: Of each query `(batch,)`.
        logits: Similarities divided by the temperature `(batch, 1 + candidates)`, the own key first; -inf where a
            candidate is not in the denominator.
        selection: The chosen candidates.
    """

    losses: torch.Tensor
    logits: torch.Tensor
    selection: KeySelection

    @property
    def loss(self) -> torch.Tensor:
        """Mean over the queries."""
        return self.losses.mean()

    @property
    def num_positives(self) -> torch.Tensor:
        """Mean number of extra positives of a query, a float32 scalar."""
        return self.selection.is_positive.sum(dim=1).float().mean()

    @property
    def positive_mask(self) -> torch.Tensor:
        """Extra positives as booleans `(batch, candidates)`; the own key is not a candidate."""
        mask = torch.zeros_like(self.logits[:, 1:], dtype=torch.bool)
        return mask.scatter_(1, self.selection.ids, self.selection.is_positive)

    @property
    def kept_mask(self) -> torch.Tensor:
        """Candidates in the denominator as booleans `(batch, candidates)`."""
        return self.logits[:, 1:] > -torch.inf


def info_nce(
    queries: torch.Tensor,
    keys: torch.Tensor,
    candidates: torch.Tensor,
    temperature: float,
    rule: SelectionRule = PLAIN,
    *,
    same_source: torch.Tensor | None = None,
    left_out: torch.Tensor | None = None,
) -> Contrast:
    """InfoNCE of each query; similarities, selection and loss in at least float32, under autocast too.

    Args:
        queries: Unit vectors `(batch, size)`.
        keys: The own key of each query, unit vectors `(batch, size)`.
        candidates: Unit vectors as columns `(size, candidates)`: a queue, the batch, or both.
        temperature: Positive divisor of the similarities.
        rule: Which candidates are positives or left out, see `SelectionRule.at_step`. Default: plain InfoNCE.
        same_source: Booleans `(batch, candidates)`, True = of the query's own patient or record; needed unless
            `rule.same_source` is `"ignore"`.
        left_out: Booleans `(batch or 1, candidates)`, True = no candidate of this query, such as its own key.

    Raises:
        CheckpointError: `rule.same_source` without `same_source`, or nothing to choose from.
    """
    positive_sources = None
    if rule.same_source != "ignore":
        if same_source is None:
            raise CheckpointError(
                f"same_source is {rule.same_source!r}, but the batch has neither patient_ids nor record_ids. Pass one "
                "of them, or set same_source='ignore'."
            )
        if rule.same_source == "exclude":
            left_out = same_source if left_out is None else same_source | left_out
        else:
            positive_sources = same_source if left_out is None else same_source & ~left_out
    queries, keys = at_least_float32(queries, keys)
    own = (queries * keys).sum(dim=1, keepdim=True)
    others = _without(similarities(queries, candidates), left_out)
    by_key = rule.is_active and rule.select_by == "key"
    compared = _without(similarities(keys.detach(), candidates), left_out) if by_key else others.detach()
    selection = select_keys(compared, rule, positive_sources)
    logits = _denominator(own, others, selection) / temperature
    return Contrast(_losses(logits, selection, rule.reduction), logits, selection)


def _without(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return values if mask is None else values.masked_fill(mask, -torch.inf)


def _denominator(own: torch.Tensor, others: torch.Tensor, selection: KeySelection) -> torch.Tensor:
    """Similarities `(batch, 1 + candidates)`, the own key first; -inf where the selection removes a candidate."""
    if selection.is_removed is None:
        return torch.cat([own, others], dim=1)
    if selection.rest_is_removed:
        kept = others.gather(1, selection.ids).masked_fill(selection.is_removed, -torch.inf)
        return torch.cat([own, torch.full_like(others, -torch.inf).scatter(1, selection.ids, kept)], dim=1)
    joined = torch.cat([own, others], dim=1)
    # Some places per row, in place: a mask of all candidates would cost more than choosing among them.
    rows, places = selection.is_removed.nonzero(as_tuple=True)
    joined[rows, 1 + selection.ids[rows, places]] = -torch.inf
    return joined


def _losses(logits: torch.Tensor, selection: KeySelection, reduction: str) -> torch.Tensor:
    """Cross-entropy with the own key, corrected by what the extra positives add to the numerator."""
    labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if not selection.ids.shape[1]:
        return losses
    own = logits[:, :1]
    # The own key is always among the positives, so no row is empty.
    is_positive = functional.pad(selection.is_positive, (1, 0), value=True)
    positives = torch.cat([own, logits.gather(1, 1 + selection.ids)], dim=1)
    if reduction == "sum_of_logs":
        # Far below every similarity, but finite: a row without negatives has a loss of 0 and a gradient.
        floor = torch.finfo(logits.dtype).min / 2
        rest = logits[:, 1:].clamp_min(floor)
        negatives = rest.gather(1, selection.ids).masked_fill(selection.is_positive, floor)
        rest = rest.scatter(1, selection.ids, negatives).logsumexp(dim=1, keepdim=True)
        return -functional.logsigmoid(positives - rest).masked_fill(~is_positive, 0.0).sum(dim=1)
    if reduction == "sum_in_log":
        numerator = positives.masked_fill(~is_positive, -torch.inf).logsumexp(dim=1)
    else:
        numerator = positives.masked_fill(~is_positive, 0.0).sum(dim=1) / is_positive.sum(dim=1)
    return losses + own[:, 0] - numerator


class MatrixContrast(NamedTuple):
    """Result of a contrast of rows with columns.

    Args:
        loss: Scalar.
        accuracy: Share of the rows and columns whose most similar partner is positive, without gradient.
    """

    loss: torch.Tensor
    accuracy: torch.Tensor


def matrix_info_nce(logits: torch.Tensor, positives: torch.Tensor) -> MatrixContrast:
    """InfoNCE of a matrix in both directions, the mean over all positive pairs P (CLOCS, Kiyasseh et al. 2021).

    `L = -1/2 mean_P log softmax_j(s)_ij - 1/2 mean_P log softmax_i(s)_ij`; positives of one row compete with each
    other.

    Args:
        logits: Similarities divided by the temperature `(rows, columns)`, float32 or float64.
        positives: Booleans `(rows, columns)`, at least one of them true.
    """
    weights = positives.to(logits.dtype)
    loss = torch.stack([-(logits.log_softmax(dim=dim) * weights).sum() for dim in (0, 1)]).mean() / weights.sum()
    found = [weights.gather(dim, logits.argmax(dim=dim, keepdim=True)).mean() for dim in (0, 1)]
    return MatrixContrast(loss, torch.stack(found).mean())


def unit_of_constant_norm(vectors: torch.Tensor) -> torch.Tensor:
    """Divide by the norm, of which no gradient is taken: gradients are not projected onto the sphere (published).

    A vector of zeros stays one; its gradient is multiplied by 1e8.

    Args:
        vectors: `(..., size)`.
    """
    return vectors / vectors.detach().norm(dim=-1, keepdim=True).clamp_min(1e-8)
