"""The layout of a prepared corpus: one row per record, the signal as a flat column of variable length.

The samples of a record are stored lead after lead in one list (int16 where the source has integers of at most 16 bits,
float32 mV otherwise), so that a batch is read as a view of the Arrow buffer. `gain` (units per mV) and `baseline`
convert integers to mV, lead by lead: `(value - baseline) / gain`. A float32 corpus has gain 1 and baseline 0.

A row is a whole recording or a part of one (a beat, a segment): `parent_id` is the record id of the recording, `start`
the row's first sample in it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import CorpusError
from ..hashing import integer_hash
from ..signals.digital import INVALID_SAMPLE, to_millivolts
from ..signals.leads import canonical_leads
from ..signals.record import Annotations, EcgRecord

if TYPE_CHECKING:
    import datasets
    import pyarrow

__all__ = [
    "CONTENT_VERSION",
    "FORMAT_VERSION",
    "INVALID_SAMPLE",
    "NO_PARENT",
    "READABLE_VERSIONS",
    "CorpusRecord",
    "corpus_features",
    "record_digest",
    "rows_to_table",
    "stable_id",
]

# Increases when the columns or their meaning change. Version 1 has no `parent_id` and `start`: all rows are whole
# recordings.
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)

# Enters the hashes of content and plan, which whole recordings share in both versions of the format.
CONTENT_VERSION = 1

# `parent_id` of a row that is a whole recording.
NO_PARENT = -1

Storage = Literal["int16", "float32"]


@dataclass(eq=False)
class CorpusRecord:
    """One row of a prepared corpus.

    Args:
        signal: `(leads, samples)`, int16 in the units of `gain` and `baseline`, or float32 in mV.
        sampling_rate: Hz.
        leads: canonical lead names.
        gain: units per mV of each lead; None for a float32 signal.
        baseline: the value that means 0 mV, per lead; None for a float32 signal.
        record_id: integer that is unique in the corpus.
        name: name of the record in its corpus.
        patient_id: integer, the same for all records of a patient; -1 where it is not known.
        age: years, None where it is not known.
        sex: "male", "female" or None.
        fold: the corpus's official part, -1 where there is none.
        labels: codes as the corpus states them.
        targets: numbers to be predicted, for regression.
        notes: what was repaired or looks wrong.
        annotations: marks in time.
        source: path of the record below the corpus's root.
        parent_id: record id of the recording that the row is a part of; -1 for a whole recording.
        start: first sample of the row in that recording, at the row's sampling rate; 0 for a whole recording.
    """

    signal: np.ndarray
    sampling_rate: float
    leads: tuple[str, ...]
    gain: np.ndarray = None  # type: ignore[assignment]  # __post_init__ fills it in
    baseline: np.ndarray = None  # type: ignore[assignment]
    record_id: int = -1
    name: str = ""
    patient_id: int = -1
    age: float | None = None
    sex: str | None = None
    fold: int = -1
    labels: tuple[str, ...] = ()
    targets: tuple[float, ...] | None = None
    notes: list[str] = field(default_factory=list)
    annotations: Annotations | None = None
    source: str = ""
    parent_id: int = NO_PARENT
    start: int = 0

    def __post_init__(self) -> None:
        """Brings the signal into one of the two storage types and fills in gain and baseline."""
        if self.signal.dtype != np.int16:
            self.signal = np.ascontiguousarray(self.signal, dtype=np.float32)
        self.leads = canonical_leads(self.leads)  # refuses doubled names
        leads = len(self.leads)
        self.gain = np.ones(leads) if self.gain is None else np.asarray(self.gain, dtype=np.float64)
        self.baseline = np.zeros(leads, np.int32) if self.baseline is None else np.asarray(self.baseline, np.int32)
        shapes = (self.signal.shape[:1], self.gain.shape, self.baseline.shape)
        if self.signal.ndim != 2 or shapes != ((leads,),) * 3:
            raise CorpusError(
                f"record {self.name}: signal {self.signal.shape}, {leads} leads, gain {self.gain.shape}, baseline "
                f"{self.baseline.shape}; expected (leads, samples) and one gain and one baseline per lead."
            )

    @classmethod
    def from_ecg_record(cls, record: EcgRecord, *, record_id: int, fold: int = -1) -> "CorpusRecord":
        """The row of a record in memory: float32 mV, its patient's number kept where it is one."""
        if record.leads is None:
            raise CorpusError(f"record {record.name or record_id} has leads without names; name them with leads=[...].")
        patient = record.patient_id
        return cls(
            record.signal,
            record.sampling_rate,
            record.leads,
            record_id=record_id,
            name=record.name or str(record_id),
            patient_id=int(str(patient)) if str(patient).isdecimal() else -1,
            age=record.age,
            sex=record.sex,
            fold=fold,
            labels=tuple(record.labels),
            notes=list(record.notes),
            annotations=record.annotations,
            source=record.source or "",
        )

    def part(self, start: int, stop: int, **facts: Any) -> "CorpusRecord":
        """Some consecutive samples of a recording as a row of their own, of the same patient and fold.

        Its record id follows from the recording's id and `start` alone, so it is the same in every build.

        Args:
            start: first sample.
            stop: sample after the last one.
            facts: fields that differ from the recording's, such as `labels`; the default `name` is `<name>_<start>`,
                the default `annotations` are those between `start` and `stop`, counted from `start`.

        Raises:
            CorpusError: `start` and `stop` are not inside the recording.

        Example:
            >>> recording = CorpusRecord(np.zeros((1, 100), np.int16), 100, ("II",), record_id=7, name="r7")
            >>> beat = recording.part(20, 60, labels=("V",))
            >>> beat.signal.shape, beat.parent_id, beat.start, beat.name
            ((1, 40), 7, 20, 'r7_20')
        """
        samples = self.signal.shape[1]
        if not 0 <= start < stop <= samples:
            raise CorpusError(
                f"record {self.name}: samples {start} to {stop} were asked for; expected a part of its {samples}."
            )
        marks = self.annotations
        return replace(
            self,
            **{
                "signal": self.signal[:, start:stop],
                "record_id": stable_id(self.record_id, start),
                "name": f"{self.name}_{start}",
                "notes": list(self.notes),
                "annotations": None if marks is None else marks.crop(start, stop),
                "parent_id": self.record_id,
                "start": start,
                **facts,
            },
        )

    @property
    def invalid_samples(self) -> int:
        """Number of samples marked as missing."""
        missing = self.signal == INVALID_SAMPLE if self.signal.dtype == np.int16 else np.isnan(self.signal)
        return int(np.count_nonzero(missing))

    def in_millivolts(self) -> np.ndarray:
        """The signal as float32 `(leads, samples)` in mV, NaN where a sample is missing."""
        if self.signal.dtype != np.int16:
            return self.signal
        return to_millivolts(self.signal, self.gain, self.baseline)


def stable_id(*values: int) -> int:
    """A number that follows from integers alone, for ids that must be the same in every build.

    62 bits: ids of a hundred million rows meet by chance with a probability of 0.001, and sums with small numbers stay
    within int64.
    """
    return int(integer_hash(*values) >> np.uint64(2))


def corpus_features(storage: Storage) -> "datasets.Features":
    """The columns of a prepared corpus as `datasets` features."""
    from datasets import Features, List, Value

    return Features(
        {
            "signal": List(Value(storage)),
            "leads": List(Value("string")),
            "gain": List(Value("float64")),
            "baseline": List(Value("int32")),
            "sampling_rate": Value("float64"),
            "record_id": Value("int64"),
            "parent_id": Value("int64"),
            "start": Value("int64"),
            "name": Value("string"),
            "patient_id": Value("int64"),
            "age": Value("float32"),
            "sex": Value("string"),
            "fold": Value("int32"),
            "labels": List(Value("string")),
            "targets": List(Value("float64")),
            "notes": List(Value("string")),
            "invalid_samples": Value("int32"),
            "source": Value("string"),
            "annotation_samples": List(Value("int64")),
            "annotation_symbols": List(Value("string")),
            "annotation_aux": List(Value("string")),
        }
    )


def rows_to_table(rows: Sequence[CorpusRecord], storage: Storage) -> "pyarrow.Table":
    """An Arrow table of these rows; the signals are copied once, into one flat buffer.

    Raises:
        CorpusError: a row's signal is of the other storage type, or the rows are too many for one table.
    """
    import pyarrow as pa

    for row in rows:
        if row.signal.dtype != storage:
            raise CorpusError(f"record {row.name} has {row.signal.dtype} samples; this corpus stores {storage}.")
    values = np.concatenate([row.signal.reshape(-1) for row in rows]) if rows else np.empty(0, storage)
    offsets = np.concatenate([[0], np.cumsum([row.signal.size for row in rows], dtype=np.int64)])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise CorpusError(
            f"{len(rows)} rows from {rows[0].name} on have {offsets[-1]:,} samples; expected fewer than 2^31 in a "
            "shard. Store fewer records per shard."
        )
    marks = [row.annotations for row in rows]
    columns = {
        "leads": [list(row.leads) for row in rows],
        "gain": [row.gain for row in rows],
        "baseline": [row.baseline for row in rows],
        "labels": [list(row.labels) for row in rows],
        "targets": [None if row.targets is None else list(row.targets) for row in rows],
        "notes": [list(row.notes) for row in rows],
        "annotation_samples": [None if mark is None else mark.samples for mark in marks],
        "annotation_symbols": [None if mark is None else mark.symbols for mark in marks],
        "annotation_aux": [None if mark is None else mark.aux for mark in marks],
    }
    columns |= {
        name: [getattr(row, name) for row in rows]
        for name in (
            "sampling_rate", "record_id", "parent_id", "start", "name", "patient_id", "age", "sex", "fold",
            "invalid_samples", "source",
        )
    }  # fmt: skip
    schema = corpus_features(storage).arrow_schema
    signal = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values), type=schema.field("signal").type)
    arrays = [signal if item.name == "signal" else pa.array(columns[item.name], type=item.type) for item in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def record_digest(row: CorpusRecord) -> str:
    """SHA-256 of a row's samples and of everything that training or evaluation can see; notes are left out."""
    facts = [
        row.record_id,
        row.name,
        row.patient_id,
        row.age,
        row.sex,
        row.fold,
        row.labels,
        row.targets,
        row.leads,
        row.gain.tolist(),
        row.baseline.tolist(),
        float(row.sampling_rate),
        row.signal.dtype.str,
        row.signal.shape,
    ]
    if row.parent_id != NO_PARENT:
        facts += [row.parent_id, row.start]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(np.ascontiguousarray(row.signal).data)
    if row.annotations is not None:
        digest.update(row.annotations.samples.data)
        digest.update(json.dumps([row.annotations.symbols, row.annotations.aux]).encode())
    return digest.hexdigest()
