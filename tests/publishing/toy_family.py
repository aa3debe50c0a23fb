"""A family outside the package whose only model returns a score and a reconstruction: no encoder, no classifier."""

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers.utils import ModelOutput

from ecg_transformers.configuration import EcgConfig
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.modeling import EcgPreTrainedModel


@strict
class ToyScoreConfig(EcgConfig):
    """Twelve leads, 100 samples."""

    model_type = "toy_score"
    sampling_rate: int | float = 100
    window_size: int = 100
    hidden_size: int = 4


class ToyScoreFeatureExtractor(EcgFeatureExtractor):
    """Windows of one second."""

    def __init__(self, sampling_rate: float = 100, window_size: int = 100, **kwargs):
        super().__init__(sampling_rate=sampling_rate, window_size=window_size, **kwargs)


@dataclass
class ToyScoreOutput(ModelOutput):
    """Score and reconstruction of each window."""

    score: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None


class ToyScoreForAnomalyDetection(EcgPreTrainedModel):
    """An autoencoder over leads."""

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

    def forward(self, input_values=None, record_index=None, attention_mask=None, lead_mask=None):
        rebuilt = self.up(self.down(input_values.transpose(1, 2))).transpose(1, 2)
        return ToyScoreOutput(score=(rebuilt - input_values).square().mean(dim=(1, 2)), reconstruction=rebuilt)
