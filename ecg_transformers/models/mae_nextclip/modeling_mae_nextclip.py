"""MAE-NextClip: the encoder of MAE-MoCo and its classifier, under their own configuration."""

from ..mae_moco.modeling_mae_moco import MaeMocoForSequenceClassification, MaeMocoModel
from .configuration_mae_nextclip import MaeNextclipConfig

__all__ = ["MaeNextclipForSequenceClassification", "MaeNextclipModel"]


class MaeNextclipModel(MaeMocoModel):
    """Encoder of MAE-NextClip: that of MAE-MoCo, with the same names of weights."""

    config_class = MaeNextclipConfig


class MaeNextclipForSequenceClassification(MaeMocoForSequenceClassification):
    """MAE-NextClip encoder with a linear layer on [CLS] or on another vector of its tokens."""

    config_class = MaeNextclipConfig
    encoder_class = MaeNextclipModel
