"""Official checkpoints of other projects to folders of ours: what `ecg-transformers convert` does."""

import inspect
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentsError, CheckpointError

if TYPE_CHECKING:
    from ..conversion import Converted

__all__ = ["CONVERTERS", "convert_checkpoint"]

# Kind of checkpoint to module and function.
CONVERTERS: dict[str, str] = {
    "beatgan": "beatgan.convert_beatgan:convert_beatgan",
    "ecg-selfsupervised-simclr": "simclr.convert_simclr:convert_simclr",
    "ecg-selfsupervised-byol": "byol.convert_byol:convert_byol",
    "ecg-selfsupervised-swav": "swav.convert_swav:convert_swav",
    "ecg-selfsupervised-cpc": "cpc.convert_cpc:convert_cpc",
    "ecg-selfsupervised-xresnet": "xresnet1d.convert_xresnet1d:convert_xresnet",
}


def convert_checkpoint(kind: str, file: str | Path, folder: str | Path, **options: Any) -> "Converted":
    """Convert a checkpoint into a folder with weights, config and preprocessing, which appears whole.

    Args:
        kind: A name of `CONVERTERS`.
        file: The official file.
        folder: The new folder.
        **options: `labels`, `lead_names`, `strides`, where the kind takes them; `None` = not given.

    Raises:
        ArgumentsError: An unknown kind, or an option that it does not take.
        CheckpointError: The file is no such checkpoint, or the folder exists.
    """
    if kind not in CONVERTERS:
        raise ArgumentsError(f"The kind of checkpoint is {kind!r}; expected one of {', '.join(CONVERTERS)}.")
    module, _, name = CONVERTERS[kind].partition(":")
    convert: Callable[..., Converted] = getattr(import_module(f"..models.{module}", __package__), name)
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := given.keys() - inspect.signature(convert).parameters.keys():
        raise ArgumentsError(f"{kind} takes no {', '.join(sorted(unknown))}.")
    folder = Path(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} exists; choose another output folder.")
    converted = convert(file, **given)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    converted.model.save_pretrained(unfinished)
    converted.extractor.save_pretrained(unfinished)
    os.replace(unfinished, folder)
    return converted
