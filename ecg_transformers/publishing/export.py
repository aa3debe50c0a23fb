"""The files that make a checkpoint: weights, config, preprocessor and code, from a run's folder to a published one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import nn

from ..auto import ARCHITECTURES, Architecture
from ..errors import CheckpointError
from ..features.agreement import check_contract
from ..features.extractor import EcgFeatureExtractor
from ..inference.loading import quiet_loading
from ..modeling import EcgPreTrainedModel
from .bundle import bundle
from .folder import (
    CONFIG_FILE,
    EXTRACTOR_FILE,
    auto_classes,
    check_shapes,
    find_class,
    read_json,
)

__all__ = ["PIPELINES", "Opened", "open_checkpoint", "write_checkpoint"]


@dataclass(frozen=True)
class RemotePipeline:
    """The pipeline that a published folder brings along.

    Attributes:
        task: Task of the Hub whose snippets it answers: the `pipeline_tag` of the card.
        module: Module of its class, whose code is bundled.
        name: Name of its class.
        auto_class: Auto class of its model.
    """

    task: str
    module: str
    name: str
    auto_class: str


_PIPELINES = "ecg_transformers.pipelines"
# By published head; the Hub shows `pipeline(TASK, model=..., trust_remote_code=True)`.
PIPELINES = {
    "classifier": RemotePipeline(
        "audio-classification", f"{_PIPELINES}.labels", "LabelPipeline", "AutoModelForSequenceClassification"
    ),
    **dict.fromkeys(
        ("encoder", "pretraining"),
        RemotePipeline("feature-extraction", f"{_PIPELINES}.embeddings", "EmbeddingPipeline", "AutoModel"),
    ),
}


@dataclass(frozen=True)
class Opened:
    """A checkpoint, opened with the classes of this package.

    Attributes:
        architecture: Its registry row.
        head: The head that is published: `"encoder"`, `"classifier"`, `"pretraining"` ...
        model: That model in eval mode, float32.
        extractor: Its feature extractor.
    """

    architecture: Architecture
    head: str
    model: EcgPreTrainedModel
    extractor: EcgFeatureExtractor


def open_checkpoint(checkpoint: Path, *, with_pretraining_state: bool, with_decoder: bool = False) -> Opened:
    """Opens the model of a checkpoint that is to be published: of a pretraining checkpoint the first other head.

    Args:
        checkpoint: Folder of a run, or of an earlier publication.
        with_pretraining_state: Keep the whole pretraining model.
        with_decoder: Keep of a masked autoencoder the encoder and the decoder. Default: no.

    Raises:
        CheckpointError: If parts are missing or contradict each other.
    """
    if not (checkpoint / CONFIG_FILE).is_file():
        raise CheckpointError(f"{checkpoint} has no {CONFIG_FILE}; expected the folder of a checkpoint.")
    if not (checkpoint / EXTRACTOR_FILE).is_file():
        raise CheckpointError(
            f"{checkpoint} has no {EXTRACTOR_FILE}; a checkpoint is published with its preprocessing. "
            "Save it with extractor.save_pretrained(folder)."
        )
    architecture, saved = find_class(checkpoint, read_json(checkpoint / CONFIG_FILE))
    classes = architecture.models
    config = architecture.config.from_pretrained(checkpoint)
    check_shapes(checkpoint, classes[saved], config)
    without = _other_losses(checkpoint, saved, config) if with_decoder else {}
    if with_pretraining_state and saved != "pretraining":
        raise CheckpointError(f"{checkpoint} is a {classes[saved].__name__} and has no pretraining state to publish.")
    head = saved
    if saved == "pretraining" and not (with_pretraining_state or with_decoder):
        head = next((one for one in classes if one != "pretraining"), saved)
    model = _load_whole(checkpoint, classes[head], **without)
    if head == "classifier":
        _check_labels(checkpoint, model)
    # A family that trains a backbone publishes the backbone under its own type, with its own extractor.
    model = model.published_model().eval()
    architecture = ARCHITECTURES[str(model.config.model_type)]
    extractor = architecture.feature_extractor.from_pretrained(checkpoint)
    check_contract(model.config, extractor)
    return Opened(architecture, head, model, extractor)


def write_checkpoint(
    folder: Path, opened: Opened, weights_dtype: str, max_shard_size: int | str, *, bundle_code: bool
) -> None:
    """Writes weights, config and preprocessor, and the code that opens them without this package.

    Parameters are rounded to `weights_dtype`; buffers and all of BatchNorm stay float32. The config states float32, so
    that the weights load and run as float32.

    Args:
        folder: Folder to write to.
        opened: The checkpoint.
        weights_dtype: `"bfloat16"` or `"float32"`.
        max_shard_size: Size of a weights file, e.g. `"500MB"`.
        bundle_code: Whether to write the code and name it in `auto_map`.
    """
    _write_weights(folder, opened.model, weights_dtype, max_shard_size)
    config = json.loads(opened.model.config.to_json_string())
    for key in ("_name_or_path", "custom_pipelines", "torch_dtype", "auto_map"):
        config.pop(key, None)
    config |= {"architectures": [type(opened.model).__name__], "dtype": "float32"}
    extractor = json.loads(opened.extractor.to_json_string())
    extractor.pop("auto_map", None)
    if bundle_code:
        config["auto_map"], pipelines = _write_code(folder, opened)
        config |= {"custom_pipelines": pipelines} if pipelines else {}
        extractor["auto_map"] = {"AutoFeatureExtractor": config["auto_map"]["AutoFeatureExtractor"]}
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / EXTRACTOR_FILE, extractor)


def _other_losses(checkpoint: Path, head: str, config: Any) -> dict[str, float]:
    """The weights of all losses but the reconstruction, as 0: what only they need is not built."""
    if head != "pretraining" or not getattr(config, "reconstruction_weight", 0):
        raise CheckpointError(
            f"{checkpoint} has no decoder of a masked autoencoder; expected a pretraining checkpoint with the loss "
            "reconstruction_loss. Leave with_decoder out."
        )
    names = (name for name in config.to_dict() if name.endswith("_weight") and name != "reconstruction_weight")
    return dict.fromkeys(names, 0.0)


def _load_whole(checkpoint: Path, model_class: type[EcgPreTrainedModel], **changes: Any) -> EcgPreTrainedModel:
    with quiet_loading():
        loaded: Any = model_class.from_pretrained(
            checkpoint, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **changes
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
    return model.eval()


def _check_labels(checkpoint: Path, model: EcgPreTrainedModel) -> None:
    config: Any = model.config
    codes = list((config.id2label or {}).values())
    if all(str(code).startswith("LABEL_") for code in codes):
        raise CheckpointError(f"{checkpoint} has outputs without names (LABEL_0 ...); set id2label in its config.")
    for field in ("label_names", "thresholds"):
        values = getattr(config, field)
        if values is not None and len(values) != len(codes):
            raise CheckpointError(f"{checkpoint} has {len(codes)} labels but {len(values)} {field}; set one per label.")


def _write_weights(folder: Path, model: EcgPreTrainedModel, dtype: str, max_shard_size: int | str) -> None:
    # BatchNorm is one affine map per channel: rounding a part of it to 8 bits would shift every value of the channel.
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    rounded = {
        name
        for name, value in model.named_parameters(remove_duplicate=False)
        if value.is_floating_point() and name.rpartition(".")[0] not in norms
    }
    target = getattr(torch, dtype)
    state = {name: value.to(target) if name in rounded else value for name, value in model.state_dict().items()}
    save_torch_state_dict(state, folder, max_shard_size=max_shard_size)


def _write_code(folder: Path, opened: Opened) -> tuple[dict[str, str], dict[str, Any]]:
    """Writes the bundled source and returns what names its classes: `auto_map` and `custom_pipelines` of the config."""
    row = opened.architecture
    classes = {"AutoConfig": row.config, "AutoFeatureExtractor": row.feature_extractor}
    # Besides the published class, what can be put on an encoder: any other head would come without its weights.
    for head, model_class in row.models.items():
        if head in ("encoder", "classifier", opened.head):
            classes |= dict.fromkeys(auto_classes(head, model_class), model_class)
    remote = PIPELINES.get(opened.head)
    modules = [one.__module__ for one in classes.values()] + ([] if remote is None else [remote.module])
    source = bundle(modules, with_pretraining=opened.head == "pretraining")
    for name, text in source.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    auto_map = {auto_class: source.reference(one.__module__, one.__name__) for auto_class, one in classes.items()}
    if remote is None:
        return auto_map, {}
    implementation = source.reference(remote.module, remote.name)
    return auto_map, {remote.task: {"impl": implementation, "pt": [remote.auto_class]}}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    # Sorted at the top only: labels stay in the order of the outputs.
    path.write_text(json.dumps(dict(sorted(values.items())), indent=2) + "\n", encoding="utf-8")
