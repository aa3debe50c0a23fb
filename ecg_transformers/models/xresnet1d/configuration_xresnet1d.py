"""Configuration of xresnet1d."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["Xresnet1dConfig"]

# Blocks per stage and kind of block of the published depths.
_DEPTHS: dict[int, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
_EXPANSION = {"basic": 1, "bottleneck": 4}
# Stages from the fifth on have half the width.
_FULL_WIDTH_STAGES = 4


@strict
class Xresnet1dConfig(EcgConfig):
    """Configuration of xresnet1d; the defaults are the xresnet1d50 of the PTB-XL benchmark with its head.

    Shared fields (leads, rate, window, labels, head) are described in `EcgConfig` and `EcgBaseConfig`. Sources:
    Strodthoff et al. 2021 (ecg_ptbxl_benchmarking), Mehari & Strodthoff 2022 (ecg-selfsupervised).

    Args:
        stem_sizes (`list[int]`, default `[32, 32, 64]`): Channels of the convolutions of the stem.
        stem_kernel_size (`int`, default 5): Kernel of the stem in samples, odd; the first has stride 2.
        block (`str`, default `"bottleneck"`): `"basic"` (two convolutions) or `"bottleneck"` (1x1, kernel, 1x1 with
            four times the width).
        depths (`list[int]`, default `[3, 4, 6, 3]`): Number of blocks of each stage; `Xresnet1dConfig.of_depth(101)`
            has those of the published depths.
        width (`int`, default 64): Channels inside a block in the first four stages; half of it in any further stage.
        kernel_size (`int`, default 5): Kernel of the blocks in samples, odd.
        zero_init_residual (`bool`, default `True`): Initialize the scale of the last norm of every branch with 0, as
            xresnet does; `False` for the supervised benchmark.
        stem_bias (`bool`, default `False`): Bias of the first convolution; `True` in the self-supervised encoders.
        stem_initialization (`str`, default `"kaiming"`): Initialization of the first convolution: `"kaiming"`, or
            `"torch"` (uniform, PyTorch's default) in the self-supervised encoders.
        hidden_size (`int`, *optional*): Channels of the last stage; computed, and checked if given.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "xresnet1d"

    sampling_rate: int | float = 100
    window_size: int = 250
    hidden_size: int | None = None  # type: ignore[assignment]  # a number as soon as it is constructed
    head_hidden_sizes: list[int] | tuple[int, ...] = (128,)
    head_dropout: float | int = 0.5
    head_batch_norm: bool = True
    stem_sizes: list[int] | tuple[int, ...] = (32, 32, 64)
    stem_kernel_size: int = 5
    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    kernel_size: int = 5
    zero_init_residual: bool = True
    stem_bias: bool = False
    stem_initialization: Literal["kaiming", "torch"] = "kaiming"

    def __post_init__(self, **kwargs: Any) -> None:
        self.stem_sizes, self.depths = list(self.stem_sizes), list(self.depths)
        for name in ("stem_sizes", "depths"):
            values = getattr(self, name)
            if not values or not all(0 < value <= 10_000 for value in values):
                raise CheckpointError(f"{name} is {values}; expected one or more positive numbers up to 10,000.")
        if not 0 < self.width <= 10_000 or len(self.depths) > 16 or sum(self.depths) > 1_000:
            raise CheckpointError(
                f"width is {self.width} and depths {self.depths}; expected a width from 1 to 10,000, at most 16 stages "
                "and at most 1,000 blocks."
            )
        for name in ("stem_kernel_size", "kernel_size"):
            if not (0 < getattr(self, name) < 1_000 and getattr(self, name) % 2):
                raise CheckpointError(f"{name} is {getattr(self, name)}; expected an odd number from 1 to 999.")
        channels = self.stage_sizes[-1]
        if self.hidden_size not in (None, channels):
            raise CheckpointError(
                f"hidden_size is {self.hidden_size}, but the last stage has {channels} channels (width, block, "
                "depths). Leave hidden_size out, or set width."
            )
        self.hidden_size = channels
        super().__post_init__(**kwargs)

    @classmethod
    def of_depth(cls, depth: int, **fields: Any) -> "Xresnet1dConfig":
        """Return the configuration of a published depth.

        Args:
            depth: 18, 34, 50, 101 or 152.
            **fields: Further config fields.

        Raises:
            CheckpointError: Another depth.

        Example:
            >>> Xresnet1dConfig.of_depth(101).depths
            [3, 4, 23, 3]
        """
        if depth not in _DEPTHS:
            raise CheckpointError(
                f"depth is {depth}; expected one of {', '.join(map(str, _DEPTHS))}. Set block and depths for another."
            )
        block, depths = _DEPTHS[depth]
        return cls(block=block, depths=depths, **fields)

    @property
    def stage_widths(self) -> list[int]:
        """Channels inside the blocks of each stage."""
        return [self.width if stage < _FULL_WIDTH_STAGES else self.width // 2 for stage in range(len(self.depths))]

    @property
    def stage_sizes(self) -> list[int]:
        """Output channels of each stage."""
        return [width * _EXPANSION[self.block] for width in self.stage_widths]

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: maximum and mean over time, concatenated."""
        return 2 * self.stage_sizes[-1]
