"""Files of a prepared corpus: Arrow shards, the `save_to_disk` index, `corpus.json` and `refused.csv`.

Every file is written atomically: under a temporary name, then renamed.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replace_file, write_text
from ..signals.quality import typical_swings
from .layout import (
    CONTENT_VERSION,
    NO_PARENT,
    CorpusRecord,
    Storage,
    corpus_features,
    record_digest,
    rows_to_table,
)

__all__ = [
    "Refusal",
    "ShardReport",
    "content_hash",
    "summarize",
    "write_index",
    "write_shard",
]

# Pairs of identical records that `corpus.json` names.
_MAX_PAIRS = 20


@dataclass(frozen=True)
class Refusal:
    """A record that could not be read, its file and the reason."""

    name: str
    file: str
    reason: str


@dataclass
class ShardReport:
    """Content of one shard; its JSON file next to the shard marks it as finished.

    Args:
        file: name of the Arrow file, None where no record of the shard could be read.
        digests: SHA-256 of each row, in order.
        refused: records that could not be read.
        counts: number of rows per value, by column: leads, sampling_rate, fold, labels, seconds_rounded; "totals" holds
            sums.
        patients: the known patients.
        parents: record ids of the recordings whose parts are rows here.
        amplitudes: swing of the largest lead of each row within 2 s, mV.
        signals: source (or name) and hash of the samples of each row.
        seconds: time of reading and writing.
    """

    file: str | None = None
    digests: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    patients: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    amplitudes: list[float] = field(default_factory=list)
    signals: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(vars(self), default=vars)

    @classmethod
    def from_json(cls, text: str) -> "ShardReport":
        """The report from its JSON."""
        values = json.loads(text)
        return cls(**{**values, "refused": [Refusal(**item) for item in values["refused"]]})


def write_shard(rows: Sequence[CorpusRecord], path: Path, storage: Storage) -> ShardReport:
    """Writes rows as one Arrow file (stream format, as `datasets` reads it) and reports its content."""
    import pyarrow as pa

    if not rows:
        return ShardReport()
    table = rows_to_table(rows, storage)
    with (
        replace_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    counts = {
        "leads": Counter(" ".join(row.leads) for row in rows),
        "sampling_rate": Counter(f"{row.sampling_rate:g}" for row in rows),
        "fold": Counter(str(row.fold) for row in rows),
        "labels": Counter(label for row in rows for label in set(row.labels)),
        "seconds_rounded": Counter(str(round(row.signal.shape[1] / row.sampling_rate)) for row in rows),
        "totals": Counter(
            invalid_samples=sum(table.column("invalid_samples").to_pylist()),
            values=len(table.column("signal").combine_chunks().values),
            annotations=sum(len(row.annotations.samples) for row in rows if row.annotations is not None),
            parts=sum(row.parent_id != NO_PARENT for row in rows),
        ),
    }
    return ShardReport(
        path.name,
        [record_digest(row) for row in rows],
        counts={key: dict(value) for key, value in counts.items()},
        patients=sorted({row.patient_id for row in rows if row.patient_id >= 0}),
        parents=sorted({row.parent_id for row in rows} - {NO_PARENT}),
        amplitudes=[_amplitude(row) for row in rows],
        signals=[(row.source or row.name, _signal_hash(row)) for row in rows],
    )


def _amplitude(row: CorpusRecord) -> float:
    """Swing of the largest lead within 2 s (mV), 0 without signal."""
    swings = typical_swings(row.in_millivolts(), row.sampling_rate)
    return float(swings[-1]) if swings.size else 0.0


def _signal_hash(row: CorpusRecord) -> str:
    """Hash of leads and samples, whatever the name of the record."""
    digest = hashlib.sha256(repr((row.leads, row.sampling_rate)).encode())
    digest.update(np.ascontiguousarray(row.signal).data)
    return digest.hexdigest()[:16]


def _identical(reports: Sequence[ShardReport]) -> dict[str, Any]:
    """Number of rows with the same samples as an earlier one, and the first pairs of them."""
    first: dict[str, str] = {}
    pairs = []
    for name, signal in (row for report in reports for row in report.signals):
        if signal in first:
            pairs.append((first[signal], name))
        else:
            first[signal] = name
    return {"records": len(pairs), "pairs": pairs[:_MAX_PAIRS]}


def content_hash(digests: Iterable[str]) -> str:
    """The hash of a corpus from those of its rows in order; independent of shards and processes."""
    digest = hashlib.sha256(f"layout {CONTENT_VERSION}".encode())
    for item in digests:
        digest.update(bytes.fromhex(item))
    return digest.hexdigest()


def summarize(reports: Sequence[ShardReport]) -> dict[str, Any]:
    """The totals in `corpus.json`: records (rows), recordings, refusals, hash, lead sets, rates, folds, labels."""
    totals: dict[str, Counter] = {}
    for report in reports:
        for key, values in report.counts.items():
            totals.setdefault(key, Counter()).update(values)
    ordered = {
        key: dict(sorted(values.items(), key=lambda item: (-item[1], item[0]))) for key, values in totals.items()
    }
    sums = totals.get("totals", Counter())
    records = sum(len(report.digests) for report in reports)
    parents = {parent for report in reports for parent in report.parents}
    amplitudes = [amplitude for report in reports for amplitude in report.amplitudes]
    return {
        "records": records,
        "recordings": records - sums["parts"] + len(parents),
        "refused": sum(len(report.refused) for report in reports),
        "patients": len({patient for report in reports for patient in report.patients}),
        "content_hash": content_hash(digest for report in reports for digest in report.digests),
        "lead_sets": ordered.get("leads", {}),
        "sampling_rates": ordered.get("sampling_rate", {}),
        "folds": dict(sorted(ordered.get("fold", {}).items(), key=lambda item: int(item[0]))),
        "durations_seconds": ordered.get("seconds_rounded", {}),
        "label_counts": ordered.get("labels", {}),
        "median_amplitude": float(np.median(amplitudes)) if amplitudes else None,
        "identical_records": _identical(reports),
        **{name: sums[name] for name in ("values", "annotations", "invalid_samples")},
    }


def write_index(folder: Path, reports: Sequence[ShardReport], info: Mapping[str, object], storage: Storage) -> None:
    """Writes `refused.csv`, `corpus.json` and the files that `datasets.load_from_disk` reads, for finished shards."""
    from datasets import DatasetInfo

    files = [report.file for report in reports if report.file]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["name", "file", "reason"])
    writer.writerows(
        (item.name, item.file, " ".join(item.reason.split())) for report in reports for item in report.refused
    )
    write_text(folder / "refused.csv", table.getvalue())
    described = DatasetInfo(
        description=str(info.get("title", "")),
        citation=str(info.get("citation", "")),
        homepage=str(info.get("homepage", "")),
        license=str(info.get("license", "")),
        features=corpus_features(storage),
    )
    facts = {key: value for key, value in asdict(described).items() if value is not None}
    write_text(folder / "dataset_info.json", json.dumps(facts, indent=2, sort_keys=True))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in files],
        "_fingerprint": str(info["content_hash"])[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_text(folder / "state.json", json.dumps(state, indent=2, sort_keys=True))
    write_text(folder / "corpus.json", json.dumps(info, indent=1, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    """JSON's form of what is not JSON: numpy numbers and paths."""
    return value.item() if isinstance(value, np.generic) else str(value)
