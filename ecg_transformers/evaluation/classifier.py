"""Classifiers for a task: built from a checkpoint's encoder, given the head of a probe, saved as a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification

from ..auto import family_with
from ..corpora.protocol import Task
from ..errors import CheckpointError
from ..features.agreement import check_contract
from ..files import replace_files
from ..inference.loading import checkpoint_errors, quiet_loading
from ..metrics.thresholds import Thresholds
from ..readout import Readout
from .probes.attentive import AttentiveHead
from .probes.linear import LinearProbe
from .results.store import read_results

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = [
    "build_classifier",
    "classifier_codes",
    "load_encoder",
    "load_extractor",
    "pretraining_facts",
    "save_classifier",
    "set_attentive_head",
    "set_linear_head",
]

_DEFAULT_READOUT = Readout()


def load_extractor(
    checkpoint: str | Path,
    *,
    window_seconds: float | None = None,
    window_stride_seconds: float | None = None,
    policies: Mapping[str, Any] = MappingProxyType({}),
    used_leads: Sequence[str] | None = None,
) -> "EcgFeatureExtractor":
    """Load the checkpoint's feature extractor, checked against its config, with other windows, rules or leads.

    Args:
        checkpoint: Folder or Hub name.
        window_seconds: Window length (s). Default: that of the checkpoint.
        window_stride_seconds: Stride between windows in evaluation (s). Default: that of the checkpoint, in proportion
            to the window.
        policies: Rules for unusual recordings, as in `EcgFeatureExtractor.with_policies`. Default: the checkpoint's.
        used_leads: The leads that are used, the others being zeros. Default: the checkpoint's.

    Raises:
        CheckpointError: The checkpoint cannot be opened; rate, window or leads differ between the two files.
    """
    with checkpoint_errors(checkpoint):
        extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
        config = AutoConfig.from_pretrained(checkpoint)
    check_contract(config, extractor)
    changes: dict[str, Any] = dict(policies) | ({} if used_leads is None else {"used_leads": used_leads})
    if window_seconds is not None:
        size = round(window_seconds * extractor.sampling_rate)
        share = (extractor.window_stride or extractor.window_size) / extractor.window_size
        changes |= {"window_size": size, "window_stride": max(1, round(size * share))}
    if window_stride_seconds is not None:
        changes["window_stride"] = round(window_stride_seconds * extractor.sampling_rate)
    return AutoFeatureExtractor.from_pretrained(checkpoint, **changes) if changes else extractor


def build_classifier(
    checkpoint: str | Path,
    task: Task,
    *,
    readout: Readout = _DEFAULT_READOUT,
    head: Mapping[str, Any] | None = None,
    linear_head: bool = False,
    window_size: int | None = None,
    initialization: Literal["pretrained", "random"] = "pretrained",
    seed: int = 0,
    **options: Any,
) -> "EcgForSequenceClassification":
    """Build a classifier for a task on the encoder of a checkpoint, with a newly initialized head.

    Args:
        checkpoint: Folder or Hub name of any checkpoint of the package (encoder, pretraining state, classifier); for
            `initialization="random"` its `config.json` is sufficient.
        task: Labels, names and kind of the task.
        readout: What the head is given of the encoder. Default: its output, pooled as in `Encoder.resolved`.
        head: Fields of the config that describe the head (`head_hidden_sizes` ...). Default: the checkpoint's.
        linear_head: A single linear layer, whatever head the config has. Default: no.
        window_size: Window in samples. Default: that of the checkpoint.
        initialization: `"random"` for new weights in the whole architecture. Default: `"pretrained"`.
        seed: Seed of the new weights. Default: 0.
        **options: For `from_pretrained`, such as `attn_implementation`.

    Raises:
        CheckpointError: The family has no classifier, the checkpoint lacks tensors of the encoder, or it cannot be
            adapted to the window.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    family_with("classifier", config.model_type, checkpoint, "A probe or a fine-tuning needs one.")
    if not readout.pooling:
        with torch.device("meta"):
            readout = AutoModel.from_config(config).resolved(readout)
    readout.write_to(config)
    config.id2label = dict(enumerate(task.codes))
    config.label2id = {code: number for number, code in enumerate(task.codes)}
    config.label_names = list(task.names)
    config.label_system = task.system
    config.problem_type = task.problem_type
    config.thresholds = config.thresholds_from = None
    for name, value in (head or {}).items():
        setattr(config, name, value)
    config.check_head()
    if initialization == "random":
        config.start_from_random()
    if linear_head:
        config.head_hidden_sizes, config.head_dropout, config.head_batch_norm = [], 0.0, False
    # New weights are drawn from torch's generator; the caller's state is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, **options).eval()
        model = fresh
        if initialization != "random":
            model = load_encoder(AutoModelForSequenceClassification, checkpoint, fresh.config, **options)
            # A head for another task is no start for this one.
            model.take_head(fresh)
    if window_size not in (None, config.window_size):
        model.resize_window(window_size)
    return model


def load_encoder(model_class: Any, checkpoint: str | Path, config: "PreTrainedConfig", **options: Any) -> Any:
    """Load the encoder of a checkpoint, alone or into a model whose other parts may be new.

    Args:
        model_class: Class with `from_pretrained`; of the encoder itself or of a model around it.
        checkpoint: Folder or Hub name of any checkpoint of the family.
        config: Config of the new model.
        **options: For `from_pretrained`, such as `attn_implementation`.

    Raises:
        CheckpointError: Tensors of the encoder are missing, or have another shape.
    """
    with quiet_loading(), checkpoint_errors(checkpoint):
        model, report = model_class.from_pretrained(
            checkpoint, config=config, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True,
            output_loading_info=True, **options,
        )  # fmt: skip
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    lacking = sorted(name for name in report["missing_keys"] if name.startswith(prefix))
    if lacking:
        raise CheckpointError(
            f"{checkpoint} lacks {len(lacking)} tensors of the encoder (first {lacking[0]}); expected all. "
            "Use a checkpoint of this architecture."
        )
    mismatched = [item[0] for item in report["mismatched_keys"] if item[0].startswith(prefix)]
    if mismatched:
        raise CheckpointError(f"{checkpoint} has {mismatched[0]} of another shape than its config implies.")
    return model


@torch.no_grad()
def set_linear_head(model: "EcgForSequenceClassification", probe: LinearProbe) -> None:
    """Set the classification head to the linear layer of a probe.

    Args:
        model: A classifier with a linear head.
        probe: The fitted probe.
    """
    linear: Any = model.classifier
    linear.weight.copy_(probe.weight)
    linear.bias.copy_(probe.bias)


@torch.no_grad()
def set_attentive_head(model: "EcgForSequenceClassification", head: AttentiveHead) -> None:
    """Set pooling and classification head to those of an attentive probe.

    Args:
        model: A classifier with attention pooling and a linear head.
        head: The fitted probe's head.
    """
    model.pooling.attention.load_state_dict(head.attention.state_dict())
    model.classifier.load_state_dict(head.classifier.state_dict())


def classifier_codes(checkpoint: str | Path) -> tuple[str, ...] | None:
    """Return the codes that a checkpoint predicts, in its order; `None` if it is no classifier.

    Args:
        checkpoint: Folder or Hub name.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return None
    return tuple(config.id2label[number] for number in sorted(config.id2label))


def save_classifier(
    model: "EcgForSequenceClassification",
    extractor: "EcgFeatureExtractor",
    folder: str | Path,
    *,
    thresholds: Thresholds | None,
) -> None:
    """Save a checkpoint folder that `AutoModelForSequenceClassification` opens; each file is written atomically.

    Args:
        model: The classifier.
        extractor: Its feature extractor.
        folder: Target folder; other files in it are kept.
        thresholds: Decision thresholds, saved in the config; `None` for none.
    """
    config = model.config
    values = None if thresholds is None else thresholds.values.tolist()
    config.thresholds = None if values is None else [None if value != value else value for value in values]
    config.thresholds_from = None if thresholds is None else dict(thresholds.source)
    with replace_files(folder) as unfinished:
        with quiet_loading():
            model.save_pretrained(unfinished)
        extractor.save_pretrained(unfinished)


# Facts of a pretraining that not every run has.
_OF_THE_RUN = ("data_fraction", "budget", "seed", "queue_size", "sampling", "reduction", "select_by", "same_source")


def pretraining_facts(checkpoint: str | Path) -> dict[str, Any]:
    """Return records, epochs, steps, hardware, hours, commit and config file of a checkpoint's pretraining.

    Read from the `run.json` of a pretraining run or the `results.json` of a fine-tuned folder; zeros without either.
    `labels` is the label set of a supervised checkpoint and empty for a self-supervised one. Where the run recorded
    them: share of the data, kind of budget, seed, and which keys its objective compared (`_OF_THE_RUN`).

    Args:
        checkpoint: Folder or Hub name.
    """
    facts: dict[str, Any] = {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0}
    facts |= {"commit": "", "config": "", "labels": ""}
    folder = Path(checkpoint)
    found: dict[str, Any] = {}
    for file in (folder / "run.json", Path("hub_cards") / folder.name / "run.json"):
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            break
    else:
        entries = [entry for entry in read_results(folder / "results.json") if entry["initialization"] == "pretrained"]
        if entries:
            found = {**entries[0]["pretraining"], "config": entries[0]["config"]}
    return facts | {name: found[name] for name in (*facts, *_OF_THE_RUN) if found.get(name) is not None}
