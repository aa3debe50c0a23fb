"""Folds for a corpus that comes without, or whose available part lacks the folds that train or are reported.

They are a property of the corpus: made from its records and labels with a fixed seed, they are the same in every
command and every run.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import write_csv
from .fold_roles import default_fold_roles
from .patients import count_patients
from .prepared import Corpus
from .splits import split_by_patient

__all__ = ["has_folds", "with_made_folds", "write_folds"]

_FOLDS, _LEAST, _SEED = 10, 3, 0


def has_folds(corpus: Corpus, named: Sequence[int] = ()) -> bool:
    """Whether the corpus's own folds can be used: those that are named, or else those of its roles, have records.

    Args:
        corpus: the corpus.
        named: numbers of folds that a user named.
    """
    known = {int(fold) for fold in corpus.folds} - {-1}
    if named and known.issuperset(named):
        return True
    roles = corpus.fold_roles
    return roles is not None and bool(known & set(roles.train)) and bool(known & set(roles.reported))


def with_made_folds(corpus: Corpus) -> Corpus:
    """The corpus with folds by patient, stratified by label: 1-8 train, 9 validation, 10 test.

    With fewer than ten patients there is a fold for each. `info["folds_made"]` describes them.

    Args:
        corpus: the corpus; its own folds are replaced.

    Raises:
        CorpusError: there are fewer than three patients.
    """
    labels = None
    for name, label_set in corpus.label_sets.items():
        if name == "all" and label_set.problem_type != "regression":
            labels = corpus.label_matrix(label_set).values
    count = min(_FOLDS, max(count_patients(corpus.patient_ids), _LEAST))
    folds = 1 + split_by_patient(corpus, count, stratify=labels, seed=_SEED)
    roles = default_fold_roles(range(1, count + 1))
    made = f"{count} folds by patient, stratified by label, seed {_SEED}"
    column = np.full(len(corpus.rows), -1, np.int32)
    column[corpus.indices] = folds
    changed = hashlib.sha256(f"{corpus.hash} {made}".encode() + column.tobytes()).hexdigest()
    counts = {str(fold): count for fold, count in sorted(Counter(folds.tolist()).items())}
    facts = {"folds": counts, "fold_roles": roles and roles.to_dict(), "folds_made": made, "content_hash": changed}
    return corpus.with_column("fold", column, facts)


def write_folds(corpus: Corpus, path: str | Path) -> Path:
    """Write the fold of each record as CSV: `record`, `record_id`, `fold`.

    Args:
        corpus: the corpus.
        path: the file, written atomically.
    """
    columns = zip(corpus.names, corpus.record_ids.tolist(), corpus.folds.tolist(), strict=True)
    write_csv(Path(path), [{"record": name, "record_id": number, "fold": fold} for name, number, fold in columns])
    return Path(path)
