"""Official checkpoints of BYOL (hhi-aml/ecg-selfsupervised)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...conversion import Converted
from ...errors import CheckpointError
from ..simclr.convert_simclr import backbone_fields, drop_unused_head, read_official, take_backbone, take_layers
from .configuration_byol import ByolConfig
from .feature_extraction_byol import ByolFeatureExtractor
from .pretraining_byol import ByolForPreTraining

__all__ = ["convert_byol"]

_LAYERS = {0: 0, 1: 1, 3: 3}


def convert_byol(path: str | Path, *, lead_names: Sequence[str] | None = None) -> Converted:
    """Convert a checkpoint of the official BYOL.

    The predictor of the momentum encoder is left out: nothing uses its output.

    Args:
        path: The Lightning checkpoint.
        lead_names: Leads of the file in its order, where they are not the official twelve.

    Raises:
        CheckpointError: The file is no such checkpoint.
    """
    state, notes = read_official(path), list[str]()
    if not state.names("target_network."):
        raise CheckpointError(f"{state.source} has no target_network; expected both networks of BYOL.")
    backbone, tensors = take_backbone(state, "online_network.encoder.features.", "byol.backbone.", lead_names)
    _, target = take_backbone(state, "target_network.encoder.features.", "momentum_encoder.backbone.", lead_names)
    sizes: dict[str, Any] = {}
    for field, name in (
        ("projector_hidden_size", "projector.model.0"),
        ("projection_size", "projector.model.3"),
        ("predictor_hidden_size", "predictor.model.0"),
    ):
        sizes[field] = state.shape(f"online_network.{name}.weight")[0]
    tensors |= target
    for head in ("projector", "predictor"):
        tensors |= take_layers(state, f"online_network.{head}.model.", f"{head}.", _LAYERS)
    tensors |= take_layers(state, "target_network.projector.model.", "momentum_projector.", _LAYERS)
    for network in ("online_network.encoder.", "target_network.encoder."):
        drop_unused_head(state, network, notes)
    if dropped := state.drop("target_network.predictor."):
        notes.append(f"{dropped} tensors of target_network.predictor, whose output nothing uses, were left out")
    model = ByolForPreTraining(ByolConfig(**backbone_fields(backbone), **sizes))
    state.load_into(model, tensors)
    return Converted(model, ByolFeatureExtractor(lead_names=list(backbone.lead_names or ())), notes)
