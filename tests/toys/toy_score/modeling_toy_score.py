"""An autoencoder over leads that scores windows by the error of their reconstruction."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput

from ecg_transformers.modeling import EcgPreTrainedModel

from .configuration_toy_score import ToyScoreConfig


@dataclass
class ToyScoreOutput(ModelOutput):
    """Score `(batch,)` and reconstruction `(batch, leads, samples)`."""

    score: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None


class ToyScoreForAnomalyDetection(EcgPreTrainedModel):
    """Two linear layers."""

    config_class = ToyScoreConfig
    golden_outputs = ("score", "reconstruction")

    def __init__(self, config):
        super().__init__(config)
        self.down = nn.Linear(config.num_leads, config.hidden_size)
        self.up = nn.Linear(config.hidden_size, config.num_leads)
        self.post_init()

    def card_sections(self):
        return {
            "summary": "It scores windows.",
            "usage": "Open it with `ToyScoreForAnomalyDetection`.",
            "score": "Larger is more abnormal.",
        }

    def forward(self, input_values, attention_mask=None, lead_mask=None, record_index=None):
        rebuilt = self.up(self.down(input_values.transpose(1, 2))).transpose(1, 2)
        return ToyScoreOutput(score=(rebuilt - input_values).square().mean(dim=(1, 2)), reconstruction=rebuilt)
