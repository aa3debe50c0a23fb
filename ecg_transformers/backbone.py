"""A registered encoder inside another family, for methods that pretrain any backbone (SimCLR, BYOL, SwAV, MoCo v3).

Such a family subclasses the four classes of this module and adds its objective. Input, sizes, head and labels are those
of the backbone; whatever is done with the family's encoder is done with its backbone. Publishing ships the backbone
under its own model type.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    PreTrainedConfig,
)

from .configuration import LABEL_FIELDS, EcgBaseConfig, EcgConfig
from .errors import CheckpointError
from .modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder

__all__ = [
    "EcgBackboneConfig",
    "EcgBackboneForSequenceClassification",
    "EcgBackboneModel",
    "EcgBackbonePreTrainedModel",
]


@strict
class EcgBackboneConfig(EcgBaseConfig):
    """Configuration of a family that pretrains any registered encoder.

    Every attribute that this class does not declare is the backbone's, when read and when assigned. Fields of the
    backbone may be given as keywords, in place of entries of `backbone_config`.

    Args:
        backbone_config (`dict` or config, *optional*): Configuration of the backbone, with its `model_type`. Default:
            `default_backbone` of the class.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a keyword is a near miss of a field.

    Example:
        >>> config = EcgBackboneConfig(backbone_config={"model_type": "xresnet1d"}, window_size=500)
        >>> config.window_size, config.backbone_config.window_size, config.pooled_size
        (500, 500, 512)
    """

    default_backbone: ClassVar[dict[str, Any]] = {"model_type": "xresnet1d"}
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    backbone_config: dict | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        backbone, values = self.read_backbone(self.backbone_config)
        names = {field.name for field in fields(backbone)} - {field.name for field in fields(self)}
        values |= {name: kwargs.pop(name) for name in names & kwargs.keys()}
        self.backbone_config = backbone(**values)
        super().__post_init__(**kwargs)

    @classmethod
    def read_backbone(cls, backbone_config: Any) -> tuple[type[EcgConfig], dict[str, Any]]:
        """Return the configuration class of a backbone, and its fields.

        Args:
            backbone_config: Config, dictionary or `None`, as in the constructor.

        Raises:
            CheckpointError: It is no registered encoder with an input of its own.
        """
        given = cls.default_backbone if backbone_config is None else backbone_config
        values = dict(given) if isinstance(given, Mapping) else given.to_dict()
        model_type = values.pop("model_type", None)
        found = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None
        if found is None or not issubclass(found, EcgConfig):
            known = ", ".join(sorted(_model_types(EcgConfig)))
            raise CheckpointError(
                f"backbone_config has the model_type {model_type!r}; expected a registered encoder: {known}."
            )
        return found, values

    def own_fields(self) -> set[str]:
        """Return the names of the fields that Transformers does not declare, the backbone's included."""
        backbone: Any = self._backbone()
        return super().own_fields() | (set() if backbone is None else backbone.own_fields())

    def _backbone(self) -> PreTrainedConfig | None:
        """The backbone's configuration; `None` while this one is being constructed."""
        found = vars(self).get("backbone_config")
        return found if isinstance(found, PreTrainedConfig) else None

    def __getattr__(self, name: str) -> Any:
        # Only called for what neither the instance nor its class has. Temperature and number of segments are of the
        # backbone's own pretraining: Transformers would take the one for text generation, a run the other for its rows.
        hidden = name.startswith("__") or name in ("temperature", "num_segments")
        backbone = None if hidden else self._backbone()
        if backbone is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return getattr(backbone, name)

    def __setattr__(self, name: str, value: Any) -> None:
        backbone = self._backbone()
        names = () if backbone is None or hasattr(type(self), name) else {field.name for field in fields(backbone)}
        if name in names:
            setattr(backbone, name, value)
        else:
            super().__setattr__(name, value)


def _model_types(kind: type[EcgConfig]) -> set[str]:
    found = {kind.model_type} if kind.model_type else set()
    return found.union(*(_model_types(child) for child in kind.__subclasses__()))


class EcgBackbonePreTrainedModel(EcgPreTrainedModel):
    """Base of a family that pretrains any registered encoder.

    Subclasses set `config_class` and `base_model_prefix`, and list the parts of their pretraining in
    `_keys_to_ignore_on_load_unexpected`.
    """

    _supports_sdpa = True

    @property
    def takes_any_window(self) -> bool:  # type: ignore[override]
        """Whether the backbone takes any number of samples."""
        return next(self._backbones()).takes_any_window

    @property
    def supports_gradient_checkpointing(self) -> bool:  # type: ignore[override]
        """Whether the backbone supports gradient checkpointing."""
        return next(self._backbones()).supports_gradient_checkpointing

    def resize_window(self, window_size: int) -> None:
        """Adapt the backbone, and every momentum encoder, to windows of another length.

        Args:
            window_size: New length in samples.

        Raises:
            CheckpointError: The backbone cannot be adapted.
        """
        for backbone in self._backbones():
            backbone.resize_window(window_size)

    def published_model(self) -> EcgPreTrainedModel:
        """Refuse to publish the state of pretraining: the encoder and the classifier are published as the backbone's.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(
            f"{self.config.model_type} publishes its backbone under the backbone's model type; the pretraining state "
            "is not published. Omit with_pretraining_state."
        )

    def _backbones(self) -> Any:
        return (module.backbone for module in self.modules() if isinstance(module, EcgBackboneModel))


class EcgBackboneModel(Encoder, EcgBackbonePreTrainedModel):
    """Encoder of a family that pretrains any registered encoder: the backbone, under `backbone`."""

    def __init__(self, config: EcgBackboneConfig):
        super().__init__(config)
        # The very config object, so that a change (of the window, for example) is seen on both sides.
        backbone: Any = config.backbone_config
        if type(backbone) not in MODEL_MAPPING:
            raise CheckpointError(
                f"The backbone {backbone.model_type!r} has no encoder (AutoModel); expected a family that has one."
            )
        encoder_class: Any = MODEL_MAPPING[type(backbone)]
        self.backbone: Encoder = encoder_class(backbone)
        self.post_init()

    @property
    def has_cls_token(self) -> bool:  # type: ignore[override]
        """Whether the backbone's first token is a [CLS] token."""
        return self.backbone.has_cls_token

    @property
    def num_layers(self) -> int:
        """Number of layers of the backbone."""
        return self.backbone.num_layers

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the first layer of the backbone."""
        return self.backbone.get_input_embeddings()

    def token_mask(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Compute the backbone's mask over the tokens."""
        return self.backbone.token_mask(attention_mask)

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool tokens as the backbone does."""
        return self.backbone.pool(tokens, token_mask)

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts of the backbone that share a learning rate."""
        return [tuple(f"backbone.{part}" for part in group) for group in self.backbone.layer_groups()]

    def layer_size(self, layer: int) -> int:
        """Return the width of a layer of the backbone."""
        return self.backbone.layer_size(layer)

    def pooled_layer_size(self, layer: int) -> int:
        """Width of a pooled layer of the backbone."""
        return self.backbone.pooled_layer_size(layer)

    def normalize_layer(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalize the output of an inner layer as the backbone does."""
        return self.backbone.normalize_layer(tokens)

    def _drop_layers(self, kept: int) -> None:
        self.backbone._drop_layers(kept)

    def published_model(self) -> EcgPreTrainedModel:
        """Return the backbone, whose config names the method in `pretrained_by`."""
        self.backbone.config.pretrained_by = self.config.model_type
        return self.backbone

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        last_layer: int | None = None,
        **inputs: Any,
    ) -> EcgModelOutput | tuple:
        """Encode windows as the backbone does.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal.
            lead_mask: `(batch, leads)`, 1 = present.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the hidden states of the layers that are run.
            output_attentions: Return their attention weights (eager attention).
            return_dict: Return a tuple if False.
            last_layer: Last layer to run; all by default.
            **inputs: Further arguments of the backbone, such as `patches`.
        """
        options = {
            "output_hidden_states": output_hidden_states,
            "output_attentions": output_attentions,
            "return_dict": return_dict,
        }
        return self.backbone(
            input_values=input_values,
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            record_index=record_index,
            **{name: self.output_option(name, value) for name, value in options.items()},
            last_layer=last_layer,
            **inputs,
        )


class EcgBackboneForSequenceClassification(EcgForSequenceClassification):
    """Classifier of a family that pretrains any registered encoder; the same network as the backbone's classifier.

    Subclasses set `encoder_class`.
    """

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        # A new head starts as that of the backbone's own classifier.
        encoder: Any = self.base_model
        encoder.backbone._init_weights(module)

    def published_model(self) -> EcgPreTrainedModel:
        """Return the backbone's classifier with this encoder and head.

        Raises:
            CheckpointError: The backbone's family has no classifier.
        """
        encoder: Any = self.base_model
        backbone = encoder.published_model()
        config = backbone.config
        if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise CheckpointError(f"{config.model_type} has no classifier, so this one cannot be published as such.")
        # The names first, for they reset what belongs to other labels.
        of_the_labels = ("id2label", "label2id", "problem_type", *LABEL_FIELDS)
        for name, value in {name: getattr(self.config, name) for name in of_the_labels}.items():
            setattr(config, name, value)
        classifier_class: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        with torch.device("meta"):
            published = classifier_class(config)
        setattr(published, published.base_model_prefix, backbone)
        published.take_head(self)
        return published
