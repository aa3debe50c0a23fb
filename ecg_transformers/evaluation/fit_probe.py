"""A probe on a frozen encoder: fitted on embeddings of the training records, its head given to the classifier."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..corpora.protocol import Splits
from ..inference.encode import CheckpointEncoder, Embeddings, encode_corpus
from .classifier import set_attentive_head, set_linear_head
from .fitting import Fitting
from .probes.attentive import AttentiveProbe, fit_attentive_probe
from .probes.linear import HeldOut, LinearProbe, select_linear_probe

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus

__all__ = ["fit_head", "fit_probe"]


def fit_probe(fitting: Fitting) -> tuple[str, HeldOut, np.ndarray]:
    """Fit a linear or attentive probe.

    Returns:
        Name of what was chosen, the choice, and the probe's scores of the reported records.
    """
    fitted = fit_head(fitting, fitting.splits)
    embeddings = _encode(fitting, fitting.splits.evaluate.corpus)
    return fitted.chosen_name, fitted.held_out, fitted.probe.scores(embeddings, aggregate=fitting.settings.aggregate)


@dataclass(frozen=True)
class _FittedHead:
    """A probe and what was chosen for it."""

    probe: LinearProbe | AttentiveProbe
    held_out: HeldOut
    chosen_name: str


def fit_head(fitting: Fitting, splits: Splits) -> _FittedHead:
    """Fit a probe on the training records of a protocol and give its head to the model.

    Args:
        fitting: Model and settings.
        splits: The protocol; its reported records are not used.
    """
    settings, task = fitting.settings, splits.task
    common: dict[str, Any] = {"problem_type": task.problem_type, "num_labels": task.num_labels}
    common |= {"balanced": settings.balanced, "aggregate": settings.aggregate, "device": fitting.model.device}
    embeddings, targets = _encode(fitting, splits.train.corpus), splits.train.targets
    if fitting.settings.attentive:
        attentive, held_out = fit_attentive_probe(embeddings, targets, splits.held_out[0], seed=settings.seed, **common)
        set_attentive_head(fitting.model, attentive.head)
        return _FittedHead(attentive, held_out, "epoch")
    linear, held_out = select_linear_probe(embeddings, targets, splits.held_out, refit=splits.refit, **common)
    set_linear_head(fitting.model, linear)
    return _FittedHead(linear, held_out, "l2")


def _encode(fitting: Fitting, corpus: "Corpus") -> Embeddings:
    return encode_corpus(
        CheckpointEncoder(fitting.model, fitting.extractor, "encoder"),
        corpus,
        tokens=fitting.settings.attentive,
        batch_size=fitting.settings.encode_batch_size,
        bf16=fitting.bf16,
        device=fitting.model.device,
    )
