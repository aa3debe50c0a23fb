"""An index of recordings, in which the app finds those nearest to an upload: embeddings, labels, a stretch of one lead.

The file is Parquet with a row per recording; it holds no more of a recording than 5 s of lead II (or its first lead).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..corpora.prepared import Corpus, load_corpus
from ..errors import CheckpointError, EcgError, RecordFileError
from ..files import write_csv
from ..hashing import integer_hash
from ..pipelines.feature_extraction import EcgFeatureExtractionPipeline
from ..pipelines.table_files import as_table, load_pyarrow, refused_path, write_parquet
from ..pipelines.tables import checkpoint_hash
from ..signals.formats.folders import find_recordings
from ..signals.formats.readers import read_record_with_defaults
from ..signals.record import EcgRecord
from ..signals.resample import resample

__all__ = ["TRACE_RATE", "EmbeddingIndex", "Neighbor", "build_index", "read_index"]

logger = logging.get_logger(__name__)

TRACE_RATE = 100  # Hz
_TRACE_SECONDS = 5
_KEY = b"ecg_transformers_index"


@dataclass(frozen=True)
class Neighbor:
    """A recording of an index.

    Args:
        name: Name of the recording.
        labels: Its labels: codes, each with its name if that is known.
        similarity: Cosine similarity of the embeddings, after the mean of the index was subtracted.
        trace: Up to 5 s of one lead in mV at 100 Hz `(samples,)`.
        lead: Name of that lead.
    """

    name: str
    labels: tuple[str, ...]
    similarity: float
    trace: np.ndarray
    lead: str


@dataclass(frozen=True)
class EmbeddingIndex:
    """Embedded recordings.

    Args:
        checkpoint: Hash of the encoder and its preprocessing.
        model: Name of the checkpoint; empty in an index of an earlier version.
        source: Origin and license of the recordings.
        names: Name of each recording.
        labels: Labels of each recording.
        embeddings: float32 `(records, pooled)`.
        traces: int16 µV at 100 Hz, one of each recording.
        leads: The lead of each trace.
        label_names: Name of each code.
    """

    checkpoint: str
    model: str
    source: str
    names: Sequence[str]
    labels: Sequence[Sequence[str]]
    embeddings: np.ndarray
    traces: Sequence[np.ndarray]
    leads: Sequence[str]
    label_names: Mapping[str, str]

    def nearest(self, embedding: np.ndarray, count: int = 5) -> list[Neighbor]:
        """The most similar recordings, the nearest first.

        Args:
            embedding: `(pooled,)`.
            count: Number of recordings. Default: 5.
        """
        mean = self.embeddings.mean(axis=0)
        centered, own = self.embeddings - mean, embedding - mean
        norms = np.linalg.norm(centered, axis=1) * np.linalg.norm(own)
        similarities = centered @ own / np.maximum(norms, np.finfo(np.float32).tiny)
        return [
            Neighbor(
                name=self.names[row],
                labels=tuple(
                    f"{code} ({self.label_names[code]})" if code in self.label_names else code
                    for code in self.labels[row]
                ),
                similarity=float(similarities[row]),
                trace=np.asarray(self.traces[row], np.float32) / 1000,
                lead=self.leads[row],
            )
            for row in np.argsort(-similarities, kind="stable")[:count]
        ]


def build_index(
    embed: EcgFeatureExtractionPipeline,
    source: str | Path,
    output: str | Path,
    *,
    records: int | None = None,
    license_text: str = "",
    **reading: Any,
) -> EmbeddingIndex:
    """Embed the recordings of a folder and write the index.

    Args:
        embed: Pipeline of the checkpoint that the app will show.
        source: Folder of recordings, searched recursively, or a prepared corpus, which has labels.
        output: File to write, `.parquet`. Recordings that cannot be used are listed in `<output>.refused.csv`.
        records: Number of recordings, spread over the labels so that rare ones occur. Default: all.
        license_text: Origin and license of the recordings. Default: those of the corpus.
        **reading: Arguments of `read_record` for files that do not state them.

    Raises:
        RecordFileError: The folder has no recording that can be used.
    """
    folder, output = Path(source), Path(output)
    corpus = load_corpus(folder) if (folder / "corpus.json").is_file() else None
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    items: Iterator[tuple[str, EcgRecord | Path]]
    items = _files(folder, records) if corpus is None else _corpus_records(corpus, records)
    for name, item in items:
        try:
            record = item if isinstance(item, EcgRecord) else read_record_with_defaults(item, **reading)
            embedding = embed(record)
        except EcgError as error:
            refused.append({"record": name, "reason": str(error)})
            continue
        trace, lead = _trace(record)
        rows.append(
            {
                "name": [name],
                "labels": [list(record.labels)],
                "embedding": embedding.astype(np.float16)[np.newaxis],
                "trace": [trace],
                "lead": [lead],
            }
        )
    refused_path(output).unlink(missing_ok=True)
    if refused:
        write_csv(refused_path(output), refused)
        logger.warning(f"{len(refused)} recordings were refused; the reasons are in {refused_path(output)}.")
    if not rows:
        raise RecordFileError(f"{folder} has no recording that {embed.model.name_or_path} takes; expected one or more.")
    facts = {
        "checkpoint": checkpoint_hash(embed.model, embed.feature_extractor),
        "model": Path(str(embed.model.name_or_path)).name,
        "source": license_text or ("" if corpus is None else _origin(corpus.info)),
        "label_names": {} if corpus is None else _label_names(corpus),
    }
    write_parquet(output, [as_table(rows)], {_KEY: json.dumps(facts).encode()})
    return read_index(output)


def read_index(path: str | Path) -> EmbeddingIndex:
    """Open an index.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is no index.
    """
    arrow, parquet = load_pyarrow()
    try:
        table = parquet.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise CheckpointError(
            f"{path} is no index of recordings; expected a file that `ecg-transformers index` has written."
        ) from error
    embeddings = table["embedding"].combine_chunks()
    return EmbeddingIndex(
        names=table["name"].to_pylist(),
        labels=table["labels"].to_pylist(),
        embeddings=embeddings.flatten().to_numpy().reshape(len(table), -1).astype(np.float32),
        traces=[np.asarray(trace.values) for trace in table["trace"]],
        leads=table["lead"].to_pylist(),
        **{"model": "", **facts},
    )


def _corpus_records(corpus: Corpus, records: int | None) -> Iterator[tuple[str, EcgRecord]]:
    names = corpus.names
    for row in range(len(corpus)) if records is None else _spread(corpus.labels, records):
        yield names[row], corpus[row]


def _files(folder: Path, records: int | None) -> Iterator[tuple[str, Path]]:
    paths = find_recordings(folder)
    for row in range(len(paths)) if records is None else _spread([[]] * len(paths), records):
        yield paths[row].relative_to(folder).as_posix(), paths[row]


def _spread(labels: Sequence[Sequence[str]], count: int) -> list[int]:
    """Some records, drawn by a hash: one of each label in turn, until there are enough, then any; in their order."""
    order = np.argsort(integer_hash(0, np.arange(len(labels))), kind="stable").tolist()
    of_label: dict[str, list[int]] = {}
    for row in reversed(order):
        for code in labels[row]:
            of_label.setdefault(code, []).append(row)
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(of_label.values()):
        for rows in of_label.values():
            if rows and len(chosen) < count:
                chosen[rows.pop()] = None
    for row in order:
        if len(chosen) < count:
            chosen[row] = None
    return sorted(chosen)


def _trace(record: EcgRecord) -> tuple[np.ndarray, str]:
    """The first seconds of lead II or of the first lead, int16 µV, and the name of the lead."""
    row = record.leads.index("II") if record.leads and "II" in record.leads else 0
    start = record.crop(0, min(record.duration, _TRACE_SECONDS))
    signal = resample(np.nan_to_num(start.signal[row : row + 1]), start.sampling_rate, TRACE_RATE)[0]
    return np.clip(np.round(signal * 1000), -32767, 32767).astype(np.int16), record.leads[row] if record.leads else ""


def _origin(info: Mapping[str, Any]) -> str:
    return ", ".join(str(part) for part in (f"{info['title']} {info['version']}".strip(), info["license"]) if part)


def _label_names(corpus: Corpus) -> dict[str, str]:
    labels = corpus.label_sets.get("all")
    return {} if labels is None else dict(zip(labels.codes, labels.names, strict=True))
