"""The one table of architectures, and their registration with Transformers' auto classes."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["ARCHITECTURES", "Architecture", "register"]


@dataclass(frozen=True)
class Architecture:
    """One family: where its classes are.

    Args:
        model_type: Name in `config.json`; also the folder under `models/`.
        prefix: What its class names begin with.
        builds_on: Families whose modules it may import.
        has_pretraining: Whether it has an objective of its own; a purely supervised network has none.
    """

    model_type: str
    prefix: str
    builds_on: tuple[str, ...] = ()
    has_pretraining: bool = True

    def _load(self, kind: str, name: str) -> type[Any]:
        module = import_module(f"ecg_transformers.models.{self.model_type}.{kind}_{self.model_type}")
        return getattr(module, f"{self.prefix}{name}")

    @property
    def config(self) -> type[Any]:
        """The configuration class."""
        return self._load("configuration", "Config")

    @property
    def feature_extractor(self) -> type[Any]:
        """The feature extractor class."""
        return self._load("feature_extraction", "FeatureExtractor")

    @property
    def model(self) -> type[Any]:
        """The encoder."""
        return self._load("modeling", "Model")

    @property
    def classifier(self) -> type[Any]:
        """The encoder with a classification head."""
        return self._load("modeling", "ForSequenceClassification")

    @property
    def pretraining(self) -> type[Any] | None:
        """The encoder with everything that pretraining needs; None if the architecture has no objective."""
        return self._load("pretraining", "ForPreTraining") if self.has_pretraining else None


ARCHITECTURES: dict[str, Architecture] = {
    architecture.model_type: architecture
    for architecture in (
        Architecture("mae_moco", "MaeMoco"),
        Architecture("xresnet1d", "Xresnet1d", has_pretraining=False),
    )
}


def register() -> None:
    """Make every architecture known to `AutoConfig`, `AutoModel` and the other stock auto classes."""
    from transformers import (
        AutoConfig,
        AutoFeatureExtractor,
        AutoModel,
        AutoModelForAudioClassification,
        AutoModelForPreTraining,
        AutoModelForSequenceClassification,
    )

    for architecture in ARCHITECTURES.values():
        config = architecture.config
        AutoConfig.register(architecture.model_type, config, exist_ok=True)
        AutoFeatureExtractor.register(config, architecture.feature_extractor, exist_ok=True)
        AutoModel.register(config, architecture.model, exist_ok=True)
        if architecture.pretraining is not None:
            AutoModelForPreTraining.register(config, architecture.pretraining, exist_ok=True)
        for auto_class in (AutoModelForSequenceClassification, AutoModelForAudioClassification):
            auto_class.register(config, architecture.classifier, exist_ok=True)
