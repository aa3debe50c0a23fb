"""What `training/score.py` does: several checkpoints on one corpus, each through its own extractor, like for like."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils import logging

from ..corpora.prepared import Corpus, load_corpus
from ..corpora.protocol import Splits, make_splits
from ..errors import ArgumentsError, CorpusError
from ..evaluation.classifier import classifier_codes, load_extractor, pretraining_facts
from ..evaluation.modes import BASELINES, Mode, Outcome, baseline_name, evaluate_as_is
from ..evaluation.results.predictions import paired_difference
from ..evaluation.results.report import outcome_entries, prediction_file, summary_line
from ..evaluation.results.store import add_to_card, format_table, merge_results, read_results
from ..metrics.bootstrap import holm
from .finetune import checkpoint_name, run_outcome
from .noise import check_noise_levels, draw_noise_robustness, noise_table, score_under_noise
from .options import ScoreArguments, unused_settings

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["Scoring"]

logger = logging.get_logger(__name__)


# What the entries of a classifier say about its training stands in its own results.
_TRAINING_FIELDS = ("train_folds", "train_records", "train_fraction", "selection", "chosen", "config", "seed")


@dataclass(frozen=True)
class _Scored:
    """A checkpoint's outcome, that of its baseline, and what is known of the training of a finished classifier."""

    name: str
    extractor: "EcgFeatureExtractor"
    splits: Splits
    outcome: Outcome
    baseline: Outcome | None
    trained: dict[str, Any] = field(default_factory=dict)


class Scoring:
    """Scores checkpoints on the same records and compares them.

    An encoder is probed (or fine-tuned) by the mode that is asked for. A checkpoint that already is a classifier for
    these labels is scored as it is when no mode is named, beside the baseline that was saved with it.

    Args:
        arguments: The settings.
        training: Fields of the Trainer that were set, for modes that train.
        say: Called with each line for the screen.
    """

    def __init__(
        self, arguments: ScoreArguments, training: dict[str, Any], *, say: Callable[[str], None] = logger.info
    ) -> None:
        self.arguments = arguments
        self.training = dict(training)
        self.say = say
        if arguments.corpus is None:
            raise ArgumentsError("--corpus DIR must be given.")
        self.corpus: Corpus = load_corpus(arguments.corpus)
        self.folder = Path(arguments.output_dir)
        self.entries: list[list[dict[str, Any]]] = []
        self.baselines: list[list[dict[str, Any]]] = []

    def run(self) -> list[dict[str, Any]]:
        """Score every checkpoint, say the lines and the table, write results and predictions.

        Returns:
            All new entries.
        """
        arguments = self.arguments
        outcomes: list[tuple[str, Outcome, Splits]] = []
        for checkpoint in arguments.model:
            scored = self._score(checkpoint)
            name, outcome, baseline, splits = scored.name, scored.outcome, scored.baseline, scored.splits
            against: list[tuple[str, Outcome]] = [] if baseline is None else [(baseline_name(outcome.mode), baseline)]
            against += [(other, one) for other, one, its in outcomes if _comparable(its, splits)]
            common: dict[str, Any] = {"name": name, "seed": arguments.seed, "aggregate": arguments.aggregate}
            common |= {"unit": arguments.unit, "resamples": arguments.resamples}
            common |= {"window_stride_seconds": scored.extractor.stride_seconds}
            entries = outcome_entries(outcome, splits, checkpoint=checkpoint, against=against, **common)
            beside = [] if baseline is None else outcome_entries(baseline, splits, checkpoint=checkpoint, **common)
            for one in (outcome, baseline):
                if one is not None:
                    path = prediction_file(
                        self.folder, one, splits, checkpoint=name.replace("/", "-"), seed=arguments.seed
                    )
                    one.predictions.save(path)
            outcomes.append((name, outcome, splits))
            self.say(f"{name}: {summary_line(entries, beside, splits.reported_folds)}")
            if arguments.noise_levels:
                noisy, noisy_beside = score_under_noise(
                    arguments.noise_levels, outcome, baseline, scored.extractor, splits,
                    folder=self.folder, bf16=self.training.get("bf16"), batch_size=arguments.encode_batch_size,
                    checkpoint=checkpoint, **common,
                )  # fmt: skip
                entries, beside = [*entries, *noisy], [*beside, *noisy_beside]
                self.say(noise_table(entries, beside))
            for entry in [*entries, *beside]:
                entry |= scored.trained
            self.entries.append(entries)
            self.baselines.append(beside)
        new = [entry for group in zip(self.entries, self.baselines, strict=True) for part in group for entry in part]
        merge_results(self.folder / "results.json", new)
        self.say(self.table(outcomes))
        if arguments.noise_levels:
            self.say(f"-> {draw_noise_robustness(self.folder, new)}")
        if arguments.card is not None:
            named = [entry | {"checkpoint": arguments.card} for entry in [*self.entries[0], *self.baselines[0]]]
            self.say(f"-> {add_to_card(arguments.card, named)}")
        return new

    def _score(self, checkpoint: str) -> _Scored:
        arguments = self.arguments
        extractor = load_extractor(
            checkpoint,
            window_seconds=arguments.window_seconds,
            window_stride_seconds=arguments.window_stride_seconds,
        )
        protocol: dict[str, Any] = {
            "train_folds": arguments.train_folds,
            "evaluate_folds": arguments.folds,
            "validation_folds": arguments.validation_folds,
            "train_fraction": arguments.train_fraction,
            "seed": arguments.seed,
        }
        splits = make_splits(self.corpus, arguments.labels, extractor, **protocol)
        check_noise_levels(arguments.noise_levels, extractor, splits)
        name = checkpoint_name(checkpoint)
        codes = classifier_codes(checkpoint) if arguments.mode is None else None
        if codes and [code for code in splits.task.codes if code in codes] == list(codes):
            splits = make_splits(self.corpus, arguments.labels, extractor, codes=codes, **protocol)
            return self._as_is(name, checkpoint, extractor, splits)
        mode: Mode = arguments.mode or "linear_probe"
        self._say_unused(mode)
        outcome = self._run(mode, checkpoint, extractor, splits, "pretrained")
        baseline = None
        if mode in BASELINES and not arguments.no_baseline:
            baseline = self._run(BASELINES[mode][0], checkpoint, extractor, splits, BASELINES[mode][1])
        return _Scored(name, extractor, splits, outcome, baseline)

    def _run(self, mode: Mode, checkpoint: str, extractor: Any, splits: Splits, initialization: Any) -> Outcome:
        folder = self.folder / "training"
        outcome = run_outcome(
            self.arguments,
            mode,
            checkpoint,
            extractor,
            splits,
            initialization=initialization,
            folder=folder,
            training={name: value for name, value in self.training.items() if name != "output_dir"},
        )
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _say_unused(self, mode: Mode | None) -> None:
        if unused := unused_settings(mode, self.arguments, self.training):
            self.say(f"not used by {mode or 'a classifier that is scored as it is'}: {', '.join(unused)}")

    def _as_is(self, name: str, checkpoint: str, extractor: Any, splits: Splits) -> _Scored:
        """A classifier as it was saved, and the baseline that was saved with it."""
        arguments = self.arguments
        self._say_unused(None)
        known = read_results(Path(checkpoint) / "results.json")
        if not known:
            # A published folder holds no results; its card does, and those of the systems beside it too.
            card = read_results(Path("hub_cards") / Path(checkpoint).name / "results.json")
            known = [entry for entry in card if entry["checkpoint"] == Path(checkpoint).name]
        known = [entry for entry in known if entry["labels"] == splits.task.label_set] or known
        # A fine-tuned checkpoint keeps the entries of its baseline beside its own; a supervised one has only its own.
        own = [entry for entry in known if entry["mode"] in BASELINES] or known
        # A card also has the label-efficiency curve of the system; its checkpoint learned from most records.
        own = sorted(own, key=lambda entry: -entry.get("train_records", 0))
        mode: Mode = own[0]["mode"] if own else "fine_tune"
        start = own[0]["initialisation"] if own else "pretrained"
        if own and own[0]["corpus"] == self.corpus.name:
            seen = sorted(set(own[0]["train_folds"]) & set(splits.evaluate_folds))
            if seen:
                raise CorpusError(
                    f"{checkpoint} was trained on folds {seen}; expected other folds to report. Set --folds."
                )
        options: dict[str, Any] = {"aggregate": arguments.aggregate, "bf16": self.training.get("bf16")}
        options |= {"batch_size": arguments.encode_batch_size}
        trained = {key: own[0][key] for key in _TRAINING_FIELDS if own and key in own[0]}
        outcome = evaluate_as_is(checkpoint, extractor, splits, mode=mode, initialization=start, **options)
        beside = Path(checkpoint) / "baseline"
        if arguments.no_baseline or not beside.is_dir():
            if not arguments.no_baseline and mode in BASELINES:
                logger.warning(f"{checkpoint} has no baseline beside it: its figure stands alone.")
            return _Scored(name, extractor, splits, outcome, None, trained)
        mode, initialization = BASELINES[mode]
        baseline = evaluate_as_is(beside, extractor, splits, mode=mode, initialization=initialization, **options)
        return _Scored(name, extractor, splits, outcome, baseline, trained)

    def table(self, outcomes: Sequence[tuple[str, Outcome, Splits]]) -> str:
        """All checkpoints with what they are and what they reach, and the paired differences to the first."""
        first_name, first, first_splits = outcomes[0]
        options: dict[str, Any] = {"unit": self.arguments.unit, "resamples": self.arguments.resamples}
        differences = [
            paired_difference(one.predictions, first.predictions, **options)
            if _comparable(splits, first_splits)
            else None
            for _, one, splits in outcomes[1:]
        ]
        adjusted = iter(holm([one.p_value for one in differences if one is not None]))
        rows = []
        for number, (name, outcome, _) in enumerate(outcomes):
            config, entry = outcome.model.config, self.entries[number][0]
            beside = self.baselines[number]
            row = {
                "checkpoint": name,
                "mode": outcome.mode,
                "Hz": f"{config.sampling_rate:g}",
                "window s": f"{config.window_size / config.sampling_rate:g}",
                "leads": config.num_leads,
                "parameters": f"{entry['parameters'] / 1e6:.2f} M",
                "pretraining records": f"{_pretraining_records(self.arguments.model[number]):,}",
                "score": f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]",
                "random": f"{beside[0]['value']:.3f}" if beside else "-",
            }
            if len(outcomes) > 1:
                difference = differences[number - 1] if number else None
                row[f"minus {first_name}"] = str(difference) if difference else "-"
                row["p (Holm)"] = f"{next(adjusted):.3f}" if difference else "-"
            rows.append(row)
        return format_table(rows)


def _pretraining_records(checkpoint: str) -> int:
    """Records that the encoder learned from without labels."""
    facts = pretraining_facts(checkpoint)
    return 0 if facts["labels"] else int(facts["records"])


def _comparable(first: Splits, second: Splits) -> bool:
    """Whether two outcomes are of the same records: an extractor may have left some out."""
    one, other = first.evaluate.corpus.record_ids, second.evaluate.corpus.record_ids
    return len(one) == len(other) and bool((one == other).all())
