"""What `training/score.py` does: several checkpoints on the same records of a corpus, each by its own extractor."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig
from transformers.utils import logging

from ..corpora.identification import PATIENTS
from ..corpora.prepared import Corpus
from ..corpora.protocol import Splits
from ..errors import ArgumentsError, CorpusError
from ..evaluation.classifier import classifier_codes, load_extractor, pretraining_facts, save_classifier
from ..evaluation.external import external_validation
from ..evaluation.modes import MODES, Mode, find_mode
from ..evaluation.outcomes import evaluate_as_is, recorded, run_with_baseline
from ..evaluation.results.predictions import label_table, paired_difference
from ..evaluation.results.report import Evaluation, format_interval, summary_line
from ..evaluation.results.store import add_to_card, format_table, merge_results, read_results
from ..files import write_csv
from ..metrics.bootstrap import Difference, holm
from .downstream import ScoreArguments, unused_settings
from .finetune import checkpoint_name
from .noise import check_noise_levels, noise_report
from .open_corpus import corpus_with_folds, open_corpus, sample_words

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["Scoring"]

logger = logging.get_logger(__name__)

Entry = dict[str, Any]

# Facts of the training of a finished classifier; they are in its own results.
_TRAINING_FIELDS = (
    "train_folds", "train_records", "train_fraction", "selection", "chosen", "config", "seed", "settings", "unfinished",
)  # fmt: skip


@dataclass(frozen=True)
class _Scored:
    """A checkpoint with its entries: its own first, those under noise included, and those of its baseline."""

    checkpoint: str
    evaluation: Evaluation
    own: list[Entry]
    of_baseline: list[Entry]
    noisy: list[Entry]

    @property
    def entries(self) -> list[Entry]:
        """All entries."""
        return [*self.own, *self.of_baseline, *self.noisy]


class Scoring:
    """Scores checkpoints on the same records and compares them.

    An encoder is probed (or fine-tuned) by the mode that is asked for. A checkpoint that already is a classifier for
    these labels is scored as it was saved when no mode is named, with the baseline that was saved with it.

    Args:
        arguments: The settings.
        print_line: Called with each line for the screen.
        corpus: Its records, if they are open already.

    Raises:
        ArgumentsError: No corpus is named.
    """

    def __init__(
        self,
        arguments: ScoreArguments,
        *,
        print_line: Callable[[str], None] = logger.info,
        corpus: Corpus | None = None,
    ) -> None:
        if arguments.corpus is None:
            raise ArgumentsError("--corpus DIR must be given.")
        self.arguments = arguments
        self.print_line = print_line
        self.corpus = corpus
        self.folder = Path(arguments.output_dir)

    def run(self) -> list[Entry]:
        """Score every checkpoint, print the lines and the table, write results and predictions.

        Returns:
            All new entries.
        """
        report = self.arguments.report
        for checkpoint in self.arguments.model:
            # A name that is wrong ends the run before a corpus is prepared.
            load_extractor(checkpoint, **self.arguments.extractor_options)
        corpus = self.corpus or open_corpus(self.arguments, self.print_line)
        scored: list[_Scored] = []
        for checkpoint in self.arguments.model:
            scored.append(self._scored(checkpoint, self._evaluate(checkpoint, corpus), scored))
        new = [entry for one in scored for entry in one.entries]
        merge_results(self.folder / "results.json", new)
        self.print_line(self._table(scored))
        if report.card is not None:
            named = [entry | {"checkpoint": report.card} for entry in scored[0].entries]
            run = self.folder / scored[0].evaluation.name if self.arguments.fit_thresholds else None
            self.print_line(f"-> {add_to_card(report.card, named, run=run)}")
        return new

    def _scored(self, checkpoint: str, evaluation: Evaluation, earlier: Sequence[_Scored]) -> _Scored:
        """The entries of an evaluation, compared with its baseline and the checkpoints before it."""
        report, splits = self.arguments.report, evaluation.splits
        against = [
            (one.evaluation.name, one.evaluation.outcome)
            for one in earlier
            if _comparable(one.evaluation.splits, splits)
        ]
        own, of_baseline = evaluation.entries(report, against=against)
        evaluation.save_predictions(self.folder)
        if self.arguments.fit_thresholds:
            folder = self.folder / evaluation.name
            save_classifier(
                evaluation.outcome.model, evaluation.extractor, folder, thresholds=evaluation.outcome.thresholds
            )
            write_csv(folder / "labels.csv", label_table(evaluation.outcome.predictions))
            self.print_line(f"-> {folder}")
        self.print_line(f"{evaluation.name}: {summary_line(own, of_baseline, splits.reported_folds)}")
        noisy: list[Entry] = []
        if report.noise_levels:
            noisy, text = noise_report(evaluation, report, self.folder, [*own, *of_baseline])
            self.print_line(text)
        return _Scored(checkpoint, evaluation, own, of_baseline, noisy)

    def _evaluate(self, checkpoint: str, corpus: Corpus) -> Evaluation:
        arguments = self.arguments
        extractor = load_extractor(checkpoint, **arguments.extractor_options)
        seed = arguments.learning.seed
        as_saved = arguments.mode is None and arguments.protocol.labels != PATIENTS
        codes = classifier_codes(checkpoint) if as_saved else None
        if codes and _is_external(checkpoint, arguments.protocol.labels, corpus):
            return self._external(checkpoint, extractor, corpus)
        named = [*(arguments.protocol.train_folds or ()), *(arguments.protocol.evaluate_folds or ())]
        corpus = corpus_with_folds(corpus, named, self.folder, self.print_line)
        splits = arguments.protocol.split(corpus, extractor, seed=seed)
        check_noise_levels(arguments.report.noise_levels, extractor, splits)
        if codes and [code for code in splits.task.codes if code in codes] == list(codes):
            splits = arguments.protocol.split(corpus, extractor, seed=seed, codes=codes)
            return self._as_is(checkpoint, extractor, splits)
        if arguments.fit_thresholds:
            raise ArgumentsError(
                f"--fit_thresholds needs a classifier for {splits.task.label_set} and no --mode; {checkpoint} gets "
                "a new head. Fine-tune it first."
            )
        mode = MODES[arguments.mode or "linear_probe"]
        self._print_unused(mode)
        name, folder = checkpoint_name(checkpoint), self.folder / "training"
        outcome, baseline = run_with_baseline(
            mode,
            checkpoint,
            extractor,
            splits,
            arguments.learning.of_mode(mode, AutoConfig.from_pretrained(checkpoint)),
            folder=folder / name,
            no_baseline=arguments.report.no_baseline,
        )
        shutil.rmtree(folder, ignore_errors=True)
        settings = {**recorded(arguments.protocol), "train_folds": list(splits.train_folds)}
        settings |= self._scoring_settings(extractor, splits)
        return Evaluation(name, checkpoint, extractor, splits, outcome, baseline, seed, settings=settings)

    def _scoring_settings(self, extractor: "EcgFeatureExtractor", splits: Splits) -> dict[str, Any]:
        return {
            **recorded(self.arguments.recordings),
            "labels": splits.task.label_set,
            "evaluate_folds": list(splits.evaluate_folds),
            "window_seconds": extractor.window_size / extractor.sampling_rate,
            "window_stride_seconds": extractor.stride_seconds,
        }

    def _print_unused(self, mode: Mode | None) -> None:
        if unused := unused_settings(mode, self.arguments):
            what = "a classifier that is scored as it was saved" if mode is None else mode.name
            self.print_line(f"not used by {what}: {', '.join(unused)}")

    def _external(self, checkpoint: str, extractor: "EcgFeatureExtractor", corpus: Corpus) -> Evaluation:
        """A classifier as it was saved, on the records of another corpus."""
        protocol = self.arguments.protocol
        external = external_validation(
            AutoConfig.from_pretrained(checkpoint), corpus, extractor,
            labels=protocol.labels, evaluate_folds=protocol.evaluate_folds,
        )  # fmt: skip
        check_noise_levels(self.arguments.report.noise_levels, extractor, external.splits)
        self.print_line(f"{checkpoint_name(checkpoint)}: {external.describe(sample_words(corpus))}")
        evaluation = self._as_is(checkpoint, extractor, external.splits)
        facts = external.facts | {"sample": sample_words(corpus)}
        return replace(evaluation, facts=evaluation.facts | facts)

    def _as_is(self, checkpoint: str, extractor: "EcgFeatureExtractor", splits: Splits) -> Evaluation:
        """A classifier as it was saved, and the baseline that was saved with it."""
        arguments, learning = self.arguments, self.arguments.learning
        self._print_unused(None)
        known = _known_entries(checkpoint, splits.task.label_set)
        own = _trained_entry(known)
        mode = find_mode(own.get("mode", "fine_tune"))
        if own.get("corpus") == splits.evaluate.corpus.name:
            seen = sorted(set(own["train_folds"]) & set(splits.evaluate_folds))
            if seen:
                raise CorpusError(
                    f"{checkpoint} was trained on folds {seen}; expected other folds to report. Set --folds."
                )
        options: dict[str, Any] = {"aggregate": learning.aggregate, "bf16": learning.training.get("bf16")}
        options |= {"batch_size": learning.encode_batch_size}
        scoring = {**self._scoring_settings(extractor, splits), "aggregate": learning.aggregate}
        of_baseline = [
            entry for entry in known if entry["initialization"] == "random" and entry["mode"] == mode.baseline
        ]
        start = own.get("initialization", "pretrained")
        outcome = evaluate_as_is(
            checkpoint, extractor, splits, mode=mode.name, initialization=start,
            new_thresholds=arguments.fit_thresholds, **options,
        )  # fmt: skip
        baseline, saved = None, Path(checkpoint) / "baseline"
        if not arguments.report.no_baseline and mode.baseline is not None:
            if saved.is_dir():
                baseline = evaluate_as_is(
                    saved, extractor, splits, mode=mode.baseline, initialization="random", **options
                )
            else:
                logger.warning(f"{checkpoint} has no saved baseline; its result has nothing to be compared with.")
        return Evaluation(
            checkpoint_name(checkpoint),
            checkpoint,
            extractor,
            splits,
            outcome,
            baseline,
            learning.seed,
            settings=scoring,
            trained=_training_facts(own, scoring),
            baseline_trained=_training_facts(_trained_entry(of_baseline), scoring),
            facts=_lead_facts(checkpoint, extractor),
            as_saved=True,
        )

    def _table(self, scored: Sequence[_Scored]) -> str:
        """All checkpoints with their facts and results, and the paired differences to the first."""
        report, first = self.arguments.report, scored[0].evaluation
        differences: list[Difference | None] = [
            paired_difference(
                one.evaluation.outcome.predictions, first.outcome.predictions, unit=report.unit,
                resamples=report.resamples,
            )
            if _comparable(one.evaluation.splits, first.splits)
            else None
            for one in scored[1:]
        ]  # fmt: skip
        adjusted = iter(holm([one.p_value for one in differences if one is not None]))
        rows = []
        for one, difference in zip(scored, [None, *differences], strict=True):
            config, entry = one.evaluation.outcome.model.config, one.own[0]
            row = {
                "checkpoint": one.evaluation.name,
                "mode": _how(one.evaluation),
                "Hz": f"{config.sampling_rate:g}",
                "window s": f"{config.window_size / config.sampling_rate:g}",
                "leads": ", ".join(one.evaluation.extractor.used_leads or ()) or config.num_leads,
                "parameters": f"{entry['parameters'] / 1e6:.2f} M",
                "pretraining records": _pretraining_records(one.checkpoint),
                "training records": _training_records(one),
                "score": format_interval(entry),
                "random": f"{one.of_baseline[0]['value']:.3f}" if one.of_baseline else "-",
            }
            if len(scored) > 1:
                row[f"minus {first.name}"] = str(difference) if difference else "-"
                row["p (Holm)"] = f"{next(adjusted):.3f}" if difference else "-"
            rows.append(row)
        return format_table(rows)


def _is_external(checkpoint: str, label_set: str, corpus: Corpus) -> bool:
    """Whether a corpus is another than that on which a classifier was trained."""
    own = _trained_entry(_known_entries(checkpoint, label_set))
    if own.get("corpus") == corpus.name and (corpus.name != "folder" or own.get("corpus_hash") == corpus.hash):
        return False
    if own:
        return True
    system = str(getattr(AutoConfig.from_pretrained(checkpoint), "label_system", None) or "own")
    return system not in {one.system for one in corpus.label_sets.values()}


def _known_entries(checkpoint: str, label_set: str) -> list[Entry]:
    """The entries of a classifier and its baseline, from its results or its card."""
    known = read_results(Path(checkpoint) / "results.json")
    if not known:
        # A published folder holds no results; its card does, and those of other systems too.
        card = read_results(Path("hub_cards") / Path(checkpoint).name / "results.json")
        known = [entry for entry in card if entry["checkpoint"] == Path(checkpoint).name]
    return [entry for entry in known if entry["labels"] == label_set] or known


def _trained_entry(known: Sequence[Entry]) -> Entry:
    """The entry of a classifier's own training; empty if there is none."""
    # The results of a fine-tuned checkpoint hold its baseline too, which has no baseline of its own.
    own = [entry for entry in known if find_mode(entry["mode"]).baseline is not None] or known
    # A card also has the label-efficiency curve of the system; its checkpoint was trained on most records.
    return max(own, key=lambda entry: entry.get("train_records", 0), default={})


def _training_facts(entry: Entry, scoring: Mapping[str, Any]) -> Entry:
    """Facts of an entry about the training of a classifier, with the settings of this scoring."""
    facts = {name: entry[name] for name in _TRAINING_FIELDS if name in entry}
    return facts | ({"settings": {**entry["settings"], **scoring}} if "settings" in entry else {})


def _lead_facts(checkpoint: str, extractor: "EcgFeatureExtractor") -> Entry:
    """The leads that a classifier was trained on, where it is scored on others."""
    trained = load_extractor(checkpoint)
    return {} if trained.used_leads == extractor.used_leads else {"train_leads": trained.used_leads or "all"}


def _how(evaluation: Evaluation) -> str:
    """What was scored: a mode, or a classifier as it was saved, with its training if that is known."""
    mode = evaluation.outcome.mode
    if not evaluation.as_saved:
        return mode.name
    return f"as saved ({mode.title})" if evaluation.trained else "as saved"


def _pretraining_records(checkpoint: str) -> str:
    """Records that the encoder was pretrained on without labels; a dash if that is not known."""
    facts = pretraining_facts(checkpoint)
    return "0" if facts["labels"] else f"{facts['records']:,}" if facts["records"] else "-"


def _training_records(scored: _Scored) -> str:
    """Records with labels that the classifier was trained on; a dash if that is not known."""
    if not scored.evaluation.as_saved:
        return f"{len(scored.evaluation.splits.train):,}"
    records = scored.evaluation.trained.get("train_records")
    return "-" if records is None else f"{records:,}"


def _comparable(first: Splits, second: Splits) -> bool:
    """Whether two outcomes are of the same records: an extractor may have left some out."""
    one, other = first.evaluate.corpus.record_ids, second.evaluate.corpus.record_ids
    return len(one) == len(other) and bool((one == other).all())
