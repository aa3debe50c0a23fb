"""Several prepared corpora as one: ids kept apart, signals still memory-mapped, nothing copied or rewritten on disk."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorpusError
from ..hashing import integer_hash
from . import CORPORA
from .fold_roles import FoldRoles
from .layout import FORMAT_VERSION
from .patients import UNKNOWN_PATIENT, count_patients
from .prepared import Corpus
from .signal_store import SignalStore

if TYPE_CHECKING:
    import datasets

__all__ = ["join_corpora"]

# Folds of joined corpora: fold 9 of one and fold 9 of another have nothing in common but the number.
_ROLES = FoldRoles(train=(1,), validation=(2,), test=(3,))
_COUNTS = ("lead_sets", "sampling_rates", "durations_seconds", "label_counts")
_SUMS = ("refused", "values", "annotations", "invalid_samples")


def join_corpora(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora, or selections of them, as one corpus whose records come in their order.

    Record and patient ids become hashes of the corpus and the id in it: those of different corpora never meet, and they
    do not depend on what else is joined. Folds become roles: 1 train, 2 validation, 3 test, -1 none. Rates, leads,
    lengths and storage types may differ; of the label sets, those remain that all corpora have with the same labels.

    Args:
        corpora: One or more; a single one is returned as it is.

    Raises:
        CorpusError: There are none, two hold the same records, or they were stored for different checkpoints.

    Example:
        >>> both = join_corpora([load_corpus("prepared/ptbxl"), load_corpus("prepared/georgia")])  # doctest: +SKIP
        >>> both.name  # doctest: +SKIP
        'ptbxl+georgia'
    """
    from datasets import concatenate_datasets

    if not corpora:
        raise CorpusError("no corpus to join; expected one or more.")
    if len(corpora) == 1:
        return corpora[0]
    stamps = [corpus.info.get("preprocessed_by") for corpus in corpora]
    if any(stamp != stamps[0] for stamp in stamps):
        kinds = ("as recorded" if stamp is None else "for a checkpoint" for stamp in stamps)
        stored = ", ".join(f"{corpus.name} {kind}" for corpus, kind in zip(corpora, kinds, strict=True))
        raise CorpusError(
            f"the corpora are not stored alike ({stored}); expected the same steps of preprocessing. Prepare all with "
            "the same --model, or all without it."
        )
    mixed = len({corpus.info["storage"] for corpus in corpora}) > 1
    rows = concatenate_datasets([_with_joint_ids(corpus, with_signal=not mixed) for corpus in corpora])
    starts = np.cumsum([0, *(len(corpus.rows) for corpus in corpora)])
    indices = np.concatenate([corpus.indices + start for corpus, start in zip(corpora, starts[:-1], strict=True)])
    store = SignalStore([table for corpus in corpora for table in corpus.store.tables])
    joined = Corpus(rows, _joint_info(corpora, mixed), None, indices, store=store)
    if len(np.unique(joined.record_ids)) != len(joined):
        raise CorpusError(
            f"{' and '.join(repr(corpus) for corpus in corpora)} have records in common; expected each record once."
        )
    joined.info["patients"] = count_patients(joined.patient_ids[joined.patient_ids >= 0])
    joined.info["folds"] = {
        str(fold): int(count) for fold, count in zip(*np.unique(joined.folds, return_counts=True), strict=True)
    }
    return joined


def _key(corpus: Corpus) -> int:
    """A number for the ids of a corpus: of its name where ids are official, else of its content."""
    text = corpus.name if corpus.name in CORPORA else f"{corpus.name} {corpus.hash}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _joint_ids(key: int, ids: np.ndarray) -> np.ndarray:
    """Ids from 0 hashed to 62 bits, negative ones (unknown, no parent) as they are."""
    return np.where(ids < 0, ids, (integer_hash(key, ids) >> np.uint64(2)).astype(np.int64))


def _with_joint_ids(corpus: Corpus, *, with_signal: bool) -> "datasets.Dataset":
    """All rows of a corpus with ids that those of no other corpus meet, and its folds as numbers of their roles."""
    from datasets import Value

    whole, key = corpus.whole, _key(corpus)
    folds = np.full(len(whole), -1, np.int32)
    for role in ("train", "validation", "test"):
        folds[whole.in_role(role)] = getattr(_ROLES, role)[0]
    columns = {
        "record_id": _joint_ids(key, whole.record_ids),
        "parent_id": _joint_ids(key, whole.parent_ids),
        "start": whole.starts,
        # The numbers of parts of unknown patients follow from their parents.
        "patient_id": _joint_ids(key, np.maximum(whole.patient_ids, UNKNOWN_PATIENT)),
        "fold": folds,
    }
    rows = corpus.rows.remove_columns([name for name in columns if name in corpus.rows.column_names])
    for name, values in columns.items():
        rows = rows.add_column(name, values, feature=Value("int32" if name == "fold" else "int64"))
    kept = [name for name in rows.column_names if with_signal or name != "signal"]
    return rows.select_columns(sorted(kept))


def _joint_info(corpora: Sequence[Corpus], mixed: bool) -> dict[str, Any]:
    """The facts of the whole: sums of counts, what all have in common, and the list of corpora."""
    infos = [corpus.info for corpus in corpora]
    counts: dict[str, Counter] = {name: Counter() for name in _COUNTS}
    for info in infos:
        for name in _COUNTS:
            counts[name].update(info.get(name, {}))
    common = {
        name: values
        for name, values in infos[0]["label_sets"].items()
        if all(info["label_sets"].get(name) == values for info in infos)
    }
    systems = {info.get("label_system") for info in infos}
    official = [info.get("expected", {}).get("records") for info in infos]
    digest = hashlib.sha256(" ".join(["joined", *(corpus.hash for corpus in corpora)]).encode())
    return {
        "name": "+".join(corpus.name for corpus in corpora),
        **{key: "; ".join(_distinct(infos, key)) for key in ("title", "license", "homepage", "citation")},
        "version": "",
        "label_system": systems.pop() if len(systems) == 1 else "mixed",
        "format_version": FORMAT_VERSION,
        "storage": "mixed" if mixed else infos[0]["storage"],
        "preprocessed_by": infos[0].get("preprocessed_by"),
        "contract_hash": infos[0].get("contract_hash"),
        "content_hash": digest.hexdigest(),
        "corpora": [{**corpus.identity, "records": len(corpus)} for corpus in corpora],
        "records": sum(map(len, corpora)),
        **{name: sum(info.get(name, 0) for info in infos) for name in _SUMS},
        **{name: dict(values.most_common()) for name, values in counts.items()},
        "fold_roles": _ROLES.to_dict() if any(corpus.fold_roles for corpus in corpora) else None,
        "label_sets": common,
        "expected": {} if None in official else {"records": sum(official)},
    }


def _distinct(infos: Sequence[dict[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(info[key]) for info in infos if info.get(key)))
