"""`publish`: from a checkpoint of a run to a folder, or a repository on the Hub, that anybody can open."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, get_token
from transformers.utils import logging

from ..errors import CheckpointError
from ..files import replace_folder
from ..signals.formats.readers import read_record
from ..signals.record import EcgRecord
from .card.card import render_card
from .card.facts import Material, gather_facts, load_material
from .card.head import split_head, unstated
from .card.pictures import copy_pictures, draw_pictures
from .export import Opened, open_checkpoint, write_checkpoint
from .folder import CARD_FILE, CONFIG_FILE, LICENSE_FILE, TEMPLATE_FILE
from .golden import GOLDEN_FILE, compare_golden, read_golden_record, write_golden
from .verify import Verification, verify

__all__ = ["Publication", "publish"]

logger = logging.get_logger(__name__)

# Stale files of an earlier publication that would be loaded with the new one; others of a repository are kept.
REPLACED_ON_HUB = ["*.py", "*.safetensors", "*.json"]


@dataclass(frozen=True)
class Publication:
    """What was published.

    Attributes:
        folder: The written folder, or None where only the Hub has it.
        files: Names of the files.
        repo_id: Repository, or None.
        revision: Commit on the Hub, or None where nothing was sent.
        url: Address of the commit, or None.
        verification: What was checked before.
    """

    folder: Path | None
    files: tuple[str, ...]
    repo_id: str | None
    revision: str | None
    url: str | None
    verification: Verification


def publish(
    checkpoint: str | Path,
    repo_id: str | None = None,
    *,
    output_dir: str | Path | None = None,
    dry_run: str | Path | bool | None = None,
    push: bool = False,
    private: bool = True,
    card: str | Path | None = None,
    golden_record: EcgRecord | str | Path | None = None,
    golden_source: str = "",
    with_pretraining_state: bool = False,
    with_decoder: bool = False,
    bundle_code: bool = True,
    weights_dtype: Literal["bfloat16", "float32"] = "bfloat16",
    max_shard_size: int | str = "5GB",
    require_results: bool | None = None,
    source: str = "",
    clean_process: bool = True,
) -> Publication:
    """Publishes a checkpoint; everything is verified first, and a folder is written atomically.

    Args:
        checkpoint: Folder of a run, or of an earlier publication. Of a pretraining checkpoint the encoder is published.
        repo_id: Repository on the Hub, `owner/name`. Without `push` only the card names it.
        output_dir: Folder to write; an existing one is replaced if it holds a checkpoint.
        dry_run: A folder, as `output_dir`; `True` builds and checks, and keeps nothing.
        push: Upload to `repo_id` in one commit.
        private: Whether a new repository is private; an existing public one is then refused.
        card: Folder with `card.md`, `results.json`, `labels.csv`, `run.json`, `LICENSE`, each optional. Default: the
            checkpoint's own folder, then `../../hub_cards/<name>`.
        golden_record: Recording of the golden file; it is published with it. Default: that of `checkpoint`.
        golden_source: Its corpus and license, e.g. `"PTB-XL 1.0.3, CC BY 4.0"`.
        with_pretraining_state: Publish the whole pretraining model (`AutoModelForPreTraining`), not the encoder alone.
        with_decoder: Publish encoder and decoder of a masked autoencoder (`AutoModelForPreTraining`), without the state
            of other objectives: small, and able to reconstruct hidden patches.
        bundle_code: Write the code that opens the folder without this package.
        weights_dtype: Type of the stored parameters; buffers and BatchNorm stay float32.
        max_shard_size: Size of a weights file, e.g. `"500MB"`.
        require_results: Whether `results.json` must exist. Default: when pushing.
        source: Address of the repository of the package, from which the card says how to install it.
        clean_process: Whether to open the result (in a process without this package) before it is published.

    Raises:
        CheckpointError: If parts are missing or contradict each other, or the result does not verify.
    """
    checkpoint = Path(checkpoint)
    target = _target(repo_id, output_dir, dry_run, push)
    name = (repo_id or str(target or checkpoint.resolve())).rstrip("/").rpartition("/")[2]
    opened = open_checkpoint(checkpoint, with_pretraining_state=with_pretraining_state, with_decoder=with_decoder)
    required = push if require_results is None else require_results
    material = load_material(checkpoint, card, opened.head, required=required)
    _check_statements(opened, material, push=push)
    with _staging(target) as folder:
        write_checkpoint(folder, opened, weights_dtype, max_shard_size, bundle_code=bundle_code)
        _write_golden(folder, checkpoint, opened, golden_record, golden_source)
        shutil.copyfile(_license_file(material.folder, checkpoint), folder / LICENSE_FILE)
        _write_card(folder, opened, material, name, _shown(repo_id, target) or name, source=source)
        verification = verify(folder, results=material.results, clean_process=clean_process)
        revision, url = _push(folder, str(repo_id), name, private) if push else (None, None)
        if target is not None:
            replace_folder(folder, target.resolve())
    return Publication(target, verification.files, repo_id, revision, url, verification)


def _target(
    repo_id: str | None, output_dir: str | Path | None, dry_run: str | Path | bool | None, push: bool
) -> Path | None:
    folders = [Path(folder) for folder in (output_dir, dry_run) if folder is not None and not isinstance(folder, bool)]
    if push and (repo_id is None or dry_run):
        raise CheckpointError("push=True needs a repo_id and no dry_run.")
    if len(folders) > 1:
        raise CheckpointError("output_dir and a dry_run folder name the same thing; give one of them.")
    if not folders and not push and dry_run is not True and repo_id is None:
        raise CheckpointError("No destination given; set output_dir=..., or repo_id=... with push=True.")
    target = folders[0] if folders else None
    if target is not None and target.exists() and (not target.is_dir() or _foreign(target)):
        raise CheckpointError(f"{target} exists and holds no checkpoint; it would be replaced. Name another folder.")
    return target


def _check_statements(opened: Opened, material: Material, *, push: bool) -> None:
    """Asks for the licenses that the card leaves open; the license of the weights goes into the config too."""
    if material.template is None:
        return
    head, _ = split_head(material.template)
    if lacking := unstated(head):
        text = f"{material.folder / TEMPLATE_FILE} does not state: {', '.join(lacking)}. Fill them in"
        if push:
            raise CheckpointError(f"{text}; a checkpoint is uploaded with the licenses of all it was made from.")
        logger.warning(f"{text} before it is pushed.")
    elif head.get("license"):
        opened.model.config.license = str(head["license"])  # type: ignore[union-attr]  # every model has an EcgConfig


def _foreign(folder: Path) -> bool:
    return any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file()


def _shown(repo_id: str | None, target: Path | None) -> str | None:
    """What the card names as the argument of `from_pretrained`; never an absolute path of this machine."""
    if repo_id is None and target is not None and not target.is_absolute() and ".." not in target.parts:
        return target.as_posix()
    return repo_id


def _write_golden(
    folder: Path, checkpoint: Path, opened: Opened, record: EcgRecord | str | Path | None, source: str
) -> None:
    if record is not None:
        record = record if isinstance(record, EcgRecord) else read_record(record)
        return write_golden(folder, record, opened.extractor, source=source)
    found = read_golden_record(checkpoint)
    if found is None:
        raise CheckpointError(
            f"{checkpoint} has no golden recording yet; set golden_record= to one recording that may be published."
        )
    # The stored file is kept to the bit where it still holds; another processor would give other last digits.
    shutil.copyfile(checkpoint / GOLDEN_FILE, folder / GOLDEN_FILE)
    if source or not compare_golden(folder, opened.extractor).passed:
        write_golden(folder, found[0], opened.extractor, source=source or found[1])
    return None


def _write_card(folder: Path, opened: Opened, material: Material, name: str, shown: str, *, source: str) -> None:
    draw_pictures(folder, material.results)
    copy_pictures(folder, material.folder, material.template or "")
    facts = gather_facts(folder, opened, material, name=name, shown=shown, source=source)
    (folder / CARD_FILE).write_text(render_card(facts, material.template), encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)


def _license_file(card_folder: Path, checkpoint: Path) -> Path:
    """The license of the weights if their author wrote one, else that of the package (Apache-2.0)."""
    candidates = [card_folder / LICENSE_FILE, checkpoint / LICENSE_FILE]
    try:
        files = metadata.files("ecg_transformers") or []
        candidates += [Path(str(file.locate())) for file in files if file.name == LICENSE_FILE]
    except metadata.PackageNotFoundError:
        pass
    candidates.append(Path(__file__).resolve().parents[2] / LICENSE_FILE)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise CheckpointError(f"No {LICENSE_FILE} was found; put one into {card_folder}.")
    return found


@contextmanager
def _staging(target: Path | None) -> Iterator[Path]:
    """An empty folder on the file system of the target, so that it can be renamed; removed on any error."""
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    parent = None if target is None else target.resolve().parent
    folder = Path(tempfile.mkdtemp(prefix=".publishing-", dir=parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _push(folder: Path, repo_id: str, name: str, private: bool) -> tuple[str, str]:
    if get_token() is None:
        raise CheckpointError("No token for the Hub was found; log in with `hf auth login` or set HF_TOKEN.")
    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    if private and api.repo_info(repo_id).private is False:
        raise CheckpointError(f"{repo_id} exists and is public; set private=False (--public) to publish there.")
    commit = api.upload_folder(
        repo_id=repo_id, folder_path=folder, commit_message=f"Publish {name}", delete_patterns=REPLACED_ON_HUB
    )
    logger.info(f"Published {repo_id} at revision {commit.oid}.")
    return commit.oid, commit.commit_url
