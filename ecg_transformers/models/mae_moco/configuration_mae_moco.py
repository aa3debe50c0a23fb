"""Configuration of MAE-MoCo, and of the masked autoencoder that it shares with MAE-NextClip."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import SelectionConfig
from ...errors import CheckpointError
from ..ecg_vit.configuration_ecg_vit import EcgVitConfig

__all__ = ["MaeMocoConfig", "MaskedAutoencoderConfig"]


@strict
class MaskedAutoencoderConfig(EcgVitConfig):
    """Encoder and masked reconstruction: the fields that MAE-MoCo and MAE-NextClip share.

    Defaults: the published model ("paper"), or our choice where the paper has none. The other fields of the
    encoder are described in `EcgVitConfig`, those of input and head in `EcgConfig`.

    Args:
        hidden_size (`int`, default 512, paper): Width of the encoder.
        num_hidden_layers (`int`, default 6, paper): Number of encoder blocks.
        num_attention_heads (`int`, default 16, paper): Attention heads of the encoder.
        intermediate_size (`int`, default 1024, paper, ratio 2): Width of the MLP.
        initializer_range (`float`, default 0.02, ours, as the public MAE code): Initial standard deviation of tokens
            and position tables.
        position_initialization (`str`, default `"normal"`, ours): Initialization of the learnable position tables:
            `"normal"` or `"sincos"`.
        decoder_hidden_size (`int`, default 256, paper): Width of the MAE decoder.
        decoder_num_hidden_layers (`int`, default 1, paper): Number of decoder blocks.
        decoder_num_attention_heads (`int`, default 8, paper): Attention heads of the decoder.
        decoder_intermediate_size (`int`, default 512, paper, ratio 2): Width of the decoder's MLP.
        mask_ratio (`float`, default 0.75, ours, as the public MAE code): Fraction of masked patches in pretraining.
        mae_use_cls_token (`bool`, default `False`, paper): Whether [CLS] attends in the masked pass.
        reconstruction_scope (`str`, default `"masked"`): Patches of the reconstruction loss: `"masked"`, or `"all"`
            (the formula as printed in the paper).
        normalize_patches (`bool`, default `False`, paper): Standardize each target patch.
        exclude_padded_patches (`bool`, default `True`, ours): Exclude patches without a valid sample from the
            reconstruction loss.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = ""

    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    intermediate_size: int = 1024
    initializer_range: float = 0.02
    position_initialization: Literal["normal", "sincos"] = "normal"
    decoder_hidden_size: int = 256
    decoder_num_hidden_layers: int = 1
    decoder_num_attention_heads: int = 8
    decoder_intermediate_size: int = 512
    mask_ratio: float | int = 0.75
    mae_use_cls_token: bool = False
    reconstruction_scope: Literal["masked", "all"] = "masked"
    normalize_patches: bool = False
    exclude_padded_patches: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_heads("decoder_hidden_size", "decoder_num_attention_heads")
        if not 0 <= self.mask_ratio < 1:
            raise CheckpointError(f"mask_ratio is {self.mask_ratio}; set it from 0 up to, not including, 1.")

    def check_visible_patches(self) -> None:
        """Refuse a mask that removes every patch; only pretraining masks, so only its class calls this.

        Raises:
            CheckpointError: No patch would stay visible.
        """
        visible = int(self.num_patches * (1 - self.mask_ratio))
        if visible < 1:
            raise CheckpointError(
                f"mask_ratio {self.mask_ratio} keeps int({self.num_patches} * (1 - {self.mask_ratio})) = {visible} of "
                f"{self.num_patches} patches; pretraining needs at least one visible patch. Set a smaller mask_ratio."
            )


@strict
class MaeMocoConfig(SelectionConfig, MaskedAutoencoderConfig):
    """Configuration of MAE-MoCo. Defaults: the published model ("paper"), or our choice where the paper has none.

    The fields of the encoder and of its masked reconstruction are described in `EcgVitConfig` and
    `MaskedAutoencoderConfig`, the choice of positives (ours here) in `SelectionConfig`.

    Args:
        projector_num_layers (`int`, default 3, paper): Number of projection head layers.
        projector_hidden_size (`int`, default 128, paper): Hidden width of the projection head.
        projection_size (`int`, default 128, paper): Output width of the projection head.
        projector_bias (`bool`, default `False`, ours, as MoCo v3): Biases of the projection head.
        projector_last_relu (`bool`, default `False`, ours): ReLU after the last layer of the projection head; `True`
            follows the text of the paper literally and makes all outputs non-negative.
        projector_last_norm_affine (`bool`, default `False`, ours): Scale and shift of the last BatchNorm
            of the projection head.
        momentum (`float`, default 0.99, paper): EMA rate of the momentum encoder.
        temperature (`float`, default 0.2, paper): Temperature of the contrastive loss.
        queue_size (`int`, default 65536, paper): Number of keys in the queue. With 0 the keys of the other records of
            the batch are the negatives.
        queue_ignore_unfilled (`bool`, default `False`, as the public MoCo code): Exclude random initial columns of the
            queue from the negatives.
        shuffle_bn (`bool` or `"auto"`, default `"auto"`): Shuffle key inputs between processes; `"auto"`: if the
            projection head has plain BatchNorm.
        contrastive_weight (`float`, default 1): Weight of the contrastive loss. With 0 neither projection head,
            momentum encoder nor queue is built.
        reconstruction_weight (`float`, default 40, alpha of the paper): Weight of the reconstruction loss. With 0 no
            decoder is built.
        view_policy (`str`, default `"all"`): `"all"` or `"pick_k"`, see `augmentations.views.MaeMocoViews`.
        view_probability (`float`, default 0.5, ours): Probability of each view operation.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "mae_moco"

    projector_num_layers: int = 3
    projector_hidden_size: int = 128
    projection_size: int = 128
    projector_bias: bool = False
    projector_last_relu: bool = False
    projector_last_norm_affine: bool = False
    momentum: float | int = 0.99
    temperature: float | int = 0.2
    queue_size: int = 65536
    queue_ignore_unfilled: bool = False
    shuffle_bn: Literal["auto"] | bool = "auto"
    contrastive_weight: float | int = 1.0
    reconstruction_weight: float | int = 40.0
    view_policy: Literal["all", "pick_k"] = "all"
    view_probability: float | int = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        # Older checkpoints hold a setting of the run, and a flag in place of `same_source`.
        kwargs.pop("momentum_update_in_forward", None)
        if kwargs.pop("exclude_same_source", False):
            self.same_source = "exclude"
        super().__post_init__(**kwargs)
        if self.temperature <= 0 or not 0 <= self.momentum <= 1:
            raise CheckpointError(
                f"temperature is {self.temperature} and momentum {self.momentum}; expected a positive temperature and "
                "a momentum from 0 to 1."
            )
