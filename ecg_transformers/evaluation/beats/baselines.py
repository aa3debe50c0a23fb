"""Scorers of beats that need no network: what a network has to be better than. Larger scores are more abnormal."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers.utils import logging

from ...corpora.beat_splits import BeatSplit
from ...corpora.prepared import Corpus
from ...features.extractor import EcgFeatureExtractor
from ...signals.beats import beat_distance, interval_ratio
from ...trainer.stored import store_signals

__all__ = [
    "BASELINES",
    "DETECTED",
    "RANK_SUM",
    "BeatTask",
    "beat_task",
    "median_distance",
    "rank_sum",
    "rank_sum_with",
    "short_interval",
]

logger = logging.get_logger(__name__)

# Title of the sum of ranks that needs no network.
RANK_SUM = "ranks of RR and median beat added"
# Ends the title of a scorer whose beats were detected, not annotated.
DETECTED = ", detected beats"

# Distances that are held at once.
_BLOCK = 1 << 25


@dataclass(frozen=True, eq=False)
class BeatTask:
    """The beats of a corpus as the baselines take them, and the split they are judged on.

    Args:
        split: Training, validation and test rows.
        scaled: Each beat scaled to -1 ... 1, float32 `(beats, leads * samples)`.
        compared: The same minus the median of the scaled beats of its recording.
        millivolts: The beats in mV.
        peaks: R peak of each beat as a sample of its recording, int64 `(beats,)`.
        parents: Recording of each beat, int64 `(beats,)`.
        seed: Seed of the isolation forest.
    """

    split: BeatSplit
    scaled: np.ndarray
    compared: np.ndarray
    millivolts: np.ndarray
    peaks: np.ndarray
    parents: np.ndarray
    seed: int = 0


def beat_task(corpus: Corpus, split: BeatSplit, extractor: EcgFeatureExtractor, *, seed: int = 0) -> BeatTask:
    """The beats of a corpus for the baselines.

    Args:
        corpus: Whole corpus of beats.
        split: A split of it.
        extractor: Feature extractor of the beats, without a reference.
        seed: Seed of the isolation forest. Default: 0.
    """
    millivolts = np.array(store_signals(corpus, extractor).values).reshape(len(corpus), -1)
    beats = torch.from_numpy(millivolts).view(len(corpus), extractor.num_leads, -1)
    scaled = extractor.normalize_batch(beats).reshape(len(corpus), -1).numpy()
    compared = scaled.copy()
    for parent in np.unique(corpus.parent_ids):  # recordings differ in their number of beats
        own = corpus.parent_ids == parent
        compared[own] -= np.median(scaled[own], axis=0)
    peaks = corpus.starts + (extractor.samples_before or 0)
    return BeatTask(split, scaled, compared, millivolts, peaks, corpus.parent_ids, seed)


def nearest_normal(task: BeatTask, rows: np.ndarray) -> np.ndarray:
    """Mean squared distance to the nearest normal beat of the training set."""
    train = task.scaled[task.split.train]
    norms = np.einsum("bs,bs->b", train, train)
    step = max(1, _BLOCK // len(train))
    best = np.empty(len(rows), dtype=np.float32)
    for first in range(0, len(rows), step):
        beats = task.scaled[rows[first : first + step]]
        best[first : first + step] = (norms - 2 * (beats @ train.T)).min(axis=1) + np.einsum("bs,bs->b", beats, beats)
    return best / train.shape[1]


def principal_components(task: BeatTask, rows: np.ndarray, *, count: int = 10, compared: bool = False) -> np.ndarray:
    """Mean squared rest after the projection on the principal components of the normal training beats."""
    beats = task.compared if compared else task.scaled
    train = beats[task.split.train]
    mean = train.mean(axis=0)
    centered = (train - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    components = vectors[:, -count:].astype(np.float32)
    rest = beats[rows] - mean
    rest -= (rest @ components) @ components.T
    return np.square(rest).mean(axis=1)


def isolation_forest(task: BeatTask, rows: np.ndarray) -> np.ndarray | None:
    """Isolation forest (Liu et al. 2008) of scikit-learn with its defaults; None where that is not installed."""
    try:
        from sklearn.ensemble import IsolationForest
    except ImportError:
        logger.warning_once("scikit-learn is not installed: the isolation forest is left out.")
        return None
    forest = IsolationForest(random_state=task.seed).fit(task.scaled[task.split.train])
    return -forest.score_samples(task.scaled[rows])


def short_interval(task: BeatTask, rows: np.ndarray) -> np.ndarray:
    """How much shorter the RR interval before a beat is than those of its neighbors."""
    ratio = np.empty(len(task.peaks))
    for parent in np.unique(task.parents):  # recordings differ in their number of beats
        own = task.parents == parent
        ratio[own] = interval_ratio(task.peaks[own])
    return 1.0 - ratio[rows]


def median_distance(task: BeatTask, rows: np.ndarray) -> np.ndarray:
    """Distance in mV from the median beat of the own recording, relative to the power of that beat."""
    distance = np.empty(len(task.parents))
    for parent in np.unique(task.parents):
        own = task.parents == parent
        distance[own] = beat_distance(task.millivolts[own], np.median(task.millivolts[own], axis=0))
    return distance[rows]


def rank_sum(*scores: np.ndarray) -> np.ndarray:
    """Sum of the ranks of several scores of the same beats, equal ones share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.sum([rankdata(score) for score in scores], axis=0)


def rank_sum_with(network: str) -> str:
    """Title of the rank sum to which the ranks of a network are added."""
    return f"{RANK_SUM}, and those of {network}"


# Name -> title, scorer.
BASELINES: dict[str, tuple[str, Callable[[BeatTask, np.ndarray], np.ndarray | None]]] = {
    "nearest_normal": ("nearest normal beat of the training set", nearest_normal),
    "pca_10": ("10 principal components", principal_components),
    "isolation_forest": ("isolation forest", isolation_forest),
    "short_interval": ("RR shorter than its neighbors", short_interval),
    "median_beat": ("distance from the record's own median beat", median_distance),
    "pca_10_reference": (
        "10 principal components, record's median beat taken off",
        partial(principal_components, compared=True),
    ),
}
