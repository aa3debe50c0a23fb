"""SI-BeatGAN: the networks of BeatGAN under their own configuration."""

from pathlib import Path

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

    config: SiBeatganConfig
    config_class = SiBeatganConfig
    encoder_class = SiBeatganModel

    def published_model(self) -> "SiBeatganForAnomalyDetection":
        """Return this model; of a teacher in a folder of this machine only the folder's own name stays."""
        if self.config.teacher is not None and Path(self.config.teacher).is_absolute():
            self.config.teacher = Path(self.config.teacher).name
        return self


class SiBeatganForSequenceClassification(BeatganForSequenceClassification):
    """Encoder of SI-BeatGAN with a linear layer on the latent vector, or on another vector of its tokens."""

    config_class = SiBeatganConfig
    encoder_class = SiBeatganModel
