# ecg_transformers/models/xresnet1d/configuration_xresnet1d.py, copied beside the checkpoint with its imports made flat.
"""Configuration of xresnet1d."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from .configuration import EcgConfig
from .errors import CheckpointError

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
    """Every number of xresnet1d; the defaults are the xresnet1d50 of the PTB-XL benchmark with its head.

    Shared fields (leads, rate, window, labels, head) are described in `EcgConfig`. Source: Strodthoff et al. 2021
    (ecg_ptbxl_benchmarking) and Mehari & Strodthoff 2022 (ecg-selfsupervised).

    Args:
        stem_sizes: Channels of the three convolutions of the stem; the last is the input of the first stage.
        stem_kernel_size: Their kernel, odd; the first has stride 2.
        block: `"basic"` (two convolutions) or `"bottleneck"` (1x1, kernel, 1x1 with four times the width).
        depths: Blocks of each stage. `Xresnet1dConfig.of_depth(101)` has those of the published depths.
        width: Channels inside a block, the same in the first four stages and half of it in any further one.
        kernel_size: Kernel of the convolutions in the blocks, odd.
        zero_init_residual: Start the last norm of every branch at scale 0, as xresnet does; the supervised benchmark
            undoes it (False).
        stem_bias: The first convolution has a bias (the self-supervised encoders).
        stem_initialization: Start of the first convolution: `"kaiming"`, or `"torch"`, the framework's uniform one (the
            self-supervised encoders).
        hidden_size: Channels of the last stage; computed, and checked if it is given.

    Raises:
        CheckpointError: If the fields contradict each other.
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

    def __post_init__(self, **kwargs):
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
        self.layer_size(self.layer)

    @classmethod
    def of_depth(cls, depth: int, **fields: Any) -> "Xresnet1dConfig":
        """The configuration of a published depth.

        Args:
            depth: 18, 34, 50, 101 or 152.
            **fields: Further fields.

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
        """Channels that each stage hands on."""
        return [width * _EXPANSION[self.block] for width in self.stage_widths]

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: maximum and mean over time."""
        return 2 * self.stage_sizes[-1]

    def layer_size(self, layer: int) -> int:
        """Width of the hidden state of a layer: the stem's for 0, a stage's for the others.

        Raises:
            CheckpointError: There is no such layer.
        """
        if not -1 <= layer <= len(self.depths):
            raise CheckpointError(
                f"layer is {layer}; expected 0 (what the stem hands on), 1 to {len(self.depths)} (a stage), or -1 "
                "(the output)."
            )
        return [self.stem_sizes[-1], *self.stage_sizes][layer]
