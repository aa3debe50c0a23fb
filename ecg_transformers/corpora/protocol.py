"""The protocol of every score: which records train, select and are reported, and what is predicted.

Three rules hold for every mode:

- Patients are disjoint between training and evaluation; this is checked.
- Selection (of regularization, epoch, thresholds) uses records that are not reported: a part of the *training* folds,
  held out by patient and stratified by label, unless `validation_folds` names other folds.
- A fraction of the training set consists of whole patients and is nested: a smaller one is a subset of a larger one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import CorpusError
from .fold_roles import Role
from .patients import count_patients
from .splits import check_disjoint, nested_fraction, split_by_patient

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from .prepared import Corpus, LabelMatrix

__all__ = [
    "Part",
    "Splits",
    "Task",
    "complete_records",
    "default_folds",
    "make_cross_validation",
    "make_splits",
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
        held_out = _held_out(train, seed) if divisible else ()
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
            self, train=train, held_out=_held_out(train, seed), evaluate=evaluate, train_folds=folds,
            evaluate_folds=(fold,), cross_validated=False,
        )  # fmt: skip


def default_folds(corpus: "Corpus") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Training folds and reported folds where none are named: by the corpus's roles.

    The validation folds are reported, or the test folds of a corpus that has no validation folds.

    Raises:
        CorpusError: The corpus has no folds, or no roles for them.
    """
    roles = corpus.fold_roles
    if roles is None or not roles.reported:
        count = len({int(fold) for fold in corpus.folds} - {-1})
        raise CorpusError(
            f"{corpus.name} has {count} folds and none to report by default. Name them with train_folds and "
            "evaluate_folds, or split a table of labels by patient."
        )
    return roles.train, roles.reported


def make_splits(
    corpus: "Corpus",
    label_set: str,
    extractor: "EcgFeatureExtractor",
    *,
    train_folds: Sequence[int] | None = None,
    evaluate_folds: Sequence[int] | None = None,
    validation_folds: Sequence[int] | None = None,
    train_fraction: float = 1.0,
    codes: Sequence[str] | None = None,
    min_examples: int = 0,
    seed: int = 0,
) -> Splits:
    """Divide a corpus for one evaluation.

    Args:
        corpus: The corpus.
        label_set: Name of the label set.
        extractor: Decides which records can be used.
        train_folds: Training folds; default: those of `default_folds`.
        evaluate_folds: Reported folds; default: those of `default_folds`.
        validation_folds: Folds for selection, disjoint from both; default: a part of the training folds.
        train_fraction: Share of the training records, in whole patients, nested.
        codes: Only these labels of the set, in its order; default: all.
        min_examples: Labels with fewer training records are dropped, with a warning (a user's own small table).
        seed: Seed of the fraction and of the held-out part.

    Raises:
        CorpusError: Folds overlap or do not exist, patients are on both sides, or no record is left.
    """
    defaults = ((), ()) if train_folds and evaluate_folds else default_folds(corpus)
    train_folds, evaluate_folds = tuple(train_folds or defaults[0]), tuple(evaluate_folds or defaults[1])
    validation_folds = tuple(validation_folds or ())
    _refuse_overlap(train_folds=train_folds, evaluate_folds=evaluate_folds, validation_folds=validation_folds)
    corpus = usable_records(corpus, extractor)
    matrix = corpus.label_matrix(label_set)
    parts = {
        name: _part(corpus, matrix, folds)
        for name, folds in (("train", train_folds), ("validation", validation_folds), ("evaluation", evaluate_folds))
        if folds
    }
    check_disjoint({name: part.corpus for name, part in parts.items()})
    train = _fraction(parts["train"], train_fraction, seed)
    task = Task(label_set, matrix.codes, matrix.names, matrix.system, matrix.problem_type)
    if validation_folds:
        ids = np.concatenate([part.corpus.record_ids for part in (train, parts["validation"])])
        both = corpus.select(np.isin(corpus.record_ids, ids))
        train = _part(both, both.label_matrix(label_set), None)
        held_out: tuple[np.ndarray, ...] = (np.isin(train.corpus.folds, validation_folds),)
    else:
        held_out = _held_out(train, seed)
    evaluate = parts["evaluation"]
    left_out = int(np.isin(corpus.folds, evaluate_folds).sum()) - len(evaluate)
    folds = (train_folds, evaluate_folds, validation_folds)
    splits = Splits(task, train, held_out, not validation_folds, evaluate, *folds, train_fraction, left_out)
    if codes is not None:
        return _restricted(splits, np.isin(task.codes, list(codes)))
    splits = _drop_untrained(splits)
    return _drop_rare(splits, min_examples) if min_examples else splits


def make_cross_validation(
    corpus: "Corpus", label_set: str, extractor: "EcgFeatureExtractor", *, min_examples: int = 0, seed: int = 0
) -> Splits:
    """Splits in which every record trains the final model and is reported by a model of the other folds.

    Args:
        corpus: The corpus; its folds are the parts.
        label_set: Name of the label set.
        extractor: Decides which records can be used.
        min_examples: Labels with fewer records are dropped, with a warning.
        seed: Seed of the held-out part.

    Raises:
        CorpusError: Patients are in several folds, or no record is left.
    """
    corpus = usable_records(corpus, extractor)
    matrix = corpus.label_matrix(label_set)
    folds = tuple(sorted({int(fold) for fold in corpus.folds}))
    part = _part(corpus, matrix, folds)
    check_disjoint({f"fold {fold}": part.corpus.select(part.corpus.folds == fold) for fold in folds})
    task = Task(label_set, matrix.codes, matrix.names, matrix.system, matrix.problem_type)
    left_out = len(corpus) - len(part)
    splits = Splits(
        task, part, _held_out(part, seed), True, part, folds, folds, (), 1.0, left_out, cross_validated=True
    )  # fmt: skip
    return _drop_rare(splits, min_examples) if min_examples else splits


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


def _refuse_overlap(**parts: tuple[int, ...]) -> None:
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = sorted(set(parts[first]) & set(parts[second]))
            if both:
                raise CorpusError(f"folds {both} are in {first} and in {second}; expected disjoint folds.")


def _part(corpus: "Corpus", matrix: "LabelMatrix", folds: Sequence[int] | None) -> Part:
    """The records of the folds that have labels.

    In a user's own table of 0 and 1 a record without any 1 is a negative for every label; in a published label set
    nothing is known about it.
    """
    keep = np.ones(len(corpus), bool) if folds is None else np.isin(corpus.folds, list(folds))
    if folds is not None and not keep.any():
        known = sorted({int(fold) for fold in corpus.folds})
        raise CorpusError(f"{corpus.name} has no records in folds {list(folds)}; it has folds {known}.")
    if not (matrix.system == "own" and matrix.problem_type == "multi_label_classification"):
        keep &= matrix.has_label
    if not keep.any():
        raise CorpusError(f"no record of folds {folds and list(folds)} of {corpus.name} has a label of the set.")
    return Part(corpus.select(keep), matrix.values[keep], matrix.problem_type)


def _fraction(part: Part, fraction: float, seed: int) -> Part:
    if fraction == 1.0:
        return part
    chosen = nested_fraction(part.corpus, fraction, seed=seed)
    return part.select(np.isin(part.corpus.record_ids, chosen.record_ids))


def _held_out(train: Part, seed: int) -> tuple[np.ndarray, ...]:
    """Masks of the parts of `train` that are held out for selection."""
    stratify = None if train.problem_type == "regression" else train.labels
    if stratify is not None:
        # Labels of very few records cannot be spread over the parts, and each label costs a pass.
        stratify = stratify[:, stratify.sum(axis=0) >= _MIN_STRATIFIED]
    few = len(train) < _FEW_RECORDS
    parts = min(_FEW_PARTS if few else _HELD_OUT, count_patients(train.corpus.patient_ids))
    fold = split_by_patient(train.corpus, parts, stratify=stratify, seed=seed)
    return tuple(fold == number for number in range(parts if few else 1))


def _drop_untrained(splits: Splits) -> Splits:
    """The splits without labels that no training record has: nothing can be learned of them, and chance is no score."""
    if splits.task.problem_type != "multi_label_classification":
        return splits
    learned = splits.train if splits.refit else splits.train.select(~splits.held_out[0])
    keep = learned.labels.sum(axis=0) > 0
    if keep.all():
        return splits
    untrained = tuple(code for code, kept in zip(splits.task.codes, keep, strict=True) if not kept)
    logger.warning(
        f"{len(untrained)} of {len(keep)} labels have no training record and are left out: {', '.join(untrained)}."
    )
    return replace(_restricted(splits, keep), untrained=untrained)


def _drop_rare(splits: Splits, min_examples: int) -> Splits:
    """The splits without the labels that have too few training records."""
    task = splits.task
    if task.problem_type == "regression":
        return splits
    counts = splits.train.labels.sum(axis=0)
    keep = counts >= min_examples
    if keep.all():
        return splits
    dropped = [f"{code} ({count})" for code, count in zip(task.codes, counts, strict=True) if count < min_examples]
    logger.warning(f"labels with fewer than {min_examples} training records are dropped: {', '.join(dropped)}.")
    if keep.sum() < (2 if task.problem_type == "single_label_classification" else 1):
        raise CorpusError(f"no label has {min_examples} training records; expected some. Lower --min_examples.")
    return _restricted(splits, keep)


def _restricted(splits: Splits, keep: np.ndarray) -> Splits:
    """The splits with only some of the labels, in the same order."""
    kept, task = np.flatnonzero(keep), splits.task
    task = replace(task, codes=tuple(task.codes[k] for k in kept), names=tuple(task.names[k] for k in kept))
    train, train_rows = _without(splits.train, keep)
    evaluate, _ = _without(splits.evaluate, keep)
    held_out = tuple(mask[train_rows] for mask in splits.held_out)
    return replace(splits, task=task, train=train, evaluate=evaluate, held_out=held_out)


def _without(part: Part, keep: np.ndarray) -> tuple[Part, np.ndarray]:
    """The part with only some label columns, and a mask of its remaining records.

    Single-label records of a dropped class are removed.
    """
    labels = part.labels[:, keep]
    single = part.problem_type == "single_label_classification"
    rows = np.asarray(labels.any(axis=1)) if single else np.ones(len(part), bool)
    return replace(part, corpus=part.corpus.select(rows), labels=labels[rows]), rows
