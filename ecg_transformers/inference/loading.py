"""Loading of checkpoints: without Transformers' report where the caller checks it; a missing one is one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig
from transformers.utils import logging

from ..auto import family_with
from ..errors import CheckpointError, EcgError
from ..hub_access import check_hub, hub_errors

__all__ = ["checkpoint_errors", "load_anomaly_detector", "quiet_loading"]

_EXPECTED = (
    "Expected the folder of a checkpoint (config.json, preprocessor_config.json, model.safetensors), or its name on "
    "the Hub."
)


@contextmanager
def checkpoint_errors(checkpoint: str | Path) -> Iterator[None]:
    """Report a checkpoint that Transformers cannot open inside the `with` block in one line.

    Args:
        checkpoint: Folder or Hub name.

    Raises:
        CheckpointError: There is no such checkpoint, a file of it is missing, or its type is unknown.
    """
    _refuse_missing_folder(Path(checkpoint))
    try:
        _refuse_unreachable(str(checkpoint))
        yield
    except EcgError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise CheckpointError(f"{checkpoint} cannot be opened: {reason}. {_EXPECTED}") from error


def _refuse_unreachable(name: str) -> None:
    """Refuse a name on the Hub at once if the cache lacks it and there is no network."""
    if Path(name).exists() or try_to_load_from_cache(name, "config.json") is not None:
        return
    with hub_errors(f"{name} cannot be opened: no such folder, and the Hub cannot be reached", f". {_EXPECTED}"):
        check_hub()


def load_anomaly_detector(checkpoint: str | Path, **kwargs: Any) -> Any:
    """Load the `ForAnomalyDetection` of a checkpoint's family, which no auto class opens.

    Args:
        checkpoint: Folder or Hub name.
        **kwargs: For `from_pretrained`.

    Raises:
        CheckpointError: The family has no anomaly detection.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    hint = "Expected a checkpoint of beats (beatgan, si_beatgan); for labels use ecg-classification."
    row = family_with("anomaly_detection", config.model_type, checkpoint, hint)
    return row.anomaly_detection.from_pretrained(checkpoint, **kwargs)


def _refuse_missing_folder(folder: Path) -> None:
    """Refuse a folder that does not exist next to others: the Hub would be asked for it, again and again offline."""
    if folder.exists() or folder.parent == Path() or not folder.parent.is_dir():
        return
    others = sorted(config.parent.name for config in folder.parent.glob("*/config.json"))
    near = get_close_matches(folder.name, others, n=1)
    hint = f" Did you mean {folder.parent / near[0]}?" if near else ""
    raise CheckpointError(
        f"{folder} does not exist; the checkpoints in {folder.parent} are {', '.join(others) or 'none'}.{hint}"
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Suppress the load report and the progress bar of Transformers inside the `with` block."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
