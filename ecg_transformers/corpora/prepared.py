"""A prepared corpus in use: a `datasets.Dataset` on disk, read through views of its Arrow buffers.

Nothing is read before it is asked for; rows are handed out as float32 `(leads, samples)` in mV, whole corpora as
one flat array with offsets.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorpusError
from ..signals.record import Annotations, EcgRecord
from .definition import LabelSet
from .label_matrix import LabelMatrix, label_matrix, target_matrix
from .layout import FORMAT_VERSION, INVALID_SAMPLE

if TYPE_CHECKING:
    import datasets
    import pyarrow

__all__ = ["Corpus", "LabelMatrix", "PackedSignals", "load_corpus"]


@dataclass(frozen=True)
class PackedSignals:
    """All signals of a corpus behind one another.

    Record `i` is `values[offsets[i]:offsets[i + 1]].reshape(len(leads), -1)`; in mV: ``(value - baseline[i]) /
    gain[i]``.

    Args:
        values: int16 or float32, one-dimensional.
        offsets: int64 `(records + 1,)`.
        gain: units per mV, float32 `(records, leads)`.
        baseline: the value that means 0 mV, float32 `(records, leads)`.
        sampling_rate: Hz.
        leads: lead names.
    """

    values: np.ndarray
    offsets: np.ndarray
    gain: np.ndarray
    baseline: np.ndarray
    sampling_rate: float
    leads: tuple[str, ...]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.offsets) - 1

    @property
    def num_samples(self) -> np.ndarray:
        """Samples per lead of each record, int64 `(records,)`."""
        return np.diff(self.offsets) // len(self.leads)


class Corpus:
    """Records of a prepared corpus, or some of them.

    Args:
        dataset: the rows on disk.
        info: what `corpus.json` says.
        path: the folder.
        indices: which rows, in which order; None: all.

    Example:
        >>> corpus = load_corpus("prepared/ptbxl")  # doctest: +SKIP
        >>> corpus.select(folds=[9]).label_matrix("superclass").values.shape  # doctest: +SKIP
        (2183, 5)
    """

    def __init__(
        self, dataset: "datasets.Dataset", info: dict, path: Path | None = None, indices: np.ndarray | None = None
    ) -> None:
        self._rows = dataset
        self.info = info
        self.path = path
        self.indices = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        """The number of records."""
        return len(self.indices)

    def __repr__(self) -> str:
        """Name, version and number of records."""
        of = "" if len(self) == len(self._rows) else f" of {len(self._rows)}"
        return f"Corpus({self.name} {self.info.get('version', '')}: {len(self)}{of} records, {self.hash[:12]})"

    def __iter__(self) -> Iterator[EcgRecord]:
        """The records one after the other."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> EcgRecord:
        """One record with everything that is known about it."""
        if not isinstance(index, int | np.integer):
            raise TypeError(
                f"a corpus is indexed by an integer, not by {type(index).__name__}; use select() for several."
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of a corpus of {len(self)}")
        index = int(index) % len(self)
        position = int(self.indices[index])
        # Without the signal: as Python numbers it would take longer than everything else.
        columns = [name for name in self._rows.column_names if name not in ("signal", "gain", "baseline")]
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
    def dataset(self) -> "datasets.Dataset":
        """The rows as a `datasets.Dataset`, memory-mapped."""
        whole = len(self) == len(self._rows) and bool((self.indices == np.arange(len(self))).all())
        return self._rows if whole else self._rows.select(self.indices)

    def _column(self, name: str) -> "pyarrow.ChunkedArray":
        return self._rows.data.column(name)

    @cached_property
    def record_ids(self) -> np.ndarray:
        """int64 `(records,)`, unique in the corpus."""
        return self._column("record_id").to_numpy()[self.indices]

    @cached_property
    def patient_ids(self) -> np.ndarray:
        """int64 `(records,)`; -1 where the patient is not known."""
        return self._column("patient_id").to_numpy()[self.indices]

    @cached_property
    def folds(self) -> np.ndarray:
        """int64 `(records,)`; -1 where the corpus has none."""
        return self._column("fold").to_numpy().astype(np.int64)[self.indices]

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
        return Corpus(self._rows, self.info, self.path, self.indices[keep])

    @property
    def label_sets(self) -> dict[str, LabelSet]:
        """The label sets by name."""
        return {name: LabelSet.from_dict(values) for name, values in self.info["label_sets"].items()}

    def label_matrix(self, label_set: str | LabelSet = "all") -> LabelMatrix:
        """Which labels of a set each record has.

        Raises:
            CorpusError: the corpus has no label set of that name.
        """
        if isinstance(label_set, str):
            known = self.info["label_sets"]
            if label_set not in known:
                near = get_close_matches(label_set, known, n=1)
                raise CorpusError(
                    f"{self.name} has no label set {label_set!r}; it has {', '.join(known) or 'none'}."
                    + (f" Did you mean {near[0]!r}?" if near else "")
                )
            label_set = LabelSet.from_dict(known[label_set])
        if label_set.problem_type == "regression":
            return target_matrix(self._pick("targets"), label_set)
        return label_matrix(self.labels, label_set)

    def with_labels(self, labels: Sequence[Sequence[str]], label_set: LabelSet, *, note: str) -> "Corpus":
        """The same records with other labels; the signals stay where they are.

        Args:
            labels: codes of each record of this corpus.
            label_set: the labels' order and names; becomes the set "all", the only one.
            note: what was done, kept in `info["labels_changed"]`; it enters the hash.
        """
        if len(labels) != len(self):
            raise CorpusError(f"{len(labels)} label lists for {len(self)} records; expected one per record.")
        column: list[list[str]] = [[] for _ in range(len(self._rows))]
        for index, codes in zip(self.indices, labels, strict=True):
            column[index] = list(codes)
        changed = hashlib.sha256(f"{self.hash} {note} {json.dumps(column)}".encode()).hexdigest()
        rows = self._rows.remove_columns("labels").add_column("labels", column, new_fingerprint=changed[:16])
        own = replace(label_set, sources=tuple((code,) for code in label_set.codes))
        counts = Counter(code for codes in labels for code in set(codes))
        info = self.info | {
            "content_hash": changed,
            "labels_changed": note,
            "label_system": own.system,
            "label_sets": {"all": own.to_dict()},
            "label_counts": dict(counts.most_common()),
        }
        return Corpus(rows, info, self.path, self.indices)

    @cached_property
    def _chunks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Flat values and offsets of each Arrow chunk, as views of the mapped files."""
        chunks = []
        for chunk in self._column("signal").chunks:
            values = chunk.values.to_numpy(zero_copy_only=True)
            chunks.append((values, chunk.offsets.to_numpy(zero_copy_only=True)))
        return chunks

    @cached_property
    def _starts(self) -> np.ndarray:
        """Index of the first row of each chunk, and the number of rows at the end."""
        return np.cumsum([0] + [len(offsets) - 1 for _, offsets in self._chunks])

    @cached_property
    def _scales(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gains and baselines of all leads of all rows behind one another, and where each row begins."""
        column = self._column("gain").combine_chunks()
        baselines = self._column("baseline").combine_chunks().flatten().to_numpy()
        starts = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy())])
        return column.flatten().to_numpy().astype(np.float32), baselines.astype(np.float32), starts

    def _stored(self, row: int) -> np.ndarray:
        """The stored samples of a row of the dataset, flat, as a view."""
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        values, offsets = self._chunks[chunk]
        local = row - self._starts[chunk]
        return values[offsets[local] : offsets[local + 1]]

    def signals(self, indices: Sequence[int] | np.ndarray | slice | None = None) -> list[np.ndarray]:
        """Signals as float32 `(leads, samples)` in mV, NaN where a sample is marked as missing.

        Args:
            indices: positions in this corpus; None: all.
        """
        wanted = self.indices if indices is None else self.indices[indices]
        gains, baselines, starts = self._scales
        out = []
        # Records differ in length and leads: one vectorized step per record, on a view of the buffer.
        for row in wanted:
            first, last = starts[row], starts[row + 1]
            stored = self._stored(row).reshape(last - first, -1)
            if stored.dtype == np.int16:
                signal = np.subtract(stored, baselines[first:last, None], dtype=np.float32)
                signal /= gains[first:last, None]
                if stored.size and stored.min() == INVALID_SAMPLE:
                    signal[stored == INVALID_SAMPLE] = np.nan
            else:
                signal = stored.copy()
            out.append(signal)
        return out

    def packed(self, *, invalid: str = "error") -> PackedSignals:
        """All signals as one flat array with offsets: what goes into memory or onto a device as a whole.

        A view of the mapped file where the corpus lies in one Arrow chunk and no rows were left out; one copy
        otherwise.

        Args:
            invalid: "error" or "keep": what happens if samples are marked as missing (-32768, or NaN in a float32
                corpus).

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
        missing = self._column("invalid_samples").to_numpy()[self.indices]
        if invalid == "error" and missing.any():
            raise CorpusError(
                f"{np.count_nonzero(missing)} records of {self!r} have samples that are marked as missing (first: "
                f"{self.names[int(np.flatnonzero(missing)[0])]}). Leave them out with "
                'select(corpus.invalid_samples == 0), or pass invalid="keep".'
            )
        lengths = np.concatenate([np.diff(offsets) for _, offsets in self._chunks]).astype(np.int64)[self.indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        whole = len(self) == len(self._rows) and bool((self.indices == np.arange(len(self))).all())
        if whole and len(self._chunks) == 1:
            values, stored = self._chunks[0]
            values = values[stored[0] : stored[-1]]
        else:
            values = np.empty(offsets[-1], self._chunks[0][0].dtype)
            for start, stop, row in zip(offsets[:-1], offsets[1:], self.indices, strict=True):
                values[start:stop] = self._stored(row)
        gains, baselines, _ = self._scales
        positions = self._scales[2][self.indices][:, None] + np.arange(len(leads[0]))
        return PackedSignals(values, offsets, gains[positions], baselines[positions], rates[0], leads[0])

    @cached_property
    def invalid_samples(self) -> np.ndarray:
        """How many samples of each record are marked as missing, int64 `(records,)`."""
        return self._column("invalid_samples").to_numpy().astype(np.int64)[self.indices]


def load_corpus(path: "str | Path | datasets.Dataset") -> Corpus:
    """Opens a prepared corpus; the signals stay on the disk until they are asked for.

    Args:
        path: the folder, or a `datasets.Dataset` that was loaded from it.

    Raises:
        CorpusError: the folder is not a prepared corpus, is unfinished, or of another layout version.
    """
    from datasets import load_from_disk
    from pyarrow import ArrowException

    if not isinstance(path, str | Path):
        files = path.cache_files
        if not files:
            raise CorpusError("the dataset was not loaded from a prepared corpus; pass the folder of one.")
        path = Path(files[0]["filename"]).parent
    path = Path(path).expanduser()
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
    if version != FORMAT_VERSION:
        raise CorpusError(
            f"{path} has layout version {version}; this package reads {FORMAT_VERSION}. Prepare it again."
        )
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
