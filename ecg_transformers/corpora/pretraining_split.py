"""Training and validation records of a pretraining on one or more corpora: folds by role, test folds left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CorpusError
from .beat_splits import beat_classes, named_split
from .join import join_corpora
from .prepared import Corpus
from .splits import check_disjoint, nested_fraction, split_off_patients

__all__ = ["PretrainingSplit", "split_beats", "split_for_pretraining"]


@dataclass(frozen=True)
class PretrainingSplit:
    """The records of a pretraining.

    Args:
        corpus: All records, of all corpora.
        train: Training records.
        validation: Records of the validation loss and of a probe; None if neither was asked for.
        test_records_left_out: Number of records of the test folds that are not trained on, by corpus.
        shares_patients: Whether patients of the training set are in the test set of the named split, too.
    """

    corpus: Corpus
    train: Corpus
    validation: Corpus | None
    test_records_left_out: dict[str, int]
    shares_patients: bool = False


def split_beats(
    corpora: Sequence[Corpus], name: str, *, data_fraction: float = 1.0, validate: bool = True, seed: int = 0
) -> PretrainingSplit:
    """The normal beats of a named split: those of its training part train, those of its validation part validate.

    Args:
        corpora: One corpus of beats.
        name: A split of `beat_splits.SPLITS`.
        data_fraction: Share of the training beats' patients that is used, see `nested_fraction`.
        validate: Whether validation beats are needed.
        seed: Seed of the choice of patients.

    Raises:
        CorpusError: There are several corpora, or none of beats, or there is no such split.
    """
    if len(corpora) != 1:
        raise CorpusError(f"split {name!r} is of one corpus of beats, and {len(corpora)} corpora are given. Pass one.")
    [corpus] = corpora
    split = named_split(corpus, name)
    normal = split.validation[beat_classes(corpus)[split.validation] == 0]
    training, held = corpus.select(split.train), corpus.select(normal)
    if not split.shares_patients:
        check_disjoint({"training": training, "validation": held})
    train = nested_fraction(training, data_fraction, seed=seed)
    left_out = {corpus.name: len(split.test)}
    return PretrainingSplit(corpus, train, held if validate else None, left_out, split.shares_patients)


def split_for_pretraining(
    corpora: Sequence[Corpus],
    *,
    train_folds: Sequence[int] | None = None,
    validation_folds: Sequence[int] | None = None,
    validation_fraction: float = 0.05,
    data_fraction: float = 1.0,
    exclude_downstream_test: bool = True,
    validate: bool = True,
    seed: int = 0,
) -> PretrainingSplit:
    """Divide corpora for a pretraining, each by itself, and join the parts.

    Named folds hold for every corpus. Where none are named, the validation folds of each corpus validate (or
    `validation_fraction` of the patients of a corpus without such folds), and all other records train, except those of
    its test folds.

    Args:
        corpora: One or more prepared corpora.
        train_folds: Training folds; default: all that are neither validation nor test folds.
        validation_folds: Validation folds; default: by role.
        validation_fraction: Share of the patients held out of a corpus without validation folds.
        data_fraction: Share of each corpus's training records that is used, see `nested_fraction`.
        exclude_downstream_test: Leave the records of test folds out of a training set that is not named by folds.
        validate: Whether validation records are needed.
        seed: Seed of the choice of patients.

    Raises:
        CorpusError: Folds overlap or do not exist, patients are on both sides, or no record is left.
    """
    train_folds, validation_folds = list(train_folds or ()), list(validation_folds or ())
    both = sorted(set(train_folds) & set(validation_folds))
    if both:
        raise CorpusError(f"folds {both} are in train_folds and in validation_folds; they must not overlap.")
    if validate and train_folds and not validation_folds:
        raise CorpusError("an evaluation or a probe needs validation_folds when train_folds are named.")
    train: list[Corpus] = []
    validation: list[Corpus] = []
    left_out: dict[str, int] = {}
    for corpus in corpora:
        held_out = np.isin(corpus.folds, validation_folds) if validation_folds else corpus.in_role("validation")
        if train_folds:
            training = corpus.select(folds=train_folds)
        else:
            test = corpus.in_role("test") & ~held_out & exclude_downstream_test
            left_out |= {corpus.name: int(test.sum())} if test.any() else {}
            training = corpus.select(~held_out & ~test)
        if validate:
            if validation_folds or held_out.any():
                held = corpus.select(folds=validation_folds) if validation_folds else corpus.select(held_out)
            else:
                training, held = split_off_patients(training, validation_fraction, seed=seed)
            check_disjoint({"training": training, "validation": held})
            validation.append(held)
        train.append(nested_fraction(training, data_fraction, seed=seed))
    return PretrainingSplit(
        join_corpora(corpora), join_corpora(train), join_corpora(validation) if validate else None, left_out
    )
