"""Scores of recordings as a user gets them: detected beats, through the pipeline; annotations only judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

from ..corpora.beat_splits import CLASSES, BeatSplit
from ..corpora.prepared import Corpus
from ..errors import CorpusError
from ..evaluation.beats.report import ScoredBeats
from ..signals.beats import annotated_peaks, match_peaks
from ..signals.formats.readers import read_record

__all__ = ["DetectedBeats", "score_as_used"]


@dataclass(frozen=True, eq=False)
class DetectedBeats:
    """Beats of the test recordings of a split, as the pipeline found them.

    Args:
        scored: The detected beats that are at an annotated one.
        annotated: Number of annotated beats.
        extra: Number of detected beats without an annotated one.
    """

    scored: ScoredBeats
    annotated: int
    extra: int

    def __str__(self) -> str:
        found = len(self.scored.scores)
        return (
            f"{self.annotated:,} annotated beats: {found:,} found and scored ({100 * found / self.annotated:.2f} %), "
            f"{self.annotated - found:,} missed, {self.extra:,} extra"
        )


def score_as_used(checkpoint: str, corpus: Corpus, splits: Sequence[BeatSplit], source: str | Path) -> DetectedBeats:
    """Score the recordings of the test patients of splits by the pipeline.

    Args:
        checkpoint: Folder or Hub name.
        corpus: Whole corpus of beats; says which recordings are whose, and the classes of the symbols.
        splits: Splits whose patients are kept apart.
        source: Official tree of the recordings.

    Raises:
        CorpusError: A split shares patients, or a recording is not there.
    """
    if any(split.shares_patients for split in splits):
        raise CorpusError("a split with the same patients in training and in test has no test recordings.")
    task: Any = "ecg-anomaly-detection"  # the library lists its own tasks only
    find = pipeline(task, model=checkpoint)
    label_set = corpus.label_sets["aami"]
    classes = {
        symbol: CLASSES.index(code) for code, all_ in zip(CLASSES, label_set.sources, strict=True) for symbol in all_
    }
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    annotated = extra = 0
    rows = np.concatenate([split.test for split in splits])
    parents, first = np.unique(corpus.parent_ids[rows], return_index=True)
    for parent, row in zip(parents.tolist(), rows[first].tolist(), strict=True):
        path = Path(source) / str(parent)
        if not path.with_suffix(".hea").is_file():
            raise CorpusError(f"{path}.hea is not there; expected the official tree of the recordings. Set --as_used.")
        record = read_record(path)
        reference, symbols = annotated_peaks(record)
        known = np.array([symbol in classes for symbol in symbols])
        found = [beat for beat in find(record) if beat["anomalous"] is not None]
        peaks = np.array([round(beat["peak"] * record.sampling_rate) for beat in found], dtype=np.int64)
        pairs = match_peaks(peaks, reference, record.sampling_rate)
        judged = (pairs >= 0) & known[pairs]
        kinds = np.array([classes[symbols[pair]] for pair in pairs[judged].tolist()], dtype=np.int64)
        scores = np.array([beat["score"] for beat in found], dtype=np.float64)[judged]
        parts.append((kinds, scores, np.full(len(kinds), corpus.patient_ids[row])))
        annotated += int(known.sum())
        extra += int((pairs < 0).sum())
    kinds, scores, patients = (np.concatenate(column) for column in zip(*parts, strict=True))
    threshold = find.model.config.anomaly_threshold
    return DetectedBeats(ScoredBeats(kinds, scores, patients, threshold), annotated, extra)
