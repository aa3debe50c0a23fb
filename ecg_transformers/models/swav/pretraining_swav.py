"""SwAV pretraining: predict from one crop of a record which prototypes another crop was assigned to.

Source: Caron et al. 2020 (arXiv 2006.09882), on electrocardiograms as in Mehari & Strodthoff 2022 (arXiv 2103.12676)
and their public code ecg-selfsupervised. See `docs/systems/swav.md`.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ...modeling import EcgModelOutput
from ...objectives.gather import all_gather
from ...objectives.precision import at_least_float32, similarities
from ...objectives.progress import Progress
from ...objectives.regression import spread
from ...objectives.sinkhorn import (
    EmbeddingQueue,
    assignment_codes,
    assignment_loss,
    code_entropy,
    normalize_prototypes,
)
from ..simclr.record_views import RecordViewsForPreTraining, batch_norm_head
from .configuration_swav import SwavConfig
from .modeling_swav import SwavModel, SwavPreTrainedModel

__all__ = ["SwavForPreTraining", "SwavForPreTrainingOutput"]

# Crops whose codes are predicted from the others.
ASSIGNING = 2


@dataclass
class SwavForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        assignment_loss: Cross-entropy of the codes of the assigning crops and the scores of the other crops.
        code_entropy: Mean entropy of the codes in nats; the logarithm of the number of prototypes for all alike.
        spread: How much the embeddings of the first crop differ, about 1; 0 = all alike (collapse).
        embeddings: Unit vectors `(batch, crops, projection_size)`.
        last_hidden_state: Tokens of the first crop `(batch, tokens, hidden_size)`.
        hidden_states: Of the first crop, as in `EcgModelOutput`, if asked for.
        attentions: Of the first crop, as in `EcgModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    assignment_loss: torch.Tensor | None = None
    code_entropy: torch.Tensor | None = None
    spread: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class SwavForPreTraining(RecordViewsForPreTraining, SwavPreTrainedModel):
    """Backbone, projection head, prototypes and queue: swapped prediction over the crops of each record.

    `loss_weights` and `temperature` start at the values of the config and may be set at any time. Prototypes are made
    unit vectors before each pass. `PretrainingTrainer` keeps them fixed in the first epochs and starts the queue, by
    the hooks `before_optimizer_step` and `before_step`; in any other loop they learn, and the queue fills, from the
    start.

    Args:
        config: The configuration.
    """

    config: SwavConfig
    logged_values = ("code_entropy", "spread")

    def __init__(self, config: SwavConfig):
        super().__init__(config)
        self.swav = SwavModel(config)
        self.projector = batch_norm_head(
            config.pooled_size, config.projector_hidden_size, config.projection_size, first_bias=True
        )
        self.prototypes = nn.Linear(config.projection_size, config.num_prototypes, bias=False)
        self.queue = None
        if config.queue_size:
            self.queue = EmbeddingQueue(config.queue_size, ASSIGNING, config.projection_size)
        self.views = config.record_views()
        self.loss_weights = {"assignment_loss": 1.0}
        self.temperature = config.temperature
        self._queue_started = True
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, EmbeddingQueue):
            module.reset_state()

    def before_step(self, progress: Progress) -> None:
        """Start the queue when its epoch has come.

        Args:
            progress: Position in the run.
        """
        self._queue_started = progress.epoch >= self.config.queue_start_epoch

    def before_optimizer_step(self, progress: Progress) -> None:
        """Drop the gradient of the prototypes in the first epochs: without one they keep still, weight decay included.

        Args:
            progress: Position in the run.
        """
        if progress.epoch < self.config.freeze_prototypes_epochs:
            self.prototypes.weight.grad = None

    def forward(
        self,
        input_values: torch.Tensor,
        views: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SwavForPreTrainingOutput | tuple:
        """Compute the loss; in training mode also normalize the prototypes in place and fill the queue.

        Args:
            input_values: Pieces of the records `(batch, leads, samples)` out of which the crops are cut, or `(batch, 2,
                leads, samples)`, recordings of the same patient; prepared by the feature extractor.
            views: Crops `(batch, num_crops, leads, samples)`. Default: drawn from torch's global generator.
            attention_mask: `(batch, samples)`, 1 = signal; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: Accepted and ignored: records are not distinguished.
            record_ids: Accepted and ignored.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the first crop.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        views = self._given_or_drawn(input_values, views, attention_mask)
        wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        encoded = self._encode_crops(views, lead_mask, **wanted)
        embeddings = self._embeddings(encoded, len(views))
        if self.training:
            normalize_prototypes(self.prototypes.weight)
        prototypes = self.prototypes.weight if self.training else functional.normalize(self.prototypes.weight, dim=1)
        scores = similarities(embeddings, prototypes.T)  # (batch, crops, prototypes)
        codes = self._codes(scores, embeddings, prototypes)
        count_own = self.config.has_quirk("Q7")
        loss = assignment_loss(scores, codes, self.temperature, count_own=count_own)
        of_first, tokens = slice(len(views)), cast(torch.Tensor, encoded.last_hidden_state)
        result = SwavForPreTrainingOutput(
            loss=self.loss_weights["assignment_loss"] * loss,
            assignment_loss=loss,
            code_entropy=code_entropy(codes),
            spread=spread(embeddings[:, 0]),
            embeddings=embeddings,
            last_hidden_state=tokens[of_first],
            hidden_states=encoded.hidden_states and tuple(state[of_first] for state in encoded.hidden_states),
            attentions=encoded.attentions and tuple(weights[of_first] for weights in encoded.attentions),
        )
        return self.finish_output(result, return_dict=return_dict)

    def _encode_crops(self, views: torch.Tensor, lead_mask: torch.Tensor | None, **wanted: Any) -> EcgModelOutput:
        """All crops in one pass (joint BatchNorm statistics), crop after crop."""
        masks = None if lead_mask is None else lead_mask.repeat(views.shape[1], 1)
        return self._encode(views.transpose(0, 1).flatten(0, 1), lead_mask=masks, **wanted)

    def _embeddings(self, encoded: EcgModelOutput, records: int) -> torch.Tensor:
        """Unit vectors `(batch, crops, size)`, in at least float32."""
        (projected,) = at_least_float32(self.projector(encoded.pooler_output))
        return functional.normalize(projected, dim=1).unflatten(0, (-1, records)).transpose(0, 1)

    @torch.no_grad()
    def _codes(self, scores: torch.Tensor, embeddings: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
        """Codes of the assigning crops, balanced with a full queue; then the queue takes the embeddings."""
        queue = self.queue if self._queue_started else None
        earlier = None if queue is None else queue.share_of_process()
        codes = assignment_codes(
            scores[:, :ASSIGNING],
            earlier,
            prototypes,
            epsilon=self.config.sinkhorn_epsilon,
            iterations=self.config.sinkhorn_iterations,
        )
        # Quirk Q8: the published code fills the queue in validation too.
        if queue is not None and (self.training or self.config.has_quirk("Q8")):
            queue.push(all_gather(embeddings[:, :ASSIGNING].detach()))
        return codes
