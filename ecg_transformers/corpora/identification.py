"""Records for the identification of patients: a gallery and a probe of each patient, and patients to train on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorpusError
from .patients import UNKNOWN_PATIENT
from .protocol import Part, Splits, Task, chosen_folds, usable_records
from .splits import check_disjoint, nested_fraction

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from .prepared import Corpus

__all__ = ["IDENTIFICATION", "PATIENTS", "gallery_and_probes", "identification_splits"]

# Name of this task among the label sets of a corpus, and its `problem_type`.
PATIENTS = "patients"
IDENTIFICATION = "patient_identification"

_TASK = Task(PATIENTS, ("identified",), ("patient identified",), PATIENTS, IDENTIFICATION)


def gallery_and_probes(corpus: "Corpus") -> tuple["Corpus", "Corpus"]:
    """The first and the second record of each patient who has two, by record id.

    Args:
        corpus: Records; those of unknown patients are left out.

    Returns:
        Gallery and probes, one record of the same patient in the same place of both.

    Raises:
        CorpusError: Fewer than two patients have two records.
    """
    order = np.lexsort((corpus.record_ids, corpus.patient_ids))
    patients = np.asarray(corpus.patient_ids)[order]
    first = np.concatenate([[True], patients[1:] != patients[:-1]])
    # The row after the first one of a patient, where it is of the same patient.
    second = np.flatnonzero(~first & np.concatenate([[False], first[:-1]]) & (patients != UNKNOWN_PATIENT))
    if len(second) < 2:
        raise CorpusError(
            f"{len(second)} patients of {corpus!r} have two records; identification needs two such patients or more. "
            "Choose other folds, or a corpus that knows its patients."
        )
    return corpus.select(order[second - 1]), corpus.select(order[second])


def identification_splits(
    corpus: "Corpus",
    extractor: "EcgFeatureExtractor",
    *,
    train_folds: Sequence[int] | None = None,
    evaluate_folds: Sequence[int] | None = None,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> Splits:
    """Divide a corpus for the identification of patients.

    Reported is, for each patient of the reported folds with two records or more, whether the second record is assigned
    to the first (`gallery`). Training records are all those of the patients of the training folds with two or more;
    their classes are these patients.

    Args:
        corpus: The corpus.
        extractor: Decides which records can be used.
        train_folds: Training folds. Default: those of the corpus.
        evaluate_folds: Reported folds. Default: those of the corpus.
        train_fraction: Share of the training records, in whole patients, nested.
        seed: Seed of the fraction.

    Raises:
        CorpusError: Patients are on both sides, or fewer than two have two records.
    """
    train_folds, evaluate_folds = chosen_folds(corpus, train_folds, evaluate_folds)
    corpus = usable_records(corpus, extractor)
    training, reported = corpus.select(folds=train_folds), corpus.select(folds=evaluate_folds)
    gallery, probes = gallery_and_probes(reported)
    training = _of_repeated_patients(training)
    check_disjoint({"train": training, "evaluation": reported})
    training = nested_fraction(training, train_fraction, seed=seed)
    patients, classes = np.unique(training.patient_ids, return_inverse=True)
    train = Part(training, np.eye(len(patients), dtype=np.uint8)[classes], "single_label_classification")
    evaluate = Part(probes, np.ones((len(probes), 1), np.uint8), IDENTIFICATION)
    return Splits(
        _TASK, train, (), True, evaluate, train_folds, evaluate_folds, (), train_fraction,
        left_out=len(reported) - 2 * len(probes), selects=False, gallery=gallery,
    )  # fmt: skip


def _of_repeated_patients(corpus: "Corpus") -> "Corpus":
    """The records of patients with two records or more."""
    patients, numbers, counts = np.unique(corpus.patient_ids, return_inverse=True, return_counts=True)
    keep = (counts > 1)[numbers] & (np.asarray(corpus.patient_ids) != UNKNOWN_PATIENT)
    if len(np.unique(numbers[keep])) < 2:
        raise CorpusError(
            f"fewer than two of {len(patients)} patients of {corpus!r} have two records; expected more to train on. "
            "Choose other folds, or a corpus that knows its patients."
        )
    return corpus.select(keep)
