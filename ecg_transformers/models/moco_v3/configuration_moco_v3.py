"""Configuration of MoCo v3."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...backbone import EcgBackboneConfig
from ...configuration import SelectionConfig
from ...errors import CheckpointError

__all__ = ["MocoV3Config"]


@strict
class MocoV3Config(EcgBackboneConfig, SelectionConfig):
    """Configuration of MoCo v3 on any registered encoder; the default backbone is `ecg_vit`.

    Fields of the backbone, of input and head are those of `backbone_config`; the choice of positives is described in
    `SelectionConfig`. "Official" is facebookresearch/moco-v3.

    Args:
        freeze_patch_embedding (`bool`, default `True`, official `stop_grad_conv1`): Keep the patch embedding of a
            transformer at its random start. Of the pretraining only: a downstream model trains it.
        freeze_positions (`bool`, default `True`, official): Keep the position table of a transformer fixed. Of the
            pretraining only.
        projector_num_layers (`int`, default 3, official; 2 for convolutional backbones): Layers of the projector.
        predictor_num_layers (`int`, default 2, official): Layers of the predictor.
        projector_hidden_size (`int`, default 1024, ours; official 4096): Hidden width of projector and predictor.
        projection_size (`int`, default 128, ours; official 256): Output width of projector and predictor.
        predictor_last_norm (`bool`, default `True`, official; `False` for convolutional backbones): BatchNorm after the
            last layer of the predictor.
        temperature (`float`, default 0.2, official for transformers): Temperature of the contrastive losses.
        momentum (`float`, default 0.99, official): EMA rate of the momentum encoder; a cosine schedule to 1 is set with
            `schedules`.
        queue_size (`int`, default 0, official): Keys of earlier steps that are compared too; 0 = none.
        view_policy (`str`, default `"all"`): `"all"` or `"pick_k"`, see `augmentations.views.MaeMocoViews`.
        view_probability (`float`, default 0.5, ours): Probability of each view operation.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
    """

    model_type = "moco_v3"
    default_backbone: ClassVar[dict[str, Any]] = {"model_type": "ecg_vit"}

    freeze_patch_embedding: bool = True
    freeze_positions: bool = True
    projector_num_layers: int = 3
    predictor_num_layers: int = 2
    projector_hidden_size: int = 1024
    projection_size: int = 128
    predictor_last_norm: bool = True
    temperature: float | int = 0.2
    momentum: float | int = 0.99
    queue_size: int = 0
    view_policy: Literal["all", "pick_k"] = "all"
    view_probability: float | int = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.temperature <= 0 or not 0 <= self.momentum <= 1:
            raise CheckpointError(
                f"temperature is {self.temperature} and momentum {self.momentum}; expected a positive temperature and "
                "a momentum from 0 to 1."
            )
