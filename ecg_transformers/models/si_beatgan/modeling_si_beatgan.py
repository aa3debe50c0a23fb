"""SI-BeatGAN: the networks of BeatGAN under their own configuration."""

from ..beatgan.modeling_beatgan import (
    BeatganForAnomalyDetection,
    BeatganForSequenceClassification,
    BeatganModel,
)
from .configuration_si_beatgan import SiBeatganConfig

__all__ = ["SiBeatganForAnomalyDetection", "SiBeatganForSequenceClassification", "SiBeatganModel"]


class SiBeatganModel(BeatganModel):
    """Encoder of SI-BeatGAN: that of BeatGAN, with the same names of weights."""

    config_class = SiBeatganConfig


class SiBeatganForAnomalyDetection(BeatganForAnomalyDetection):
    """Encoder and decoder of the student, which scores beats like BeatGAN; the teacher is not needed."""

    config_class = SiBeatganConfig
    encoder_class = SiBeatganModel


class SiBeatganForSequenceClassification(BeatganForSequenceClassification):
    """Encoder of SI-BeatGAN with a linear layer on the latent vector, or on another pooling of its tokens."""

    config_class = SiBeatganConfig
    encoder_class = SiBeatganModel
