"""What an evaluation is made of: a task, records and labels, and which of them train, choose and are reported."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import CorpusError
from .fold_roles import Role
from .patients import count_patients
from .splits import split_by_patient

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from .prepared import Corpus

__all__ = [
    "Part",
    "Splits",
    "Task",
    "chosen_folds",
    "complete_records",
    "held_out_parts",
    "usable_records",
]

logger = logging.getLogger(__name__)

# A tenth of the training records is held out for selection; with fewer records than this, each of five parts in turn.
_HELD_OUT = 10
_FEW_RECORDS = 4000
_FEW_PARTS = 5
# Iterative stratification over 71 labels; rarer labels than this many records cannot be spread anyway.
_MIN_STRATIFIED = 10


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Args:
        label_set: Name of the label set in the corpus.
        codes: Codes in the order of the model's outputs.
        names: Names of the labels, in the same order.
        system: Label system of the codes.
        problem_type: Transformers' `problem_type`.
    """

    label_set: str
    codes: tuple[str, ...]
    names: tuple[str, ...]
    system: str
    problem_type: str

    @property
    def num_labels(self) -> int:
        """Number of outputs of a model for this task."""
        return len(self.codes)


@dataclass(frozen=True)
class Part:
    """Records and their labels.

    Args:
        corpus: The records.
        labels: `(records, labels)`: uint8 0 or 1 (one-hot for single-label), float64 for regression.
        problem_type: Transformers' `problem_type`.
    """

    corpus: "Corpus"
    labels: np.ndarray
    problem_type: str

    def __len__(self) -> int:
        return len(self.corpus)

    @property
    def targets(self) -> np.ndarray:
        """Targets of a loss: class numbers int64 `(records,)` for single-label tasks, else the labels."""
        return self.labels.argmax(axis=1) if self.problem_type == "single_label_classification" else self.labels

    def select(self, records: np.ndarray) -> "Part":
        """Some of the records; `records` is a bool mask or positions."""
        return replace(self, corpus=self.corpus.select(records), labels=self.labels[records])


@dataclass(frozen=True)
class Splits:
    """The parts of one evaluation.

    Args:
        task: What is predicted.
        train: Training records, including those held out for selection.
        held_out: Bool masks over `train`, each held out once for selection; a mode that trains once uses the first.
        refit: Whether the final model learns from all of `train` (the held-out part belongs to the training folds).
        evaluate: Records that are reported.
        train_folds: Numbers of the training folds.
        evaluate_folds: Numbers of the reported folds.
        validation_folds: Numbers of the folds named for selection; empty: a part of the training folds.
        train_fraction: Share of the training records that is used.
        left_out: Number of records of the reported folds without any label of the set.
        untrained: Codes of the labels that no training record has; they are not predicted.
        selects: Whether regularization or epoch are selected; otherwise only thresholds are fitted.
        cross_validated: Whether `train` and `evaluate` are the same records, each of whose folds is reported by a model
            of the others (`without_fold`).
        gallery: Of an identification of patients: the record that each of `evaluate` should be assigned to.
    """

    task: Task
    train: Part
    held_out: tuple[np.ndarray, ...]
    refit: bool
    evaluate: Part
    train_folds: tuple[int, ...]
    evaluate_folds: tuple[int, ...]
    validation_folds: tuple[int, ...]
    train_fraction: float
    left_out: int
    untrained: tuple[str, ...] = ()
    selects: bool = True
    cross_validated: bool = False
    gallery: "Corpus | None" = None

    @property
    def evaluate_role(self) -> Role | Literal["cross-validation"] | None:
        """Role of the reported folds: "cross-validation", or that in their corpus: "validation", "test", "train"."""
        if self.cross_validated:
            return "cross-validation"
        roles = self.evaluate.corpus.fold_roles
        return None if roles is None else roles.role_of(self.evaluate_folds)

    @property
    def reported_folds(self) -> str:
        """The reported folds with their role, such as "validation (fold 9)"."""
        if self.cross_validated:
            return f"{len(self.evaluate_folds)}-fold cross-validation by patient,"
        return self.evaluate.corpus.describe_folds(self.evaluate_folds)

    def selection_of(self, *, trains_once: bool) -> str:
        """How settings are selected, for results and the screen.

        Args:
            trains_once: Whether the mode trains once and selects on the first held-out part only (fine-tuning), instead
                of on each part in turn (linear probe). They differ below 4,000 training records.
        """
        parts = len(self.held_out)
        if self.gallery is not None:
            return "nothing is chosen (last epoch)" if trains_once else "nothing is chosen"
        if self.validation_folds:
            where = f"validation folds {', '.join(map(str, self.validation_folds))}"
        elif parts == 1:
            where = "a tenth of the training records, by patient"
        elif trains_once:
            where = f"the first of {parts} parts of the training records, by patient"
        else:
            where = f"{parts} parts in turn of the training records, by patient"
        if self.selects:
            return where
        if self.refit:
            where = f"folds {', '.join(map(str, self.evaluate_folds))}, which are reported"
        return f"nothing is chosen (last epoch); thresholds on {where}"

    def without_selection(self) -> "Splits":
        """The same splits for a training that keeps its last epoch, where only thresholds are fitted."""
        return replace(self, selects=False)

    def without_held_out(self, *, seed: int) -> "Splits":
        """The same splits without the records of the first held-out part, with a selection of their own on the rest.

        Args:
            seed: Seed of the new held-out part.

        Returns:
            Splits without a held-out part where the remaining records are of one patient.
        """
        train = self.train.select(~self.held_out[0])
        divisible = count_patients(train.corpus.patient_ids) > 1
        held_out = held_out_parts(train, seed) if divisible else ()
        return replace(self, train=train, held_out=held_out, refit=True, validation_folds=())

    def without_fold(self, fold: int, *, seed: int) -> "Splits":
        """One part of a cross-validation: this fold is reported, the others train.

        Args:
            fold: Its number.
            seed: Seed of the held-out part of the others.
        """
        train = self.train.select(self.train.corpus.folds != fold)
        evaluate = self.evaluate.select(self.evaluate.corpus.folds == fold)
        folds = tuple(one for one in self.train_folds if one != fold)
        return replace(
            self, train=train, held_out=held_out_parts(train, seed), evaluate=evaluate, train_folds=folds,
            evaluate_folds=(fold,), cross_validated=False,
        )  # fmt: skip


def chosen_folds(
    corpus: "Corpus", train_folds: Sequence[int] | None = None, evaluate_folds: Sequence[int] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Training folds and reported folds: those that are named, else those of the corpus's roles.

    By role, the validation folds are reported, or the test folds of a corpus that has no validation folds.

    Args:
        corpus: The corpus.
        train_folds: Named training folds.
        evaluate_folds: Named reported folds.

    Raises:
        CorpusError: Not both are named, and the corpus has no folds, or no roles for them.
    """
    train, evaluate = tuple(train_folds or ()), tuple(evaluate_folds or ())
    if train and evaluate:
        return train, evaluate
    roles = corpus.fold_roles
    if roles is None or not roles.reported:
        count = len({int(fold) for fold in corpus.folds} - {-1})
        raise CorpusError(
            f"{corpus.name} has {count} folds and none to report by default. Name them with train_folds and "
            "evaluate_folds, or split a table of labels by patient."
        )
    return train or roles.train, evaluate or roles.reported


def usable_records(corpus: "Corpus", extractor: "EcgFeatureExtractor") -> "Corpus":
    """The records that the extractor accepts; the others are counted in a warning.

    Left out are records without signal in any lead that the extractor uses, and those with missing samples, unless it
    repairs or masks them.

    Raises:
        CorpusError: No record is left.
    """
    contract = extractor.contract
    stand_ins = contract.treat_as or {}
    silent = corpus.without_signal({*(contract.used_leads or contract.lead_names), *stand_ins})
    if silent.any():
        logger.warning(f"{int(silent.sum())} records of {corpus.name} have no signal in any lead and are left out.")
        corpus = corpus.select(~silent)
    return complete_records(corpus) if contract.nan_policy == "error" else corpus


def complete_records(corpus: "Corpus") -> "Corpus":
    """The records without missing samples; the others are counted in a warning.

    Raises:
        CorpusError: No record is left.
    """
    complete = corpus.invalid_samples == 0
    if complete.all():
        return corpus
    logger.warning(f"{int((~complete).sum())} records of {corpus.name} have missing samples and are left out.")
    return corpus.select(complete)


def held_out_parts(train: Part, seed: int) -> tuple[np.ndarray, ...]:
    """Masks of the parts of the training records that are held out for selection, each once.

    Args:
        train: The training records.
        seed: Seed of the split.
    """
    stratify = None if train.problem_type == "regression" else train.labels
    if stratify is not None:
        # Labels of very few records cannot be spread over the parts, and each label costs a pass.
        stratify = stratify[:, stratify.sum(axis=0) >= _MIN_STRATIFIED]
    few = len(train) < _FEW_RECORDS
    parts = min(_FEW_PARTS if few else _HELD_OUT, count_patients(train.corpus.patient_ids))
    fold = split_by_patient(train.corpus, parts, stratify=stratify, seed=seed)
    return tuple(fold == number for number in range(parts if few else 1))
