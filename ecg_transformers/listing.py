"""The checkpoints of a folder or of an account of the Hub, with what they expect and how they score."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .hub_access import check_hub, hub_errors

__all__ = ["DEFAULT_ACCOUNT", "DEFAULT_FOLDER", "ModelEntry", "Score", "list_models"]

DEFAULT_FOLDER = "hub"
DEFAULT_ACCOUNT = "ecg-transformers"
_CONFIG, _CARD = "config.json", "README.md"


@dataclass(frozen=True)
class Score:
    """One score of a model card.

    Attributes:
        name: Metric and protocol: "macro AUROC, linear probe".
        value: The score.
        dataset: Name of the corpus.
        labels: Label set of the corpus.
        split: "validation" or "test".
    """

    name: str
    value: float
    dataset: str
    labels: str
    split: str

    def __str__(self) -> str:
        """The score as one line."""
        where = ", ".join(part for part in (self.dataset.partition(",")[0], self.labels, self.split) if part)
        return f"{self.value:.4f} {self.name} ({where})"


@dataclass(frozen=True)
class ModelEntry:
    """A checkpoint.

    Attributes:
        name: Folder or Hub name, as `from_pretrained` takes it.
        model_type: Its architecture: a name of `ARCHITECTURES`.
        class_name: Class that was saved.
        pretrained_by: Method of its pretraining; None where the config names none.
        num_leads: Leads of its input.
        sampling_rate: Hz.
        window_seconds: Length of a window (s).
        scores: The scores of its card.
    """

    name: str
    model_type: str
    class_name: str
    pretrained_by: str | None
    num_leads: int
    sampling_rate: float
    window_seconds: float
    scores: tuple[Score, ...]

    def __str__(self) -> str:
        """Name and facts as one line, without the scores."""
        return f"{self.name} {self.facts}"

    @property
    def facts(self) -> str:
        """Class, method of pretraining and input."""
        method = f", pretrained by {self.pretrained_by}" if self.pretrained_by else ""
        leads = "1 lead" if self.num_leads == 1 else f"{self.num_leads} leads"
        return f"{self.class_name}{method}, {leads}, {self.sampling_rate:g} Hz, {self.window_seconds:g} s"


def list_models(source: str | Path | None = None) -> list[ModelEntry]:
    """List the checkpoints of a folder or of an account of the Hub.

    Repositories whose `config.json` is not of this kind are left out, as are private ones without a token.

    Args:
        source: Folder with checkpoints, or name of an account. Default: the folder `hub` if it exists, else the account
            `ecg-transformers`.

    Raises:
        CheckpointError: There is no such folder, and the Hub cannot be asked.

    Example:
        >>> [entry.name for entry in list_models("hub")][:3]  # doctest: +SKIP
        ['hub/beatgan-mitdb', 'hub/mae-moco-ecg', 'hub/moco-v3-ecg']
    """
    if source is None:
        source = DEFAULT_FOLDER if Path(DEFAULT_FOLDER).is_dir() else DEFAULT_ACCOUNT
    found = _in_folder(Path(source)) if Path(source).is_dir() else _of_account(str(source))
    return [entry for name, get in found if (entry := _entry(name, get)) is not None]


# Returns the path of a file of a checkpoint, None where it has none.
Get = Callable[[str], Path | None]


def _in_folder(folder: Path) -> Iterator[tuple[str, Get]]:
    for config in sorted(folder.glob(f"*/{_CONFIG}")):
        yield config.parent.as_posix(), partial(_local_file, config.parent)


def _local_file(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def _of_account(account: str) -> Iterator[tuple[str, Get]]:
    from huggingface_hub import HfApi

    if not account.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise CheckpointError(f"{account} is no folder; expected one, or the name of an account of the Hub.")
    with hub_errors(f"{account} is no folder, and the Hub cannot be asked for the account"):
        check_hub()
        names = sorted(model.id for model in HfApi().list_models(author=account))
    for name in names:
        yield name, partial(_remote_file, name)


def _remote_file(repo_id: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repo_id, name))
    except EntryNotFoundError:
        return None


def _entry(name: str, get: Get) -> ModelEntry | None:
    path = get(_CONFIG)
    if path is None:
        return None
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ModelEntry(
            name,
            config["model_type"],
            config["architectures"][0],
            config.get("pretrained_by"),
            config["num_leads"],
            config["sampling_rate"],
            config["window_size"] / config["sampling_rate"],
            _scores(get(_CARD)),
        )
    except (KeyError, IndexError, TypeError, ValueError):  # a repository of another kind
        return None


def _scores(path: Path | None) -> tuple[Score, ...]:
    """The scores in the head of a model card."""
    from huggingface_hub import ModelCard

    if path is None:
        return ()
    results = ModelCard.load(path, ignore_metadata_errors=True).data.eval_results or []
    return tuple(
        Score(
            one.metric_name or one.metric_type,
            one.metric_value,
            one.dataset_name,
            one.dataset_config or "",
            one.dataset_split or "",
        )
        for one in results
    )
