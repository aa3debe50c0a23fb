"""What `training/score_beats.py` does: baselines and checkpoints on the beats of splits, intervals over patients."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..corpora.beat_splits import NUM_FOLDS, BeatSplit, beat_classes, named_split
from ..corpora.prepared import load_corpus
from ..corpora.sources.mitdb_beats import beat_contract
from ..errors import ArgumentsError, CheckpointError, check_names
from ..evaluation.beats.baselines import (
    BASELINES,
    DETECTED,
    RANK_SUM,
    beat_task,
    median_distance,
    rank_sum,
    rank_sum_with,
    short_interval,
)
from ..evaluation.beats.checkpoint import BeatScorer
from ..evaluation.beats.report import (
    METRIC_TITLES,
    MODE,
    Measured,
    ScoredBeats,
    as_facts,
    flagged,
    measure,
    paired,
    split_facts,
    table,
)
from ..evaluation.classifier import pretraining_facts
from ..evaluation.outcomes import recorded
from ..evaluation.results.report import NO_PRETRAINING, compared
from ..evaluation.results.store import add_to_card, card_folder, merge_results
from ..features.extractor import EcgFeatureExtractor
from ..metrics.patients import MIN_BEATS
from ..trainer.run_record import describe_hardware, find_commit
from .beat_options import BeatScoringArguments
from .beat_pictures import BeatPictures
from .beats_as_used import score_as_used
from .command_line import read_command_line, with_negations
from .options import build, converted, declared_options, option_types

__all__ = ["BeatScoring", "read_beat_arguments"]

logger = logging.get_logger(__name__)

# Share of the normal beats below a threshold: of validation for baselines, of the patient for a calibrated network.
QUANTILE = 0.99
# Start of a recording whose normal beats calibrate the model for its patient (s).
CALIBRATION_SECONDS = 300


def read_beat_arguments(argv: Sequence[str]) -> BeatScoringArguments:
    """Read `--name value ...`.

    Args:
        argv: Without the program's name.

    Raises:
        ArgumentsError: An unknown name, a value of the wrong type, no corpus.
    """
    _, _, options = read_command_line(argv, takes_config=False)
    options = with_negations(options, option_types(BeatScoringArguments))
    own = declared_options(BeatScoringArguments)
    check_names(options, own, where="the command line")
    values = converted(options, own, {})
    if not values.get("corpus"):
        raise ArgumentsError("--corpus DIR must be given.")
    return build(BeatScoringArguments, values)


@dataclass(eq=False)
class _Scorer:
    """What one scorer gave on the splits of a group.

    Args:
        checkpoint: The checkpoint, if its network is in the scores.
        parts: Scored test beats of each split.
        by_record: The same with the threshold scaled to each recording, where the checkpoint was calibrated.
        by_patient: Those behind the first minutes of each recording, whose normal beats set the threshold.
        facts: Further facts of its entry.
    """

    checkpoint: str | None = None
    parts: list[ScoredBeats] = field(default_factory=list)
    by_record: list[ScoredBeats] = field(default_factory=list)
    by_patient: list[ScoredBeats] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class BeatScoring:
    """Scores the beats of a corpus by baselines and checkpoints, split by split.

    Args:
        arguments: The settings.
        print_line: Called with each line for the screen.

    Raises:
        ArgumentsError: A card of no checkpoint, or of several.
    """

    def __init__(self, arguments: BeatScoringArguments, *, print_line: Callable[[str], None] = logger.info) -> None:
        self.arguments, self.print_line = arguments, print_line
        self.names = {checkpoint: checkpoint for checkpoint in arguments.model}
        if arguments.card is not None:
            if len(arguments.model) != 1:
                raise ArgumentsError(
                    f"--card {arguments.card} is the card of one checkpoint, and {len(arguments.model)} are given. "
                    "Set --model to that one."
                )
            self.names = {arguments.model[0]: arguments.card}
        self.corpus = load_corpus(arguments.corpus)
        self.classes = beat_classes(self.corpus)
        self.extractor = EcgFeatureExtractor(**vars(beat_contract()))
        first = named_split(self.corpus, "de_chazal")
        self.task = beat_task(self.corpus, first, self.extractor, seed=arguments.seed)

    def run(self) -> list[dict[str, Any]]:
        """Score, print the tables, write `results.json`.

        Returns:
            The new entries.
        """
        plan = {group: [named_split(self.corpus, name) for name in _names(group)] for group in self.arguments.splits}
        for checkpoint in self.arguments.model:
            for split in (split for splits in plan.values() for split in splits):
                _check_split(checkpoint, split)
        entries = []
        for group, splits in plan.items():
            entries += self._group(group, splits)
        folder = Path(self.arguments.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        merge_results(folder / "results.json", entries)
        self.print_line(f"-> {folder / 'results.json'}")
        if self.arguments.card is not None:
            run = self.arguments.model[0]
            self.print_line(f"-> {add_to_card(self.arguments.card, entries, run=run)}")
        return entries

    def _group(self, group: str, splits: Sequence[BeatSplit]) -> list[dict[str, Any]]:
        """One split, or the mean of five."""
        scorers: dict[str, _Scorer] = {}
        for split in splits:
            self._score(split, scorers)
        if self.arguments.as_used is not None:
            for checkpoint, name in self.names.items():
                folder = self.arguments.output_dir if self.arguments.card is None else card_folder(self.arguments.card)
                pictures = BeatPictures(folder)
                detected = score_as_used(checkpoint, self.corpus, splits, self.arguments.as_used, pictures=pictures)
                self.print_line(f"{name}, detected beats: {detected}")
                facts = {"detected": detected.facts}
                scorers[f"{name}{DETECTED}"] = _Scorer(checkpoint, [detected.scored], facts=facts)
                scorers[f"{RANK_SUM}{DETECTED}"] = _Scorer(None, [detected.ranked], facts=facts)
        measured = {
            title: measure(one.parts, resamples=self.arguments.resamples, seed=self.arguments.seed)
            for title, one in scorers.items()
        }
        self.print_line(self._title(group, splits))
        self.print_line(table(measured))
        entries = []
        for title, values in measured.items():
            against = {
                other: paired(values, found) for other, found in measured.items() if self._compared(title, other)
            }
            for other, differences in against.items():
                lines = ", ".join(f"{METRIC_TITLES[name]} {_signed(one)}" for name, one in differences.items())
                self.print_line(f"{title} minus {other}: {lines}")
            entries.append(self._entry(title, scorers[title], group, splits, values, against))
        return entries

    def _compared(self, title: str, other: str) -> bool:
        """Whether two scorers are compared: a checkpoint with the others, the rank sum with and without it."""
        sums = [rank_sum_with(name) for name in self.names.values()]
        if title in sums:
            return other == RANK_SUM
        return title in self.names.values() and other not in (title, *sums)

    def _score(self, split: BeatSplit, scorers: dict[str, _Scorer]) -> None:
        """Add the scores of the test beats of a split by everything that is compared."""

        def add(title: str, scores: np.ndarray, threshold: float | None, checkpoint: str | None = None) -> ScoredBeats:
            rows = split.test
            part = ScoredBeats(self.classes[rows], scores, self.corpus.patient_ids[rows], threshold)
            scorers.setdefault(title, _Scorer(checkpoint)).parts.append(part)
            return part

        task = replace(self.task, split=split)
        own = [short_interval(task, split.test), median_distance(task, split.test)]
        # The most demanding comparison comes first.
        if self.arguments.baselines or self.arguments.model:
            add(RANK_SUM, rank_sum(*own), None)
        if self.arguments.baselines:
            normal = split.validation[self.classes[split.validation] == 0]
            for title, scorer in BASELINES.values():
                scores = scorer(task, np.concatenate([normal, split.test]))
                if scores is not None:
                    add(title, scores[len(normal) :], float(np.quantile(scores[: len(normal)], QUANTILE)))
        for checkpoint, name in self.names.items():
            network = BeatScorer(checkpoint)
            scores = network.score(self.corpus.select(split.test))
            part = add(name, scores, network.threshold, checkpoint)
            scaled = network.record_thresholds(scores, self.corpus.parent_ids[split.test])
            if scaled is not None:
                scorers[name].by_record.append(replace(part, threshold=scaled))
                scorers[name].by_patient.append(self._calibrated(part, split.test))
            add(rank_sum_with(name), rank_sum(*own, scores), None, checkpoint)

    def _calibrated(self, part: ScoredBeats, rows: np.ndarray) -> ScoredBeats:
        """The beats behind the first minutes of each recording; the threshold is from its normal beats before."""
        parents = self.corpus.parent_ids[rows]
        early = self.corpus.starts[rows] < CALIBRATION_SECONDS * self.extractor.sampling_rate
        thresholds = np.full(len(rows), np.nan)
        for parent in np.unique(parents):
            normal = part.scores[early & (parents == parent) & (part.classes == 0)]
            if len(normal) >= MIN_BEATS:
                thresholds[parents == parent] = np.quantile(normal, QUANTILE)
        kept = ~early & ~np.isnan(thresholds)
        return ScoredBeats(part.classes[kept], part.scores[kept], part.patient_ids[kept], thresholds[kept])

    def _title(self, group: str, splits: Sequence[BeatSplit]) -> str:
        shared = "patients are in training AND in test" if splits[0].shares_patients else "patients are kept apart"
        mean = f", mean of {len(splits)}" if len(splits) > 1 else ""
        count = sum(len(split.test) for split in splits)
        return f"\n{self.corpus.name} {self.corpus.info['version']}, {group}{mean}: {count:,} beats; {shared}"

    def _entry(
        self,
        title: str,
        scorer: _Scorer,
        group: str,
        splits: Sequence[BeatSplit],
        values: Mapping[str, Measured],
        against: Mapping[str, Mapping[str, Measured]],
    ) -> dict[str, Any]:
        """One entry of `results.json`."""
        pretraining: dict[str, Any] = dict(NO_PRETRAINING)
        if scorer.checkpoint is not None:
            pretraining = pretraining_facts(scorer.checkpoint)
        config = pretraining.pop("config", "")
        if scorer.by_record:
            parts = {"saved": scorer.parts, "record": scorer.by_record, "patient": scorer.by_patient}
            scorer.facts["flagged"] = {
                name: flagged(found)
                for name, found in parts.items()
                if any((part.classes == 0).any() for part in found)
            }
        return {
            "checkpoint": title,
            "mode": MODE,
            "initialization": "none" if scorer.checkpoint is None else "pretrained",
            **split_facts(self.corpus, group, splits),
            "sampling_rate": self.extractor.sampling_rate,
            **_values(values),
            "metrics": as_facts(values),
            **compared(
                [{"against": other, **_values(one), "metrics": as_facts(one)} for other, one in against.items()]
            ),
            **scorer.facts,
            "resamples": self.arguments.resamples,
            "unit": "patient",
            "seed": self.arguments.seed,
            "settings": {"mode": MODE, **recorded(self.arguments), "splits": [group]},
            "pretraining": pretraining,
            "config": config,
            "commit": find_commit() or "",
            "hardware": describe_hardware(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def _values(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """The metric that judges, its value and interval."""
    main = next(name for name in METRIC_TITLES if name in measured)
    return {"metric": main, **as_facts(measured)[main]}


def _signed(one: Measured) -> str:
    low, high = one.interval
    return f"{one.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _names(group: str) -> list[str]:
    """The splits of a group: itself, or its folds."""
    return [f"{group}/{fold}" for fold in range(NUM_FOLDS)] if group in ("patients", "published") else [group]


def _check_split(checkpoint: str, split: BeatSplit) -> None:
    """Refuse a checkpoint that was trained on another split: patients of its training may be in this test."""
    record = Path(checkpoint) / "run.json"
    if not record.is_file():
        logger.warning_once(f"{checkpoint} has no run.json: whether it was trained on {split.name} is not known.")
        return
    trained = json.loads(record.read_text(encoding="utf-8")).get("split")
    if trained != split.name:
        raise CheckpointError(
            f"{checkpoint} was trained on the split {trained!r}, whose patients may be in the test of {split.name!r}. "
            f"Set --splits {trained}, or train it with --split {split.name}."
        )
