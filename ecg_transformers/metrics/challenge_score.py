"""The score of the PhysioNet/CinC Challenge 2021: partial credit for confusions that matter less.

Reyna MA, et al. Will Two Do? Varying Dimensions in Electrocardiography: The PhysioNet/Computing in Cardiology Challenge
2021. Computing in Cardiology 2021. Weights and definition: physionetchallenges/evaluation-2021.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from ..corpora.labels import read_table
from ..errors import EcgError

__all__ = ["CHALLENGE_THRESHOLD", "SINUS_RHYTHM", "challenge_codes", "challenge_score", "challenge_weights"]

SINUS_RHYTHM = "426783006"
# A class is an output where its probability is above this, as published.
CHALLENGE_THRESHOLD = 0.5


@cache
def challenge_codes() -> tuple[str, ...]:
    """The 26 scored classes in the order of the weights."""
    return tuple(row["code"] for row in read_table("challenge2021_weights"))


def challenge_weights(codes: Sequence[str] | None = None) -> np.ndarray:
    """The reward of each output (column) for each label (row), from 0 to 1.

    Args:
        codes: Classes, in the order of rows and columns. Default: all 26.

    Raises:
        EcgError: A code is no scored class.

    Example:
        >>> challenge_weights(["426783006", "164889003"])
        array([[1.  , 0.25],
               [0.25, 1.  ]])
    """
    codes = challenge_codes() if codes is None else tuple(codes)
    if unknown := [code for code in codes if code not in challenge_codes()]:
        raise EcgError(
            f"{', '.join(unknown[:5])} is no scored class of the Challenge 2021; expected SNOMED CT codes such as "
            f'{SINUS_RHYTHM}. Translate the labels with map_labels(..., target="challenge2021").'
        )
    rows = {row["code"]: row for row in read_table("challenge2021_weights")}
    return np.array([[float(rows[label][output]) for output in codes] for label in codes], np.float64)


def challenge_score(
    labels: np.ndarray,
    outputs: np.ndarray,
    *,
    codes: Sequence[str] | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The Challenge score: 1 for the labels themselves, 0 for sinus rhythm and nothing else in every record.

    A record with the labels L and the outputs O is credited sum(W[l, o] for l in L for o in O) / max(|L or O|, 1). With
    the sums over records of this credit (observed), of that of the labels themselves (correct) and of that of sinus
    rhythm alone (inactive), the score is (observed - inactive) / (correct - inactive). It may be negative: nothing at
    all is worse than sinus rhythm. It is 0 where correct equals inactive.

    Args:
        labels: `(records, classes)`, 0 or 1.
        outputs: Decisions of the same shape, 0 or 1; published: probabilities above 0.5.
        codes: The classes. Default: all 26, in the order of the weights.
        weights: `(records, resamples)`, whole numbers: how often each record counts in each resample.

    Returns:
        `(1,)`, or `(resamples, 1)` with weights.

    Raises:
        EcgError: Shapes or values do not fit, a code is no scored class, or sinus rhythm is not among them.

    Example:
        >>> sinus, fibrillation = [[0, 1]], [[1, 0]]
        >>> challenge_score(fibrillation, sinus, codes=["164889003", "426783006"])
        array([0.])
    """
    codes = challenge_codes() if codes is None else tuple(codes)
    rewards = challenge_weights(codes)
    truth, given = (_checked(values, codes) for values in (labels, outputs))
    if truth.shape != given.shape:
        raise EcgError(f"labels have shape {truth.shape}, outputs {given.shape}; expected the same for both.")
    if SINUS_RHYTHM not in codes:
        raise EcgError(f"sinus rhythm ({SINUS_RHYTHM}) is not among the classes; the score is relative to it.")
    inactive = np.zeros_like(truth)
    inactive[:, codes.index(SINUS_RHYTHM)] = 1.0
    credits = np.stack([_credit(truth, one, rewards) for one in (given, truth, inactive)])  # (3, records)
    columns = np.ones((len(truth), 1)) if weights is None else np.asarray(weights, np.float64)
    observed, correct, inactive_sum = credits @ columns  # (resamples,) each
    span = correct - inactive_sum
    score = np.divide(observed - inactive_sum, span, out=np.zeros(span.shape), where=span != 0)
    return score if weights is None else score[:, None]


def _credit(labels: np.ndarray, outputs: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """The credit of each record `(records,)`."""
    named = np.maximum(np.maximum(labels, outputs).sum(axis=1), 1.0)
    return ((labels @ rewards) * outputs).sum(axis=1) / named


def _checked(values: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(codes) or not len(array) or not np.isin(array, (0, 1)).all():
        raise EcgError(
            f"labels or outputs have shape {array.shape} and values {np.unique(array)[:4].tolist()}; expected 0 and 1, "
            f"(records, {len(codes)}). Pass probabilities > {CHALLENGE_THRESHOLD}, and codes= for other classes."
        )
    return array.astype(np.float64)
