"""Configuration of MoCo v3."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...backbone import EcgBackboneConfig
from ...errors import CheckpointError

__all__ = ["MocoV3Config"]


@strict
class MocoV3Config(EcgBackboneConfig):
    """Configuration of MoCo v3 on any registered encoder; the default backbone is `ecg_vit`.

    Fields of the backbone, of input and head are those of `backbone_config`. "Official" is facebookresearch/moco-v3.

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
        sampling (`str`, default `"none"`): Which keys are positives beside the own one: `"none"`, `"srcl"` (Lenz et al.
            2024), `"n_sam"` or `"ds"` (our definitions), see `objectives.selection.SelectionRule`.
        num_extra_positives (`int`, default 5, Lenz et al.): Positives that `srcl` adds, and at most that `ds` adds.
        n_sam_drop (`int`, default 5, ours): Most similar candidates that `n_sam` removes.
        n_sam_keep (`int`, *optional*, ours): Of the others, how many of the most similar `n_sam` keeps.
        ds_mode (`str`, default `"threshold"`, ours): `"threshold"`, `"schedule"` or `"both"`.
        ds_threshold (`float`, default 0.8, ours): Cosine similarity from which `ds` counts a positive.
        reduction (`str`, default `"sum_in_log"`, Lenz et al.): `"sum_in_log"` or `"mean_of_logs"`.
        select_by (`str`, default `"query"`): Whose similarity decides, the `"query"`'s or the `"key"`'s.
        same_source (`str`, default `"ignore"`, official): Keys of the same patient (or record): `"ignore"`,
            `"exclude"` or `"positive"`.
        sampling_warmup (`float`, default 0.1, Lenz et al.: 5 of 50 epochs): Share of the run without sampling.
        ds_end (`float`, default 0.5, ours): Share of the run at which the number of `ds` is complete.
        view_policy (`str`, default `"all"`): `"all"` or `"pick_k"`, see `augmentations.views.MaeMocoViews`.
        view_probability (`float`, default 0.5, ours): Probability of each view operation.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
    """

    model_type = "moco_v3"
    default_backbone: ClassVar[dict[str, Any]] = {"model_type": "ecg_vit"}
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"queue_size", "num_extra_positives"})

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
    sampling: Literal["none", "srcl", "n_sam", "ds"] = "none"
    num_extra_positives: int = 5
    n_sam_drop: int = 5
    n_sam_keep: int | None = None
    ds_mode: Literal["threshold", "schedule", "both"] = "threshold"
    ds_threshold: float | int = 0.8
    reduction: Literal["sum_in_log", "mean_of_logs"] = "sum_in_log"
    select_by: Literal["query", "key"] = "query"
    same_source: Literal["ignore", "exclude", "positive"] = "ignore"
    sampling_warmup: float | int = 0.1
    ds_end: float | int = 0.5
    view_policy: Literal["all", "pick_k"] = "all"
    view_probability: float | int = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.temperature <= 0 or not 0 <= self.momentum <= 1:
            raise CheckpointError(
                f"temperature is {self.temperature} and momentum {self.momentum}; expected a positive temperature and "
                "a momentum from 0 to 1."
            )
