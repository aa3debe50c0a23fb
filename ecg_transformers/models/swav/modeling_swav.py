"""SwAV: encoder and classifier, which are those of the backbone."""

from ...backbone import EcgBackboneForSequenceClassification, EcgBackboneModel
from ..simclr.modeling_simclr import RecordViewsPreTrainedModel
from .configuration_swav import SwavConfig

__all__ = ["SwavForSequenceClassification", "SwavModel", "SwavPreTrainedModel"]


class SwavPreTrainedModel(RecordViewsPreTrainedModel):
    """Base of the family."""

    config_class = SwavConfig
    base_model_prefix = "swav"


class SwavModel(EcgBackboneModel, SwavPreTrainedModel):
    """The backbone."""


class SwavForSequenceClassification(EcgBackboneForSequenceClassification, SwavPreTrainedModel):
    """The backbone's classifier."""

    encoder_class = SwavModel
