"""Momentum contrast: queries against the keys of a momentum encoder, of this step and of earlier ones.

Sources: He et al. 2020 (MoCo, queue), Chen et al. 2021 (MoCo v3, keys of the batch); choice of positives:
`selection.py`.
"""

from typing import Any

import torch
from torch import nn

from .dictionary import batch_dictionary, queue_dictionary
from .gather import process_slice
from .infonce import Contrast, info_nce
from .momentum import MomentumEncoderMixin
from .progress import Progress
from .queue import KeyQueue
from .selection import SelectionMixin
from .sources import same_source

__all__ = ["KeyContrastMixin"]


class KeyContrastMixin(SelectionMixin, MomentumEncoderMixin):
    """Loss, queue and choice of positives of a model with a momentum encoder; precedes its `PreTrainedModel` base.

    Args:
        config: Configuration of the model, with the fields of `SelectionConfig`.

    Attributes:
        temperature: Divisor of the similarities; may be set at any time.
        queue: Keys of earlier steps, or None.

    Raises:
        CheckpointError: The fields of the choice contradict each other.
    """

    logged_values = ("num_positives", "positive_similarity", "sampling_active")
    temperature: float
    queue: KeyQueue | None

    def __init__(self, config: Any):
        super().__init__(config)
        self.queue = None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, KeyQueue):
            module.reset_state()

    def before_step(self, progress: Progress) -> None:
        """Take the rule of the positives for this step, and move the momentum encoder.

        Args:
            progress: Position in the run.
        """
        SelectionMixin.before_step(self, progress)
        MomentumEncoderMixin.before_step(self, progress)

    def contrast(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        sources: torch.Tensor | None = None,
        *,
        with_batch: bool = True,
        ignore_unfilled: bool = False,
    ) -> Contrast:
        """Queries of this process against the keys of the batch, of the queue, or of both.

        Args:
            queries: Unit vectors `(batch, size)`.
            keys: Keys of all processes in rank order, unit vectors `(records, size)`; the own keys are among them.
            sources: Source of each key, int64 `(records,)`, see `source_numbers`.
            with_batch: Whether keys of other records of this step are candidates. Without a queue they always are.
            ignore_unfilled: Leave out the random columns of a queue alone that no key has replaced yet.
        """
        own_rows = process_slice(torch.arange(len(keys), device=keys.device))
        if with_batch or self.queue is None:
            dictionary = batch_dictionary(keys, own_rows, sources, self.queue)
        else:
            dictionary = queue_dictionary(self.queue, ignore_unfilled)
        return info_nce(
            queries,
            keys[own_rows],
            dictionary.candidates,
            self.temperature,
            self.rule_in_force,
            same_source=None if sources is None else same_source(sources[own_rows], dictionary.sources),
            left_out=dictionary.left_out,
        )

    def contrast_values(self, *contrasts: Contrast) -> dict[str, torch.Tensor]:
        """Output fields that are logged with the losses, without gradient; each a mean over the contrasts of a step.

        Args:
            *contrasts: From `contrast`.

        Returns:
            `num_positives`, extra positives of a query; `positive_similarity`, cosine similarity of a query with its
            own key; `sampling_active`, 1 if positives are chosen at this step.
        """
        own = torch.stack([contrast.logits[:, 0].detach().mean() for contrast in contrasts]).mean()
        return {
            "num_positives": torch.stack([contrast.num_positives for contrast in contrasts]).mean(),
            "positive_similarity": own * self.temperature,
            "sampling_active": torch.full_like(own, float(self.rule_in_force.is_active)),
        }
