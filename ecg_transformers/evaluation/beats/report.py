"""Metrics of scored beats with intervals over patients, their entries and table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...corpora.beat_splits import CLASSES, BeatSplit
from ...corpora.prepared import Corpus
from ...metrics.bootstrap import bootstrap
from ...metrics.metrics import auroc, average_precision, f1
from ...metrics.patients import patient_auroc

__all__ = [
    "METRIC_TITLES",
    "MODE",
    "Measured",
    "ScoredBeats",
    "as_facts",
    "flagged",
    "measure",
    "paired",
    "split_facts",
    "table",
]

# `mode` of the entries.
MODE = "anomaly_detection"
# The first one judges.
METRIC_TITLES = {
    "patient_auroc": "mean AUROC over patients",
    "auroc": "AUROC",
    "average_precision": "AP",
    "auroc_S": "N against S",
    "auroc_V": "N against V",
    "auroc_F": "N against F",
    "f1": "F1",
}


@dataclass(frozen=True, eq=False)
class ScoredBeats:
    """Scores of the test beats of one split.

    Args:
        classes: Class of each beat as a number in `CLASSES`, `(beats,)`.
        scores: `(beats,)`, larger = more abnormal.
        patient_ids: `(beats,)`.
        threshold: Score from which a beat counts as abnormal, of all beats or of each `(beats,)`; None: there is none.
    """

    classes: np.ndarray
    scores: np.ndarray
    patient_ids: np.ndarray
    threshold: float | np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric, the mean over the splits of a group, with its bootstrap over patients.

    Args:
        value: The metric.
        samples: Its value in each resample `(resamples,)`.
    """

    value: float
    samples: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the percentiles."""
        kept = self.samples[~np.isnan(self.samples)]
        low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) else (np.nan, np.nan)
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]"


def measure(parts: Sequence[ScoredBeats], *, resamples: int = 1000, seed: int = 0) -> dict[str, Measured]:
    """All metrics that have a value, by the names in `METRIC_TITLES`.

    Args:
        parts: Scored beats of each split of a group; a metric is the mean over them.
        resamples: Resamples of the patients. Default: 1000.
        seed: Seed of the resamples; the same one pairs two scorers. Default: 0.
    """
    measured = {}
    for name in METRIC_TITLES:
        found = [_measured(name, part, resamples, seed) for part in parts]
        kept = [one for one in found if one is not None]
        if len(kept) == len(parts):
            measured[name] = Measured(
                float(np.mean([one.value for one in kept])), np.mean([one.samples for one in kept], axis=0)
            )
    return measured


def _measured(name: str, part: ScoredBeats, resamples: int, seed: int) -> Measured | None:
    """One metric of one split; None without both kinds of beats, or without a threshold."""
    rows = np.ones(len(part.classes), dtype=bool)
    if name.startswith("auroc_"):
        rows = np.isin(part.classes, (0, CLASSES.index(name[-1])))
    scores, patients = part.scores[rows], part.patient_ids[rows]
    labels = (part.classes[rows] > 0).astype(np.int8)
    if name == "f1":
        if part.threshold is None:
            return None
        scores = (part.scores >= part.threshold).astype(np.int8)
    metric = {
        "patient_auroc": patient_auroc(patients),
        "average_precision": average_precision,
        "f1": f1,
    }.get(name, auroc)
    if np.isnan(metric(labels[:, np.newaxis], scores[:, np.newaxis])).any():
        return None
    found = bootstrap(
        labels[:, np.newaxis],
        scores[:, np.newaxis],
        metric=metric,
        patient_ids=patients,
        resamples=resamples,
        seed=seed,
    )
    return Measured(found.value, found.samples)


def paired(first: Mapping[str, Measured], second: Mapping[str, Measured]) -> dict[str, Measured]:
    """Differences of two scorers on the same resamples, first minus second.

    Args:
        first: From `measure`.
        second: From `measure`, of the same beats with the same seed.
    """
    return {
        name: Measured(first[name].value - second[name].value, first[name].samples - second[name].samples)
        for name in first
        if name in second
    }


def flagged(parts: Sequence[ScoredBeats]) -> dict[str, Any]:
    """Shares of beats at or above the threshold: of each class, and of the normal beats of single patients.

    Args:
        parts: Scored beats of each split of a group, with a threshold.

    Returns:
        The share by class, and for `"patients"` the `low`est, `median` and `high`est share of a patient's normal beats.
    """
    classes, patients = (np.concatenate([getattr(part, name) for part in parts]) for name in ("classes", "patient_ids"))
    above = np.concatenate([part.scores >= part.threshold for part in parts])
    facts: dict[str, Any] = {
        code: float(above[classes == number].mean()) for number, code in enumerate(CLASSES) if (classes == number).any()
    }
    normal = classes == 0
    shares = [float(above[normal & (patients == patient)].mean()) for patient in np.unique(patients[normal])]
    facts["patients"] = dict(zip(("low", "median", "high"), np.quantile(shares, [0, 0.5, 1]).tolist(), strict=True))
    return facts


def table(rows: Mapping[str, Mapping[str, Measured]]) -> str:
    """The metrics of several scorers as text, one line each; the interval is that of the first metric.

    Args:
        rows: Metrics of each scorer by its title.
    """
    width = max(map(len, rows), default=0)
    main, *others = METRIC_TITLES
    head = [f"{'scorer':<{width}}", f"{METRIC_TITLES[main]:<24}", *(f"{METRIC_TITLES[name]:>11}" for name in others)]
    lines = ["  ".join(head)]
    for title, values in rows.items():
        cells = [f"{values.get(main, '-')!s:<24}"]
        cells += [f"{values[name].value:>11.3f}" if name in values else f"{'-':>11}" for name in others]
        lines.append("  ".join([f"{title:<{width}}", *cells]))
    return "\n".join(lines)


def as_facts(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Value and interval of each metric, for an entry of `results.json`."""
    return {
        name: dict(zip(("value", "low", "high"), (one.value, *one.interval), strict=True))
        for name, one in measured.items()
    }


def split_facts(corpus: Corpus, name: str, splits: Sequence[BeatSplit]) -> dict[str, Any]:
    """What an entry of `results.json` says of the beats: corpus, split, patients, folds of the corpus.

    Args:
        corpus: Whole corpus of beats.
        name: Name of the split, or of a group of splits.
        splits: The splits.
    """
    train, test = (np.concatenate([getattr(split, part) for split in splits]) for part in ("train", "test"))
    return {
        "corpus": corpus.name,
        "corpus_version": corpus.info["version"],
        "corpus_hash": corpus.hash,
        "labels": "aami",
        # Normal or abnormal.
        "num_labels": 1,
        "split": name,
        "shares_patients": splits[0].shares_patients,
        "train_folds": np.unique(corpus.folds[train]).tolist(),
        "evaluate_folds": np.unique(corpus.folds[test]).tolist(),
        "evaluate_role": "test",
        "train_records": len(train),
        "train_patients": np.unique(corpus.patient_ids[train]).tolist(),
        "records": len(test),
        "patients": len(np.unique(corpus.patient_ids[test])),
    }
