"""A checkpoint as a classifier for a task: built from an encoder, given the head of a probe, saved as a folder."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForSequenceClassification
from transformers.utils import logging

from ..auto import ARCHITECTURES
from ..corpora.protocol import Task
from ..errors import CheckpointError
from ..features.agreement import check_contract
from .probes.attentive import AttentiveHead
from .probes.linear import LinearProbe
from .results.store import read_results

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = [
    "build_classifier",
    "classifier_codes",
    "load_extractor",
    "pretraining_facts",
    "save_classifier",
    "set_attentive_head",
    "set_linear_head",
]

# Parts of a classifier that an encoder's checkpoint does not hold.
_HEAD = ("classifier.", "pooling.")


def load_extractor(
    checkpoint: str | Path, *, window_seconds: float | None = None, window_stride_seconds: float | None = None
) -> "EcgFeatureExtractor":
    """The checkpoint's feature extractor, checked against its config; with other windows if they are asked for.

    Args:
        checkpoint: Folder or Hub name.
        window_seconds: Length of a window; the checkpoint's own if not given.
        window_stride_seconds: Distance of two windows in evaluation; if only the length is given, the same share of a
            window as the checkpoint has it.

    Raises:
        CheckpointError: Rate, window or leads differ between the two files.
    """
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    config = AutoConfig.from_pretrained(checkpoint)
    check_contract(config, extractor)
    changes: dict[str, int] = {}
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
    pooling: str | None = None,
    layer: int = -1,
    linear_head: bool = False,
    window_size: int | None = None,
    initialization: Literal["pretrained", "random"] = "pretrained",
    seed: int = 0,
    **options: object,
) -> "EcgForSequenceClassification":
    """A classifier for a task on the encoder of a checkpoint, its head freshly initialized.

    Args:
        checkpoint: Folder or Hub name of any checkpoint of the package (encoder, pretraining state, classifier). For
            new weights everywhere its `config.json` is enough.
        task: What is predicted: labels, names, kind.
        pooling: What the head reads; `"cls_mean"` for an encoder with [CLS], `"cls"` (its joined poolings) for another,
            when `None`.
        layer: Whose tokens it reads.
        linear_head: One linear layer, whatever head the config asks for.
        window_size: Samples of a window; the checkpoint's own if not given.
        initialization: `"random"` builds the same architecture with new weights everywhere.
        seed: Of the new weights.
        **options: For `from_pretrained`, such as `attn_implementation`.

    Raises:
        CheckpointError: The checkpoint lacks tensors of the encoder, or cannot take the window.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    if pooling is None:
        pooling = "cls_mean" if ARCHITECTURES[config.model_type].model.has_cls_token else "cls"
    config.id2label = dict(enumerate(task.codes))
    config.label2id = {code: number for number, code in enumerate(task.codes)}
    config.label_names = list(task.names)
    config.label_system = task.system
    config.problem_type = task.problem_type
    config.thresholds = None
    config.pooling, config.layer = pooling, layer
    if linear_head:
        config.head_hidden_sizes, config.head_dropout, config.head_batch_norm = [], 0.0, False
    # New weights are drawn from torch's generator; the caller's state is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, **options).eval()
        model = fresh if initialization == "random" else _with_encoder(checkpoint, fresh, **options)
    if window_size not in (None, config.window_size):
        model.resize_window(window_size)
    return model


def _with_encoder(
    checkpoint: str | Path, fresh: "EcgForSequenceClassification", **options: object
) -> "EcgForSequenceClassification":
    """The checkpoint's encoder with the head of a new model: a head of another task is no start for this one."""
    with _quiet_loading():
        model, report = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, config=fresh.config, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True,
            output_loading_info=True, **options,
        )  # fmt: skip
    lacking = sorted(name for name in report["missing_keys"] if not name.startswith(_HEAD))
    if lacking:
        raise CheckpointError(
            f"{checkpoint} lacks {len(lacking)} tensors of the encoder (first {lacking[0]}); expected all. "
            "Use a checkpoint of this architecture."
        )
    mismatched = [item[0] for item in report["mismatched_keys"] if not item[0].startswith(_HEAD)]
    if mismatched:
        raise CheckpointError(f"{checkpoint} has {mismatched[0]} in another shape than its config says.")
    model.pooling, model.classifier = fresh.pooling, fresh.classifier
    return model


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the library's table of tensors that pretraining has more and the head has less: both are checked here."""
    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@torch.no_grad()
def set_linear_head(model: "EcgForSequenceClassification", probe: LinearProbe) -> None:
    """Give the classifier the linear layer of a probe."""
    model.classifier.weight.copy_(probe.weight)
    model.classifier.bias.copy_(probe.bias)


@torch.no_grad()
def set_attentive_head(model: "EcgForSequenceClassification", head: AttentiveHead) -> None:
    """Give the classifier the attention pooling and linear layer of an attentive probe."""
    model.pooling.attention.load_state_dict(head.attention.state_dict())
    model.classifier.load_state_dict(head.classifier.state_dict())


def classifier_codes(checkpoint: str | Path) -> tuple[str, ...] | None:
    """The codes that a checkpoint predicts, in its order; `None` if it is no classifier."""
    config = AutoConfig.from_pretrained(checkpoint)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return None
    return tuple(config.id2label[number] for number in sorted(config.id2label))


def save_classifier(
    model: "EcgForSequenceClassification",
    extractor: "EcgFeatureExtractor",
    folder: str | Path,
    *,
    thresholds: np.ndarray | None,
) -> None:
    """Write a checkpoint folder that `AutoModelForSequenceClassification` opens; each file appears whole.

    Args:
        model: The classifier.
        extractor: Its feature extractor.
        folder: Where to; other files there stay.
        thresholds: `(labels,)`, one decision threshold per label, kept in the config.
    """
    folder = Path(folder)
    model.config.thresholds = None if thresholds is None else [float(value) for value in thresholds]
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    model.save_pretrained(unfinished)
    extractor.save_pretrained(unfinished)
    for file in unfinished.iterdir():
        os.replace(file, folder / file.name)
    unfinished.rmdir()


def pretraining_facts(checkpoint: str | Path) -> dict[str, Any]:
    """What is known of a checkpoint's pretraining: records, epochs, steps, hardware, hours, and its config file.

    `labels` is the label set where the checkpoint was trained on labels (empty for a self-supervised one).

    Read from `run.json`, which a pretraining run leaves, or from the `results.json` of a fine-tuned folder; zeros where
    neither is there.
    """
    facts: dict[str, Any] = {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0}
    facts |= {"config": "", "labels": ""}
    folder = Path(checkpoint)
    found: dict[str, Any] = {}
    for file in (folder / "run.json", Path("hub_cards") / folder.name / "run.json"):
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            break
    else:
        entries = [entry for entry in read_results(folder / "results.json") if entry["initialisation"] == "pretrained"]
        if entries:
            found = {**entries[0]["pretraining"], "config": entries[0]["config"]}
    return facts | {name: found[name] for name in facts if found.get(name) is not None}
