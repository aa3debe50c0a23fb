"""Official checkpoints with an xresnet1d: the supervised benchmark, and the evaluation of ecg-selfsupervised.

Sources: helme/ecg_ptbxl_benchmarking (fastai), hhi-aml/ecg-selfsupervised (Lightning). Both list every branch of a
block twice, and order the leads I, II, V1 to V6, III, aVR, aVL, aVF.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ...conversion import Converted, OfficialState, read_tensors
from ...errors import CheckpointError
from ...signals.leads import STANDARD_LEADS
from .configuration_xresnet1d import Xresnet1dConfig
from .feature_extraction_xresnet1d import Xresnet1dFeatureExtractor
from .modeling_xresnet1d import Xresnet1dForSequenceClassification, Xresnet1dModel

__all__ = [
    "KNOWN_PACKAGES",
    "convert_xresnet",
    "head_fields",
    "in_our_lead_order",
    "load_backbone",
    "read_official",
    "take_head",
]

# Packages whose objects the official files hold in addition to the tensors.
KNOWN_PACKAGES = ("pytorch_lightning.", "clinical_ts.", "argparse.Namespace", "numpy.")
# Our lead j is the official lead OFFICIAL_PLACES[j].
OFFICIAL_PLACES = (0, 1, 8, 9, 10, 11, 2, 3, 4, 5, 6, 7)
# Convolutions of a block, and blocks of the stages of depths 18, 34 and 50, 101, 152.
_BLOCKS: dict[int, Literal["basic", "bottleneck"]] = {2: "basic", 3: "bottleneck"}
_DEPTHS = ((2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3))


def read_official(path: str | Path) -> OfficialState:
    """Read an official checkpoint.

    Args:
        path: The file.

    Raises:
        CheckpointError: See `conversion.read_tensors`.
    """
    return OfficialState(read_tensors(path, known_packages=KNOWN_PACKAGES), Path(path).name)


def in_our_lead_order(weight: torch.Tensor, lead_names: Sequence[str] | None, source: str) -> torch.Tensor:
    """The first convolution with its leads in our order.

    Args:
        weight: `(channels, leads, kernel)`, in the official order.
        lead_names: Leads of the file in its order, where they are not the official twelve.
        source: Name of the file, for messages.

    Raises:
        CheckpointError: Another number of leads than twelve without names, or than the names.
    """
    leads = weight.shape[1]
    if lead_names is not None:
        if len(lead_names) != leads:
            raise CheckpointError(f"{source} has {leads} leads, but {len(lead_names)} names were given.")
        return weight
    if leads != len(STANDARD_LEADS):
        raise CheckpointError(
            f"{source}: the first convolution {list(weight.shape)} has {leads} leads; expected 12 in the official "
            "order. Pass their names (--leads)."
        )
    return weight[:, list(OFFICIAL_PLACES)].contiguous()


def load_backbone(
    state: OfficialState, prefix: str, *, lead_names: Sequence[str] | None, stem_bias: bool
) -> tuple[Xresnet1dConfig, dict[str, torch.Tensor]]:
    """Take an official xresnet1d out of a checkpoint.

    Args:
        state: The checkpoint.
        prefix: Beginning of the keys, up to the number of a layer.
        lead_names: See `in_our_lead_order`.
        stem_bias: Whether the first convolution should have a bias: in self-supervised checkpoints.

    Returns:
        Its configuration, and its tensors under our names.

    Raises:
        CheckpointError: A tensor is missing, copies differ, or it is no xresnet1d of a known depth.
    """
    if state.has(f"{prefix}0.0.bias") != stem_bias:
        kind = "a self-supervised checkpoint" if stem_bias else "one of the supervised benchmark"
        raise CheckpointError(
            f"{state.source}: {prefix}0.0.bias is {'missing' if stem_bias else 'there'}, so this is not {kind}. Choose "
            "another kind of checkpoint."
        )
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(3):
        tensors |= state.take_module(f"{prefix}{layer}.0.", f"stem.{layer}.conv.")
        tensors |= state.take_module(f"{prefix}{layer}.1.", f"stem.{layer}.norm.")
    tensors["stem.0.conv.weight"] = in_our_lead_order(tensors["stem.0.conv.weight"], lead_names, state.source)
    depths: list[int] = []
    while state.has(f"{prefix}{4 + len(depths)}.0.convs.0.0.weight"):
        depths.append(_take_stage(state, f"{prefix}{4 + len(depths)}.", f"stages.{len(depths)}.", tensors))
    convolutions = sum(name.startswith("stages.0.0.convs.") and name.endswith("conv.weight") for name in tensors)
    block = _BLOCKS.get(convolutions)
    if block is None or tuple(depths) not in _DEPTHS or (tuple(depths) in _DEPTHS[2:] and block == "basic"):
        raise CheckpointError(
            f"{state.source} has blocks of {convolutions} convolutions and stages of {depths}; expected an xresnet1d "
            "of depth 18, 34, 50, 101 or 152."
        )
    names = list(STANDARD_LEADS if lead_names is None else lead_names)
    config = Xresnet1dConfig(
        num_leads=len(names),
        lead_names=names,
        stem_sizes=[tensors[f"stem.{layer}.conv.weight"].shape[0] for layer in range(3)],
        stem_kernel_size=tensors["stem.0.conv.weight"].shape[2],
        block=block,
        depths=depths,
        width=tensors["stages.0.0.convs.0.conv.weight"].shape[0],
        kernel_size=max(tensors[f"stages.0.0.convs.{j}.conv.weight"].shape[2] for j in range(convolutions)),
        stem_bias=stem_bias,
        stem_initialization="torch" if stem_bias else "kaiming",
    )
    return config, tensors


def _take_stage(state: OfficialState, official: str, ours: str, tensors: dict[str, torch.Tensor]) -> int:
    """Take the blocks of a stage; returns how many there were."""
    block = 0
    while state.names(f"{official}{block}."):
        source, target = f"{official}{block}.", f"{ours}{block}."
        layer = 0
        while state.has(f"{source}convs.{layer}.0.weight"):
            for kind, name in ((0, "conv"), (1, "norm")):
                own = state.take_module(f"{source}convs.{layer}.{kind}.", f"{target}convs.{layer}.{name}.")
                for full, value in own.items():
                    copy = f"{source}convpath.0.{layer}.{kind}.{full.rpartition('.')[2]}"
                    if state.has(copy):
                        state.drop_equal(copy, value)
                tensors |= own
            layer += 1
        # The convolution of the shortcut follows the average pool where there is one.
        for place in (0, 1):
            if state.has(f"{source}idpath.{place}.0.weight"):
                tensors |= state.take_module(f"{source}idpath.{place}.0.", f"{target}shortcut.conv.")
                tensors |= state.take_module(f"{source}idpath.{place}.1.", f"{target}shortcut.norm.")
        block += 1
    return block


def head_fields(state: OfficialState, prefix: str) -> dict[str, Any]:
    """Fields of the config that describe an official head; kinds of layers follow from names and shapes.

    The dropout itself is not in a file, only that there is one: the published 0.5 is taken.

    Args:
        state: The checkpoint.
        prefix: Beginning of the keys, up to the number of a layer.
    """
    layers = sorted({int(name.partition(".")[0]) for name in state.names(prefix)})
    linear = [n for n in layers if len(state.shape(f"{prefix}{n}.weight")) == 2]
    norms = [n for n in layers if state.has(f"{prefix}{n}.running_mean")]
    if not linear:
        raise CheckpointError(f"{state.source} has no linear layer below {prefix!r}; expected a head.")
    has_dropout = bool(norms) and linear[-1] - norms[-1] == 2
    return {
        "head_hidden_sizes": [state.shape(f"{prefix}{n}.weight")[0] for n in linear[:-1]],
        "head_batch_norm": bool(norms),
        "head_dropout": 0.5 if has_dropout else 0.0,
        "num_labels": state.shape(f"{prefix}{linear[-1]}.weight")[0],
    }


def take_head(state: OfficialState, prefix: str, classifier: nn.Module) -> dict[str, torch.Tensor]:
    """Take an official head under our names, layer by layer in order.

    Args:
        state: The checkpoint.
        prefix: Beginning of the keys, up to the number of a layer.
        classifier: Our head with the fields of `head_fields`.

    Raises:
        CheckpointError: It has another number of layers.
    """
    layers = sorted({int(name.partition(".")[0]) for name in state.names(prefix)})
    ours = [("classifier.", classifier)]
    if isinstance(classifier, nn.Sequential):
        ours = [(f"classifier.{n}.", layer) for n, layer in enumerate(classifier) if list(layer.parameters())]
    if len(layers) != len(ours):
        raise CheckpointError(f"{state.source} has {len(layers)} layers below {prefix!r}; expected {len(ours)}.")
    tensors: dict[str, torch.Tensor] = {}
    for number, (name, _) in zip(layers, ours, strict=True):
        tensors |= state.take_module(f"{prefix}{number}.", name)
    return tensors


def label_fields(labels: Sequence[str] | None, num_labels: int, source: str) -> dict[str, Any] | None:
    """Fields of the config for the user's labels; `None` without any: no file holds the order of its labels.

    Args:
        labels: Codes in the order of the outputs.
        num_labels: Outputs of the head.
        source: Name of the file, for messages.

    Raises:
        CheckpointError: Another number of labels.
    """
    if labels is None:
        return None
    if len(labels) != num_labels:
        raise CheckpointError(f"{source} has {num_labels} outputs, but {len(labels)} labels were given.")
    codes = dict(enumerate(labels))
    return {
        "id2label": codes,
        "label2id": {code: number for number, code in codes.items()},
        "label_system": "scp",
        "problem_type": "multi_label_classification",
    }


def convert_xresnet(
    path: str | Path, *, labels: Sequence[str] | None = None, lead_names: Sequence[str] | None = None
) -> Converted:
    """Convert a model of the supervised benchmark, a fine-tuned one of ecg-selfsupervised, or its MoCo's encoder.

    Args:
        path: The file: fastai's `.pth`, `finetuned.pt`, or a Lightning checkpoint of MoCo.
        labels: Codes in the order of the outputs, as the training folder has them. Without them only the encoder is
            converted: the order is not in the file.
        lead_names: Leads of the file in its order, where they are not the official twelve.

    Raises:
        CheckpointError: The file is no such checkpoint.
    """
    state = read_official(path)
    prefix = next((p for p in ("encoder_q.features.", "features.") if state.names(p)), "")
    stem_bias = prefix != ""
    config, tensors = load_backbone(state, prefix, lead_names=lead_names, stem_bias=stem_bias)
    notes = []
    if prefix.startswith("encoder_q"):
        dropped = sum(state.drop(name) for name in ("encoder_q.", "encoder_k.", "queue"))
        notes.append(f"{dropped} tensors of momentum contrast (heads, momentum encoder, queue) were left out")
    head = "" if stem_bias else "8."
    if stem_bias:
        # The classifier of the evaluation is one linear layer, or two with ReLU: layers 0 and 2 of ours.
        for number, name in enumerate(("l1", "l2")):
            for kind in ("weight", "bias"):
                if state.has(f"{name}.{kind}"):
                    state.tensors[f"head.{2 * number}.{kind}"] = state.take(f"{name}.{kind}")
        head = "head."
    model: Xresnet1dForSequenceClassification | Xresnet1dModel = Xresnet1dModel(config)
    own = tensors
    if state.names(head):
        fields = head_fields(state, head)
        labeled = label_fields(labels, fields.pop("num_labels"), state.source)
        if labeled is None:
            state.drop(head)
            notes.append("the head was left out: the order of its labels is not in the file; pass --labels")
        else:
            model = Xresnet1dForSequenceClassification(Xresnet1dConfig(**{**config.to_dict(), **fields, **labeled}))
            own = {f"xresnet1d.{name}": value for name, value in tensors.items()}
            own |= take_head(state, head, model.classifier)
    state.load_into(model, own)
    extractor = Xresnet1dFeatureExtractor(
        lead_names=list(config.lead_names or ()), normalization="none" if stem_bias else "constants"
    )
    return Converted(model, extractor, notes)
