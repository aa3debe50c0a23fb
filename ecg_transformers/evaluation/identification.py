"""Identification of patients: frozen embeddings compared as they are, or an encoder trained with the ArcFace loss.

In a linear probe nothing is learned here; fine-tuning and training from scratch learn encoder and ArcFace kernel on the
patients of the training folds. Whoever is reported was never trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoConfig

from ..auto import family_with
from ..errors import EcgError
from ..inference.aggregation import aggregate_windows
from ..inference.encode import CheckpointEncoder, EncoderOutput, encode_corpus
from ..metrics.identification import identified
from ..readout import Readout
from ..trainer.callbacks import ClockCallback
from ..trainer.fine_tuning import IdentificationTrainer, LabeledWindows
from .classifier import build_classifier, load_encoder
from .fine_tune import TrainingData, fitting_arguments, trained
from .fitting import Fitting
from .probes.linear import HeldOut

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus
    from ..corpora.protocol import Splits
    from ..features.extractor import EcgFeatureExtractor
    from ..inference.encode import Embedder
    from ..modeling import EcgPreTrainedModel
    from .modes import Mode
    from .settings import LearningSettings

__all__ = ["build_identifier", "fit_identification", "record_embeddings"]


@dataclass
class _Identifier:
    """The embeddings of a model for patient identification, for `encode_corpus`."""

    model: Any
    extractor: "EcgFeatureExtractor"
    name: str = "identifier"

    @torch.inference_mode()
    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch."""
        embeddings = self.model.eval()(**inputs).embeddings
        return EncoderOutput(embeddings, embeddings[:, None], None)


def build_identifier(
    checkpoint: str | Path,
    splits: "Splits",
    settings: "LearningSettings",
    mode: "Mode",
    *,
    initialization: str = "pretrained",
    window_size: int | None = None,
    **options: Any,
) -> "EcgPreTrainedModel":
    """Build the model of an identification: the frozen encoder, or one with an ArcFace head for the training patients.

    Args:
        checkpoint: Folder or Hub name of any checkpoint of the family.
        splits: The protocol; its training patients are the classes.
        settings: What is read of the frozen encoder; scale and margin of the ArcFace loss.
        mode: The mode.
        initialization: `"random"` for new weights in the whole architecture.
        window_size: Window in samples. Default: that of the checkpoint.
        **options: For `from_pretrained`, such as `attn_implementation`.

    Raises:
        CheckpointError: The family has no patient identification, or tensors of the encoder are missing.
        EcgError: A mode in which a head is learned on a frozen encoder.
    """
    if mode.attentive:
        raise EcgError(
            f"patients are identified by the embeddings of the encoder; a {mode.title} learns none. Set --mode "
            "linear_probe (nothing is learned), fine_tune or from_scratch."
        )
    if not mode.trains:
        task = replace(splits.task, problem_type="multi_label_classification")
        return build_classifier(
            checkpoint, task, readout=settings, linear_head=True, window_size=window_size,
            initialization=cast(Any, initialization), seed=settings.seed, **options,
        )  # fmt: skip
    config = AutoConfig.from_pretrained(checkpoint)
    hint = "Its embeddings are compared as they are with --mode linear_probe."
    family = family_with("patient_identification", config.model_type, checkpoint, hint).patient_identification
    Readout("cls").write_to(config)  # embeddings are the encoder's own output
    config.num_patients = splits.train.labels.shape[1]
    for name, value in settings.arcface.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if initialization == "random":
            config.start_from_random()
            model = family._from_config(config, dtype=torch.float32, **options).eval()
        else:
            model = load_encoder(family, checkpoint, config, **options)
    if window_size not in (None, config.window_size):
        model.resize_window(window_size)
    return model


def fit_identification(fitting: Fitting) -> tuple[str, HeldOut, np.ndarray]:
    """Train the model unless the mode leaves the encoder as it is, and identify the reported patients.

    Returns:
        The empty name of a choice, as nothing is chosen, and `(patients, 1)`: 1 = identified.

    Raises:
        EcgError: A training without `output_dir`.
    """
    unfinished = _train(fitting) if fitting.mode.trains else {}
    embedder: Embedder
    if fitting.mode.trains:
        embedder = _Identifier(fitting.model, fitting.extractor)
    else:
        embedder = CheckpointEncoder(cast(Any, fitting.model), fitting.extractor, "encoder")
    gallery, probes = fitting.splits.gallery, fitting.splits.evaluate.corpus
    assert gallery is not None
    both = [record_embeddings(embedder, corpus, fitting) for corpus in (gallery, probes)]
    nothing = HeldOut(float("nan"), {}, np.empty((0, 1)), np.empty((0, 1)), unfinished=unfinished)
    return "", nothing, identified(both[0], both[1], gallery.patient_ids, probes.patient_ids)


def record_embeddings(embedder: "Embedder", corpus: "Corpus", fitting: Fitting) -> np.ndarray:
    """The mean of the unit-length embeddings of each record's windows, `(records, size)` float64.

    Args:
        embedder: The encoder.
        corpus: The records.
        fitting: Batch size and precision.
    """
    found = encode_corpus(
        embedder, corpus, batch_size=fitting.settings.encode_batch_size, bf16=fitting.bf16, device=fitting.model.device
    )
    return aggregate_windows(functional.normalize(found.features, dim=1).numpy(), found.record_index)


def _train(fitting: Fitting) -> dict[str, int]:
    """Train on the patients of the training folds to the last epoch; what a time limit left undone."""
    settings = replace(fitting.settings, training={**fitting.settings.training, "eval_strategy": "no"})
    arguments = fitting_arguments(fitting, settings)
    extractor, clock = fitting.extractor, ClockCallback(settings.max_seconds)
    data = TrainingData(LabeledWindows(fitting.splits.train, extractor, seed=arguments.seed))
    trained(
        cast(Any, fitting.model), data, arguments=arguments, settings=settings, callbacks=[*fitting.callbacks, clock],
        trainer_class=IdentificationTrainer, processing_class=extractor,
        max_shift=settings.max_shift(extractor.sampling_rate),
    )  # fmt: skip
    fitting.model.eval()
    return clock.unfinished
