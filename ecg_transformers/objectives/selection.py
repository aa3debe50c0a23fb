"""Which keys are positives: SRCL, N-Sam and DS over the candidates of a contrastive loss (`objectives/infonce.py`).

Sources: SRCL, semantically relevant contrastive learning, from CTransPath (Wang et al. 2022), in the form of Lenz et
al. 2024 (arXiv 2403.04558), whose reduction is `sum_in_log`; no public code has it. N-Sam ("negative sampling") and DS
("dynamic sampling") are named by Lenz et al. but defined in no text that was available: the definitions are ours.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import CheckpointError
from .progress import Progress

__all__ = ["KeySelection", "SelectionMixin", "SelectionRule", "select_keys"]

_CHOICES = {
    "sampling": ("none", "srcl", "n_sam", "ds"),
    "ds_mode": ("threshold", "schedule", "both"),
    "reduction": ("sum_in_log", "mean_of_logs", "sum_of_logs"),
    "select_by": ("query", "key"),
    "same_source": ("ignore", "exclude", "positive"),
}


@dataclass(frozen=True)
class SelectionRule:
    """Rule that sorts the candidate keys of a contrastive loss into positives, negatives and neither.

    Args:
        sampling: `"none"`: the own key is the only positive. `"srcl"`: the most similar candidates are positives too.
            `"n_sam"` (our definition): the most similar candidates are neither positives nor negatives. `"ds"` (our
            definition): as SRCL, with a number of positives that varies by query or over the run.
        num_extra_positives: Candidates that `srcl` adds, and at most that `ds` adds (5, Lenz et al.); may be 0.
        n_sam_drop: Most similar candidates that `n_sam` removes (5, ours); may be 0.
        n_sam_keep: Of the others, how many of the most similar `n_sam` keeps as negatives; all if None.
        ds_mode: `"threshold"`: candidates at least as similar as `ds_threshold`. `"schedule"`: a number that grows over
            the run. `"both"`: the threshold within the growing number.
        ds_threshold: Cosine similarity from -1 to 1 (0.8, ours); not divided by the temperature.
        reduction: `"sum_in_log"` (Lenz et al.), `"mean_of_logs"` (Khosla et al. 2020, equation 2), or `"sum_of_logs"`:
            each positive alone against the negatives (3KG, Gopal et al. 2021).
        select_by: Whose similarity to the candidates decides, the `"query"`'s or its own `"key"`'s.
        same_source: `"ignore"`: patients do not matter. `"exclude"`: candidates of the query's patient (or record) are
            left out. `"positive"`: they are positives, in addition to those chosen among the others.
        sampling_warmup: Share of the run before which nothing is chosen (0.1: 5 of 50 epochs, Lenz et al.).
        ds_end: Share of the run at which the growing number is complete (0.5, ours).

    Raises:
        CheckpointError: For an unknown value or a number out of range.
    """

    sampling: str = "none"
    num_extra_positives: int = 5
    n_sam_drop: int = 5
    n_sam_keep: int | None = None
    ds_mode: str = "threshold"
    ds_threshold: float = 0.8
    reduction: str = "sum_in_log"
    select_by: str = "query"
    same_source: str = "ignore"
    sampling_warmup: float = 0.1
    ds_end: float = 0.5

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(map(repr, choices))
                raise CheckpointError(f"{name} is {getattr(self, name)!r}; expected one of {known}.")
        if not -1 <= self.ds_threshold <= 1:
            raise CheckpointError(
                f"ds_threshold is {self.ds_threshold}; it is compared with cosine similarities: set it from -1 to 1."
            )
        if min(self.num_extra_positives, self.n_sam_drop) < 0 or (self.n_sam_keep is not None and self.n_sam_keep < 1):
            raise CheckpointError(
                f"num_extra_positives is {self.num_extra_positives}, n_sam_drop {self.n_sam_drop} and n_sam_keep "
                f"{self.n_sam_keep}; expected counts, the last at least 1 or None."
            )
        if not 0 <= self.sampling_warmup <= 1 or not 0 <= self.ds_end <= 1:
            raise CheckpointError(
                f"sampling_warmup is {self.sampling_warmup} and ds_end {self.ds_end}; expected shares of the run from "
                "0 to 1."
            )
        if self.sampling == "ds" and self.ds_mode != "threshold" and self.ds_end <= self.sampling_warmup:
            raise CheckpointError(
                f"ds_end is {self.ds_end}, but sampling_warmup {self.sampling_warmup}: the number of positives has no "
                "time to grow. Set ds_end to a larger share of the run."
            )

    @classmethod
    def from_config(cls, config: Any) -> "SelectionRule":
        """The rule of a configuration that has the fields of `SelectionConfig`.

        Args:
            config: Configuration of a model.
        """
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def is_active(self) -> bool:
        """Whether candidates are chosen by their similarity."""
        return self.sampling != "none"

    def at_step(self, step: int, max_steps: int) -> "SelectionRule":
        """The rule at an optimizer step: no sampling during the warm-up, then the current number of positives.

        Args:
            step: Optimizer steps completed, `state.global_step`.
            max_steps: Optimizer steps of the whole run, `state.max_steps`.

        Example:
            >>> rule = SelectionRule("ds", ds_mode="schedule")
            >>> [rule.at_step(epoch, 50).num_extra_positives for epoch in (5, 15, 25, 40)]
            [0, 3, 5, 5]
            >>> rule.at_step(4, 50).sampling
            'none'
        """
        progress = step / max_steps
        if progress < self.sampling_warmup:
            return replace(self, sampling="none")
        if self.sampling != "ds" or self.ds_mode == "threshold":
            return self
        grown = min(1.0, (progress - self.sampling_warmup) / (self.ds_end - self.sampling_warmup))
        # Halves round up; (0.3 - 0.1) / 0.4 * 5 is 2.4999999999999996 in floating point and means 2.5.
        return replace(self, num_extra_positives=math.floor(round(self.num_extra_positives * grown, 9) + 0.5))


class KeySelection(NamedTuple):
    """Result of `select_keys`, without gradient.

    Args:
        ids: Columns of the ranked candidates, int64 `(batch, places)`: positives of the query's own source first, then
            the others by similarity in descending order, as many as the rule needs.
        is_positive: Which of them are extra positives, booleans `(batch, places)`.
        is_removed: Which of them `n_sam` removes from the denominator, booleans `(batch, places)`; None = none.
        rest_is_removed: Whether all other candidates leave the denominator too (`n_sam_keep`).
    """

    ids: torch.Tensor
    is_positive: torch.Tensor
    is_removed: torch.Tensor | None = None
    rest_is_removed: bool = False


@torch.no_grad()
def select_keys(
    cosines: torch.Tensor, rule: SelectionRule, positive_sources: torch.Tensor | None = None
) -> KeySelection:
    """Choose among the candidates of each query. Of equally similar ones the lower index comes first.

    Args:
        cosines: Cosine similarities to the candidates `(batch, candidates)`, not divided by a temperature; -inf
            where a candidate is not eligible.
        rule: The rule in force, see `SelectionRule.at_step`.
        positive_sources: Booleans `(batch, candidates)`, True = a positive because of its source; the rule chooses
            among the others. Default: none.

    Returns:
        Columns of the ranked candidates, and what the rule makes of them.

    Raises:
        CheckpointError: There is no candidate, but the rule has to choose.
    """
    batch, candidates = cosines.shape
    if rule.is_active and not candidates:
        raise CheckpointError(
            f"sampling {rule.sampling!r} has no candidate to choose from. Set queue_size above 0, or train with more "
            "than one record in a batch."
        )
    num_sources, most_sources = cosines.new_zeros(batch, dtype=torch.long), 0
    if positive_sources is not None:
        cosines = cosines.masked_fill(positive_sources, torch.inf)
        num_sources = positive_sources.sum(dim=1)
        most_sources = int(num_sources.max())
    chosen = {"none": 0, "n_sam": rule.n_sam_drop}.get(rule.sampling, rule.num_extra_positives)
    kept = rule.n_sam_keep if rule.sampling == "n_sam" else None
    values, ids = _largest(cosines, min(most_sources + chosen + (kept or 0), candidates))
    rank = torch.arange(ids.shape[1], device=ids.device) - num_sources[:, None]
    is_positive = rank < 0
    is_chosen = (rank >= 0) & (rank < chosen) & (values > -torch.inf)
    if rule.sampling == "n_sam":
        is_removed = is_chosen if kept is None else is_chosen | (rank >= chosen + kept)
        return KeySelection(ids, is_positive, is_removed, rest_is_removed=kept is not None)
    if rule.sampling == "ds" and rule.ds_mode != "schedule":
        is_positive = is_positive | (is_chosen & (values >= rule.ds_threshold))
    else:
        is_positive = is_positive | is_chosen
    return KeySelection(ids, is_positive)


def _largest(values: torch.Tensor, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each row in descending order and their columns, equal ones by column."""
    if not places:
        return values[:, :0], torch.empty(len(values), 0, dtype=torch.long, device=values.device)
    top, ids = values.topk(min(places + 1, values.shape[1]), dim=1)
    # `topk` breaks ties as it likes; rows that have one among the places or at their end are sorted whole.
    tied = ((top[:, 1:] == top[:, :-1]) & top[:, 1:].isfinite()).any(dim=1).nonzero()[:, 0]
    if len(tied):
        in_order = values[tied].sort(dim=1, descending=True, stable=True)
        top[tied], ids[tied] = (part[:, : top.shape[1]] for part in in_order)
    return top[:, :places], ids[:, :places]


class SelectionMixin(nn.Module):
    """Choice of positives of a pretraining model over its run; precedes its `PreTrainedModel` base.

    `PretrainingTrainer` starts the choice when its warm-up is over, through the hook `before_step`; in any other loop
    it is active from the start.

    Args:
        config: Configuration of the model, with the fields of `SelectionConfig`.

    Attributes:
        rule: Which keys are positives; may be set at any time.
        rule_in_force: The rule at the present step.

    Raises:
        CheckpointError: The fields of the choice contradict each other.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        self.rule = SelectionRule.from_config(config)
        self.rule_in_force = self.rule

    def before_step(self, progress: Progress) -> None:
        """Take the rule of the positives for this step.

        Args:
            progress: Position in the run.
        """
        self.rule_in_force = self.rule.at_step(progress.global_step, progress.max_steps)
