"""What `training/finetune.py` does: one mode on a checkpoint, its baseline, a checkpoint folder with results."""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import AutoConfig, TrainerCallback
from transformers.utils import logging

from ..corpora.checks import corpus_faults
from ..corpora.patients import count_patients
from ..corpora.prepared import Corpus
from ..errors import ArgumentsError, CheckpointError, CorpusError, EcgError
from ..evaluation.classifier import load_extractor, save_classifier
from ..evaluation.modes import MODES, Mode
from ..evaluation.outcomes import Outcome, recorded, run_with_baseline, selection_text
from ..evaluation.results.predictions import label_table
from ..evaluation.results.report import Evaluation, summary_line
from ..evaluation.results.store import merge_results, read_results
from ..evaluation.settings import LearningSettings
from ..features.preparation import present_leads
from ..files import write_csv, write_text
from ..publishing.card.head import derived_template
from ..publishing.folder import LICENSE_FILE, TEMPLATE_FILE
from ..trainer.run_record import RunRecord, SpeedCallback, find_commit, portable_path
from .downstream import FineTuneArguments, unused_settings
from .noise import check_noise_levels, noise_report
from .open_corpus import corpus_with_folds, open_corpus
from .options import option_types
from .own_table import corpus_of_table, split_table
from .recipe import write_architecture
from .recordings import refusal_lines

if TYPE_CHECKING:
    from ..corpora.protocol import Splits
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["FEW_ROWS", "DownstreamRun", "checkpoint_name", "is_main_process"]

logger = logging.get_logger(__name__)

# A table with fewer rows gets a linear probe unless another mode is asked for.
FEW_ROWS = 1000


def checkpoint_name(checkpoint: str | Path) -> str:
    """Name of a checkpoint in tables: the last part of its path, with its run for a checkpoint inside one."""
    path = Path(str(checkpoint).rstrip("/"))
    return f"{path.parent.name}/{path.name}" if path.name.startswith("checkpoint-") else path.name


def is_main_process() -> bool:
    """Whether this process writes; `accelerate launch` may have started several."""
    return int(os.environ.get("RANK", "0")) == 0


class DownstreamRun:
    """Everything that `training/finetune.py` does after reading its settings.

    Args:
        arguments: The settings.
        print_line: Called with each line for the screen.
        corpus: Records of `arguments.corpus`, if they are open already.

    Raises:
        ArgumentsError: Settings that contradict each other.
    """

    def __init__(
        self,
        arguments: FineTuneArguments,
        *,
        print_line: Callable[[str], None] = logger.info,
        corpus: Corpus | None = None,
    ) -> None:
        if (arguments.corpus is None) == (arguments.table is None):
            raise ArgumentsError("Pass either --corpus DIR, or --table labels.csv with --root DIR.")
        if arguments.table is not None and arguments.root is None:
            raise ArgumentsError("--table needs --root DIR, the folder of its records.")
        if arguments.model_type is not None and arguments.mode not in (None, "from_scratch"):
            raise ArgumentsError(f"mode is {arguments.mode}; a recipe has no weights, so it is from_scratch.")
        self.arguments = arguments
        self.folder = Path(arguments.output_dir)
        self.print_line = print_line
        self.corpus = corpus

    def run(self) -> list[dict[str, Any]]:
        """Train, evaluate, save; the baseline too unless it is left out.

        Returns:
            The entries of this run, those of the checkpoint first.
        """
        arguments = self.arguments
        if finished := self._finished():
            self.print_line(f"{self.folder} holds a finished run: nothing is left to train")
            return finished
        name, checkpoint = self._checkpoint()
        extractor = load_extractor(checkpoint, **arguments.extractor_options)
        mode, corpus, cross_validated = self._mode_and_corpus(extractor)
        learning = arguments.learning.of_mode(mode, AutoConfig.from_pretrained(checkpoint))
        split = partial(
            arguments.protocol.split, corpus, seed=learning.seed, own_table=arguments.table is not None,
            cross_validated=cross_validated,
        )  # fmt: skip
        splits = split(extractor)
        if leads := _leads_of_all(splits.train.corpus, extractor):
            extractor = load_extractor(checkpoint, **arguments.extractor_options | {"used_leads": leads})
            self.print_line(
                f"trained on leads {', '.join(leads)}: saved as used_leads; other leads are left out of every recording"
            )
            # A reported record may have none of them.
            splits = split(extractor)
        if unused := unused_settings(mode, arguments):
            self.print_line(f"not used by {mode.name}: {', '.join(unused)}")
        check_noise_levels(arguments.report.noise_levels, extractor, splits)
        selection = selection_text(mode, splits, learning)
        self.print_line(introduction(name, mode, splits, selection))
        if not (mode.trains or is_main_process()):
            return []
        settings = self._settings(extractor, splits)
        callbacks = self._records(mode, splits, learning, settings, selection)
        outcome, baseline = run_with_baseline(
            mode,
            checkpoint,
            extractor,
            splits,
            learning,
            folder=self.folder / "training",
            no_baseline=arguments.report.no_baseline,
            callbacks=callbacks,
        )
        if not is_main_process():
            return []
        evaluation = Evaluation(
            name,
            checkpoint,
            extractor,
            splits,
            outcome,
            baseline,
            learning.seed,
            arguments.config,
            settings,
        )
        return self._report(evaluation)

    def _finished(self) -> list[dict[str, Any]]:
        """The entries of the run if it is to be resumed and is done; what is interrupted is in `training/`."""
        if not self.arguments.learning.resume:
            found = next(iter(sorted((self.folder / "training").glob("*/checkpoint-*"))), None)
            if found is not None:
                raise CheckpointError(
                    f"{found.parent} holds an interrupted training. Add --resume to continue it, or choose another "
                    "--output_dir."
                )
            return []
        done = (self.folder / "predictions").is_dir() and not (self.folder / "training").exists()
        return read_results(self.folder / "results.json") if done else []

    def _checkpoint(self) -> tuple[str, str | Path]:
        """Name and place of the checkpoint; that of a recipe is an architecture without weights."""
        arguments = self.arguments
        if arguments.model_type is None:
            return checkpoint_name(arguments.model), arguments.model
        folder = write_architecture(arguments.model_type, arguments.architecture, self.folder / "architecture")
        return Path(arguments.config or arguments.model_type).stem, folder

    def _mode_and_corpus(self, extractor: "EcgFeatureExtractor") -> tuple[Mode, Corpus, bool]:
        """Mode, records, and whether each fold of theirs is reported in turn."""
        arguments, protocol = self.arguments, self.arguments.protocol
        default = "fine_tune" if arguments.model_type is None else "from_scratch"
        if arguments.table is None:
            corpus = self.corpus or open_corpus(arguments, self.print_line)
            named_folds = [*(protocol.train_folds or ()), *(protocol.evaluate_folds or ())]
            corpus = corpus_with_folds(corpus, named_folds, self.folder, self.print_line)
            return MODES[arguments.mode or default], corpus, False
        # Folds or a fraction that are named are those of the one split.
        named = protocol.train_folds or protocol.evaluate_folds or protocol.validation_folds
        one_split = bool(named or protocol.train_fraction != 1.0 or arguments.report.noise_levels)
        split = split_table(
            arguments.table,
            self.folder / "labels_with_folds.csv",
            task=arguments.task,
            cross_validation=0 if one_split else arguments.cross_validation,
            seed=arguments.learning.seed,
        )
        self.print_line(
            f"labels: {split.table.describe()}; {split.how}\ntask: {split.table.because} (--task overrides)"
        )
        corpus = corpus_of_table(
            split.file,
            str(arguments.root),
            self.folder / "corpus",
            extractor,
            task=arguments.task,
            num_proc=arguments.num_proc,
            read_options=arguments.files.read_options,
            progress=logging.is_progress_bar_enabled(),
        )
        self._print_refusals(corpus)
        for fault in corpus_faults(corpus):
            self.print_line(f"warning: {fault}")
        if arguments.model_type is None and len(split.table.rows) < FEW_ROWS:
            default = "linear_probe"
        return MODES[arguments.mode or default], corpus, split.cross_validated

    def _print_refusals(self, corpus: Corpus) -> None:
        """List the records of a table that could not be read.

        Raises:
            CorpusError: Half of them or more could not.
        """
        if not corpus.info["refused"]:
            return
        total = corpus.info["refused"] + len(corpus)
        lines = refusal_lines(corpus.refused, total, f"{corpus.path}/refused.csv", option_types(FineTuneArguments))
        self.print_line(lines)
        if 2 * corpus.info["refused"] >= total:
            raise CorpusError(
                f"{corpus.info['refused']:,} of {total:,} records of the table were refused, which is too many "
                "to train on the rest; expected less than half."
            )

    def _settings(self, extractor: "EcgFeatureExtractor", splits: "Splits") -> dict[str, Any]:
        """The settings of data, windows and architecture, by name, with what they left to the corpus."""
        arguments = self.arguments
        return {
            **recorded(arguments),
            **recorded(arguments.files),
            **recorded(arguments.recordings),
            **recorded(arguments.protocol),
            **arguments.architecture,
            "train_folds": list(splits.train_folds),
            "evaluate_folds": list(splits.evaluate_folds),
            "window_seconds": extractor.window_size / extractor.sampling_rate,
            "window_stride_seconds": extractor.stride_seconds,
        }

    def _records(
        self, mode: Mode, splits: "Splits", learning: LearningSettings, settings: Mapping[str, Any], selection: str
    ) -> list[TrainerCallback]:
        """New weights get a `run.json`, as in pretraining; fine-tuned ones keep the facts of their pretraining."""
        if mode.initialization != "random":
            return []
        corpus = splits.train.corpus
        facts = {
            "model_type": self.arguments.model_type,
            "config": portable_path(self.arguments.config),
            "settings": {**settings, **recorded(learning, mode), **learning.training},
            "commit": find_commit(),
            "seed": learning.seed,
            "corpus": {"name": corpus.name, "version": corpus.info.get("version"), "hash": corpus.hash},
            "labels": splits.task.label_set,
            "train_folds": list(splits.train_folds),
            "selection": selection,
            "records": len(splits.train),
            "patients": count_patients(corpus.patient_ids),
        }
        speed = SpeedCallback()
        return [speed, RunRecord(self.folder, facts, speed, resumed=learning.resume)]

    def _report(self, evaluation: Evaluation) -> list[dict[str, Any]]:
        """Save the classifiers, write the entries, print the lines."""
        report = self.arguments.report
        # Where frozen embeddings were compared, nothing was learned: the checkpoint is the model.
        if evaluation.outcome.mode.trains or evaluation.splits.gallery is None:
            self._save(evaluation.outcome, evaluation.extractor, self.folder)
            if evaluation.baseline is not None:
                self._save(evaluation.baseline, evaluation.extractor, self.folder / "baseline")
            self._write_card(evaluation)
        evaluation.save_predictions(self.folder)
        try:
            entries, of_baseline = evaluation.entries(report)
        except EcgError as error:
            # The model is trained and saved; the reported part of a small table may be too small to judge it.
            self.print_line(f"no result: {error}")
            self._clear_training(evaluation)
            return []
        merge_results(self.folder / "results.json", [*entries, *of_baseline])
        self.print_line(summary_line(entries, of_baseline, evaluation.splits.reported_folds))
        # Until here a killed run finds both trainings at their last step, and only predicts again.
        self._clear_training(evaluation)
        if report.noise_levels:
            noisy, text = noise_report(evaluation, report, self.folder, [*entries, *of_baseline])
            merge_results(self.folder / "results.json", noisy)
            self.print_line(text)
            return [*entries, *of_baseline, *noisy]
        return [*entries, *of_baseline]

    def _write_card(self, evaluation: Evaluation) -> None:
        """The template of the card, with what the checkpoint inherits from its base; one that is there is kept."""
        file, mode = self.folder / TEMPLATE_FILE, evaluation.outcome.mode
        base = evaluation.checkpoint if mode.initialization == "pretrained" else None
        if not file.is_file():
            use = "training" if base is None else mode.title
            write_text(file, derived_template(base, evaluation.splits.train.corpus.info, use=use))
        if base is not None and (Path(base) / LICENSE_FILE).is_file():
            shutil.copyfile(Path(base) / LICENSE_FILE, self.folder / LICENSE_FILE)

    def _clear_training(self, evaluation: Evaluation) -> None:
        """Remove the checkpoints of trainings that are finished."""
        if any(one is not None and one.unfinished for one in (evaluation.outcome, evaluation.baseline)):
            self.print_line("the time limit ended the training: add --resume to continue it")
        else:
            shutil.rmtree(self.folder / "training", ignore_errors=True)

    def _save(self, outcome: Outcome, extractor: "EcgFeatureExtractor", folder: Path) -> None:
        save_classifier(outcome.model, extractor, folder, thresholds=outcome.thresholds)
        if outcome.predictions.problem_type.endswith("_classification"):
            write_csv(folder / "labels.csv", label_table(outcome.predictions))


def _leads_of_all(corpus: Corpus, extractor: "EcgFeatureExtractor") -> list[str]:
    """The leads that some record has, where leads may be missing and every record lacks others; else none.

    A classifier that never saw a lead can be turned by it.
    """
    contract = extractor.contract
    if contract.missing_leads != "mask" or contract.used_leads is not None:
        return []
    first = {names: row for row, names in reversed([*enumerate(corpus.leads)])}
    found = np.any([present_leads(corpus[row], contract) for row in first.values()], axis=0)
    return [] if found.all() else [name for name, has in zip(contract.lead_names, found, strict=True) if has]


def introduction(name: str, mode: Mode, splits: "Splits", selection: str) -> str:
    """What is about to happen, in three lines.

    Args:
        name: Name of the checkpoint.
        mode: The mode.
        splits: The protocol.
        selection: Records on which it is chosen, from `selection_text`.
    """
    task = splits.task
    kind = task.problem_type.removesuffix("_classification").replace("_", "-")
    left_out = f" ({splits.left_out} without a label are left out)" if splits.left_out else ""
    corpus, reported = splits.evaluate.corpus.name, f"{len(splits.evaluate):,} are reported, {splits.reported_folds}"
    if splits.cross_validated:
        parts = len(splits.evaluate_folds)
        reported = f"each is reported once, by a model of the other {parts - 1} of {parts} folds, by patient"
    untrained = f", {len(splits.untrained)} more without a training record are left out" if splits.untrained else ""
    choice = selection if selection.startswith("nothing") else f"chosen on {selection}"
    what, used = f"{kind}, {task.num_labels} labels{untrained}", f"{len(splits.train):,} training records"
    if splits.gallery is not None:
        what = "the second record of a patient is assigned to the most similar first record"
        patients = f"{used} of {splits.train.labels.shape[1]:,} patients"
        used = patients if mode.trains else "nothing is learned"
        left_out = f" ({splits.left_out} further records are left out)"
    return f"{mode.name} of {name} on {corpus} {task.label_set}: {what}\n{used}, {reported}{left_out};\n{choice}"
