"""SimCLR pretraining: each view of a record is contrasted with the views of all other records of the batch.

Source: Chen et al. 2020 (arXiv 2002.05709), on electrocardiograms as in Mehari & Strodthoff 2022 (arXiv 2103.12676) and
their public code ecg-selfsupervised. See `docs/systems/simclr.md`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ...objectives.gather import all_gather, gather_with_gradient, process_slice
from ...objectives.ntxent import NtXent, nt_xent, published_nt_xent
from ...objectives.precision import at_least_float32
from ...objectives.regression import spread
from ...objectives.selection import SelectionMixin
from ...objectives.sources import source_numbers
from .configuration_simclr import SimclrConfig
from .modeling_simclr import SimclrModel, SimclrPreTrainedModel
from .record_views import RecordViewsForPreTraining

__all__ = ["SimclrForPreTraining", "SimclrForPreTrainingOutput"]


@dataclass
class SimclrForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss: NT-Xent over all views of the batch.
        accuracy: Share of the records whose second view is nearer to the first than to any negative.
        spread: How much the projections of the first view differ, about 1; 0 = all alike (collapse).
        num_positives: Mean number of extra positives of a view.
        sampling_active: 1 if positives are chosen at this step, 0 before the warm-up of the sampling is over.
        projections: Unit vectors `(batch, views, projection_size)`.
        last_hidden_state: Tokens of the first view `(batch, tokens, hidden_size)`.
        hidden_states: Of the first view, as in `EcgModelOutput`, if requested.
        attentions: Of the first view, as in `EcgModelOutput`, if requested.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    accuracy: torch.Tensor | None = None
    spread: torch.Tensor | None = None
    num_positives: torch.Tensor | None = None
    sampling_active: torch.Tensor | None = None
    projections: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class SimclrForPreTraining(SelectionMixin, RecordViewsForPreTraining, SimclrPreTrainedModel):
    """Backbone and projection head: NT-Xent of two views of each record, against the batch of all processes.

    `loss_weights` and `temperature` start at the values of the config and may be set at any time. The loss of a batch
    of one record is 0: it has no negatives.

    Args:
        config: The configuration.
    """

    config: SimclrConfig
    logged_values = ("accuracy", "spread", "num_positives", "sampling_active")

    def __init__(self, config: SimclrConfig):
        super().__init__(config)
        self.simclr = SimclrModel(config)
        self.projector = nn.Sequential(
            nn.Linear(config.pooled_size, config.projector_hidden_size),
            nn.ReLU(),
            nn.Linear(config.projector_hidden_size, config.projection_size),
        )
        self.views = config.record_views()
        self.loss_weights = {"contrastive_loss": 1.0}
        self.temperature = config.temperature
        self.post_init()

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
    ) -> SimclrForPreTrainingOutput | tuple:
        """Compute the loss.

        Args:
            input_values: Pieces of the records `(batch, leads, samples)` out of which the views are cut, or `(batch, 2,
                leads, samples)`, recordings of the same patient; prepared by the feature extractor.
            views: Two views `(batch, 2, leads, samples)`. Default: drawn from torch's global generator.
            attention_mask: `(batch, samples)`, 1 = signal; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: int64 `(batch,)`, -1 = unknown; used by `same_source`.
            record_ids: int64 `(batch,)`; compared instead for a row without a patient.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the first view.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        views = self._given_or_drawn(input_values, views, attention_mask)
        wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        first = self._encode(views[:, 0], lead_mask=lead_mask, **wanted)
        second = self._encode(views[:, 1], lead_mask=lead_mask)
        projected = [self.projector(encoded.pooler_output) for encoded in (first, second)]
        # In float32: vectors that were rounded to bfloat16 are no unit vectors.
        (stacked,) = at_least_float32(torch.stack(projected, dim=1))
        projections = functional.normalize(stacked, dim=-1)
        contrast = self._contrast(projections, source_numbers(patient_ids, record_ids))
        result = SimclrForPreTrainingOutput(
            loss=self.loss_weights["contrastive_loss"] * contrast.loss,
            contrastive_loss=contrast.loss,
            accuracy=contrast.accuracy,
            spread=spread(projections[:, 0]),
            num_positives=contrast.num_positives,
            sampling_active=torch.full_like(contrast.accuracy, float(self.rule_in_force.is_active)),
            projections=projections,
            last_hidden_state=first.last_hidden_state,
            hidden_states=first.hidden_states,
            attentions=first.attentions,
        )
        return self.finish_output(result, return_dict=return_dict)

    def _contrast(self, projections: torch.Tensor, sources: torch.Tensor | None) -> NtXent:
        """Loss and accuracy of this process's views against those of all processes."""
        columns = gather_with_gradient(projections)
        first_record = int(process_slice(torch.arange(len(columns)))[0])
        contrast = nt_xent(
            projections,
            self.temperature,
            columns=columns,
            first_record=first_record,
            sources=sources,
            column_sources=None if sources is None else all_gather(sources),
            rule=self.rule_in_force,
        )
        if self.config.has_quirk("Q1"):
            return contrast._replace(loss=published_nt_xent(projections, self.temperature, columns=columns))
        return contrast
