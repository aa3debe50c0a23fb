"""A checkpoint folder on disk: names of its files, safe reading, and the class it was saved from."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..auto import ARCHITECTURES, CLASS_KINDS, Architecture
from ..configuration import EcgConfig
from ..errors import CheckpointError
from ..modeling import EcgPreTrainedModel

__all__ = [
    "auto_classes",
    "check_shapes",
    "find_class",
    "find_row",
    "read_json",
    "read_weights_header",
]

CONFIG_FILE = "config.json"
EXTRACTOR_FILE = "preprocessor_config.json"
CARD_FILE = "README.md"
# What the card is rendered from, in the folder of a run or of a card.
TEMPLATE_FILE = "card.md"
LICENSE_FILE = "LICENSE"
WEIGHTS_FILE = "model.safetensors"

# JSON files of a checkpoint hold some kilobytes; a larger one is damaged or hostile.
MAX_JSON_BYTES = 16 * 2**20


def find_row(folder: Path, facts: Mapping[str, Any]) -> Architecture:
    """Returns the registry row of a checkpoint.

    Args:
        folder: The checkpoint, for messages.
        facts: Its `config.json`.

    Raises:
        CheckpointError: If its `model_type` is not registered.
    """
    model_type = str(facts.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise CheckpointError(f"{folder} is a {model_type!r}; this package knows {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[model_type]


def auto_classes(head: str, model_class: type[EcgPreTrainedModel]) -> tuple[str, ...]:
    """Returns the keys of a class in `auto_map`: its stock auto classes, or its own name where there is none.

    Args:
        head: Head of the class.
        model_class: The class.
    """
    return CLASS_KINDS[head].auto_classes or (model_class.__name__,)


def find_class(folder: Path, facts: Mapping[str, Any]) -> tuple[Architecture, str]:
    """Returns the registry row of a checkpoint and the head that it was saved from.

    Args:
        folder: The checkpoint, for messages.
        facts: Its `config.json`.

    Raises:
        CheckpointError: If either is not registered.
    """
    architecture = find_row(folder, facts)
    heads = {one.__name__: head for head, one in architecture.models.items()}
    names = facts.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else "none"
    if name not in heads:
        raise CheckpointError(f"{folder} was saved from the class {name}; expected one of {', '.join(heads)}.")
    return architecture, heads[name]


def check_shapes(folder: Path, model_class: type[EcgPreTrainedModel], config: EcgConfig) -> dict[str, tuple[int, ...]]:
    """Compares the shapes that a config asks for with those of the weights, before any memory is allocated.

    Args:
        folder: The checkpoint.
        model_class: Class that the weights were saved from.
        config: Its configuration.

    Returns:
        Name and shape of every stored tensor.

    Raises:
        CheckpointError: If they differ, or no tensor is of this class.
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


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a JSON object of a checkpoint.

    Args:
        path: The file.

    Raises:
        CheckpointError: If it is too large, damaged, or not an object.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes; expected at most {MAX_JSON_BYTES:,}.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}; expected an object of names and values.")
    return values


def read_weights_header(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Reads names and shapes of the weights from the headers of their files; tensors are not loaded.

    Args:
        folder: The checkpoint.

    Raises:
        CheckpointError: If there are no safetensors weights, shards are missing, or a header is damaged.
    """
    folder = Path(folder)
    index = folder / f"{WEIGHTS_FILE}.index.json"
    names = [WEIGHTS_FILE]
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{index} has no weight_map of tensor names and file names.")
        names = sorted(set(weight_map.values()))
        outside = [name for name in names if not re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name)]
        if outside:
            raise CheckpointError(
                f"{index} names {outside[0]}; expected model-00001-of-0000N.safetensors in the same folder."
            )
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder} has no {name}; expected weights as safetensors (pickles are not read).")
        try:
            with safe_open(str(path), framework="np") as file:
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}.") from error
    return shapes
