"""Official checkpoints of CPC: pretraining, fine-tuning and linear evaluation (hhi-aml/ecg-selfsupervised)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...conversion import Converted, OfficialState
from ...errors import CheckpointError
from ...signals.leads import STANDARD_LEADS
from ..xresnet1d.convert_xresnet1d import head_fields, in_our_lead_order, label_fields, read_official, take_head
from .configuration_cpc import CpcConfig
from .feature_extraction_cpc import CpcFeatureExtractor
from .modeling_cpc import CpcForSequenceClassification, CpcModel
from .pretraining_cpc import CpcForPreTraining

__all__ = ["convert_cpc"]

_PREFIX = "model_cpc."


def convert_cpc(
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    lead_names: Sequence[str] | None = None,
    strides: Sequence[int] | None = None,
) -> Converted:
    """Convert a checkpoint of the official CPC.

    A file with a projection becomes the pretraining model; one with a head a classifier, if its labels are given, else
    the encoder.

    Args:
        path: The Lightning checkpoint.
        labels: Codes in the order of the outputs, as the training folder has them; their order is not in the file.
        lead_names: Leads of the file in its order, where they are not the official twelve.
        strides: Strides of the encoder's layers, where the kernels are not those of an official encoder.

    Raises:
        CheckpointError: The file is no such checkpoint, or the strides contradict an official encoder.
    """
    state, notes = read_official(path), list[str]()
    fields, tensors = _take_encoder(state, lead_names, strides)
    model: CpcModel | CpcForPreTraining | CpcForSequenceClassification
    if state.names(f"{_PREFIX}proj."):
        projection = _take_projection(state, fields)
        model = CpcForPreTraining(CpcConfig(**fields))
        tensors = {f"cpc.{name}": value for name, value in tensors.items()} | projection
    else:
        head = f"{_PREFIX}head."
        labeled = None
        if state.names(head):
            of_head = head_fields(state, head)
            labeled = label_fields(labels, of_head.pop("num_labels"), state.source)
        if labeled is None:
            if state.drop(head):
                notes.append("the head was left out: the order of its labels is not in the file; pass --labels")
            model = CpcModel(CpcConfig(**fields))
        else:
            model = CpcForSequenceClassification(CpcConfig(**fields, **of_head, **labeled))
            tensors = {f"cpc.{name}": value for name, value in tensors.items()}
            tensors |= take_head(state, head, model.classifier)
    state.load_into(model, tensors)
    return Converted(model, CpcFeatureExtractor(lead_names=fields["lead_names"]), notes)


def _take_encoder(
    state: OfficialState, lead_names: Sequence[str] | None, strides: Sequence[int] | None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Fields of the config, and the tensors of convolutions and recurrent layers under our names."""
    tensors: dict[str, torch.Tensor] = {}
    official, layer = f"{_PREFIX}encoder.", 0
    batch_norm = state.has(f"{official}0.1.running_mean")
    while state.names(f"{official}{layer}."):
        tensors |= state.take_module(f"{official}{layer}.0.", f"encoder.{layer}.conv.")
        if batch_norm:
            tensors |= state.take_module(f"{official}{layer}.1.", f"encoder.{layer}.norm.")
        layer += 1
    if not layer:
        raise CheckpointError(f"{state.source} has no tensor {official + '0.0.weight'!r}; expected a CPC encoder.")
    weights = [tensors[f"encoder.{number}.conv.weight"] for number in range(layer)]
    tensors["encoder.0.conv.weight"] = in_our_lead_order(weights[0], lead_names, state.source)
    kernels = [weight.shape[2] for weight in weights]
    names = list(STANDARD_LEADS if lead_names is None else lead_names)
    fields = {
        "num_leads": len(names),
        "lead_names": names,
        "encoder_sizes": [weight.shape[0] for weight in weights],
        "encoder_kernel_sizes": kernels,
        "encoder_strides": _strides(kernels, strides, state.source),
        "encoder_batch_norm": batch_norm,
    }
    hidden = state.shape(f"{_PREFIX}rnn.weight_hh_l0")
    fields |= {"hidden_size": hidden[1], "context": {4: "lstm", 3: "gru"}.get(hidden[0] // hidden[1], "unknown")}
    number = 0
    while state.has(f"{_PREFIX}rnn.weight_ih_l{number}"):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            tensors[f"rnn.{number}.{kind}_l0"] = state.take(f"{_PREFIX}rnn.{kind}_l{number}")
        number += 1
    return {**fields, "num_hidden_layers": number}, tensors


def _take_projection(state: OfficialState, fields: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Take the projection; adds its kind to the fields."""
    official = f"{_PREFIX}proj."
    if state.has(f"{official}weight"):
        return state.take_module(official, "projection.0.")
    fields["projection"] = "mlp"
    layers = {number: state.take_module(f"{official}{number}.", f"projection.0.{number}.") for number in (0, 2)}
    return layers[0] | layers[2]


def _strides(kernels: Sequence[int], given: Sequence[int] | None, source: str) -> list[int]:
    """Strides of the encoder's layers."""
    official = 1 if set(kernels) == {1} else 2 if tuple(kernels) == (10, 4, 4, 4) else None
    if official is None and given is None:
        raise CheckpointError(
            f"{source} has kernels {list(kernels)}, which is no official encoder (1, 1, 1, 1 or 10, 4, 4, 4); strides "
            "are not in the file. Pass --strides."
        )
    if given is None:
        return [official or 1] * len(kernels)
    if len(given) != len(kernels) or (official is not None and set(given) != {official}):
        wanted = f"{len(kernels)} numbers" if official is None else f"{[official] * len(kernels)}"
        raise CheckpointError(
            f"{source} has kernels {list(kernels)}, but strides are {list(given)}; expected {wanted}."
        )
    return list(given)
