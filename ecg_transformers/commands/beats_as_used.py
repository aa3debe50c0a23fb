"""Scores of recordings as a user gets them: detected beats, through the pipeline; annotations only judge."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

from ..corpora.beat_splits import CLASSES, BeatSplit
from ..corpora.prepared import Corpus
from ..errors import CorpusError
from ..evaluation.beats.baselines import rank_sum
from ..evaluation.beats.report import ScoredBeats
from ..inference.loading import checkpoint_errors, quiet_loading
from ..signals.beats import annotated_peaks, match_peaks
from ..signals.formats.readers import read_record
from .beat_pictures import BeatPictures, ScoredRecording

__all__ = ["DetectedBeats", "score_as_used"]

# What is kept of the rows of the pipeline.
_COLUMNS = ("score", "rr_ratio", "median_distance")


@dataclass(frozen=True, eq=False)
class DetectedBeats:
    """Beats of the test recordings of a split, as the pipeline found them.

    Args:
        scored: The detected beats that are at an annotated one.
        ranked: The same, scored by the ranks of RR and the record's median beat, which need no network.
        annotated: Number of annotated beats.
        extra: Number of detected beats without an annotated one.
    """

    scored: ScoredBeats
    ranked: ScoredBeats
    annotated: int
    extra: int

    @property
    def facts(self) -> dict[str, int]:
        """Numbers of annotated, found (and scored), missed and extra beats."""
        found = len(self.scored.scores)
        return {"annotated": self.annotated, "found": found, "missed": self.annotated - found, "extra": self.extra}

    def __str__(self) -> str:
        """One line."""
        found = self.facts["found"]
        return (
            f"{self.annotated:,} annotated beats: {found:,} found and scored ({100 * found / self.annotated:.2f} %), "
            f"{self.annotated - found:,} missed, {self.extra:,} extra"
        )


def score_as_used(
    checkpoint: str,
    corpus: Corpus,
    splits: Sequence[BeatSplit],
    source: str | Path,
    *,
    pictures: BeatPictures | None = None,
) -> DetectedBeats:
    """Score the recordings of the test patients of splits by the pipeline.

    Args:
        checkpoint: Folder or Hub name.
        corpus: Whole corpus of beats; says which recordings are whose, and the classes of the symbols.
        splits: Splits whose patients are kept apart.
        source: Official tree of the recordings.
        pictures: Draws examples of them.

    Raises:
        CorpusError: A split shares patients, or a recording is not there.
    """
    if any(split.shares_patients for split in splits):
        raise CorpusError("a split with the same patients in training and in test has no test recordings.")
    task: Any = "ecg-anomaly-detection"  # the library lists its own tasks only
    with checkpoint_errors(checkpoint), quiet_loading():
        find: Any = pipeline(task, model=checkpoint)
    label_set = corpus.label_sets["aami"]
    classes = {
        symbol: CLASSES.index(code) for code, all_ in zip(CLASSES, label_set.sources, strict=True) for symbol in all_
    }
    parts: list[tuple[np.ndarray, ...]] = []
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
        kinds = np.array([classes.get(symbols[pair], -1) if pair >= 0 else -1 for pair in pairs.tolist()])
        judged = kinds >= 0
        if pictures is not None:
            pictures.add(ScoredRecording(record, found, kinds))
        columns = [np.array([beat[name] for beat in found])[judged] for name in _COLUMNS]
        parts.append((kinds[judged], np.full(judged.sum(), corpus.patient_ids[row]), *columns))
        annotated += int(known.sum())
        extra += int((pairs < 0).sum())
    if pictures is not None:
        pictures.draw(find)
    kinds, patients, scores, ratios, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
    scored = ScoredBeats(kinds, scores, patients, find.model.config.anomaly_threshold)
    ranked = replace(scored, scores=rank_sum(-ratios, distances), threshold=None)
    return DetectedBeats(scored, ranked, annotated, extra)
