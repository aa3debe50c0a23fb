"""The four modes: from a checkpoint and a protocol to a classifier with thresholds and its predictions.

| mode | what learns |
| --- | --- |
| `linear_probe` | a linear layer on the pooled features of the frozen encoder |
| `attentive_probe` | one query over the tokens of the frozen encoder, and the linear layer behind it |
| `fine_tune` | everything, from the pretrained encoder; the head starts as the probe unless `head_first` is off |
| `from_scratch` | everything, from new weights |

The random baseline of the probes is the same probe on the same architecture with new weights; that of `fine_tune` is
`from_scratch` with the same budget.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.utils import logging

from ..corpora.protocol import Splits
from ..errors import EcgError
from ..inference.aggregation import Aggregate
from ..inference.encode import CheckpointEncoder, encode_corpus, predict_records
from ..metrics.metrics import fit_thresholds
from ..trainer.fine_tuning import FineTuneSettings
from .classifier import build_classifier, set_attentive_head, set_linear_head
from .fine_tune import fine_tune, training_arguments
from .probes.attentive import AttentiveProbe, fit_attentive_probe
from .probes.linear import HeldOut, LinearProbe, select_linear_probe
from .results.predictions import Predictions

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = ["BASELINES", "MODES", "Mode", "Outcome", "baseline_name", "evaluate_as_is", "run_mode"]

logger = logging.get_logger(__name__)

Mode = Literal["linear_probe", "attentive_probe", "fine_tune", "from_scratch"]
MODES: tuple[Mode, ...] = ("linear_probe", "attentive_probe", "fine_tune", "from_scratch")

# What a mode is compared with: mode and initialization. Nothing stands beside a run from scratch.
BASELINES: dict[str, tuple[Mode, Literal["pretrained", "random"]]] = {
    "linear_probe": ("linear_probe", "random"),
    "attentive_probe": ("attentive_probe", "random"),
    "fine_tune": ("from_scratch", "random"),
}


def baseline_name(mode: Mode) -> str:
    """What the baseline of a mode is called in `results.json`: `random`, or `from_scratch` for fine-tuning."""
    other, initialization = BASELINES[mode]
    return initialization if other == mode else other


@dataclass
class Outcome:
    """What a mode gives.

    Args:
        model: The classifier, its encoder unchanged in the probes.
        predictions: On the reported records.
        chosen: What was chosen on the held-out records, by name.
        seconds: Wall-clock time of training, choice and prediction.
        initialization: `pretrained` or `random`.
        mode: The mode.
    """

    model: "EcgForSequenceClassification"
    predictions: Predictions
    chosen: dict[str, float]
    seconds: float
    initialization: str
    mode: Mode
    history: dict[float, float] = field(default_factory=dict)

    @property
    def thresholds(self) -> np.ndarray | None:
        """Decision threshold of each label; `None` for single-label tasks and regression."""
        return self.predictions.thresholds


def run_mode(
    mode: Mode,
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    *,
    initialization: Literal["pretrained", "random"] = "pretrained",
    pooling: str | None = None,
    layer: int = -1,
    head_first: bool = True,
    balanced: bool | None = None,
    aggregate: Aggregate = "mean",
    seed: int = 0,
    bf16: bool | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    output_dir: str | Path | None = None,
    settings: FineTuneSettings | None = None,
    training: Mapping[str, object] | None = None,
    model_options: Mapping[str, object] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Outcome:
    """Run one mode and predict the reported records.

    Args:
        mode: See the module.
        checkpoint: The encoder.
        extractor: Its feature extractor.
        splits: The protocol.
        initialization: `"random"` for the baseline; `from_scratch` is always random.
        pooling: What the head reads, as for `build_classifier`; an attentive probe always reads by attention.
        layer: Whose tokens it reads.
        head_first: For `fine_tune`: start from the probe's head instead of a random one, where the head is one linear
            layer. `settings.head_epochs` trains any head first.
        balanced: Let rare and common classes count alike; on below 1,000 training records when `None`.
        aggregate: How the windows of a record are joined.
        seed: Of new weights, heads and orders.
        bf16: bfloat16 autocast; on with an accelerator when `None`.
        batch_size: Windows per pass where nothing is trained.
        device: The accelerator if there is one, when `None`.
        output_dir: Where fine-tuning keeps its checkpoints.
        settings: Of fine-tuning; `balanced` and `aggregate` here win.
        training: Trainer arguments for fine-tuning.
        model_options: For `from_pretrained`.
        callbacks: Of the Trainer, in modes that train everything.

    Returns:
        Classifier, thresholds, predictions.

    Raises:
        EcgError: An unknown mode, or fine-tuning without `output_dir`.
    """
    if mode not in MODES:
        raise EcgError(f"mode is {mode!r}; expected one of {', '.join(MODES)}.")
    started = time.monotonic()
    device = torch.device(device or torch.accelerator.current_accelerator() or "cpu")
    bf16 = device.type != "cpu" if bf16 is None else bf16
    balanced = len(splits.train) < 1000 if balanced is None else balanced
    initialization = "random" if mode == "from_scratch" else initialization
    attentive = mode == "attentive_probe" or pooling == "attention"
    options = dict(model_options or {})
    if device.type == "cpu" and mode in ("fine_tune", "from_scratch"):
        # The backward pass of SDPA takes 40 % of a training step on a CPU.
        options.setdefault("attn_implementation", "eager")
    model = build_classifier(
        checkpoint, splits.task, pooling="attention" if attentive else pooling, layer=layer,
        linear_head=mode in ("linear_probe", "attentive_probe"), window_size=extractor.window_size,
        initialization=initialization, seed=seed, **options,
    )  # fmt: skip
    cast(torch.nn.Module, model).to(device).eval()
    probing = _Probing(model, extractor, splits, balanced, aggregate, seed, bf16, batch_size, device)
    if mode in ("linear_probe", "attentive_probe"):
        name, held_out = probing.fit(attentive)
        scores = probing.scores()
    else:
        if output_dir is None:
            raise EcgError("fine-tuning needs a folder for its checkpoints; set output_dir.")
        settings = replace(settings or FineTuneSettings(), balanced=balanced, aggregate=aggregate)
        if mode == "from_scratch":
            settings = replace(settings, layer_decay=1.0, head_epochs=0.0)
        elif head_first and not settings.head_epochs and model.config.has_linear_head:
            probing.fit(attentive)
        given = {"seed": seed, "bf16": bf16} | dict(training or {})
        if settings.choose_epoch == "last":
            given = {"load_best_model_at_end": False} | given
        arguments = training_arguments(output_dir, **given)
        held_out = fine_tune(model, extractor, splits, arguments=arguments, settings=settings, callbacks=callbacks)
        name = "epoch"
        scores = predict_records(
            model, splits.evaluate.corpus, extractor, aggregate=aggregate, batch_size=batch_size, bf16=bf16
        )
    thresholds = None
    if splits.task.problem_type == "multi_label_classification":
        thresholds = fit_thresholds(held_out.labels, held_out.probabilities)
    predictions = Predictions.of(splits.evaluate, scores, splits.task, thresholds)
    chosen = {name: held_out.chosen, "held_out_score": held_out.scores.get(held_out.chosen, float("nan"))}
    seconds = time.monotonic() - started
    return Outcome(model, predictions, chosen, seconds, initialization, mode, dict(held_out.scores))


@dataclass
class _Probing:
    """A probe on a frozen encoder, and the embeddings it needs."""

    model: "EcgForSequenceClassification"
    extractor: "EcgFeatureExtractor"
    splits: Splits
    balanced: bool
    aggregate: Aggregate
    seed: int
    bf16: bool
    batch_size: int
    device: torch.device
    probe: LinearProbe | AttentiveProbe | None = None

    def _encode(self, corpus, tokens: bool):
        encoder = CheckpointEncoder(self.model, self.extractor, "encoder")
        return encode_corpus(
            encoder, corpus, tokens=tokens, batch_size=self.batch_size, bf16=self.bf16, device=self.device
        )

    def fit(self, attentive: bool) -> tuple[str, HeldOut]:
        """Fit the probe, give its head to the model, and say what was chosen."""
        splits, task = self.splits, self.splits.task
        common: dict[str, Any] = {"problem_type": task.problem_type, "num_labels": task.num_labels}
        common |= {"balanced": self.balanced, "aggregate": self.aggregate, "device": self.device}
        embeddings = self._encode(splits.train.corpus, attentive)
        targets = splits.train.targets
        if attentive:
            reading, held_out = fit_attentive_probe(embeddings, targets, splits.held_out[0], seed=self.seed, **common)
            set_attentive_head(self.model, reading.head)
            self.probe = reading
            return "epoch", held_out
        linear, held_out = select_linear_probe(embeddings, targets, splits.held_out, refit=splits.refit, **common)
        set_linear_head(self.model, linear)
        self.probe = linear
        return "l2", held_out

    def scores(self) -> np.ndarray:
        """The probe's scores of the reported records; `fit` comes first."""
        assert self.probe is not None
        embeddings = self._encode(self.splits.evaluate.corpus, isinstance(self.probe, AttentiveProbe))
        return self.probe.scores(embeddings, aggregate=self.aggregate)


def evaluate_as_is(
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    *,
    aggregate: Aggregate = "mean",
    bf16: bool | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    mode: Mode = "fine_tune",
    initialization: str = "pretrained",
) -> Outcome:
    """Predict the reported records with a classifier as it was saved; nothing learns.

    Args:
        checkpoint: A classifier for exactly this task.
        extractor: Its feature extractor.
        splits: The protocol; only its reported records count.
        aggregate: How the windows of a record are joined.
        bf16: bfloat16 autocast; on with an accelerator when `None`.
        batch_size: Windows per pass.
        device: The accelerator if there is one, when `None`.
        mode: How it was trained.
        initialization: What it was trained from.
    """
    from transformers import AutoModelForSequenceClassification

    started = time.monotonic()
    device = torch.device(device or torch.accelerator.current_accelerator() or "cpu")
    bf16 = device.type != "cpu" if bf16 is None else bf16
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32, use_safetensors=True)
    if extractor.window_size != model.config.window_size:
        model.resize_window(extractor.window_size)
    cast(torch.nn.Module, model).to(device)
    scores = predict_records(
        model, splits.evaluate.corpus, extractor, aggregate=aggregate, batch_size=batch_size, bf16=bf16
    )
    thresholds = model.config.thresholds
    predictions = Predictions.of(splits.evaluate, scores, splits.task, thresholds and np.asarray(thresholds))
    return Outcome(model, predictions, {}, time.monotonic() - started, initialization, mode)
