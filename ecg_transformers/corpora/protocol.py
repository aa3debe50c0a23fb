"""Which records train, choose and are reported, and what is predicted: the protocol of every figure (DESIGN section 6).

Three rules hold for every mode:

- Patients are disjoint between training and evaluation, and this is checked.
- Whatever is chosen (regularization, epoch, thresholds) is chosen on records that are not reported: on a part of the
  *training* folds, held out by patient and stratified by label, unless `validation_folds` names other folds for it.
- A fraction of the training set takes whole patients and is nested: a smaller one lies inside every larger one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from transformers.utils import logging

from ..errors import CorpusError
from .patients import count_patients
from .splits import check_disjoint, nested_fraction, split_by_patient

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from .prepared import Corpus, LabelMatrix

__all__ = ["Part", "Splits", "Task", "default_folds", "make_splits", "usable_records"]

logger = logging.get_logger(__name__)

# PTB-XL's published protocol: folds 1-8 train, 9 is validation, 10 is test.
_OFFICIAL_FOLDS = {"ptbxl": (tuple(range(1, 9)), (9,))}

# A tenth of the training records chooses; below this number of records five such parts do, one after the other.
_HELD_OUT = 10
_FEW_RECORDS = 4000
_FEW_PARTS = 5
# Iterative stratification over 71 labels; rarer labels than this many records cannot be spread anyway.
_MIN_STRATIFIED = 10


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Args:
        label_set: Its name in the corpus.
        codes: Codes in the order of the model's outputs.
        names: The same in words.
        system: Where the codes come from.
        problem_type: Transformers' word for the kind of task.
    """

    label_set: str
    codes: tuple[str, ...]
    names: tuple[str, ...]
    system: str
    problem_type: str

    @property
    def num_labels(self) -> int:
        """Outputs of a model for it."""
        return len(self.codes)


@dataclass(frozen=True)
class Part:
    """Some records and their labels.

    Args:
        corpus: The records.
        labels: `(records, labels)`: uint8 0 or 1 (one-hot for single-label), float64 for regression.
        problem_type: Transformers' word for the kind of task.
    """

    corpus: "Corpus"
    labels: np.ndarray
    problem_type: str

    def __len__(self) -> int:
        return len(self.corpus)

    @property
    def targets(self) -> np.ndarray:
        """What a loss takes: class numbers int64 `(records,)` for single-label, else the labels."""
        return self.labels.argmax(axis=1) if self.problem_type == "single_label_classification" else self.labels

    def select(self, records: np.ndarray) -> "Part":
        """Some of the records; `records` is a bool mask or positions."""
        return replace(self, corpus=self.corpus.select(records), labels=self.labels[records])


@dataclass(frozen=True)
class Splits:
    """The parts of one evaluation.

    Args:
        task: What is predicted.
        train: Records to learn from, those held out for choices included.
        held_out: Bool masks over `train`: each is held out once for choices; the first one alone where a mode trains
            only once.
        refit: Whether the final model learns from all of `train` (the held-out part belongs to the training folds).
        evaluate: Records that are reported.
        train_folds: Numbers of the training folds.
        evaluate_folds: Numbers of the reported folds.
        train_fraction: Share of the training records that is used.
        left_out: Reported folds' records without any label of the set.
        selection: How choices are made, in words.
    """

    task: Task
    train: Part
    held_out: tuple[np.ndarray, ...]
    refit: bool
    evaluate: Part
    train_folds: tuple[int, ...]
    evaluate_folds: tuple[int, ...]
    train_fraction: float
    left_out: int
    selection: str

    def choosing_nothing(self) -> "Splits":
        """The same splits for a training that keeps its last epoch: only thresholds are fitted, and where."""
        where = (
            f"folds {', '.join(map(str, self.evaluate_folds))}, which are reported" if self.refit else self.selection
        )
        return replace(self, selection=f"nothing is chosen (last epoch); thresholds on {where}")


def default_folds(corpus: "Corpus") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Training folds and reported folds where the caller names none.

    PTB-XL: 1-8 and 9. Another corpus: the last fold is the test fold and not touched, the one before is reported, the
    rest trains; with two folds the second is reported.

    Raises:
        CorpusError: The corpus has fewer than two folds.
    """
    if corpus.name in _OFFICIAL_FOLDS:
        return _OFFICIAL_FOLDS[corpus.name]
    folds = sorted({int(fold) for fold in corpus.folds} - {-1})
    if len(folds) < 2:
        raise CorpusError(
            f"{corpus.name} has {len(folds)} folds; expected two or more. Name them with train_folds and "
            "evaluate_folds, or split a table of labels by patient."
        )
    if len(folds) == 2:
        return (folds[0],), (folds[1],)
    return tuple(folds[:-2]), (folds[-2],)


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
        label_set: Which labels.
        extractor: Decides which records can be used.
        train_folds: Folds to learn from; `default_folds` if not given.
        evaluate_folds: Folds to report.
        validation_folds: Folds to choose on, disjoint from both; a part of the training folds if not given.
        train_fraction: Share of the training records, whole patients, nested.
        codes: Only these labels of the set, in its order; all if not given.
        min_examples: Labels with fewer training records are dropped, with a note (a user's own small table).
        seed: Of the fraction and of the held-out part.

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
    reported = int(np.isin(corpus.folds, evaluate_folds).sum())
    train = _fraction(parts["train"], train_fraction, seed)
    task = Task(label_set, matrix.codes, matrix.names, matrix.system, matrix.problem_type)
    held_out, refit = _held_out(train, parts.get("validation"), seed)
    if validation_folds:
        whole = np.isin(
            corpus.record_ids, np.concatenate([train.corpus.record_ids, parts["validation"].corpus.record_ids])
        )
        train = _part(corpus.select(whole), corpus.select(whole).label_matrix(label_set), None)
        held_out = (np.isin(train.corpus.folds, validation_folds),)
        selection = f"validation folds {', '.join(map(str, validation_folds))}"
    else:
        count = f"{len(held_out)} parts in turn" if len(held_out) > 1 else "a tenth"
        selection = f"{count} of the training records, by patient"
    evaluate = parts["evaluation"]
    splits = Splits(
        task, train, held_out, refit, evaluate, train_folds, evaluate_folds, train_fraction, reported - len(evaluate),
        selection,
    )  # fmt: skip
    if codes is not None:
        return _restricted(splits, np.isin(task.codes, list(codes)))
    return _drop_rare(splits, min_examples) if min_examples else splits


def usable_records(corpus: "Corpus", extractor: "EcgFeatureExtractor") -> "Corpus":
    """The records that the extractor takes: those with missing samples are left out unless it repairs or masks them.

    Raises:
        CorpusError: No record is left.
    """
    if extractor.contract.nan_policy != "error":
        return corpus
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
    """The records of some folds that can be labeled.

    In a user's own table of 0 and 1 a record without any 1 is a record on which nothing was found; in a published label
    set it is one that the set says nothing about.
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


def _held_out(train: Part, validation: Part | None, seed: int) -> tuple[tuple[np.ndarray, ...], bool]:
    """Masks of the parts of `train` that choose, and whether the final model learns from them too."""
    if validation is not None:
        return (), False
    stratify = None if train.problem_type == "regression" else train.labels
    if stratify is not None:
        # Labels of a few records cannot be spread over the parts, and each costs a pass.
        stratify = stratify[:, stratify.sum(axis=0) >= _MIN_STRATIFIED]
    few = len(train) < _FEW_RECORDS
    parts = min(_FEW_PARTS if few else _HELD_OUT, count_patients(train.corpus.patient_ids))
    fold = split_by_patient(train.corpus, parts, stratify=stratify, seed=seed)
    return tuple(fold == number for number in range(parts if few else 1)), True


def _drop_rare(splits: Splits, min_examples: int) -> Splits:
    """The splits without labels that have too few training records."""
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
    """The splits with some of the labels only, in the same order."""
    kept, task = np.flatnonzero(keep), splits.task
    task = replace(task, codes=tuple(task.codes[k] for k in kept), names=tuple(task.names[k] for k in kept))
    train, train_rows = _without(splits.train, keep)
    evaluate, _ = _without(splits.evaluate, keep)
    held_out = tuple(mask[train_rows] for mask in splits.held_out)
    return replace(splits, task=task, train=train, evaluate=evaluate, held_out=held_out)


def _without(part: Part, keep: np.ndarray) -> tuple[Part, np.ndarray]:
    """The part with some label columns only; single-label records of a dropped class go. And which records stayed."""
    labels = part.labels[:, keep]
    single = part.problem_type == "single_label_classification"
    rows = np.asarray(labels.any(axis=1)) if single else np.ones(len(part), bool)
    return replace(part, corpus=part.corpus.select(rows), labels=labels[rows]), rows
