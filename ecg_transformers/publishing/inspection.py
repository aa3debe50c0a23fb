"""What a checkpoint is, in words: model, input contract, golden recording."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils import logging

from ..auto import ARCHITECTURES, Architecture
from ..configuration import EcgConfig
from ..errors import CheckpointError
from ..features.agreement import check_contract
from ..modeling import EcgPreTrainedModel
from .golden import GOLDEN_FILE, GoldenReport, compare_golden
from .verify import (
    CONFIG_FILE,
    EXTRACTOR_FILE,
    read_json,
    read_weights_header,
)

__all__ = ["Inspection", "check_shapes", "find_class", "inspect_checkpoint"]


@dataclass(frozen=True)
class Inspection:
    """The words about a checkpoint and the golden comparison (None where there is no golden file)."""

    text: str
    golden: GoldenReport | None


def inspect_checkpoint(folder: str | Path) -> Inspection:
    """Describes a checkpoint folder, published or of a run, and runs its golden recording if it has one.

    No code of the folder is run: the classes are those of this package.

    Args:
        folder: Folder with `config.json`, `preprocessor_config.json` and safetensors weights.

    Raises:
        CheckpointError: If a part is missing, damaged, of another package, or contradicts another.
    """
    folder = Path(folder)
    facts = read_json(folder / CONFIG_FILE)
    architecture, model_class = find_class(folder, facts)
    config = architecture.config.from_pretrained(folder)
    shapes = check_shapes(folder, model_class, config)
    name = model_class.__name__
    parameters = sum(map(math.prod, shapes.values()))
    lines = [
        ("checkpoint", str(folder)),
        ("model", f"{name} ({config.model_type}), {parameters:,} numbers stored as {_stored_types(folder)}"),
        ("input", f"{config.num_leads} leads, {config.window_size} samples at {config.sampling_rate:g} Hz"),
        ("embedding", f"{config.pooled_size} numbers per window"),
    ]
    if name == architecture.classifier.__name__:
        names = config.label_names or config.id2label.values()
        labels = (
            code if code == word else f"{code} ({word})"
            for code, word in zip(config.id2label.values(), names, strict=False)
        )
        lines.append(("labels", ", ".join(labels)))
    lines += [("license", str(config.license)), ("use", str(config.intended_use))]
    golden = None
    if (folder / EXTRACTOR_FILE).is_file():
        read_json(folder / EXTRACTOR_FILE)
        extractor = architecture.feature_extractor.from_pretrained(folder)
        check_contract(config, extractor)
        if (folder / GOLDEN_FILE).is_file():
            golden = compare_golden(folder, extractor, _encoder(folder, architecture.model))
        contract = f"hash {extractor.contract_hash()}\n{extractor.describe().strip()}"
    else:
        contract = f"none: there is no {EXTRACTOR_FILE}, so nothing says how recordings are prepared"
    lines += [
        ("contract", contract),
        ("golden", str(golden) if golden else "none: only published checkpoints have one"),
    ]
    return Inspection("\n".join(_entry(title, text) for title, text in lines), golden)


def find_class(folder: Path, facts: Mapping) -> tuple[Architecture, type[EcgPreTrainedModel]]:
    """Gives the family of a checkpoint and the class that it was saved from, as its `config.json` says.

    Raises:
        CheckpointError: If it is none of this package.
    """
    model_type, names = str(facts.get("model_type")), facts.get("architectures")
    if model_type not in ARCHITECTURES:
        raise CheckpointError(f"{folder} is a {model_type!r}; this package knows {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[model_type]
    kinds = (architecture.model, architecture.classifier, architecture.pretraining)
    classes = {one.__name__: one for one in kinds if one is not None}
    name = str(names[0]) if isinstance(names, list) and names else "none"
    if name not in classes:
        raise CheckpointError(f"{folder} was saved from the class {name}; expected one of {', '.join(classes)}.")
    return architecture, classes[name]


def check_shapes(folder: Path, model_class: type[EcgPreTrainedModel], config: EcgConfig) -> dict[str, tuple[int, ...]]:
    """Compares the shapes that a config asks for with those of the weights, before anything is allocated.

    Returns:
        Name and shape of every stored tensor.

    Raises:
        CheckpointError: If they differ; loading would take the memory of the model that the config describes.
    """
    stored = read_weights_header(folder)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in model_class(config).state_dict().items()}
    for name, shape in expected.items():
        if stored.get(name, shape) != shape:
            raise CheckpointError(
                f"{folder / CONFIG_FILE} asks for {name} of shape {shape}, but the weights hold {stored[name]}; "
                "config and weights are not of the same model."
            )
    if not set(expected) & set(stored):
        raise CheckpointError(f"{folder} holds no tensor of {model_class.__name__}.")
    return stored


def _encoder(folder: Path, model_class: type[EcgPreTrainedModel]) -> torch.nn.Module:
    level = logging.get_verbosity()
    # What a head or pretraining adds is unexpected for the encoder; the report about it would hide the answer.
    logging.set_verbosity_error()
    try:
        model = model_class.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    finally:
        logging.set_verbosity(level)
    return model.eval()


def _stored_types(folder: Path) -> str:
    types = set()
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(str(path), framework="np") as file:
            types |= {str(file.get_slice(key).get_dtype()) for key in file.keys()}
    return ", ".join(sorted(types))


def _entry(title: str, text: str) -> str:
    return f"{title:<11} " + text.replace("\n", "\n" + " " * 12)
