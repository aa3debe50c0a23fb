"""Checkpoints that are whole or do not count: written aside, synced, renamed, marked; the newest whole one is found."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..errors import CheckpointError
from ..files import replace_folder, sync, write_text

__all__ = [
    "MARKER",
    "check_checkpoint",
    "check_weights",
    "checkpoint_folders",
    "discard_unfinished",
    "keep_newest",
    "newest_complete_checkpoint",
    "seal_checkpoint",
    "what_is_missing",
]

logger = logging.get_logger(__name__)

MARKER = "complete.json"
UNFINISHED = ".unfinished"
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


def seal_checkpoint(unfinished: str | Path, final: str | Path) -> None:
    """Make a checkpoint count: sync its files, rename the folder into place, write the marker last.

    The marker lists every file with its size, so that a file that was cut short or removed later is noticed too.

    Args:
        unfinished: Folder in which the checkpoint was written.
        final: Its final name; an older checkpoint of that name is replaced.
    """
    unfinished, final = Path(unfinished), Path(final)
    sizes = {}
    for file in sorted(path for path in unfinished.rglob("*") if path.is_file()):
        sync(file)
        sizes[file.relative_to(unfinished).as_posix()] = file.stat().st_size
    sync(unfinished)
    replace_folder(unfinished, final)
    sync(final.parent)
    write_text(final / MARKER, json.dumps({"files": sizes}, indent=1))


def remove_checkpoint(folder: str | Path) -> None:
    """Delete a checkpoint, its marker first: half deleted it no longer counts as complete."""
    (Path(folder) / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def what_is_missing(folder: str | Path) -> str | None:
    """Say why a checkpoint folder is not complete; `None` if it is."""
    folder = Path(folder)
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return "no marker"
    except (ValueError, KeyError, TypeError):
        return "unreadable marker"
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
    return None


def checkpoint_folders(output_dir: str | Path) -> list[Path]:
    """All folders named `checkpoint-N`, newest first, complete or not."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if path.is_dir() and _CHECKPOINT.match(path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def newest_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Find the newest checkpoint that is complete, and log which incomplete ones were skipped.

    Args:
        output_dir: Folder of the run.

    Returns:
        Its path, or `None` if there is none.
    """
    skipped = [f"{path.name} is incomplete: it was being written" for path in _unfinished(output_dir)]
    newest = None
    for folder in checkpoint_folders(output_dir):
        reason = what_is_missing(folder)
        if reason is None:
            newest = folder
            break
        skipped.append(f"{folder.name} is incomplete: {reason}")
    ignored = f" ({'; '.join(skipped)}; ignored)" if skipped else ""
    if newest is not None:
        logger.warning(f"resuming from {newest}{ignored}")
    elif skipped:
        logger.warning(f"no complete checkpoint in {output_dir}{ignored}")
    return newest


def check_checkpoint(folder: str | Path) -> Path:
    """Return the folder if it is a complete checkpoint, else raise `CheckpointError`."""
    reason = what_is_missing(folder) if Path(folder).is_dir() else "no such folder"
    if reason is not None:
        raise CheckpointError(
            f"{folder} is not a complete checkpoint: {reason}. Use resume_from_checkpoint=True for the newest complete "
            "one of the run."
        )
    return Path(folder)


def check_weights(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse a checkpoint of another size than the model, before anything is loaded.

    Args:
        folder: A complete checkpoint; weights in several files are not looked at.
        state: State dictionary of the model.

    Raises:
        CheckpointError: A tensor has another shape.
    """
    file = folder / SAFE_WEIGHTS_NAME
    if not file.is_file():
        return
    with safe_open(file, framework="pt") as stored:
        for name in set(stored.keys()) & state.keys():
            found, wanted = tuple(stored.get_slice(name).get_shape()), tuple(state[name].shape)
            if found != wanted:
                raise CheckpointError(
                    f"{folder} holds {name} of shape {found}, this run has {wanted}: the architecture was set "
                    "otherwise. Resume with the settings of the interrupted run, or choose another --output_dir."
                )


def _unfinished(output_dir: str | Path) -> list[Path]:
    return sorted(path for path in Path(output_dir).glob(f"checkpoint-*{UNFINISHED}") if path.is_dir())


def discard_unfinished(output_dir: str | Path) -> None:
    """Delete the folders in which a killed run was writing a checkpoint."""
    for folder in _unfinished(output_dir):
        logger.warning(f"removing {folder}: it was being written when an earlier run ended")
        remove_checkpoint(folder)


def keep_newest(output_dir: str | Path, limit: int | None, best: str | Path | None = None) -> None:
    """Delete the oldest checkpoints beyond `limit`, but neither the newest nor the best one."""
    folders = checkpoint_folders(output_dir)
    if limit is None or limit <= 0 or not folders:
        return
    protected = {folders[0].name} | ({Path(best).name} if best else set())
    others = [folder for folder in folders if folder.name not in protected]
    for folder in others[max(0, limit - (len(folders) - len(others))) :]:
        remove_checkpoint(folder)
