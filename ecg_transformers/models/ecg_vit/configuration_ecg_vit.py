"""Configuration of the plain vision transformer."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["EcgVitConfig"]


@strict
class EcgVitConfig(EcgConfig):
    """Configuration of the plain vision transformer. Defaults: ViT-Small of MoCo v3 on patches of a signal.

    Shared fields (leads, rate, window, labels, head) are described in `EcgConfig` and `EcgBaseConfig`.

    Args:
        patch_size (`int`, default 25, as MAE-MoCo): Samples per patch; a window is a whole number of patches.
        patch_embedding (`str`, default `"linear"`): `"linear"`, or `"convolution"` (ours: small convolutions inside
            each patch).
        hidden_size (`int`, default 384, MoCo v3): Width of the encoder.
        num_hidden_layers (`int`, default 12, MoCo v3): Number of blocks.
        num_attention_heads (`int`, default 12, MoCo v3): Attention heads.
        intermediate_size (`int`, default 1536, MoCo v3, ratio 4): Width of the MLP.
        hidden_act (`str`, default `"gelu"`, MoCo v3): Activation of the MLP.
        qkv_bias (`bool`, default `True`, MoCo v3): Biases of query, key and value.
        layer_norm_eps (`float`, default 1e-6, MoCo v3): Epsilon of every LayerNorm.
        final_norm (`bool`, default `True`): LayerNorm after the last block. `False` for a truncated encoder, which ends
            with a parameter-free LayerNorm.
        hidden_dropout_prob (`float`, default 0): Dropout after attention and MLP.
        attention_probs_dropout_prob (`float`, default 0): Dropout of attention weights.
        initializer_range (`float`, default 1e-6, MoCo v3): Initial standard deviation of tokens, and of position tables
            with `position_initialization="normal"`.
        position_initialization (`str`, default `"sincos"`, MoCo v3): Initialization of the position tables: `"normal"`
            or `"sincos"`. Both are parameters; MoCo v3 keeps them fixed in pretraining.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "ecg_vit"

    hidden_size: int = 384
    patch_size: int = 25
    patch_embedding: Literal["linear", "convolution"] = "linear"
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    final_norm: bool = True
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 1e-6
    position_initialization: Literal["normal", "sincos"] = "sincos"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_window(self.patch_size, f"whole number of patches of {self.patch_size} samples (patch_size)")
        self._check_heads("hidden_size", "num_attention_heads")

    def _check_heads(self, width: str, heads: str) -> None:
        if getattr(self, width) % getattr(self, heads):
            raise CheckpointError(f"{width} {getattr(self, width)} is not divisible by {heads} {getattr(self, heads)}.")

    @property
    def num_patches(self) -> int:
        """Number of patches in a window."""
        return self.window_size // self.patch_size
