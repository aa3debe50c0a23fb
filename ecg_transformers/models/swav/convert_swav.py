"""Official checkpoints of SwAV (hhi-aml/ecg-selfsupervised)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...conversion import Converted
from ..simclr.convert_simclr import backbone_fields, drop_unused_head, read_official, take_backbone, take_layers
from .configuration_swav import SwavConfig
from .feature_extraction_swav import SwavFeatureExtractor
from .pretraining_swav import SwavForPreTraining

__all__ = ["convert_swav"]


def convert_swav(path: str | Path, *, lead_names: Sequence[str] | None = None) -> Converted:
    """Convert a checkpoint of the official SwAV; the queue, which no checkpoint holds, is reinitialized.

    Args:
        path: The Lightning checkpoint.
        lead_names: Leads of the file in its order, where they are not the official twelve.

    Raises:
        CheckpointError: The file is no such checkpoint.
    """
    state, notes = read_official(path), list[str]()
    # The encoder is listed under two names.
    for name in state.names("model.model."):
        if state.has(f"model.{name}"):
            state.drop_equal(f"model.model.{name}", state.tensors[f"model.{name}"])
    backbone, tensors = take_backbone(state, "model.features.", "swav.backbone.", lead_names)
    for prefix in ("model.", "model.model."):
        drop_unused_head(state, prefix, notes)
    sizes: dict[str, Any] = {
        "projector_hidden_size": state.shape("model.projection_head.0.weight")[0],
        "projection_size": state.shape("model.projection_head.3.weight")[0],
        "num_prototypes": state.shape("model.prototypes.weight")[0],
    }
    tensors |= take_layers(state, "model.projection_head.", "projector.", {0: 0, 1: 1, 3: 3})
    tensors |= state.take_module("model.prototypes.", "prototypes.")
    model = SwavForPreTraining(SwavConfig(**backbone_fields(backbone), **sizes))
    state.load_into(model, tensors, new=["queue."])
    return Converted(model, SwavFeatureExtractor(lead_names=list(backbone.lead_names or ())), notes)
