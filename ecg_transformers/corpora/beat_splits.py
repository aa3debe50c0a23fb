"""Splits of a corpus of beats for the detection of abnormal ones: pure functions of classes or patients.

Three protocols. `published/0` to `published/4` (Zhou et al., IJCAI 2019): beats at random, so that every patient is in
training and in test; a search for the nearest training beat beats every published figure on it. `patients/0` to
`patients/4`: five folds of patients, balanced by class. `de_chazal`: the records DS1 train, DS2 test (de Chazal et al.,
IEEE Trans Biomed Eng 51:1196, 2004). Record 201 of DS1 is of the patient of record 202 of DS2 and does not train here.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import CorpusError
from .labels import label_set
from .prepared import Corpus

__all__ = [
    "CLASSES",
    "SPLITS",
    "BeatSplit",
    "beat_classes",
    "de_chazal_split",
    "named_split",
    "patient_split",
    "published_split",
]

# Classes of beats; every class but the first is abnormal.
CLASSES = label_set("aami").codes
NUM_FOLDS = 5
# Seed of the order of the beats: the published order was drawn without one and cannot be repeated.
PUBLISHED_SEED = 42
VALIDATION_SHARE = 0.1

# Folds of patients with about the same number of beats of each class; 201 also has record 202.
PATIENT_FOLDS = (
    (106, 112, 119, 122, 123, 205, 214, 215, 232),
    (100, 101, 115, 117, 208, 219, 222, 228, 234),
    (103, 109, 118, 200, 210, 220, 223, 230),
    (108, 111, 114, 116, 124, 201, 207, 231, 233),
    (105, 113, 121, 203, 209, 212, 213, 221),
)
# Patients of DS1 that validate.
DE_CHAZAL_VALIDATION = (108, 115, 203, 209, 223)
DE_CHAZAL_TRAIN, DE_CHAZAL_TEST = 1, 2


@dataclass(frozen=True, eq=False)
class BeatSplit:
    """Rows of a corpus of beats that train, validate and test.

    Args:
        name: Name of the split.
        train: Rows of normal beats, int64.
        validation: Rows of normal and abnormal beats, int64.
        test: Rows of normal and abnormal beats, int64.
        shares_patients: Whether patients of the training set are in the others, too.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    shares_patients: bool = False


def published_split(classes: np.ndarray, fold: int) -> BeatSplit:
    """The published protocol: normal beats in five blocks of a random order, of which one tests.

    Of the normal beats outside the block, and of all abnormal beats of each class, 10 % validate; the other abnormal
    beats test, the same in every fold.

    Args:
        classes: Class of each beat as a number in `CLASSES`, `(beats,)`, in the order of the corpus.
        fold: 0 to 4.
    """
    _check_fold("published", fold)
    random = np.random.RandomState(PUBLISHED_SEED)
    groups = [random.permutation(np.flatnonzero(classes == number)) for number in range(len(CLASSES))]
    normal = groups[0]
    size = len(normal) // NUM_FOLDS
    block = np.zeros(len(normal), dtype=bool)
    block[fold * size : (fold + 1) * size] = True
    train, held_out = _tenth_held_out(normal[~block])
    parts = [_tenth_held_out(group) for group in groups[1:]]
    return BeatSplit(
        f"published/{fold}",
        train,
        np.concatenate([held_out, *(held for _, held in parts)]),
        np.concatenate([normal[block], *(rest for rest, _ in parts)]),
        shares_patients=True,
    )


def _tenth_held_out(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nine tenths and one tenth, as scikit-learn's `train_test_split(test_size=0.1, random_state=0)` draws them."""
    held = int(np.ceil(VALIDATION_SHARE * len(rows)))
    order = np.random.RandomState(0).permutation(len(rows))
    return rows[order[held:]], rows[order[:held]]


def patient_split(classes: np.ndarray, patients: np.ndarray, fold: int) -> BeatSplit:
    """Folds of patients: fold `fold` tests, the next one validates, the normal beats of the other three train.

    Args:
        classes: Class of each beat as a number in `CLASSES`, `(beats,)`.
        patients: Patient of each beat, `(beats,)`.
        fold: 0 to 4.
    """
    _check_fold("patients", fold)
    test = np.isin(patients, PATIENT_FOLDS[fold])
    validation = np.isin(patients, PATIENT_FOLDS[(fold + 1) % NUM_FOLDS])
    train = ~test & ~validation & (classes == 0)
    return BeatSplit(f"patients/{fold}", np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))


def de_chazal_split(classes: np.ndarray, patients: np.ndarray, folds: np.ndarray) -> BeatSplit:
    """DS1 trains and validates (five of its patients), DS2 tests; a patient of both does not train.

    Args:
        classes: Class of each beat as a number in `CLASSES`, `(beats,)`.
        patients: Patient of each beat, `(beats,)`.
        folds: 1 for beats of DS1, 2 for those of DS2, `(beats,)`.
    """
    test = folds == DE_CHAZAL_TEST
    first = (folds == DE_CHAZAL_TRAIN) & ~np.isin(patients, patients[test])
    validation = first & np.isin(patients, DE_CHAZAL_VALIDATION)
    train = first & ~validation & (classes == 0)
    return BeatSplit("de_chazal", np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))


def _check_fold(name: str, fold: int) -> None:
    if fold not in range(NUM_FOLDS):
        raise CorpusError(f"there is no split {name}/{fold}; expected {name}/0 to {name}/{NUM_FOLDS - 1}.")


def beat_classes(corpus: Corpus) -> np.ndarray:
    """Class of each beat of a corpus as a number in `CLASSES`, int64 `(beats,)`.

    Raises:
        CorpusError: The corpus has no label set "aami", or beats without a class.
    """
    matrix = corpus.label_matrix("aami")
    if tuple(matrix.codes) != CLASSES or not (matrix.values.sum(axis=1) == 1).all():
        raise CorpusError(f"{corpus!r} is no corpus of beats with one class each. Prepare mitdb_beats.")
    return matrix.values.argmax(axis=1)


SPLITS = (
    *(f"{name}/{fold}" for name in ("published", "patients") for fold in range(NUM_FOLDS)),
    "de_chazal",
)


def named_split(corpus: Corpus, name: str) -> BeatSplit:
    """A split of a corpus of beats by its name.

    Args:
        corpus: Whole corpus `mitdb_beats`, in either preparation.
        name: One of `SPLITS`: `published/0` to `published/4`, `patients/0` to `patients/4`, `de_chazal`.

    Raises:
        CorpusError: There is no split of that name, or the corpus holds no beats.
    """
    if name not in SPLITS:
        raise CorpusError(f"there is no split {name!r}; expected one of {', '.join(SPLITS)}.")
    classes, kind, _, fold = beat_classes(corpus), *name.partition("/")
    if kind == "published":
        return published_split(classes, int(fold))
    if kind == "patients":
        return patient_split(classes, corpus.patient_ids, int(fold))
    return de_chazal_split(classes, corpus.patient_ids, corpus.folds)
