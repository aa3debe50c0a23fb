"""Configuration of the one-dimensional shifted-window transformer."""

from typing import Any

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["Swin1dConfig"]


@strict
class Swin1dConfig(EcgConfig):
    """Configuration of the one-dimensional shifted-window transformer. Defaults: Swin-T, in time instead of an image.

    A window is a whole number of attention windows in every stage: with the defaults a multiple of 320 samples (960,
    1,280, 2,560 ...). Shared fields (leads, rate, window, labels, head) are described in `EcgConfig` and
    `EcgBaseConfig`. "Official" is microsoft/Swin-Transformer.

    Args:
        sampling_rate (`int` or `float`, default 256, ours): Sampling rate in Hz; 10 s are 2,560 samples.
        window_size (`int`, default 2560, ours): Length of the input in samples.
        patch_size (`int`, default 4, official): Samples per patch.
        embedding_size (`int`, default 96, Swin-T): Width of the first stage; it doubles from stage to stage.
        depths (`list[int]`, default `[2, 2, 6, 2]`, Swin-T): Blocks of each stage; tokens halve between stages.
        num_attention_heads (`list[int]`, default `[3, 6, 12, 24]`, Swin-T): Attention heads of each stage.
        attention_window_size (`int`, default 10, ours; 7 x 7 in Swin-T): Tokens that attend to each other; every second
            block shifts them by half a window.
        hidden_size (`int`, *optional*): Width of the last stage; computed, and checked if given.
        hidden_act (`str`, default `"gelu"`, official): Activation of the MLP, whose width is 4 times that of the stage.
        qkv_bias (`bool`, default `True`, official): Biases of query, key and value.
        layer_norm_eps (`float`, default 1e-5, official): Epsilon of every LayerNorm.
        final_norm (`bool`, default `True`): LayerNorm after the last block. `False` for a truncated encoder, which ends
            with a parameter-free LayerNorm.
        hidden_dropout_prob (`float`, default 0, official): Dropout after attention and MLP.
        attention_probs_dropout_prob (`float`, default 0, official): Dropout of attention weights.
        initializer_range (`float`, default 0.02, official): Initial standard deviation of linear layers and position
            biases.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "swin1d"

    sampling_rate: int | float = 256
    window_size: int = 2560
    hidden_size: int | None = None  # type: ignore[assignment]  # a number as soon as it is constructed
    patch_size: int = 4
    embedding_size: int = 96
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_attention_heads: list[int] | tuple[int, ...] = (3, 6, 12, 24)
    attention_window_size: int = 10
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-5
    final_norm: bool = True
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self.depths, self.num_attention_heads = list(self.depths), list(self.num_attention_heads)
        if not 0 < len(self.depths) <= 8 or not all(0 < depth <= 100 for depth in self.depths):
            raise CheckpointError(f"depths is {self.depths}; expected 1 to 8 stages of 1 to 100 blocks.")
        widths = self.stage_sizes
        if len(self.num_attention_heads) != len(widths) or not all(
            heads > 0 and width % heads == 0 for heads, width in zip(self.num_attention_heads, widths, strict=False)
        ):
            raise CheckpointError(
                f"num_attention_heads is {self.num_attention_heads}; expected {len(widths)} numbers, one per stage, "
                f"that divide the widths {widths} of the stages (embedding_size, depths)."
            )
        if self.hidden_size not in (None, widths[-1]):
            raise CheckpointError(
                f"hidden_size is {self.hidden_size}, but the last stage has width {widths[-1]} (embedding_size, "
                "depths). Leave hidden_size out, or set embedding_size."
            )
        self.hidden_size = widths[-1]
        super().__post_init__(**kwargs)
        unit = self.patch_size * self.attention_window_size * 2 ** (len(widths) - 1)
        self._check_window(
            unit, f"multiple of {unit} samples ({self.patch_size} per token, {self.attention_window_size} tokens per "
            f"attention window, halved between {len(widths)} stages)"
        )  # fmt: skip

    @property
    def stage_sizes(self) -> list[int]:
        """Width of each stage."""
        return [self.embedding_size * 2**stage for stage in range(len(self.depths))]
