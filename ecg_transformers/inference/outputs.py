"""From the tensors of a model to what is reported: the embedding of a window, probabilities of labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..readout import Readout

if TYPE_CHECKING:
    from ..modeling import Encoder

__all__ = ["embed_windows", "probabilities"]

# The `pooler_output` of the encoder.
_OUTPUT = Readout("cls")


def embed_windows(encoder: "Encoder", inputs: Mapping[str, torch.Tensor], readout: Readout = _OUTPUT) -> torch.Tensor:
    """Embed a batch of windows.

    Args:
        encoder: The encoder.
        inputs: Output of the extractor, on the device of the encoder.
        readout: What is read of the encoder, without learned parameters. Default: its output, pooled as it does itself.

    Returns:
        `(batch, pooled)`.

    Raises:
        CheckpointError: There is no such layer.
    """
    named: dict[str, Any] = dict(inputs)
    return encoder.make_pooling(readout).join(encoder.encode(layer=readout.layer, **named).layers)


def probabilities(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Convert logits to probabilities: sigmoid (multi-label), softmax (single-label), unchanged (regression).

    Args:
        logits: `(..., labels)`.
        problem_type: As in the config.
    """
    if problem_type == "regression":
        return logits
    return logits.softmax(dim=-1) if problem_type == "single_label_classification" else logits.sigmoid()
