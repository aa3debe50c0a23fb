"""SimCLR: encoder and classifier, which are those of the backbone."""

from ...backbone import EcgBackboneForSequenceClassification, EcgBackboneModel, EcgBackbonePreTrainedModel
from ...modeling import EcgPreTrainedModel
from .configuration_simclr import SimclrConfig

__all__ = ["RecordViewsPreTrainedModel", "SimclrForSequenceClassification", "SimclrModel", "SimclrPreTrainedModel"]


class RecordViewsPreTrainedModel(EcgBackbonePreTrainedModel):
    """Base of SimCLR, BYOL and SwAV."""

    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(projector|predictor|prototypes|queue|momentum_encoder|momentum_projector)\.",
    ]


class SimclrPreTrainedModel(RecordViewsPreTrainedModel):
    """Base of the family."""

    config_class = SimclrConfig
    base_model_prefix = "simclr"


class SimclrModel(EcgBackboneModel, SimclrPreTrainedModel):
    """The backbone."""


class SimclrForSequenceClassification(EcgBackboneForSequenceClassification, SimclrPreTrainedModel):
    """The backbone's classifier."""

    encoder_class = SimclrModel
