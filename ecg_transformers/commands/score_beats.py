"""What `training/score_beats.py` does: baselines and checkpoints on the beats of splits, intervals over patients."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
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
    BeatTask,
    beat_task,
    median_distance,
    rank_sum,
    short_interval,
)
from ..evaluation.beats.checkpoint import BeatScorer
from ..evaluation.beats.report import METRIC_TITLES, Measured, ScoredBeats, as_facts, measure, paired, table
from ..evaluation.results.store import add_to_card, merge_results
from ..features.extractor import EcgFeatureExtractor
from ..trainer.run_record import find_commit
from .beat_options import BeatScoringArguments
from .beats_as_used import score_as_used
from .command_line import parse_command_line, with_negations
from .options import build, converted, declared_options, option_types

__all__ = ["BeatScoring", "read_beat_arguments"]

logger = logging.get_logger(__name__)

# Share of the normal validation beats below the threshold of a baseline.
QUANTILE = 0.99
RANK_SUM = "ranks of RR and median beat added"


def read_beat_arguments(argv: Sequence[str]) -> BeatScoringArguments:
    """Read `--name value ...`.

    Args:
        argv: Without the program's name.

    Raises:
        ArgumentsError: An unknown name, a value of the wrong type, no corpus.
    """
    positional, options = parse_command_line(argv)
    options = with_negations(options, option_types(BeatScoringArguments))
    if positional:
        raise ArgumentsError(f"{positional[0]!r} has no option before it; expected --name value. See --help.")
    own = declared_options(BeatScoringArguments)
    check_names(options, own, where="the command line")
    values = converted(options, own, {})
    if not values.get("corpus"):
        raise ArgumentsError("--corpus DIR must be given.")
    return build(BeatScoringArguments, values)


class BeatScoring:
    """Scores the beats of a corpus by baselines and checkpoints, split by split.

    Args:
        arguments: The settings.
        print_line: Called with each line for the screen.
    """

    def __init__(self, arguments: BeatScoringArguments, *, print_line: Callable[[str], None] = logger.info) -> None:
        self.arguments, self.print_line = arguments, print_line
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
            self.print_line(f"-> {add_to_card(self.arguments.card, entries)}")
        return entries

    def _group(self, group: str, splits: Sequence[BeatSplit]) -> list[dict[str, Any]]:
        """One split, or the mean of five."""
        parts: dict[str, list[ScoredBeats]] = {}
        for split in splits:
            for title, part in self._split(split).items():
                parts.setdefault(title, []).append(part)
        if self.arguments.as_used is not None:
            for checkpoint in self.arguments.model:
                detected = score_as_used(checkpoint, self.corpus, splits, self.arguments.as_used)
                self.print_line(f"{checkpoint}, detected beats: {detected}")
                parts[f"{checkpoint}, detected beats"] = [detected.scored]
        measured = {
            title: measure(found, resamples=self.arguments.resamples, seed=self.arguments.seed)
            for title, found in parts.items()
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
            entries.append(self._entry(title, group, splits, values, against))
        return entries

    def _compared(self, title: str, other: str) -> bool:
        """Whether two scorers are compared: a checkpoint with the others, the rank sum with and without it."""
        with_network = f"{RANK_SUM}, and "
        if title.startswith(with_network):
            return other == RANK_SUM
        return title in self.arguments.model and other != title and not other.startswith(with_network)

    def _split(self, split: BeatSplit) -> dict[str, ScoredBeats]:
        """Scores of the test beats by everything that is compared."""
        normal = split.validation[self.classes[split.validation] == 0]
        rows = np.concatenate([normal, split.test])
        found: dict[str, ScoredBeats] = {}
        task = replace(self.task, split=split)
        own = [short_interval(task, split.test), median_distance(task, split.test)]
        if self.arguments.baselines:
            found |= self._baselines(task, rows, len(normal))
        if self.arguments.baselines or self.arguments.model:
            found[RANK_SUM] = self._scored(split, rank_sum(*own), None)
        for checkpoint in self.arguments.model:
            scorer = BeatScorer(checkpoint)
            scores = scorer.score(self.corpus.select(split.test))
            found[checkpoint] = self._scored(split, scores, scorer.threshold)
            found[f"{RANK_SUM}, and those of {checkpoint}"] = self._scored(split, rank_sum(*own, scores), None)
        return found

    def _baselines(self, task: BeatTask, rows: np.ndarray, num_normal: int) -> dict[str, ScoredBeats]:
        found = {}
        for title, scorer in BASELINES.values():
            scores = scorer(task, rows)
            if scores is not None:
                threshold = float(np.quantile(scores[:num_normal], QUANTILE))
                found[title] = self._scored(task.split, scores[num_normal:], threshold)
        return found

    def _scored(self, split: BeatSplit, scores: np.ndarray, threshold: float | None) -> ScoredBeats:
        rows = split.test
        return ScoredBeats(self.classes[rows], scores, self.corpus.patient_ids[rows], threshold)

    def _title(self, group: str, splits: Sequence[BeatSplit]) -> str:
        shared = "patients are in training AND in test" if splits[0].shares_patients else "patients are kept apart"
        mean = f", mean of {len(splits)}" if len(splits) > 1 else ""
        count = sum(len(split.test) for split in splits)
        return f"\n{self.corpus.name} {self.corpus.info['version']}, {group}{mean}: {count:,} beats; {shared}"

    def _entry(
        self,
        title: str,
        group: str,
        splits: Sequence[BeatSplit],
        values: Mapping[str, Measured],
        against: Mapping[str, Mapping[str, Measured]],
    ) -> dict[str, Any]:
        """One entry of `results.json`."""
        main = next(name for name in METRIC_TITLES if name in values)
        tests = [split.test for split in splits]
        return {
            "checkpoint": title,
            "mode": "anomaly_detection",
            "initialisation": "pretrained" if title in self.arguments.model else "none",
            "corpus": self.corpus.name,
            "corpus_version": self.corpus.info["version"],
            "corpus_hash": self.corpus.hash,
            "sampling_rate": self.extractor.sampling_rate,
            "labels": "aami",
            "split": group,
            "shares_patients": splits[0].shares_patients,
            "records": sum(map(len, tests)),
            "patients": len(np.unique(self.corpus.patient_ids[np.concatenate(tests)])),
            "metric": main,
            **as_facts(values)[main],
            "metrics": as_facts(values),
            "differences": {other: as_facts(differences) for other, differences in against.items()},
            "resamples": self.arguments.resamples,
            "unit": "patient",
            "seed": self.arguments.seed,
            "commit": find_commit(),
            "date": date.today().isoformat(),
        }


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
