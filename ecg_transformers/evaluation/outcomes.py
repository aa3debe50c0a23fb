"""A mode run: from a checkpoint and a protocol to a classifier with thresholds and its predictions."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, TrainerCallback

from ..corpora.protocol import Splits
from ..errors import EcgError
from ..inference.aggregation import Aggregate
from ..inference.encode import predict_records
from ..inference.loading import quiet_loading
from ..metrics.thresholds import Thresholds, fit_reported_thresholds, fit_thresholds
from .classifier import build_classifier
from .fitting import Fitting
from .identification import build_identifier, fit_identification
from .modes import FINE_TUNING, Initialization, Mode, find_mode
from .probes.linear import HeldOut
from .results.predictions import Predictions
from .settings import LearningSettings

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = [
    "Outcome",
    "evaluate_as_is",
    "recorded",
    "run_mode",
    "run_with_baseline",
    "selection_text",
]

# Class weights are balanced below this number of training records, unless the settings decide.
_FEW_RECORDS = 1000
# Of the Trainer's arguments, those that also shape an evaluation in which nothing is trained by it.
_WITHOUT_TRAINING = ("bf16",)
_MULTI_LABEL = "multi_label_classification"


@dataclass
class Outcome:
    """The result of a mode.

    Args:
        model: The classifier, its encoder unchanged in the probes.
        predictions: On the reported records.
        chosen: What was chosen on the held-out records, by name.
        seconds: Wall-clock time of training, choice and prediction.
        initialization: `pretrained` or `random`.
        mode: The mode.
        selection: Records on which it was chosen, for results and the screen.
        settings: Every setting of mode and training that made it, by name.
        history: Held-out score of every value tried (epochs, regularizations).
        unfinished: Steps done (`steps`) and planned (`max_steps`) of a training that its time limit ended.
    """

    model: "EcgForSequenceClassification"
    predictions: Predictions
    chosen: dict[str, float]
    seconds: float
    initialization: str
    mode: Mode
    selection: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    history: dict[float, float] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)

    @property
    def thresholds(self) -> Thresholds | None:
        """Decision thresholds; `None` for single-label tasks and regression."""
        return self.predictions.thresholds


def run_mode(
    name: str,
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    settings: LearningSettings | None = None,
    *,
    initialization: Initialization = "pretrained",
    device: torch.device | str | None = None,
    output_dir: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Outcome:
    """Run one mode and predict the reported records.

    Args:
        name: A name in `modes.MODES`.
        checkpoint: Folder or Hub name of the encoder.
        extractor: Its feature extractor.
        splits: The protocol.
        settings: How the classifier is built and fitted; the defaults of `LearningSettings` if not given.
        initialization: `"random"` for a baseline; a mode that starts from random weights always does.
        device: Where to compute; the accelerator if there is one, when `None`.
        output_dir: Where a training keeps its checkpoints.
        callbacks: Callbacks of the Trainer, in modes that train the encoder.

    Returns:
        Classifier, thresholds, predictions.

    Raises:
        EcgError: An unknown mode, a linear probe with attention, or a training without `output_dir`.
    """
    mode = find_mode(name)
    started = time.monotonic()
    device = _device(device)
    settings = _resolved(settings or LearningSettings(), mode, splits, device)
    if settings.attentive and not (mode.trains or mode.attentive):
        raise EcgError(
            f"a {mode.title} has no attention over the tokens: set --mode attentive_probe, or another pooling."
        )
    initialization = "random" if mode.initialization == "random" else initialization
    model = _built(mode, checkpoint, extractor, splits, settings, initialization, device)
    settings = settings.with_values_of(model.config)
    folder = None if output_dir is None else Path(output_dir)
    fitting = Fitting(mode, model, extractor, splits, settings, folder, callbacks)
    fit = mode.fit if splits.gallery is None else fit_identification
    chosen_name, held_out, scores = fit(fitting)
    chosen = {chosen_name: held_out.chosen, "held_out_score": held_out.scores.get(held_out.chosen, float("nan"))}
    thresholds = _thresholds(splits, held_out) if splits.task.problem_type == _MULTI_LABEL else None
    return Outcome(
        model,
        Predictions.of(splits.evaluate, scores, splits.task, thresholds),
        chosen if chosen_name else {},
        time.monotonic() - started,
        initialization,
        mode,
        selection=selection_text(mode, splits, settings),
        settings={"mode": mode.name, **recorded(settings, mode), **_recorded_training(fitting)},
        history=dict(held_out.scores),
        unfinished=dict(held_out.unfinished),
    )


def _built(
    mode: Mode,
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    settings: LearningSettings,
    initialization: Initialization,
    device: torch.device,
) -> Any:
    """The model of a mode, in evaluation mode on its device; its head is new."""
    # The backward pass of SDPA takes 40 % of a training step on a CPU.
    kernel = settings.attn_implementation or ("eager" if device.type == "cpu" and mode.trains else None)
    options: dict[str, Any] = {} if kernel is None else {"attn_implementation": kernel}
    options |= {"window_size": extractor.window_size, "initialization": initialization}
    model: Any
    if splits.gallery is not None:
        model = build_identifier(checkpoint, splits, settings, mode, **options)
    else:
        linear_head = mode.linear_head or _starts_from_probe(settings, mode)
        model = build_classifier(
            checkpoint, splits.task, readout=settings.with_attention() if mode.attentive else settings,
            head=settings.head, linear_head=linear_head, seed=settings.seed, **options,
        )  # fmt: skip
    return model.to(device).eval()


def _starts_from_probe(settings: LearningSettings, mode: Mode) -> bool:
    """Whether a fine-tuning gets the linear head of a probe, because no other head was asked for."""
    return FINE_TUNING in mode.uses and settings.head_first and not (settings.head_epochs or settings.head)


def _thresholds(splits: Splits, held_out: HeldOut) -> Thresholds:
    """Thresholds fitted on the held-out records; on the reported ones, judged out of fold, where none were held out."""
    if held_out.reported:
        return _of_reported(splits, held_out.probabilities)
    folds = splits.validation_folds or splits.train_folds
    source = {"corpus": splits.train.corpus.name, "folds": list(folds)}
    return fit_thresholds(held_out.labels, held_out.probabilities, source=source)


def _of_reported(splits: Splits, scores: np.ndarray) -> Thresholds:
    """Thresholds fitted on the reported records, each of which is judged by those of other patients."""
    part = splits.evaluate
    source = {"corpus": part.corpus.name, "folds": list(splits.evaluate_folds)}
    return fit_reported_thresholds(part.labels, scores, part.corpus.patient_ids, source=source)


def run_with_baseline(
    mode: Mode,
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    settings: LearningSettings,
    *,
    folder: Path,
    no_baseline: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Outcome, Outcome | None]:
    """Run a mode, and its baseline from random weights.

    Args:
        mode: The mode.
        checkpoint: Folder or Hub name of the encoder.
        extractor: Its feature extractor.
        splits: The protocol.
        settings: Of the mode; those of the baseline follow from them.
        folder: Where the two trainings keep their checkpoints.
        no_baseline: Leave out the baseline.
        callbacks: Callbacks of the Trainer for the mode, not for the baseline.
    """
    run = _cross_validate if splits.cross_validated else run_mode
    outcome = run(mode.name, checkpoint, extractor, splits, settings, output_dir=folder / "system", callbacks=callbacks)
    if mode.baseline is None or no_baseline:
        return outcome, None
    baseline = run(
        mode.baseline, checkpoint, extractor, splits, settings.of_baseline(mode), initialization="random",
        output_dir=folder / "baseline",
    )  # fmt: skip
    return outcome, baseline


def _cross_validate(
    name: str,
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    settings: LearningSettings,
    *,
    output_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> Outcome:
    """The model of all records, with the predictions of models that did not see the record; arguments as `run_mode`."""
    whole = run_mode(
        name, checkpoint, extractor, splits, settings, output_dir=output_dir, callbacks=callbacks, **options
    )
    scores, trained = np.empty_like(whole.predictions.scores), [whole]
    for fold in splits.evaluate_folds:
        part = splits.without_fold(fold, seed=settings.seed)
        folder = output_dir.with_name(f"{output_dir.name}_without_fold_{fold}")
        trained.append(run_mode(name, checkpoint, extractor, part, settings, output_dir=folder, **options))
        scores[splits.evaluate.corpus.folds == fold] = trained[-1].predictions.scores
    multi_label = splits.task.problem_type == _MULTI_LABEL
    predictions = replace(whole.predictions, scores=scores)
    return replace(
        whole,
        predictions=replace(predictions, thresholds=_of_reported(splits, scores) if multi_label else None),
        seconds=sum(one.seconds for one in trained),
        unfinished=next((one.unfinished for one in trained if one.unfinished), {}),
    )


def _device(device: torch.device | str | None) -> torch.device:
    return torch.device(device or torch.accelerator.current_accelerator() or "cpu")


def _resolved(settings: LearningSettings, mode: Mode, splits: Splits, device: torch.device) -> LearningSettings:
    """The settings with what they leave to the mode, the corpus and the machine."""
    balanced = len(splits.train) < _FEW_RECORDS if settings.balanced is None else settings.balanced
    bf16 = settings.training.get("bf16")
    training = {**settings.training, "bf16": device.type != "cpu" if bf16 is None else bf16}
    settings = replace(settings, balanced=balanced, training=training)
    if FINE_TUNING not in mode.uses:
        settings = replace(settings, layer_decay=1.0, head_epochs=0.0)
    if splits.gallery is None:
        return settings
    # No training patient is held out, so nothing can choose an epoch, and a probe has no head for patients. An
    # embedding is the mean over the windows.
    return replace(settings, aggregate="mean", balanced=False, choose_epoch="last", head_first=False, head_epochs=0.0)


def selection_text(mode: Mode, splits: Splits, settings: LearningSettings) -> str:
    """Records on which epoch, regularization and thresholds are chosen, for results and the screen.

    Args:
        mode: The mode.
        splits: The protocol.
        settings: The settings.
    """
    if mode.trains and settings.choose_epoch == "last":
        splits = splits.without_selection()
    return splits.selection_of(trains_once=mode.trains or mode.attentive)


def recorded(settings: Any, mode: Mode | None = None) -> dict[str, Any]:
    """The settings of a dataclass that shape a result, by name; those that are not set are left out.

    Args:
        settings: A dataclass of `option` fields.
        mode: Only those that this mode uses; `None` = all.
    """
    found = {}
    for entry in fields(settings):
        facts = entry.metadata
        used = mode is None or facts.get("used_by") is None or facts["used_by"] in mode.uses
        applies = facts.get("only_if") is None or facts["only_if"](settings)
        value = getattr(settings, entry.name)
        if facts.get("recorded") and used and applies and not (value is None and entry.default is None):
            found[entry.name] = value
    return found


def _recorded_training(fitting: Fitting) -> dict[str, Any]:
    if fitting.mode.trains:
        return fitting.training
    return {name: fitting.settings.training[name] for name in _WITHOUT_TRAINING}


def evaluate_as_is(
    checkpoint: str | Path,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    *,
    aggregate: Aggregate = "mean",
    bf16: bool | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    mode: str = "fine_tune",
    initialization: str = "pretrained",
    new_thresholds: bool = False,
) -> Outcome:
    """Predict the reported records with a classifier as it was saved.

    Thresholds that were fitted on these very records are judged out of fold, as those of `new_thresholds` are.

    Args:
        checkpoint: A classifier of this task, or of more labels.
        extractor: Its feature extractor.
        splits: The protocol; only its reported records are used.
        aggregate: Aggregation of a record's windows.
        bf16: bfloat16 autocast; on with an accelerator when `None`.
        batch_size: Windows per pass.
        device: The accelerator if there is one, when `None`.
        mode: How it was trained.
        initialization: Weights it was trained from.
        new_thresholds: Fit the thresholds on the reported records instead of taking the saved ones.
    """
    started = time.monotonic()
    device = _device(device)
    bf16 = device.type != "cpu" if bf16 is None else bf16
    with quiet_loading():
        model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, dtype=torch.float32, use_safetensors=True
        )
    if extractor.window_size != model.config.window_size:
        model.resize_window(extractor.window_size)
    cast(torch.nn.Module, model).to(device)
    scores = predict_records(
        model, splits.evaluate.corpus, extractor, aggregate=aggregate, batch_size=batch_size, bf16=bf16
    )
    outputs = {code: number for number, code in model.config.id2label.items()}
    columns = [outputs[code] for code in splits.task.codes]
    scores = scores[:, columns]
    saved = _saved_thresholds(model, splits, scores, columns)
    predictions = Predictions.of(splits.evaluate, scores, splits.task, saved)
    if new_thresholds:
        predictions = replace(predictions, thresholds=_of_reported(splits, scores))
    seconds = time.monotonic() - started
    settings = {"aggregate": aggregate, "bf16": bf16}
    found = find_mode(mode)
    selection = splits.selection_of(trains_once=found.trains or found.attentive) if len(splits.train) else ""
    return Outcome(model, predictions, {}, seconds, initialization, found, selection, settings)


def _saved_thresholds(
    model: "EcgForSequenceClassification", splits: Splits, scores: np.ndarray, columns: Sequence[int]
) -> Thresholds | None:
    """The thresholds of a checkpoint, with what judges the reported records where these fitted them."""
    config: Any = model.config
    if config.thresholds is None:
        return None
    source = config.thresholds_from or {}
    found = Thresholds(np.asarray(config.thresholds, np.float64)[list(columns)], source=source)
    same = source.get("corpus") == splits.evaluate.corpus.name
    if same and set(source.get("folds", ())) & set(splits.evaluate_folds):
        return replace(found, judging=_of_reported(splits, scores).judging)
    return found
