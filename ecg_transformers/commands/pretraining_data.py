"""Records of a pretraining run: corpus, training and validation part, windows."""

from dataclasses import dataclass

import torch

from ..corpora.prepared import Corpus, load_corpus
from ..corpora.splits import nested_fraction
from ..errors import CorpusError
from ..features.extractor import EcgFeatureExtractor
from ..trainer.data import WindowDataset, split_off_patients
from .pretraining_options import PretrainingArguments

__all__ = ["PretrainingData", "load_data"]


@dataclass(frozen=True)
class PretrainingData:
    """Records of a pretraining run.

    Args:
        corpus: The whole corpus.
        train: Windows to train on.
        validation: Windows of the validation loss and the probe; None without any.
    """

    corpus: Corpus
    train: WindowDataset
    validation: WindowDataset | None

    @property
    def validation_records(self) -> int:
        """Number of validation records."""
        return 0 if self.validation is None else len(self.validation)

    @property
    def facts(self) -> dict:
        """What `run.json` says of the records."""
        corpus = self.corpus
        return {
            "corpus": {"name": corpus.name, "version": corpus.info.get("version"), "hash": corpus.hash},
            "records": len(self.train),
            "patients": len(set(self.train.corpus.patient_ids.tolist())),
            "validation_records": self.validation_records,
        }


def load_data(
    options: PretrainingArguments,
    extractor: EcgFeatureExtractor,
    *,
    evaluated: bool,
    seed: int,
    device: torch.device | None,
) -> PretrainingData:
    """Load the corpus, split it and prepare its windows.

    Args:
        options: Corpus, folds, fractions, probe.
        extractor: Feature extractor of the model.
        evaluated: Whether the run has a validation loss.
        seed: Seed of splits, fractions and window starts.
        device: Where the signals are kept. Default: the CPU.

    Raises:
        CorpusError: Folds that overlap or do not exist, patients in both parts, no validation part where one is
            needed.
    """
    corpus = load_corpus(str(options.corpus))
    parts = _split(corpus, options, needed=evaluated or options.probe_labels is not None, seed=seed)
    train, *validation = (WindowDataset(part, extractor, seed=seed, device=device) for part in parts)
    return PretrainingData(corpus, train, validation[0] if validation else None)


def _split(corpus: Corpus, options: PretrainingArguments, *, needed: bool, seed: int) -> list[Corpus]:
    """Training records and, if they are needed, validation records."""
    held_out = set(options.validation_folds or ())
    if options.train_folds is None and options.validation_folds is None:
        parts = list(split_off_patients(corpus, options.validation_fraction, seed=seed)) if needed else [corpus]
    else:
        both = held_out & set(options.train_folds or ())
        if both:
            raise CorpusError(
                f"Folds {sorted(both)} are in train_folds and in validation_folds; they must not overlap."
            )
        parts = [corpus.select(folds=options.train_folds or sorted(set(corpus.folds.tolist()) - held_out))]
        if needed and not held_out:
            raise CorpusError("An evaluation or a probe needs validation_folds beside train_folds.")
        if needed:
            parts.append(corpus.select(folds=sorted(held_out)))
    train, *validation = parts
    shared = {p for part in validation for p in set(part.patient_ids.tolist()) & set(train.patient_ids.tolist())} - {-1}
    if shared:
        raise CorpusError(
            f"{len(shared)} patients are in the training and in the validation records (first: {min(shared)}). "
            "Choose folds that keep patients apart."
        )
    return [nested_fraction(train, options.data_fraction, seed=seed), *validation]
