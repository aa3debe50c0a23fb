"""What is read of an encoder for each window: layers and pooling, declared once for configs, options and pipelines.

Neither torch nor Transformers is imported.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

from .option import option

__all__ = ["FIXED_POOLINGS", "POOLINGS", "FixedPooling", "PoolingName", "Readout"]

# Poolings without parameters, and the one that is learned.
FixedPooling = Literal["cls", "mean", "max", "cls_mean"]
PoolingName = Literal[FixedPooling, "attention"]
FIXED_POOLINGS: tuple[str, ...] = get_args(FixedPooling)
POOLINGS: tuple[str, ...] = get_args(PoolingName)

_HEAD: dict[str, Any] = {"group": "Classification head", "used_by": "learning"}


@dataclass(frozen=True)
class Readout:
    """What a head or a probe is given of an encoder; the config of a classifier has fields of the same names.

    Args:
        pooling: `"cls"`: the encoder's own pooling; `"mean"`, `"max"`: over the tokens with signal; `"cls_mean"`: the
            first two concatenated; `"attention"`: one learned query. Default: that of the encoder (`Encoder.resolved`).
        layer: Layer whose tokens are pooled, or several, whose vectors are concatenated; see `Encoder`. Default: -1,
            the output.
    """

    pooling: PoolingName | None = option(
        None,
        help="Pooling before the classification head. Default: cls_mean for an encoder with [CLS], else cls, the "
        "encoder's own.",
        **_HEAD,
    )
    layer: int | list[int] = option(
        -1,
        help="Layer whose tokens are pooled: -1 the output, 0 the input of layer 1, k the output of layer k; several "
        "(1,2,3) are concatenated.",
        **_HEAD,
    )

    @property
    def attentive(self) -> bool:
        """Whether a learned query attends over the tokens."""
        return self.pooling == "attention"

    def with_attention(self) -> Self:
        """The same layer, read by a learned query."""
        return replace(self, pooling="attention")

    def with_values_of(self, config: Any) -> Self:
        """The pooling and layer of a classifier's config."""
        return replace(self, pooling=config.pooling, layer=config.layer)

    def write_to(self, config: Any) -> None:
        """Set pooling and layer of a classifier's config."""
        config.pooling, config.layer = self.pooling, self.layer
