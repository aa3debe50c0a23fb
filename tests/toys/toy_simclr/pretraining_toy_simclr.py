"""Pretraining of the toy SimCLR: two noisy views, a projection head, NT-Xent (Chen et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ecg_transformers.objectives.infonce import info_nce

from .modeling_toy_simclr import ToySimclrModel, ToySimclrPreTrainedModel


@dataclass
class ToySimclrForPreTrainingOutput(ModelOutput):
    """Loss, its term, the unit vectors `(2 * batch, projection_size)`, and the states of the first view."""

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    projections: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ToySimclrForPreTraining(ToySimclrPreTrainedModel):
    """Backbone and projection head."""

    shared_draws = ()

    def __init__(self, config):
        super().__init__(config)
        self.toy_simclr = ToySimclrModel(config)
        width = config.pooled_size
        self.projector = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=False), nn.Linear(width, config.projection_size)
        )
        self.loss_weights = {"contrastive_loss": 1.0}
        self.post_init()

    @property
    def encoder(self):
        return self.toy_simclr

    def draw(self, batch_size, generator=None, device=None):
        config, device = self.config, self.device if device is None else device
        shape = (batch_size, 2, config.num_leads, config.window_size)
        return {"view_noise": torch.randn(shape, generator=generator, device=device)}

    def apply_draws(self, input_values, draws, attention_mask=None):
        return {"views": input_values[:, None] + self.config.noise * draws["view_noise"].to(input_values.dtype)}

    def momentum_update(self, momentum=None):
        """There is no momentum encoder."""

    def forward(
        self, input_values, views=None, attention_mask=None, lead_mask=None, record_index=None, patient_ids=None,
        record_ids=None, return_loss=True, output_hidden_states=None, output_attentions=None, return_dict=None,
    ):  # fmt: skip
        if views is None:
            views = self.apply_draws(input_values, self.draw(len(input_values), device=input_values.device))["views"]
        keywords = {"attention_mask": attention_mask, "lead_mask": lead_mask, "return_dict": True}
        asked = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        first = self.toy_simclr(views[:, 0], **keywords, **asked)
        second = self.toy_simclr(views[:, 1], **keywords)
        pooled = torch.cat([first.pooler_output, second.pooler_output])
        vectors = functional.normalize(self.projector(pooled), dim=1)
        batch = len(input_values)
        # Each vector against all others: its partner is the key, itself and the partner are no negatives.
        itself = torch.eye(2 * batch, dtype=torch.bool, device=vectors.device)
        loss, _ = info_nce(
            vectors, vectors.roll(batch, 0), vectors.T, self.config.temperature, itself | itself.roll(batch, 0)
        )
        result = ToySimclrForPreTrainingOutput(
            loss=self.loss_weights["contrastive_loss"] * loss,
            contrastive_loss=loss,
            projections=vectors,
            hidden_states=first.hidden_states,
            attentions=first.attentions,
        )
        return result if (self.config.return_dict if return_dict is None else return_dict) else result.to_tuple()
