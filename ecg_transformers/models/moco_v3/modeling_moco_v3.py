"""MoCo v3: encoder and classifier, which are those of the backbone."""

import math

import torch
from torch import nn
from transformers import initialization as init

from ...backbone import EcgBackboneForSequenceClassification, EcgBackboneModel, EcgBackbonePreTrainedModel
from ...modeling import EcgPreTrainedModel
from .configuration_moco_v3 import MocoV3Config

__all__ = ["MocoV3ForSequenceClassification", "MocoV3Model", "MocoV3PreTrainedModel"]


class MocoV3PreTrainedModel(EcgBackbonePreTrainedModel):
    """Base of the family: initialization of the heads."""

    config_class = MocoV3Config
    base_model_prefix = "moco_v3"
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(projector|predictor|momentum_encoder|momentum_projector|queue)\.",
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # The public code leaves the heads at torch's own start.
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                init.zeros_(module.bias)


class MocoV3Model(EcgBackboneModel, MocoV3PreTrainedModel):
    """The backbone."""


class MocoV3ForSequenceClassification(EcgBackboneForSequenceClassification, MocoV3PreTrainedModel):
    """The backbone's classifier; every tensor is trained."""

    encoder_class = MocoV3Model
