"""BYOL: encoder and classifier, which are those of the backbone."""

from ...backbone import EcgBackboneForSequenceClassification, EcgBackboneModel
from ..simclr.modeling_simclr import RecordViewsPreTrainedModel
from .configuration_byol import ByolConfig

__all__ = ["ByolForSequenceClassification", "ByolModel", "ByolPreTrainedModel"]


class ByolPreTrainedModel(RecordViewsPreTrainedModel):
    """Base of the family."""

    config_class = ByolConfig
    base_model_prefix = "byol"


class ByolModel(EcgBackboneModel, ByolPreTrainedModel):
    """The backbone."""


class ByolForSequenceClassification(EcgBackboneForSequenceClassification, ByolPreTrainedModel):
    """The backbone's classifier."""

    encoder_class = ByolModel
