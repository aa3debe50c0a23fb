"""Configuration of MAE-MoCo."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["MaeMocoConfig"]


@strict
class MaeMocoConfig(EcgConfig):
    """Every number of MAE-MoCo; the defaults are the published model ("paper"), or our choice where it is silent.

    Shared fields (leads, rate, window, labels) are described in `EcgConfig`.

    Args:
        patch_size: Samples per patch (25, paper); a window is a whole number of patches.
        patch_embedding: `"linear"` (paper) or `"convolution"` (ours: small convolutions inside each patch).
        hidden_size: Width of the encoder (512, paper).
        num_hidden_layers: Blocks of the encoder (6, paper).
        num_attention_heads: Heads of the encoder (16, paper).
        intermediate_size: Width of the MLP (1024 = ratio 2, paper).
        hidden_act: Activation of the MLP (exact GELU, paper).
        qkv_bias: Biases of query, key and value (ours).
        layer_norm_eps: Epsilon of every LayerNorm (1e-6, ours, as the public MAE code).
        hidden_dropout_prob: Dropout after attention and MLP (0, ours).
        attention_probs_dropout_prob: Dropout of attention weights (0, ours).
        initializer_range: Deviation of tokens and tables at the start (0.02, ours, as the public MAE code).
        position_initialization: Start of the learnable position tables: `"normal"` or `"sincos"` (ours).
        decoder_hidden_size: Width of the MAE decoder (256, paper).
        decoder_num_hidden_layers: Its blocks (1, paper).
        decoder_num_attention_heads: Its heads (8, paper).
        decoder_intermediate_size: Its MLP (512 = ratio 2, paper).
        mask_ratio: Share of removed patches (0.75, ours: the sources name none; default of the public MAE code).
        mae_use_cls_token: Whether [CLS] attends in the masked pass (False: reading A of the paper).
        reconstruction_scope: `"masked"`: loss over removed patches; `"all"`: over every patch (the printed formula).
        normalize_patches: Compare with standardized patches (False: the formula has none).
        exclude_padded_patches: Patches without a valid sample do not count in the reconstruction loss (ours).
        projector_num_layers: Layers of the projection head (3, paper).
        projector_hidden_size: Its hidden width (128, paper).
        projection_size: Its output width (128, paper).
        projector_bias: Biases of its linear layers (False, ours, the MoCo v3 pattern).
        projector_last_relu: ReLU after its last layer (False; True is the literal text and keeps all outputs >= 0).
        projector_last_norm_affine: Scale and shift of its last BatchNorm (False, ours).
        momentum: EMA rate of the momentum encoder (0.99, paper).
        temperature: Temperature of the contrastive loss (0.2, paper).
        queue_size: Keys in the queue (65,536, paper).
        queue_ignore_unfilled: Leave random start columns out of the negatives (False: official code counts them).
        exclude_same_source: Keys of the same patient (or record) are no negatives; on in our training configs.
        shuffle_bn: `"auto"`: shuffle key inputs between processes if the projector has plain BatchNorm; True; False.
        contrastive_weight: Factor of the contrastive loss (1). With 0 neither projector, momentum encoder nor queue is
            built.
        reconstruction_weight: Factor alpha of the reconstruction loss (40, paper). With 0 no decoder is built.
        view_policy: `"all"` or `"pick_k"`, see `augmentations.views.MaeMocoViews`.
        view_probability: Chance of each view operation (0.5, ours).

    Raises:
        CheckpointError: If the fields contradict each other.
    """

    model_type = "mae_moco"

    patch_size: int = 25
    patch_embedding: Literal["linear", "convolution"] = "linear"
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
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
    exclude_same_source: bool = False
    shuffle_bn: Literal["auto"] | bool = "auto"
    contrastive_weight: float | int = 1.0
    reconstruction_weight: float | int = 40.0
    view_policy: Literal["all", "pick_k"] = "all"
    view_probability: float | int = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        # A setting of the run that older checkpoints hold.
        kwargs.pop("momentum_update_in_forward", None)
        super().__post_init__(**kwargs)
        if self.window_size % self.patch_size:
            below = self.window_size // self.patch_size * self.patch_size
            near = f"{below} or {below + self.patch_size}" if below else f"{self.patch_size}"
            raise CheckpointError(
                f"window_size {self.window_size} is not a whole number of patches of {self.patch_size} samples. "
                f"Set window_size to {near}, or another patch_size."
            )
        for width, heads in (
            ("hidden_size", "num_attention_heads"),
            ("decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            if getattr(self, width) % getattr(self, heads):
                raise CheckpointError(
                    f"{width} {getattr(self, width)} is not divisible by {heads} {getattr(self, heads)}."
                )
        if not 0 <= self.mask_ratio < 1:
            raise CheckpointError(f"mask_ratio is {self.mask_ratio}; set it from 0 up to, not including, 1.")
        if int(self.num_patches * (1 - self.mask_ratio)) < 1:
            raise CheckpointError(
                f"mask_ratio {self.mask_ratio} keeps int({self.num_patches} * (1 - {self.mask_ratio})) = "
                f"{int(self.num_patches * (1 - self.mask_ratio))} of {self.num_patches} patches; at least one must "
                "stay visible. Set a smaller mask_ratio."
            )
        if self.temperature <= 0 or not 0 <= self.momentum <= 1:
            raise CheckpointError(
                f"temperature is {self.temperature} and momentum {self.momentum}; expected a positive temperature and "
                "a momentum from 0 to 1."
            )

    @property
    def num_patches(self) -> int:
        """Patches in a window."""
        return self.window_size // self.patch_size
