"""A recipe: one YAML file that describes a network and its training from new weights.

It is flat like that of a pretraining run: fields of the architecture's config and feature extractor, of
`FineTuneArguments` and of the Trainer. The architecture is written as a folder with `config.json` and
`preprocessor_config.json`, and from there on is a checkpoint like any other, only without weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .settings import architecture_of, architecture_owners, config_and_extractor

__all__ = ["recipe_names", "write_architecture"]


def recipe_names(model_type: str, backbone_config: Any = None) -> dict[str, Any]:
    """Names and types of the settings that an architecture has of its own.

    Args:
        model_type: Architecture, a row of `ecg_transformers.auto.ARCHITECTURES`.
        backbone_config: Backbone of a family that pretrains any encoder.

    Raises:
        ArgumentsError: An unknown architecture.
    """
    owners = architecture_owners(architecture_of(model_type), backbone_config)
    return {**owners["extractor"], **owners["config"]}


def write_architecture(model_type: str, values: Mapping[str, Any], folder: str | Path) -> Path:
    """Write the config and the feature extractor of a recipe into a folder.

    Args:
        model_type: Architecture, a row of `ecg_transformers.auto.ARCHITECTURES`.
        values: Its settings by name.
        folder: Folder to write; it is made if it does not exist.

    Returns:
        The folder: a checkpoint without weights.
    """
    config, extractor = config_and_extractor(architecture_of(model_type), dict(values))
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return Path(folder)
