"""BYOL pretraining: from one view of a record, predict what a momentum encoder makes of another one.

Source: Grill et al. 2020 (arXiv 2006.07733), on electrocardiograms as in Mehari & Strodthoff 2022 (arXiv 2103.12676)
and their public code ecg-selfsupervised. See `docs/systems/byol.md`.
"""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from ...errors import SignalError
from ...objectives.momentum import MomentumEncoderMixin
from ...objectives.regression import regression_loss, spread
from ..simclr.record_views import RecordViewsForPreTraining, batch_norm_head
from .configuration_byol import ByolConfig
from .modeling_byol import ByolModel, ByolPreTrainedModel

__all__ = ["ByolForPreTraining", "ByolForPreTrainingOutput"]


@dataclass
class ByolForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        regression_loss: Squared distance of unit vectors, prediction and target, summed over both directions.
        spread: How much the projections of the first view differ, about 1; 0 = all alike (collapse).
        predictions: Of both views, from the predictor `(batch, 2, projection_size)`.
        targets: Of both views, from the momentum encoder `(batch, 2, projection_size)`, without gradient.
        last_hidden_state: Tokens of the first view `(batch, tokens, hidden_size)`.
        hidden_states: Of the first view, as in `EcgModelOutput`, if asked for.
        attentions: Of the first view, as in `EcgModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    regression_loss: torch.Tensor | None = None
    spread: torch.Tensor | None = None
    predictions: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ByolMomentumEncoder(ByolModel):
    """The momentum encoder: the same network, a class of its own so that it is never taken for the base model."""


class ByolForPreTraining(MomentumEncoderMixin, RecordViewsForPreTraining, ByolPreTrainedModel):
    """Backbone, projector, predictor and momentum encoder: each view's prediction against the other view's target.

    `loss_weights` and `momentum` start at the values of the config and may be set at any time. The momentum encoder
    moves right after the optimizer, see `MomentumEncoderMixin`; it uses the batch statistics of its own passes.

    Args:
        config: The configuration.
    """

    config: ByolConfig
    logged_values = ("spread",)
    moves_after_step = True

    def __init__(self, config: ByolConfig):
        super().__init__(config)
        self.byol = ByolModel(config)
        sizes = (config.projector_hidden_size, config.projection_size)
        self.projector = batch_norm_head(config.pooled_size, *sizes)
        self.predictor = batch_norm_head(config.projection_size, config.predictor_hidden_size, config.projection_size)
        self.momentum_encoder = ByolMomentumEncoder(config)
        self.momentum_projector = batch_norm_head(config.pooled_size, *sizes)
        self.views = config.record_views()
        self.loss_weights = {"regression_loss": 1.0}
        self.momentum = config.momentum
        self.momentum_parts = {"momentum_encoder": "byol", "momentum_projector": "projector"}
        # Quirk Q4: biases, those of BatchNorm included, never move.
        self.momentum_names = "weight" if config.has_quirk("Q4") else ""
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
    ) -> ByolForPreTrainingOutput | tuple:
        """Compute the loss.

        Args:
            input_values: Pieces of the records `(batch, leads, samples)` out of which the views are cut, or `(batch, 2,
                leads, samples)`, recordings of the same patient; prepared by the feature extractor.
            views: Two views `(batch, 2, leads, samples)`. Default: drawn from torch's global generator.
            attention_mask: `(batch, samples)`, 1 = signal; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: Accepted and ignored: records are not distinguished.
            record_ids: Accepted and ignored.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer for the first view.
            output_attentions: Return its attention weights (eager attention).
            return_dict: Return a tuple if False.

        Raises:
            SignalError: A batch of one record in training.
        """
        views = self._given_or_drawn(input_values, views, attention_mask)
        if self.training and len(views) == 1:
            raise SignalError(
                f"{type(self).__name__} got a batch of one record, of which BatchNorm has no statistics. Set "
                "per_device_train_batch_size to at least 2."
            )
        wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        first = self._encode(views[:, 0], lead_mask=lead_mask, **wanted)
        second = self._encode(views[:, 1], lead_mask=lead_mask)
        projections = [self.projector(encoded.pooler_output) for encoded in (first, second)]
        predictions = torch.stack([self.predictor(projection) for projection in projections], dim=1)
        targets = self._targets(views, lead_mask)
        loss = regression_loss(predictions, targets, constants=not self.config.has_quirk("Q5"))
        result = ByolForPreTrainingOutput(
            loss=self.loss_weights["regression_loss"] * loss,
            regression_loss=loss,
            spread=spread(projections[0]),
            predictions=predictions,
            targets=targets,
            last_hidden_state=first.last_hidden_state,
            hidden_states=first.hidden_states,
            attentions=first.attentions,
        )
        return self.finish_output(result, return_dict=return_dict)

    @torch.no_grad()
    def _targets(self, views: torch.Tensor, lead_mask: torch.Tensor | None) -> torch.Tensor:
        """Projections of the momentum encoder `(batch, 2, size)`; it sees the second view first, as published."""
        second, first = self.encode_momentum(views[:, 1], views[:, 0], lead_mask=lead_mask)
        projected = [self.momentum_projector(pooled) for pooled in (second, first)]
        return torch.stack(projected[::-1], dim=1)
