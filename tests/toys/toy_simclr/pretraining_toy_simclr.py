"""Pretraining of the toy SimCLR: two noisy views, a projection head, NT-Xent (Chen et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.objectives.ntxent import nt_xent

from .modeling_toy_simclr import ToySimclrModel, ToySimclrPreTrainedModel


@dataclass
class ToySimclrForPreTrainingOutput(ModelOutput):
    """Loss, its term, the unit vectors `(batch, 2, projection_size)`, and the states of the first view."""

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    projections: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ToySimclrForPreTraining(ToySimclrPreTrainedModel):
    """Backbone and projection head."""

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

    def draw(self, generator):
        return {"view_noise": generator.normal(2, self.config.num_leads, self.config.window_size)}

    def apply_draws(self, inputs, draws):
        values = inputs["input_values"]
        return {"views": values[:, None] + self.config.noise * draws["view_noise"].to(values.dtype)}

    def forward(
        self, input_values, views=None, attention_mask=None, lead_mask=None, record_index=None, patient_ids=None,
        record_ids=None, return_loss=True, output_hidden_states=None, output_attentions=None, return_dict=None,
    ):  # fmt: skip
        if views is None:
            generator = RowGenerator(len(input_values), device=input_values.device)
            views = self.apply_draws({"input_values": input_values}, self.draw(generator))["views"]
        keywords = {"attention_mask": attention_mask, "lead_mask": lead_mask, "return_dict": True}
        asked = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        first = self.toy_simclr(views[:, 0], **keywords, **asked)
        second = self.toy_simclr(views[:, 1], **keywords)
        pooled = torch.stack([first.pooler_output, second.pooler_output], dim=1)
        vectors = functional.normalize(self.projector(pooled), dim=-1)
        loss = nt_xent(vectors, self.config.temperature).loss
        result = ToySimclrForPreTrainingOutput(
            loss=self.loss_weights["contrastive_loss"] * loss,
            contrastive_loss=loss,
            projections=vectors,
            hidden_states=first.hidden_states,
            attentions=first.attentions,
        )
        return self.finish_output(result, return_dict=return_dict)
