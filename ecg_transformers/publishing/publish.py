"""`publish`: from a checkpoint of a run to a folder, or a repository on the Hub, that anybody can open."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import HfApi, get_token, save_torch_state_dict
from torch import nn
from transformers.utils import logging

from ..auto import Architecture
from ..configuration import EcgConfig
from ..corpora import CORPORA, corpus_definition
from ..corpora.sources.synthetic import synthetic_definition
from ..errors import CheckpointError
from ..features.agreement import check_contract
from ..features.extractor import EcgFeatureExtractor
from ..modeling import EcgPreTrainedModel
from ..signals.formats.readers import read_record
from ..signals.record import EcgRecord
from .bundle import bundle
from .card.card import render_card
from .card.facts import CardFacts, PublishedFile
from .card.labels import load_label_figures
from .card.pictures import draw_pictures
from .card.results import load_results
from .golden import describe_golden, read_golden_record, write_golden
from .inspection import check_shapes, find_class
from .verify import (
    CARD_FILE,
    CONFIG_FILE,
    EXTRACTOR_FILE,
    LICENSE_FILE,
    Verification,
    read_json,
    verify,
)

__all__ = ["Publication", "publish"]

logger = logging.get_logger(__name__)

# Stale files of an earlier publication that would be loaded with the new one; others of a repository are kept.
REPLACED_ON_HUB = ["*.py", "*.safetensors", "*.json"]

# What a pretraining run writes about itself.
RUN_FILE = "run.json"
# What a fine-tuning writes beside its results.
LABELS_FILE = "labels.csv"

Kind = Literal["encoder", "classifier", "pretraining"]


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


@dataclass(frozen=True)
class _Opened:
    """A checkpoint of a run, opened by the package."""

    architecture: Architecture
    kind: Kind
    model: EcgPreTrainedModel
    extractor: EcgFeatureExtractor


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
    weights_dtype: Literal["bfloat16", "float32"] = "bfloat16",
    max_shard_size: int | str = "5GB",
    require_results: bool | None = None,
    clean_process: bool = True,
) -> Publication:
    """Publishes a checkpoint: weights, config, preprocessing, golden recording, card, license and code, all checked.

    A pretraining checkpoint is published as its encoder, a classification checkpoint as its classifier. Weights are
    rounded to bfloat16 (buffers and BatchNorm's scale and shift stay float32) while the config says float32, so that
    they load and run as float32. Whatever is written is verified first; a folder appears whole or not at all.

    Args:
        checkpoint: Folder of a run, or of an earlier publication.
        repo_id: Repository on the Hub, `owner/name`. Without `push` it only stands in the card.
        output_dir: Folder to write; one that exists is replaced if it holds a checkpoint.
        dry_run: A folder to write the exact tree to, as `output_dir`; `True` builds and checks, and keeps nothing.
        push: Upload to `repo_id` in one commit.
        private: Whether a new repository is private. A public one that exists is refused while this is set.
        card: Folder with `card.md` (template), `results.json`, `labels.csv`, `run.json` and `LICENSE`, each
            optional; by default the checkpoint's own folder, then `hub_cards/<name>` beside the folder that holds
            the checkpoint.
        golden_record: The recording of the golden file, a record or a file; by default the one of `checkpoint`.
            It is published: take one whose license allows that.
        golden_source: Corpus and license of that recording in words, e.g. `"PTB-XL 1.0.3, CC BY 4.0"`.
        with_pretraining_state: Publish everything that pretraining needs (`AutoModelForPreTraining`) instead of the
            encoder.
        weights_dtype: Type of the stored parameters.
        max_shard_size: Size of a weights file, e.g. `"500MB"`.
        require_results: Whether `results.json` must be there; by default when pushing.
        clean_process: Whether to open the result in a process without this package before it is published.

    Returns:
        Where it is, and on the Hub at which revision.

    Raises:
        CheckpointError: If parts are missing or contradict each other, or the result does not verify.

    Example:
        >>> publish("hub/mae-moco-ecg", "me/mae-moco-ecg", dry_run="out/")  # doctest: +SKIP
    """
    checkpoint = Path(checkpoint)
    target = _target(repo_id, output_dir, dry_run, push)
    name = (repo_id or str(target or checkpoint.resolve())).rstrip("/").rpartition("/")[2]
    opened = _open(checkpoint, with_pretraining_state)
    card_folder = _card_folder(checkpoint, card)
    results = _results(card_folder, required=push if require_results is None else require_results)
    record, source = _golden(checkpoint, golden_record, golden_source)
    with _staging(target) as folder:
        _write_weights(folder, opened.model, weights_dtype, max_shard_size)
        _write_code_and_configs(folder, opened)
        encoder = opened.architecture.model.from_pretrained(folder, use_safetensors=True)
        write_golden(folder, record, opened.extractor, encoder.eval(), source=source)
        shutil.copyfile(_license_file(card_folder, checkpoint), folder / LICENSE_FILE)
        draw_pictures(folder, results)
        run_file = _find_file(RUN_FILE, checkpoint, card_folder)
        run = read_json(run_file) if run_file else {}
        # Figures of labels stand beside those of results.json or not at all.
        table = _find_file(LABELS_FILE, card_folder, checkpoint) if results and opened.kind == "classifier" else None
        labels = load_label_figures(table) if table else []
        shown = _shown_name(repo_id, target, name)
        facts = _facts(folder, opened, name=name, shown=shown, results=results, run=run, label_figures=labels)
        template = card_folder / "card.md"
        text = render_card(facts, template.read_text(encoding="utf-8") if template.is_file() else None)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        for path in folder.iterdir():
            path.chmod(0o644)
        verification = verify(folder, results=results, clean_process=clean_process)
        revision, url = _push(folder, str(repo_id), name, private) if push else (None, None)
        if target is not None:
            _move(folder, target)
    if push:
        logger.info(f"Published {repo_id} at revision {revision}.")
    return Publication(target, verification.files, repo_id, revision, url, verification)


def _target(
    repo_id: str | None, output_dir: str | Path | None, dry_run: str | Path | bool | None, push: bool
) -> Path | None:
    keeps_nothing = dry_run is True
    folders = [Path(folder) for folder in (output_dir, dry_run) if folder is not None and not isinstance(folder, bool)]
    if push and (repo_id is None or dry_run):
        raise CheckpointError("push=True needs a repo_id and no dry_run.")
    if len(folders) > 1:
        raise CheckpointError("output_dir and a dry_run folder name the same thing; give one of them.")
    if not folders and not push and not keeps_nothing and repo_id is None:
        raise CheckpointError("Nothing says where to publish; set output_dir=..., or repo_id=... with push=True.")
    target = folders[0] if folders else None
    if target is not None and target.exists() and (not target.is_dir() or _foreign(target)):
        raise CheckpointError(f"{target} exists and holds no checkpoint; it would be replaced. Name another folder.")
    return target


def _foreign(folder: Path) -> bool:
    return any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file()


def _open(checkpoint: Path, with_pretraining_state: bool) -> _Opened:
    if not (checkpoint / CONFIG_FILE).is_file():
        raise CheckpointError(f"{checkpoint} has no {CONFIG_FILE}; expected the folder of a checkpoint.")
    if not (checkpoint / EXTRACTOR_FILE).is_file():
        raise CheckpointError(
            f"{checkpoint} has no {EXTRACTOR_FILE}; a checkpoint is published with its preprocessing. "
            "Save it with extractor.save_pretrained(folder)."
        )
    facts = read_json(checkpoint / CONFIG_FILE)
    architecture, saved_class = find_class(checkpoint, facts)
    config = architecture.config.from_pretrained(checkpoint)
    check_shapes(checkpoint, saved_class, config)
    pretraining = saved_class is architecture.pretraining
    if with_pretraining_state and not pretraining:
        raise CheckpointError(f"{checkpoint} is a {saved_class.__name__} and has no state of pretraining to publish.")
    kind: Kind = "classifier" if saved_class is architecture.classifier else "encoder"
    model_class = architecture.model if pretraining else saved_class
    if with_pretraining_state:
        kind, model_class = "pretraining", saved_class
    with _quiet_report():
        loaded: Any = model_class.from_pretrained(
            checkpoint, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    model, info = loaded
    if info["missing_keys"] or info["mismatched_keys"]:
        absent = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise CheckpointError(f"{checkpoint} lacks {len(absent)} tensors of {model_class.__name__}: {absent[0]} ...")
    broken = [
        key for key, value in model.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise CheckpointError(f"{checkpoint} has NaN or infinity in {', '.join(broken[:3])}; it is not published.")
    if kind == "classifier":
        _check_labels(checkpoint, model.config)
    extractor = architecture.feature_extractor.from_pretrained(checkpoint)
    check_contract(model.config, extractor)
    return _Opened(architecture, kind, model.eval(), extractor)


def _check_labels(checkpoint: Path, config: EcgConfig) -> None:
    codes = list((config.id2label or {}).values())
    if all(str(code).startswith("LABEL_") for code in codes):
        raise CheckpointError(f"{checkpoint} has outputs without names (LABEL_0 ...); set id2label in its config.")
    for field in ("label_names", "thresholds"):
        values = getattr(config, field)
        if values is not None and len(values) != len(codes):
            raise CheckpointError(f"{checkpoint} has {len(codes)} labels but {len(values)} {field}; set one per label.")


@contextmanager
def _quiet_report() -> Iterator[None]:
    """No load report: what pretraining leaves is unexpected on purpose, and missing tensors are an error here."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _card_folder(checkpoint: Path, card: str | Path | None) -> Path:
    if card is not None:
        if not Path(card).is_dir():
            raise CheckpointError(f"card={card} is not a folder; expected one with card.md and results.json.")
        return Path(card)
    own = checkpoint.resolve()
    beside = own.parent.parent / "hub_cards" / own.name
    return own if (own / "results.json").is_file() or not beside.is_dir() else beside


def _results(card_folder: Path, *, required: bool) -> list[dict]:
    path = card_folder / "results.json"
    if path.is_file():
        return load_results(path)
    if required:
        raise CheckpointError(
            f"{card_folder} has no results.json; a checkpoint is published with its figures. Write them with "
            "training/score.py --card NAME, or set require_results=False."
        )
    logger.warning_once(f"{card_folder.name} has no results.json: the card says that nothing was evaluated.")
    return []


def _find_file(name: str, *folders: Path) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _golden(checkpoint: Path, record: EcgRecord | str | Path | None, source: str) -> tuple[EcgRecord, str]:
    if record is None:
        found = read_golden_record(checkpoint)
        if found is None:
            raise CheckpointError(
                f"{checkpoint} has no golden recording yet; set golden_record= to one recording that may be published."
            )
        return found[0], source or found[1]
    return (record if isinstance(record, EcgRecord) else read_record(record)), source


@contextmanager
def _staging(target: Path | None) -> Iterator[Path]:
    """An empty folder beside the target (so that it can be renamed), removed if anything goes wrong."""
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    parent = None if target is None else target.resolve().parent
    folder = Path(tempfile.mkdtemp(prefix=".publishing-", dir=parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    target = target.resolve()
    old = folder.with_name(f"{folder.name}-old")
    if target.exists():
        os.rename(target, old)
    os.rename(folder, target)
    shutil.rmtree(old, ignore_errors=True)


def _write_weights(folder: Path, model: EcgPreTrainedModel, dtype: str, max_shard_size: int | str) -> None:
    # BatchNorm is one affine map per channel: rounding a part of it to 8 bits would move every value of the channel.
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    rounded = {
        name
        for name, value in model.named_parameters(remove_duplicate=False)
        if value.is_floating_point() and name.rpartition(".")[0] not in norms
    }
    target = getattr(torch, dtype)
    state = {name: value.to(target) if name in rounded else value for name, value in model.state_dict().items()}
    save_torch_state_dict(state, folder, max_shard_size=max_shard_size)


def _write_code_and_configs(folder: Path, opened: _Opened) -> None:
    architecture = opened.architecture
    classes = {
        "AutoConfig": architecture.config,
        "AutoModel": architecture.model,
        "AutoModelForSequenceClassification": architecture.classifier,
        "AutoModelForAudioClassification": architecture.classifier,
        "AutoFeatureExtractor": architecture.feature_extractor,
    }
    if opened.kind == "pretraining":
        classes["AutoModelForPreTraining"] = type(opened.model)
    modules = [one.__module__ for one in classes.values()]
    source = bundle(modules, with_pretraining=opened.kind == "pretraining")
    for name, text in source.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    auto_map = {auto_class: source.reference(one.__module__, one.__name__) for auto_class, one in classes.items()}
    config = json.loads(opened.model.config.to_json_string())
    for key in ("_name_or_path", "custom_pipelines", "torch_dtype"):
        config.pop(key, None)
    config |= {"architectures": [type(opened.model).__name__], "auto_map": auto_map, "dtype": "float32"}
    _write_json(folder / CONFIG_FILE, config)
    extractor = json.loads(opened.extractor.to_json_string())
    extractor["auto_map"] = {"AutoFeatureExtractor": auto_map["AutoFeatureExtractor"]}
    _write_json(folder / EXTRACTOR_FILE, extractor)


def _write_json(path: Path, values: Mapping) -> None:
    # Sorted at the top only: labels stay in the order of the outputs.
    path.write_text(json.dumps(dict(sorted(values.items())), indent=2) + "\n", encoding="utf-8")


def _license_file(card_folder: Path, checkpoint: Path) -> Path:
    """The license of the weights if their author wrote one, else the package's (Apache-2.0)."""
    candidates = [card_folder / LICENSE_FILE, checkpoint / LICENSE_FILE]
    package = Path(__file__).resolve().parents[2]
    try:
        files = metadata.files("ecg_transformers") or []
        candidates += [Path(str(file.locate())) for file in files if file.name == LICENSE_FILE]
    except metadata.PackageNotFoundError:
        pass
    candidates.append(package / LICENSE_FILE)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise CheckpointError(f"No {LICENSE_FILE} was found; put one into {card_folder}.")
    return found


def _shown_name(repo_id: str | None, target: Path | None, name: str) -> str:
    """What the card tells a user to pass to `from_pretrained`; never a path of this machine."""
    if repo_id is not None:
        return repo_id
    if target is not None and not target.is_absolute() and ".." not in target.parts:
        return target.as_posix()
    return name


def _facts(
    folder: Path,
    opened: _Opened,
    *,
    name: str,
    shown: str,
    results: Sequence[Mapping],
    run: Mapping,
    label_figures: Sequence[Mapping],
) -> CardFacts:
    config = opened.model.config
    codes = [str(code) for code in (config.id2label or {}).values()]
    files = [
        PublishedFile(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
        if path.name != CARD_FILE
    ]
    trained_on = [run["corpus"]] if isinstance(run.get("corpus"), dict) else []
    corpora = dict.fromkeys(
        str(name) for name in [*(one["name"] for one in trained_on), *(one["corpus"] for one in results)]
    )
    return CardFacts(
        name=name,
        checkpoint=shown,
        kind=opened.kind,
        architecture=type(opened.model).__name__,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        lead_names=config.lead_names,
        sampling_rate=config.sampling_rate,
        window_size=config.window_size,
        embedding_size=config.pooled_size,
        contract=opened.extractor.describe(),
        contract_hash=opened.extractor.contract_hash(),
        intended_use=config.intended_use,
        license=config.license,
        golden=describe_golden(folder),
        files=files,
        labels=list(zip(codes, config.label_names or codes, strict=True)) if opened.kind == "classifier" else [],
        problem_type=str(config.problem_type),
        has_thresholds=config.thresholds is not None,
        label_figures=label_figures,
        results=results,
        run=run,
        corpora=[_corpus_facts(corpus) for corpus in corpora],
    )


def _corpus_facts(name: str) -> Mapping:
    if name == "synthetic":
        return synthetic_definition(10).facts()
    return corpus_definition(name).facts() if name in CORPORA else {"name": name}


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
    return commit.oid, commit.commit_url
