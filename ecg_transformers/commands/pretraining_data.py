"""Records of a pretraining run: corpora, training and validation part, windows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..corpora.prepared import Corpus, load_corpus
from ..corpora.pretraining_split import split_for_pretraining
from ..features.extractor import EcgFeatureExtractor
from ..trainer.data import WindowDataset
from .pretraining_options import PretrainingArguments

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["PretrainingData", "load_data"]


@dataclass(frozen=True)
class PretrainingData:
    """Records of a pretraining run.

    Args:
        corpus: The whole corpus; several corpora joined.
        train: Windows to train on.
        validation: Windows of the validation loss and the probe; None without any.
        test_records_left_out: Number of records of test folds that are not trained on, by corpus.
    """

    corpus: Corpus
    train: WindowDataset
    validation: WindowDataset | None
    test_records_left_out: dict[str, int]

    @property
    def validation_records(self) -> int:
        """Number of validation records."""
        return 0 if self.validation is None else len(self.validation)

    @property
    def facts(self) -> dict:
        """Facts of `run.json` about the records."""
        return {
            "corpus": self.corpus.identity,
            "test_records_left_out": self.test_records_left_out,
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
    config: "PreTrainedConfig",
    device: torch.device | None = None,
) -> PretrainingData:
    """Load the corpora, split them and prepare their windows.

    Args:
        options: Corpora, folds, fractions, probe.
        extractor: Feature extractor of the model.
        evaluated: Whether the run has a validation loss.
        seed: Seed of splits, fractions and window starts.
        config: Configuration of the model, which decides what a row holds: `num_segments` adjacent windows, a longer
            piece for its own views (`source_window_size`), two recordings (`positives` "patient"); see `WindowDataset`.
        device: Where the signals are kept. Default: the CPU.

    Raises:
        CorpusError: Folds that overlap or do not exist, patients in both parts, no validation part where one is
            needed.
    """
    split = split_for_pretraining(
        [load_corpus(path) for path in options.corpus or ()],
        train_folds=options.train_folds,
        validation_folds=options.validation_folds,
        validation_fraction=options.validation_fraction,
        data_fraction=options.data_fraction,
        exclude_downstream_test=options.exclude_downstream_test,
        validate=evaluated or options.probe_labels is not None,
        seed=seed,
    )

    def windows(part: Corpus) -> WindowDataset:
        return WindowDataset(
            part,
            extractor,
            seed=seed,
            segments=getattr(config, "num_segments", 1),
            source_window_size=getattr(config, "source_window_size", None),
            partners=getattr(config, "positives", None) == "patient",
            device=device,
        )

    validation = None if split.validation is None else windows(split.validation)
    return PretrainingData(split.corpus, windows(split.train), validation, split.test_records_left_out)
