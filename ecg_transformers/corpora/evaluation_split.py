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
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentsError, CorpusError
from ..option import option
from .identification import PATIENTS, identification_splits
from .protocol import Part, Splits, Task, chosen_folds, held_out_parts, usable_records
from .splits import check_disjoint, nested_fraction

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from .label_matrix import LabelMatrix
    from .prepared import Corpus

__all__ = ["Protocol"]

logger = logging.getLogger(__name__)

_PROTOCOL: dict[str, Any] = {"group": "Labels and folds"}


@dataclass(frozen=True)
class Protocol:
    """Which records are trained on, which choose, which are reported; the `help` of each option describes it."""

    labels: str = option(
        "all",
        help="Label set of the corpus; patients = identification of patients by the cosine of embeddings.",
        **_PROTOCOL,
    )
    train_folds: list[int] | None = option(
        None, help="Training folds, e.g. 1-8. Default: those of the corpus.", used_by="learning", **_PROTOCOL
    )
    validation_folds: list[int] | None = option(
        None,
        help="Folds on which epoch, L2 and thresholds are chosen. Default: a part of the training folds, by patient.",
        used_by="learning",
        **_PROTOCOL,
    )
    evaluate_folds: list[int] | None = option(
        None, help="Reported folds. Default: the validation fold of the corpus.", alias="folds", **_PROTOCOL
    )
    train_fraction: float = option(
        1.0, help="Fraction of the training records: whole patients, nested.", used_by="learning", **_PROTOCOL
    )
    min_examples: int = option(
        3, help="Labels of a table with fewer training records are dropped.", used_by="learning", **_PROTOCOL
    )

    def split(
        self,
        corpus: "Corpus",
        extractor: "EcgFeatureExtractor",
        *,
        seed: int = 0,
        own_table: bool = False,
        cross_validated: bool = False,
        codes: Sequence[str] | None = None,
    ) -> Splits:
        """Divide a corpus for one evaluation.

        Args:
            corpus: The corpus.
            extractor: The checkpoint's feature extractor; it decides which records can be used.
            seed: Seed of the fraction and of the held-out part. Default: 0.
            own_table: Whether the labels are a user's own table, whose rare labels (`min_examples`) are dropped, with a
                warning. Default: no.
            cross_validated: Whether every record trains the final model and is reported by a model of the other folds,
                instead of a split by the folds of this protocol. Default: no.
            codes: Only these labels of the set, in its order. Default: all that a training record has.

        Raises:
            ArgumentsError: Folds for selection in an identification of patients, where nothing is selected.
            CorpusError: Folds overlap or do not exist, patients are on both sides, or no record is left.
        """
        if self.labels == PATIENTS:
            return self._of_patients(corpus, extractor, seed)
        corpus = usable_records(corpus, extractor)
        matrix = corpus.label_matrix(self.labels)
        task = Task(self.labels, matrix.codes, matrix.names, matrix.system, matrix.problem_type)
        splits = _all_folds(task, corpus, matrix) if cross_validated else self._by_folds(task, corpus, matrix, seed)
        if not splits.held_out:
            splits = replace(splits, held_out=held_out_parts(splits.train, seed))
        if codes is not None:
            return _restricted(splits, np.isin(task.codes, list(codes)))
        if not cross_validated:
            splits = _drop_untrained(splits)
        return _drop_rare(splits, self.min_examples) if own_table and self.min_examples else splits

    def _of_patients(self, corpus: "Corpus", extractor: "EcgFeatureExtractor", seed: int) -> Splits:
        """The records of an identification of patients."""
        if self.validation_folds:
            raise ArgumentsError(
                f"validation_folds is {self.validation_folds}, but nothing is chosen in an identification of "
                "patients. Leave it out."
            )
        return identification_splits(
            corpus,
            extractor,
            train_folds=self.train_folds,
            evaluate_folds=self.evaluate_folds,
            train_fraction=self.train_fraction,
            seed=seed,
        )

    def _by_folds(self, task: Task, corpus: "Corpus", matrix: "LabelMatrix", seed: int) -> Splits:
        """The named folds, or those of the corpus's roles; held out are the folds that are named for selection."""
        train_folds, evaluate_folds = chosen_folds(corpus, self.train_folds, self.evaluate_folds)
        validation_folds = tuple(self.validation_folds or ())
        _refuse_overlap(train_folds=train_folds, evaluate_folds=evaluate_folds, validation_folds=validation_folds)
        folds = {"train": train_folds, "validation": validation_folds, "evaluation": evaluate_folds}
        parts = {name: _part(corpus, matrix, numbers) for name, numbers in folds.items() if numbers}
        check_disjoint({name: part.corpus for name, part in parts.items()})
        train, evaluate = _fraction(parts["train"], self.train_fraction, seed), parts["evaluation"]
        held_out: tuple[np.ndarray, ...] = ()
        if validation_folds:
            ids = np.concatenate([part.corpus.record_ids for part in (train, parts["validation"])])
            keep = np.isin(corpus.record_ids, ids)
            train = Part(corpus.select(keep), matrix.values[keep], matrix.problem_type)
            held_out = (np.isin(train.corpus.folds, validation_folds),)
        left_out = int(np.isin(corpus.folds, evaluate_folds).sum()) - len(evaluate)
        return Splits(
            task, train, held_out, not validation_folds, evaluate, train_folds, evaluate_folds, validation_folds,
            self.train_fraction, left_out,
        )  # fmt: skip


def _all_folds(task: Task, corpus: "Corpus", matrix: "LabelMatrix") -> Splits:
    """Every record trains the final model and is reported by a model of the other folds, which are the parts."""
    folds = tuple(sorted({int(fold) for fold in corpus.folds}))
    part = _part(corpus, matrix, folds)
    check_disjoint({f"fold {fold}": part.corpus.select(part.corpus.folds == fold) for fold in folds})
    left_out = len(corpus) - len(part)
    return Splits(task, part, (), True, part, folds, folds, (), 1.0, left_out, cross_validated=True)


def _refuse_overlap(**folds: Sequence[int]) -> None:
    for (first, some), (second, others) in combinations(folds.items(), 2):
        both = sorted(set(some) & set(others))
        if both:
            raise CorpusError(f"folds {both} are in {first} and in {second}; expected disjoint folds.")


def _part(corpus: "Corpus", matrix: "LabelMatrix", folds: Sequence[int]) -> Part:
    """The records of the folds that have labels.

    In a user's own table of 0 and 1 a record without any 1 is a negative for every label; in a published label set
    nothing is known about it.
    """
    keep = np.isin(corpus.folds, list(folds))
    if not keep.any():
        known = sorted({int(fold) for fold in corpus.folds})
        raise CorpusError(f"{corpus.name} has no records in folds {list(folds)}; it has folds {known}.")
    if not (matrix.system == "own" and matrix.problem_type == "multi_label_classification"):
        keep &= matrix.has_label
    if not keep.any():
        raise CorpusError(f"no record of folds {list(folds)} of {corpus.name} has a label of the set.")
    return Part(corpus.select(keep), matrix.values[keep], matrix.problem_type)


def _fraction(part: Part, fraction: float, seed: int) -> Part:
    if fraction == 1.0:
        return part
    chosen = nested_fraction(part.corpus, fraction, seed=seed)
    return part.select(np.isin(part.corpus.record_ids, chosen.record_ids))


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
        kept = ", ".join(code for code, enough in zip(task.codes, keep, strict=True) if enough)
        if kept:
            found = f"only {kept} keeps {min_examples} training records; a single-label task needs two classes"
        else:
            found = f"no label has {min_examples} training records; expected some"
        raise CorpusError(f"{found}. Lower --min_examples.")
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
