"""A prepared corpus in use: a `datasets.Dataset` on disk, read through views of its Arrow buffers.

Nothing is read before it is asked for. Single records are returned as float32 `(leads, samples)` in mV, whole corpora
as one flat array with offsets.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import CorpusError
from ..signals.record import Annotations, EcgRecord
from . import CORPORA, corpus_definition, official_fold_roles
from .definition import LabelSet
from .fold_roles import FoldRoles, Role, default_fold_roles, describe_folds
from .hub import fetch_corpus, is_repository
from .label_matrix import LabelMatrix, label_matrix, target_matrix
from .layout import NO_PARENT, READABLE_VERSIONS
from .patients import patients_of_parts, source_ids
from .signal_store import PackedSignals, SignalStore

if TYPE_CHECKING:
    import datasets
    import pyarrow

__all__ = ["Corpus", "LabelMatrix", "PackedSignals", "load_corpus"]


class Corpus:
    """Records of a prepared corpus, or some of them.

    Args:
        dataset: all rows on disk.
        info: the content of `corpus.json`.
        path: the folder; None for corpora that were joined.
        indices: which rows, in which order; None: all.
        store: signals of all rows; None: those of the dataset.

    Example:
        >>> corpus = load_corpus("prepared/ptbxl")  # doctest: +SKIP
        >>> corpus.select(folds=[9]).label_matrix("superclass").values.shape  # doctest: +SKIP
        (2183, 5)
    """

    def __init__(
        self,
        dataset: "datasets.Dataset",
        info: dict[str, Any],
        path: Path | None = None,
        indices: np.ndarray | None = None,
        *,
        store: SignalStore | None = None,
    ) -> None:
        self.rows = dataset
        self.store = SignalStore([dataset.data]) if store is None else store
        self.info = info
        self.path = path
        self.indices = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        """The number of records."""
        return len(self.indices)

    def __repr__(self) -> str:
        """Name, version and number of records."""
        of = "" if len(self) == len(self.rows) else f" of {len(self.rows)}"
        return f"Corpus({self.name} {self.info.get('version', '')}: {len(self)}{of} records, {self.hash[:12]})"

    def __iter__(self) -> Iterator[EcgRecord]:
        """The records one after the other."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> EcgRecord:
        """One record with all its facts."""
        if not isinstance(index, int | np.integer):
            raise TypeError(
                f"a corpus is indexed by an integer, not by {type(index).__name__}; use select() for several."
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of a corpus of {len(self)}")
        index = int(index) % len(self)
        position = int(self.indices[index])
        # Without the signal: as Python numbers it would take longer than everything else.
        columns = [name for name in self.rows.column_names if name not in ("signal", "gain", "baseline")]
        row = {name: self._column(name)[position].as_py() for name in columns}
        annotations = None
        if row["annotation_samples"] is not None:
            samples = np.asarray(row["annotation_samples"], dtype=np.int64)
            annotations = Annotations(samples, row["annotation_symbols"], row["annotation_aux"])
        return EcgRecord(
            self.signals([index])[0],
            row["sampling_rate"],
            row["leads"],
            name=row["name"],
            patient_id=None if row["patient_id"] < 0 else row["patient_id"],
            age=row["age"],
            sex=row["sex"],
            labels=tuple(row["labels"]),
            annotations=annotations,
            source=row["source"] or None,
            notes=row["notes"],
        )

    @property
    def name(self) -> str:
        """The corpus's short name."""
        return self.info["name"]

    @property
    def hash(self) -> str:
        """The content hash of the whole corpus: the same recordings, labels and ids give the same hash."""
        return self.info["content_hash"]

    @property
    def identity(self) -> dict[str, Any]:
        """Name, version and hash, for the record of a run; of joined corpora also those of each (`corpora`)."""
        facts = {"name": self.name, "version": self.info.get("version"), "hash": self.hash}
        return facts | ({"corpora": self.info["corpora"]} if "corpora" in self.info else {})

    @property
    def whole(self) -> "Corpus":
        """All records of the corpus on disk."""
        return Corpus(self.rows, self.info, self.path, store=self.store)

    @property
    def dataset(self) -> "datasets.Dataset":
        """The rows as a `datasets.Dataset`, memory-mapped.

        Without the column `signal` where corpora of both storage types were joined.
        """
        whole = len(self) == len(self.rows) and bool((self.indices == np.arange(len(self))).all())
        return self.rows if whole else self.rows.select(self.indices)

    @property
    def refused(self) -> list[dict[str, str]]:
        """The records that could not be used: `name`, `file` and `reason` of each, as in `refused.csv`."""
        path = None if self.path is None else self.path / "refused.csv"
        if path is None or not path.is_file():
            return []
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _column(self, name: str) -> "pyarrow.ChunkedArray":
        return self.rows.data.column(name)

    @cached_property
    def record_ids(self) -> np.ndarray:
        """int64 `(records,)`, unique in the corpus and not negative."""
        return self._column("record_id").to_numpy()[self.indices]

    @cached_property
    def patient_ids(self) -> np.ndarray:
        """int64 `(records,)`; negative where the patient is not known.

        -1, or one number for all parts of a recording (`patients.patients_of_parts`): splits and bootstraps by patient
        then keep them together.
        """
        return patients_of_parts(self._column("patient_id").to_numpy()[self.indices], self.parent_ids)

    @cached_property
    def source_ids(self) -> np.ndarray:
        """int64 `(records,)`: the patient, or a number of the recording where the patient is not known.

        Two records share it exactly if they are of the same known patient or of one recording.
        """
        return source_ids(self.patient_ids, self.record_ids)

    @cached_property
    def parent_ids(self) -> np.ndarray:
        """Record id of the recording that each row is a part of, int64 `(records,)`; -1 for whole recordings."""
        return self._part_column("parent_id", NO_PARENT)

    @cached_property
    def starts(self) -> np.ndarray:
        """First sample of each row in its recording, int64 `(records,)`; 0 for whole recordings."""
        return self._part_column("start", 0)

    def _part_column(self, name: str, default: int) -> np.ndarray:
        if name not in self.rows.column_names:  # format version 1
            return np.full(len(self), default, np.int64)
        return self._column(name).to_numpy()[self.indices]

    @cached_property
    def folds(self) -> np.ndarray:
        """int64 `(records,)`; -1 where the corpus has none."""
        return self._column("fold").to_numpy().astype(np.int64)[self.indices]

    @property
    def fold_roles(self) -> FoldRoles | None:
        """Which folds train, validate and test; None for a corpus without folds.

        As saved in `corpus.json`. A corpus that was prepared before they were saved has the official roles of the
        corpus of its name, or those of `default_fold_roles`.
        """
        if "fold_roles" in self.info:
            saved = self.info["fold_roles"]
            return None if saved is None else FoldRoles.from_dict(saved)
        return official_fold_roles(self.name) or default_fold_roles(map(int, self.info.get("folds", ())))

    def in_role(self, role: Role) -> np.ndarray:
        """Which records are in the folds of a role, bool `(records,)`."""
        roles = self.fold_roles
        return np.isin(self.folds, () if roles is None else getattr(roles, role))

    def describe_folds(self, folds: Sequence[int]) -> str:
        """Folds with their role: "validation (fold 9)", "test (fold 10)", "folds 3, 4"."""
        return describe_folds(folds, self.fold_roles)

    @cached_property
    def ages(self) -> np.ndarray:
        """Years, float32 `(records,)`; NaN where not known."""
        return self._column("age").to_numpy()[self.indices]

    @cached_property
    def sexes(self) -> list[str | None]:
        """Per record "male", "female" or None."""
        return self._pick("sex")

    @cached_property
    def names(self) -> list[str]:
        """The records' names."""
        return self._pick("name")

    @cached_property
    def labels(self) -> list[list[str]]:
        """The codes of each record as the corpus states them."""
        return self._pick("labels")

    @cached_property
    def sampling_rates(self) -> np.ndarray:
        """Hz, float64 `(records,)`."""
        return self._column("sampling_rate").to_numpy()[self.indices]

    @cached_property
    def leads(self) -> list[tuple[str, ...]]:
        """The lead names of each record."""
        return [tuple(names) for names in self._pick("leads")]

    def _pick(self, column: str) -> list:
        return self._column(column).take(self.indices).to_pylist()

    def select(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        *,
        folds: Sequence[int] | None = None,
        leads: Sequence[str] | None = None,
    ) -> "Corpus":
        """Some of the records; nothing is copied.

        Args:
            indices: positions in this corpus, or a bool array over it.
            folds: records of these folds.
            leads: records that have exactly these leads in this order.

        Raises:
            CorpusError: a fold does not occur in the corpus, or nothing is left.
        """
        keep = np.arange(len(self))
        if indices is not None:
            indices = np.asarray(indices)
            keep = np.flatnonzero(indices) if indices.dtype == bool else keep[indices.astype(np.int64)]
        if folds is not None:
            known = {int(fold) for fold in self.info.get("folds", {})}
            absent = sorted(set(map(int, folds)) - known)
            if absent:
                raise CorpusError(
                    f"{self.name} has no fold {', '.join(map(str, absent))}; it has "
                    f"{', '.join(map(str, sorted(known)))}."
                )
            keep = keep[np.isin(self.folds[keep], list(folds))]
        if leads is not None:
            keep = np.array([index for index in keep if self.leads[index] == tuple(leads)], dtype=np.int64)
        if not len(keep):
            raise CorpusError(f"no record of {self!r} is left after select(folds={folds}, leads={leads}).")
        return Corpus(self.rows, self.info, self.path, self.indices[keep], store=self.store)

    @property
    def label_sets(self) -> dict[str, LabelSet]:
        """The label sets by name: those that were saved, and those that the corpus of its name has gained since."""
        saved = {name: LabelSet.from_dict(values) for name, values in self.info["label_sets"].items()}
        definition = (
            corpus_definition(self.name) if self.name in CORPORA and "labels_changed" not in self.info else None
        )
        return saved if definition is None else definition.label_sets(self.info["label_counts"]) | saved

    def label_matrix(self, label_set: str | LabelSet = "all") -> LabelMatrix:
        """Which labels of a set each record has.

        Raises:
            CorpusError: the corpus has no label set of that name.
        """
        if isinstance(label_set, str):
            known = self.label_sets
            if label_set not in known:
                near = get_close_matches(label_set, known, n=1)
                raise CorpusError(
                    f"{self.name} has no label set {label_set!r}; it has {', '.join(known) or 'none'}."
                    + (f" Did you mean {near[0]!r}?" if near else "")
                )
            label_set = known[label_set]
        if label_set.problem_type == "regression":
            return target_matrix(self._pick("targets"), label_set)
        return label_matrix(self.labels, label_set)

    def with_labels(self, labels: Sequence[Sequence[str]], label_set: LabelSet, *, note: str) -> "Corpus":
        """The same records with other labels; the signals are not copied.

        Args:
            labels: codes of each record of this corpus.
            label_set: the labels' order and names; becomes the set "all", the only one.
            note: description of the change, kept in `info["labels_changed"]`; it enters the hash.
        """
        from datasets import List, Value

        if len(labels) != len(self):
            raise CorpusError(f"{len(labels)} label lists for {len(self)} records; expected one per record.")
        column: list[list[str]] = [[] for _ in range(len(self.rows))]
        for index, codes in zip(self.indices, labels, strict=True):
            column[index] = list(codes)
        changed = hashlib.sha256(f"{self.hash} {note} {json.dumps(column)}".encode()).hexdigest()
        own = replace(label_set, sources=tuple((code,) for code in label_set.codes))
        counts = Counter(code for codes in labels for code in set(codes))
        facts = {
            "content_hash": changed,
            "labels_changed": note,
            "label_system": own.system,
            "label_sets": {"all": own.to_dict()},
            "label_counts": dict(counts.most_common()),
        }
        return self.with_column("labels", column, facts, feature=List(Value("string")))

    def with_column(
        self, name: str, values: Sequence[Any] | np.ndarray, facts: Mapping[str, Any], *, feature: Any = None
    ) -> "Corpus":
        """The same records with other values of a column; the signals are not copied.

        Args:
            name: the column.
            values: one value for each row on disk.
            facts: what changes in `info`, the `content_hash` included.
            feature: type of the column; None: as NumPy has it.
        """
        rows = self.rows.remove_columns(name).add_column(
            name, values, new_fingerprint=facts["content_hash"][:16], feature=feature
        )
        return Corpus(rows, {**self.info, **facts}, self.path, self.indices, store=self.store)

    def signals(self, indices: Sequence[int] | np.ndarray | slice | None = None) -> list[np.ndarray]:
        """Signals as float32 `(leads, samples)` in mV, NaN where a sample is marked as missing.

        Args:
            indices: positions in this corpus; None: all.
        """
        wanted = self.indices if indices is None else self.indices[indices]
        # Records differ in length and leads: one vectorized step per record, on a view of the buffer.
        return [self.store.millivolts(int(row)) for row in wanted]

    def packed(self, *, invalid: Literal["error", "keep"] = "error") -> PackedSignals:
        """All signals as one flat array with offsets: the form in which they are kept in memory or on a device.

        A view of the mapped file where the corpus is one Arrow chunk and no rows were left out; one copy otherwise, as
        float32 where some records are stored as int16 and others as float32.

        Args:
            invalid: whether samples marked as missing (-32768, or NaN in float32) are an error or kept.

        Raises:
            CorpusError: rates or leads differ between the records, or samples are missing.
        """
        # The names of a million records need not be read where all are alike.
        alike = len(self.info["lead_sets"]) == 1
        leads = sorted(set(self.select([0]).leads if alike else self.leads))
        rates = sorted(set(self.sampling_rates.tolist()))
        if len(leads) != 1 or len(rates) != 1:
            raise CorpusError(
                f"{self!r} has {len(leads)} lead sets ({'; '.join(' '.join(names) for names in leads[:4])}) and "
                f"the rates {', '.join(f'{rate:g}' for rate in rates)} Hz; packed() needs one of each. Take records of "
                "one kind with select(leads=[...]), or prepare the corpus at one --sampling_rate."
            )
        if invalid == "error" and self.invalid_samples.any():
            raise CorpusError(
                f"{np.count_nonzero(self.invalid_samples)} records of {self!r} have samples that are marked as missing "
                f"(first: {self.names[int(np.flatnonzero(self.invalid_samples)[0])]}). Leave them out with "
                'select(corpus.invalid_samples == 0), or pass invalid="keep".'
            )
        return self.store.pack(self.indices, sampling_rate=rates[0], leads=leads[0])

    @cached_property
    def invalid_samples(self) -> np.ndarray:
        """Number of samples of each record that are marked as missing, int64 `(records,)`."""
        return self._column("invalid_samples").to_numpy().astype(np.int64)[self.indices]

    def without_signal(self, leads: Collection[str] | None = None) -> np.ndarray:
        """Records in which none of these leads moves, bool `(records,)`.

        Preparation refuses recordings without signal in any lead, but older corpora may hold some.

        Args:
            leads: names of the leads that are looked at; all of a record that has none of them. None: all.
        """
        found = np.zeros(len(self), bool)
        alike = len(self.info["lead_sets"]) == 1 and len(self)
        names = [self.select([0]).leads[0]] * len(self) if alike else self.leads
        for position, (row, own) in enumerate(zip(self.indices, names, strict=True)):
            wanted = [number for number, name in enumerate(own) if leads is None or name in leads]
            found[position] = not self.store.moves(int(row), wanted or [*range(len(own))])
        return found


def load_corpus(path: "str | Path | datasets.Dataset", *, revision: str | None = None) -> Corpus:
    """Opens a prepared corpus; the signals stay on the disk until they are asked for.

    Args:
        path: the folder, a `datasets.Dataset` that was loaded from it, or the name of a dataset on the Hub
            (`"owner/name"`, pushed with `ecg-transformers push`), which is streamed into the cache of `datasets` first.
        revision: branch, tag or commit of a dataset on the Hub.

    Raises:
        CorpusError: the folder is not a prepared corpus, is unfinished, or has an unknown format version; the Hub has
            no such corpus.
    """
    from datasets import load_from_disk
    from pyarrow import ArrowException

    if isinstance(path, str) and is_repository(path):
        path = fetch_corpus(path, revision=revision)
    if not isinstance(path, str | Path):
        files = path.cache_files
        if not files:
            raise CorpusError("the dataset was not loaded from a prepared corpus; pass the folder of one.")
        path = Path(files[0]["filename"]).parent
    path = Path(path).expanduser()
    info = _read_info(path)
    try:
        dataset = load_from_disk(str(path))
    except (OSError, ValueError, KeyError, ArrowException) as error:
        raise CorpusError(
            f"{path} is damaged or a file of it is missing ({error}). Prepare the corpus again."
        ) from error
    if len(dataset) != info["records"]:
        raise CorpusError(
            f"{path} holds {len(dataset)} records, corpus.json states {info['records']}. Prepare it again."
        )
    return Corpus(dataset, info, path)


def _read_info(path: Path) -> dict[str, Any]:
    """The content of `corpus.json`, older ones with the keys of today."""
    facts = path / "corpus.json"
    if not facts.is_file():
        unfinished = path.with_name(f".{path.name}.building").is_dir()
        hint = (
            "its preparation was interrupted: run the same command again"
            if unfinished
            else "expected corpus.json in it"
        )
        raise CorpusError(f"{path} is not a prepared corpus: {hint}. Make one with training/prepare.py.")
    try:
        info = json.loads(facts.read_text(encoding="utf-8"))
        version = info.get("format_version")
    except (ValueError, AttributeError) as error:
        raise CorpusError(f"{facts} is damaged ({error}). Prepare the corpus again.") from None
    if version not in READABLE_VERSIONS:
        raise CorpusError(
            f"{path} has format version {version}; this package reads {' and '.join(map(str, READABLE_VERSIONS))}. "
            "Prepare it again."
        )
    if "licence" in info:
        info["license"] = info.pop("licence")
    return info
