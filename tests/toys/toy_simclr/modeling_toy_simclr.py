"""Encoder and classifier of the toy SimCLR: those of the backbone."""

import torch
from torch import nn
from transformers import initialization as init

from ecg_transformers.backbone import (
    EcgBackboneForSequenceClassification,
    EcgBackboneModel,
    EcgBackbonePreTrainedModel,
)
from ecg_transformers.modeling import EcgPreTrainedModel

from .configuration_toy_simclr import ToySimclrConfig


class ToySimclrPreTrainedModel(EcgBackbonePreTrainedModel):
    """Base of the family."""

    config_class = ToySimclrConfig
    base_model_prefix = "toy_simclr"
    _keys_to_ignore_on_load_unexpected = [*EcgPreTrainedModel._keys_to_ignore_on_load_unexpected, r"^projector\."]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.kaiming_normal_(module.weight)
            init.zeros_(module.bias)


class ToySimclrModel(EcgBackboneModel, ToySimclrPreTrainedModel):
    """The backbone."""


class ToySimclrForSequenceClassification(EcgBackboneForSequenceClassification, ToySimclrPreTrainedModel):
    """The backbone's classifier."""

    encoder_class = ToySimclrModel
