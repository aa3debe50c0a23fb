"""Official checkpoints of SimCLR, and what those of BYOL and SwAV share with them (hhi-aml/ecg-selfsupervised)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...conversion import Converted, OfficialState
from ..xresnet1d.configuration_xresnet1d import Xresnet1dConfig
from ..xresnet1d.convert_xresnet1d import load_backbone, read_official
from .configuration_simclr import SimclrConfig
from .feature_extraction_simclr import SimclrFeatureExtractor
from .pretraining_simclr import SimclrForPreTraining

__all__ = ["backbone_fields", "convert_simclr", "drop_unused_head", "read_official", "take_backbone", "take_layers"]


def take_backbone(
    state: OfficialState, official: str, ours: str, lead_names: Sequence[str] | None
) -> tuple[Xresnet1dConfig, dict[str, torch.Tensor]]:
    """Take the encoder of a self-supervised checkpoint.

    Args:
        state: The checkpoint.
        official: Beginning of the keys, up to the number of a layer.
        ours: Beginning of our keys.
        lead_names: Leads of the file in its order, where they are not the official twelve.
    """
    config, tensors = load_backbone(state, official, lead_names=lead_names, stem_bias=True)
    return config, {f"{ours}{name}": value for name, value in tensors.items()}


def take_layers(state: OfficialState, official: str, ours: str, numbers: dict[int, int]) -> dict[str, torch.Tensor]:
    """Take a head whose layers have other numbers with us.

    Args:
        state: The checkpoint.
        official: Beginning of the keys, up to the number of a layer.
        ours: Beginning of our keys.
        numbers: Official number of each layer to ours.
    """
    tensors: dict[str, torch.Tensor] = {}
    for theirs, own in numbers.items():
        tensors |= state.take_module(f"{official}{theirs}.", f"{ours}{own}.")
    return tensors


def drop_unused_head(state: OfficialState, prefix: str, notes: list[str]) -> None:
    """Drop the two linear layers of the official encoder that its pretraining never uses.

    Args:
        state: The checkpoint.
        prefix: Beginning of their keys.
        notes: Gets a sentence if there were any.
    """
    if dropped := state.drop(f"{prefix}l1.") + state.drop(f"{prefix}l2."):
        notes.append(f"{dropped} tensors of {prefix}l1 and {prefix}l2, which the pretraining never uses, were left out")


def backbone_fields(backbone: Xresnet1dConfig) -> dict[str, Any]:
    """The field `backbone_config` of a family for a converted encoder."""
    return {"backbone_config": backbone.to_dict()}


def convert_simclr(path: str | Path, *, lead_names: Sequence[str] | None = None) -> Converted:
    """Convert a checkpoint of the official SimCLR.

    Args:
        path: The Lightning checkpoint.
        lead_names: Leads of the file in its order, where they are not the official twelve.

    Raises:
        CheckpointError: The file is no such checkpoint.
    """
    state, notes = read_official(path), list[str]()
    backbone, tensors = take_backbone(state, "encoder.features.", "simclr.backbone.", lead_names)
    drop_unused_head(state, "encoder.", notes)
    head = "projection.model."
    sizes: dict[str, Any] = {"projector_hidden_size": state.shape(f"{head}1.weight")[0]}
    sizes |= {"projection_size": state.shape(f"{head}3.weight")[0]}
    tensors |= take_layers(state, head, "projector.", {1: 0, 3: 2})
    model = SimclrForPreTraining(SimclrConfig(**backbone_fields(backbone), **sizes))
    state.load_into(model, tensors)
    return Converted(model, SimclrFeatureExtractor(lead_names=list(backbone.lead_names or ())), notes)
