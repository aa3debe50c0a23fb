"""Splits by patient: stratified over many labels, checked for overlap, and nested fractions of a training set.

Records of one patient are similar: a patient in both training and test inflates the score. Recordings whose patient is
not known count as patients of their own, with a warning, because leakage cannot be excluded then.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np

from ..errors import CorpusError
from ..hashing import GOLDEN_GAMMA, integer_hash, splitmix64
from .patients import UNKNOWN_PATIENT, patient_groups
from .prepared import Corpus

__all__ = ["check_disjoint", "iterative_stratification", "nested_fraction", "split_by_patient", "split_off_patients"]

logger = logging.getLogger(__name__)


def split_by_patient(
    patients: Corpus | Sequence[int] | np.ndarray,
    folds: int | Sequence[float],
    *,
    stratify: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Divides records into folds so that each patient is in one fold and every label is spread evenly.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the stratification of multi-label data, ECML 2011) over
    patients instead of records: the rarest label first, each of its patients to the fold that lacks most of it.

    Args:
        patients: a corpus, or the patient of each record; negative: not known (see `corpora.patients`).
        folds: number of equal folds, or the share of each fold (they are scaled to sum 1).
        stratify: `(records,)` classes, or 0/1 `(records, labels)`; None: only the number of records is balanced.
        seed: seed of the choice among equal folds.

    Returns:
        The fold of each record, int64 `(records,)`, from 0.

    Raises:
        CorpusError: fewer patients than folds, shares that are not positive, or labels of another length.

    Example:
        >>> split_by_patient([7, 7, 8, 9], 3).tolist()[:2] in ([0, 0], [1, 1], [2, 2])
        True
    """
    ids = np.asarray(patients.patient_ids if isinstance(patients, Corpus) else patients, dtype=np.int64)
    shares = np.full(folds, 1.0) if isinstance(folds, int | np.integer) else np.asarray(folds, dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or not (np.isfinite(shares) & (shares > 0)).all():
        raise CorpusError(f"folds is {folds!r}; expected a number of folds or a list of positive shares.")
    labels = _label_columns(stratify, len(ids))
    group = _groups(ids)
    count = int(group.max(initial=-1)) + 1
    if count < len(shares):
        raise CorpusError(f"{count} patients cannot be divided into {len(shares)} folds; ask for fewer folds.")
    weights = np.zeros((count, labels.shape[1] + 1))
    np.add.at(weights, group, np.concatenate([labels, np.ones((len(ids), 1))], axis=1))
    result = _assign(weights, shares / shares.sum(), np.random.default_rng(seed))[group]
    check_disjoint({f"fold {fold}": ids[result == fold] for fold in range(len(shares))})
    return result


def _label_columns(stratify: np.ndarray | None, records: int) -> np.ndarray:
    """Labels as float64 `(records, labels)`."""
    if stratify is None:
        return np.zeros((records, 0))
    labels = np.asarray(stratify)
    if len(labels) != records or labels.ndim not in (1, 2):
        raise CorpusError(f"stratify has the shape {labels.shape} for {records} records; expected one row per record.")
    if labels.ndim == 1:
        labels = np.unique(labels, return_inverse=True)[1][:, None] == np.arange(len(np.unique(labels)))
    return labels.astype(np.float64)


def _groups(ids: np.ndarray) -> np.ndarray:
    """A number per patient from 0, recordings of unknown patients each with their own."""
    # Parts of a split are split again: the first, which is the largest, is enough.
    if (unknown := int((ids < 0).sum())) and not _warn_of_unknown.cache_info().currsize:
        _warn_of_unknown(unknown, len(ids))
    return patient_groups(ids)


@cache
def _warn_of_unknown(unknown: int, records: int) -> None:
    """Warns; the cache remembers whether it did."""
    logger.warning(
        "the patient of %d of %d records is not known: each recording counts as a patient of its own, and leakage "
        "between the parts of a split cannot be excluded",
        unknown,
        records,
    )


def _assign(weights: np.ndarray, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The fold of each group. `weights` `(groups, labels + 1)`: positives per label; last, the records."""
    fold = np.full(len(weights), -1)
    wanted = shares[:, None] * weights.sum(axis=0)
    left = weights.sum(axis=0)
    order = generator.permutation(len(weights))
    # The greedy rule is sequential: where a patient goes depends on all who went before.
    while True:
        open_labels = np.flatnonzero(left[:-1] > 0)
        if not len(open_labels):
            break
        label = open_labels[np.argmin(left[open_labels])]
        members = order[(fold[order] < 0) & (weights[order, label] > 0)]
        # Patients with many positives first: they fit worst at the end.
        for member in members[np.argsort(-weights[members, label], kind="stable")]:
            fold[member] = _neediest(wanted, (label, -1), generator)
            wanted[fold[member]] -= weights[member]
            left -= weights[member]
        left[label] = 0
    for member in order[fold[order] < 0]:
        fold[member] = _neediest(wanted, (-1,), generator)
        wanted[fold[member]] -= weights[member]
    return fold


def _neediest(
    wanted: np.ndarray, columns: Sequence[int], generator: np.random.Generator | np.random.RandomState
) -> int:
    """The fold that lacks most of the first column; among equals most of the next; among equals any."""
    candidates = np.arange(len(wanted))
    for column in columns:
        need = wanted[candidates, column]
        # 1e-9: shares such as 0.1 leave differences of rounding between folds that are equal.
        candidates = candidates[need >= need.max() - 1e-9]
    return int(generator.choice(candidates)) if len(candidates) > 1 else int(candidates[0])


def iterative_stratification(
    labels: Sequence[Sequence[int]], folds: int, *, sizes: Sequence[int] | None = None, seed: int = 0
) -> np.ndarray:
    """The folds of ecg-selfsupervised for corpora that come without any, record for record.

    Published code: iterative stratification (Sechidis et al. 2011) as in Mehari and Strodthoff, Self-supervised
    representation learning from 12-lead ECG data, Comput Biol Med 141:105114 (2022), whose rules for ties are needed to
    get the folds of the published runs. For other purposes use `split_by_patient`, which keeps patients together and
    gives every record a fold.

    Args:
        labels: the label numbers of each group, from 0, repeated where several of its records carry one.
        folds: number of equal folds.
        sizes: records of each group; one each if not given.
        seed: seed of NumPy's legacy generator, for the choice among equal folds.

    Returns:
        The fold of each group, int64 `(groups,)`, from 0; -1 for a group without labels.

    Raises:
        CorpusError: no fold, a negative label, or not one size per group.

    Example:
        >>> iterative_stratification([[0], [0], [1], []], 2).tolist()
        [0, 1, 0, -1]
    """
    counts = np.zeros((len(labels), 1 + max((max(found, default=-1) for found in labels), default=-1)))
    records = np.ones(len(labels)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    if folds < 1 or records.shape != (len(labels),) or any(min(found, default=0) < 0 for found in labels):
        raise CorpusError(
            f"{len(labels)} groups with {records.size} sizes and {folds} folds; expected at least one fold, one size "
            "per group and labels numbered from 0."
        )
    for group, found in enumerate(labels):
        np.add.at(counts[group], np.asarray(found, dtype=np.int64), 1)
    generator = np.random.RandomState(seed)  # the published folds depend on the legacy generator
    fold = np.full(len(labels), -1)
    # Per fold: how many of each label it still lacks, and in the last column how many records.
    weights = np.concatenate([counts, records[:, None]], axis=1)
    wanted = np.repeat(weights.sum(axis=0, keepdims=True) / folds, folds, axis=0)
    while (left := counts[fold < 0].sum(axis=0)).any():
        label = int(np.argmin(np.where(left > 0, left, np.inf)))
        members = np.flatnonzero((fold < 0) & (counts[:, label] > 0))
        # Most positives first; among equals the last group first.
        for member in members[np.argsort(counts[members, label], kind="stable")][::-1]:
            fold[member] = _neediest(wanted, (label, -1), generator)
            wanted[fold[member]] -= weights[member]
    return fold


def check_disjoint(parts: Mapping[str, Corpus | np.ndarray]) -> None:
    """Raises if a patient, or a record, is in two parts.

    Args:
        parts: name -> corpus, or name -> patient ids; unknown patients (-1) are ignored.

    Raises:
        CorpusError: parts overlap; the message names them, how many patients and which.

    Example:
        >>> check_disjoint({"train": np.array([1, 2]), "test": np.array([3])})
    """
    for (first, one), (second, other) in combinations(parts.items(), 2):
        kinds = ["patient"]
        if isinstance(one, Corpus) and isinstance(other, Corpus) and one.hash == other.hash:
            kinds.append("record")
        for kind in kinds:
            shared = np.intersect1d(_ids(one, kind), _ids(other, kind))
            shared = shared[shared != UNKNOWN_PATIENT]
            if len(shared):
                few = ", ".join(map(str, shared[:5])) + (" ..." if len(shared) > 5 else "")
                raise CorpusError(
                    f"{len(shared)} {kind}s are both in {first} and in {second} ({kind} {few}); expected disjoint "
                    "parts. Split with split_by_patient."
                )


def _ids(part: Corpus | np.ndarray, kind: str) -> np.ndarray:
    if isinstance(part, Corpus):
        return part.patient_ids if kind == "patient" else part.record_ids
    return np.asarray(part)


def nested_fraction(corpus: Corpus, fraction: float, *, seed: int = 0) -> Corpus:
    """A share of the records, whole patients only; a smaller share is a subset of every larger one.

    The order of the patients is a hash of seed and patient alone: the same patients are taken whatever else is in the
    corpus.

    Args:
        corpus: usually the training folds.
        fraction: share of the records, in (0, 1]; at least one patient is taken.
        seed: seed of the order of the patients.

    Raises:
        CorpusError: the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise CorpusError(f"the fraction is {fraction!r}; expected a number above 0 and at most 1.")
    if fraction == 1:
        return corpus
    keys = corpus.source_ids
    order = np.argsort(splitmix64(keys.astype(np.uint64) + np.uint64(GOLDEN_GAMMA * (seed + 1) % 2**64)), kind="stable")
    # Records in the order of their patients: a patient's records share a key and are therefore adjacent.
    last = max(round(fraction * len(corpus)), 1)
    taken = set(keys[order[:last]].tolist())
    if last < len(order) and keys[order[last]] in taken and len(taken) > 1:
        taken.discard(int(keys[order[last]]))  # a patient with records on both sides of the limit is left out
    return corpus.select(np.flatnonzero(np.isin(keys, list(taken))))


def split_off_patients(corpus: Corpus, fraction: float, *, seed: int = 0) -> tuple[Corpus, Corpus]:
    """Splits a corpus without folds by patient into training and validation records.

    Args:
        corpus: the records to split.
        fraction: share of the patients that are held out for validation; at least one patient is.
        seed: seed of the split.

    Returns:
        Training records and validation records.

    Raises:
        CorpusError: there is one patient only.
    """
    patients, record_of = np.unique(corpus.source_ids, return_inverse=True)
    rank = np.empty(len(patients), dtype=np.int64)
    rank[np.argsort(integer_hash(seed, patients), kind="stable")] = np.arange(len(patients))
    held_out = rank[record_of] < max(1, round(fraction * len(patients)))
    if held_out.all():
        raise CorpusError(
            f"{corpus.name} has one patient only; a validation set needs another. Set eval_strategy: 'no'."
        )
    return corpus.select(~held_out), corpus.select(held_out)
