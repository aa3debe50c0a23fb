"""From the tensors of a model to what is reported: the embedding of a window, probabilities of labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..modeling import Encoder

__all__ = ["embed_windows", "probabilities"]


def embed_windows(
    encoder: "Encoder", inputs: Mapping[str, torch.Tensor], *, pooling: str = "cls", layer: int | Sequence[int] = -1
) -> torch.Tensor:
    """Embed a batch of windows by a pooling without parameters.

    Args:
        encoder: The encoder.
        inputs: Output of the extractor, on the device of the encoder.
        pooling: `"cls"` (the encoder's own pooling), `"mean"`, `"max"` or `"cls_mean"`.
        layer: Layer whose tokens are pooled, or several, whose vectors are concatenated; see `Encoder`.

    Returns:
        `(batch, pooled)`.

    Raises:
        CheckpointError: There is no such layer.
    """
    named: dict[str, Any] = dict(inputs)
    return encoder.make_pooling(pooling, layer).join(encoder.encode(layer=layer, **named).layers)


def probabilities(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Convert logits to probabilities: sigmoid (multi-label), softmax (single-label), unchanged (regression).

    Args:
        logits: `(..., labels)`.
        problem_type: As in the config.
    """
    if problem_type == "regression":
        return logits
    return logits.softmax(dim=-1) if problem_type == "single_label_classification" else logits.sigmoid()
