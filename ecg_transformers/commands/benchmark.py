"""What `training/benchmark.py` does: systems on label sets with seeds, each run as `training/finetune.py` does it.

A run has a folder of its own, whose name ends in a hash of everything that could change its result: the settings, the
corpus, the checkpoint's weights. So a finished run is found again, a changed setting is another run, and the earlier
one stays. In the folder a run is an ordinary fine-tuning with `--resume`, and resumes where it was killed. A
pretraining that systems start from is made likewise, once, before the first run that reads it.
"""

import json
import shlex
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed
from transformers.utils import logging

from ..corpora.prepared import load_corpus
from ..errors import ArgumentsError, EcgError
from ..evaluation.results.predictions import Predictions, label_table, paired_difference
from ..evaluation.results.report import compared, difference_entry
from ..evaluation.results.store import format_table, merge_results
from ..evaluation.results.together import systems_together
from ..evaluation.settings import ReportSettings
from ..files import write_csv, write_text
from .benchmark_options import BenchmarkArguments
from .benchmark_plan import PlannedPretraining, PlannedRun, System, as_options, plan_runs
from .downstream import FineTuneArguments, read_arguments
from .finetune import DownstreamRun, is_main_process
from .pretrain import PretrainingRun
from .settings import read_settings

__all__ = ["Benchmark", "guarded"]

logger = logging.get_logger(__name__)


class Benchmark:
    """The runs of a benchmark, done and missing.

    Args:
        arguments: The settings.
        common: Settings of `training/finetune.py` for every system, by name; those of a system win over them.
        overrides: The same from the command line; they win over those of the systems.
        print_line: Called with each line for the screen.

    Raises:
        ArgumentsError: A name or value that cannot be used, for any of the runs.
        CorpusError: The corpus has no such label set.

    Attributes:
        corpus: The prepared corpus.
        runs: Every run, those of the first seed first.
        evaluate_folds: The folds that are reported.
        problems: The runs that failed, and why.
    """

    def __init__(
        self,
        arguments: BenchmarkArguments,
        common: dict[str, Any],
        overrides: dict[str, Any],
        *,
        print_line: Callable[[str], None] = logger.info,
    ) -> None:
        self.arguments = arguments
        self.print_line = print_line
        self.corpus = load_corpus(arguments.corpus)
        self.runs = plan_runs(arguments, common, overrides, self.corpus)
        folds = {tuple(run.settings["evaluate_folds"]) for run in self.runs}
        if len(folds) > 1:
            raise ArgumentsError(
                f"the systems report different folds: {', '.join(str(list(one)) for one in sorted(folds))}; "
                "expected the same for all. Set evaluate_folds at the top level."
            )
        self.evaluate_folds = folds.pop()
        self.problems: dict[PlannedRun, str] = {}
        self._failed_pretrainings: dict[PlannedPretraining, str] = {}

    @property
    def started(self) -> bool:
        """Whether there is anything for a table: a finished run, or one that failed now."""
        return bool(self.problems) or any(run.entries() is not None for run in self.runs)

    def listing(self) -> str:
        """Every run and whether it is done, as a table; below it what changed since earlier runs."""
        rows = [
            {
                "run": number,
                "system": run.system.name,
                "protocol": run.system.mode.title,
                "labels": run.labels,
                "train folds": run.folds_text,
                "seed": run.seed,
                "state": run.state(),
                "folder": run.folder.name,
            }
            for number, run in enumerate(self.runs, start=1)
        ]
        return "\n".join([format_table(rows), *self._changes()])

    def _changes(self) -> list[str]:
        """The settings that changed since an earlier run of the same name, for the missing runs."""
        found: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            if run.state() == "missing" and (changes := run.changes()):
                found.setdefault(changes, []).append(run)
        return [
            f"settings changed, so {len(runs)} run{'s are' if len(runs) > 1 else ' is'} new (the earlier stay): "
            f"{runs[0].title}{' and others' if len(runs) > 1 else ''}: {changes}"
            for changes, runs in found.items()
        ]

    def run(self) -> dict[PlannedRun, str]:
        """Do what is missing, one run after the other; a failure does not stop the others.

        Returns:
            What failed, and why.
        """
        missing = [run for run in self.runs if run.entries() is None]
        self.print_line(f"{len(self.runs)} runs, {len(self.runs) - len(missing)} done, {len(missing)} to do")
        for line in self._changes():
            self.print_line(line)
        started = time.monotonic()
        for number, run in enumerate(missing, start=1):
            left = self._seconds_left(missing[number - 1 :])
            self.print_line(
                f"[{number}/{len(missing)}] {run.title}; {_clock(time.monotonic() - started)} elapsed, "
                f"{'time left unknown before the first is done' if left is None else f'about {_clock(left)} left'}"
            )
            if (problem := self._do(run)) is not None:
                self.problems[run] = problem
                self.print_line(f"  failed: {problem}")
        if missing:
            self.print_line(f"{_clock(time.monotonic() - started)} in all, {len(self.problems)} failed")
        return self.problems

    def entries(self, *, card: str | None = None) -> list[dict[str, Any]]:
        """The entries of all finished runs on clean recordings, under the names of their systems.

        They carry the paired differences to the runs of `references` with the same folds, labels and seed.

        Args:
            card: Name of a checkpoint. The entries of systems that start from it are named after it, as its card needs
                them, and their `system` is the name in the plan.
        """
        found = []
        for run in self.runs:
            references = [self._finished(run, system) for system in self.references(run.system)]
            for entry in run.entries() or ():
                differences = entry.get("differences") or ([entry["difference"]] if "difference" in entry else [])
                for reference in references:
                    differences = [*differences, *(self._difference(run, reference, entry) if reference else [])]
                found.append({**entry, **_named(run.system, card), **compared(differences)})
        return found

    def references(self, system: System) -> list[System]:
        """The systems that one is compared with: the first, and those that it names, in its own mode if they have it.

        Args:
            system: One of the benchmark.
        """
        systems = list(dict.fromkeys(run.system for run in self.runs))
        found = [systems[0]]
        for name in system.against:
            named = [one for one in systems if one.name == name]
            found += [one for one in named if one.mode is system.mode][:1] or named[:1]
        return [one for one in dict.fromkeys(found) if one is not system]

    def _finished(self, run: PlannedRun, system: System) -> PlannedRun | None:
        """The finished run of a system that a run is compared with."""
        same = [one for one in self.runs if one.system == system and one.cell == run.cell]
        return next((one for one in same if one.entries() is not None), None)

    def _difference(self, run: PlannedRun, reference: PlannedRun, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """The paired difference of an entry to the reference; nothing if the two are of other records or labels."""
        other = (reference.entries() or [{}])[0]
        one, two = (
            Predictions.load(str(of.prediction_file(of_entry))) for of, of_entry in ((run, entry), (reference, other))
        )
        if one.codes != two.codes or not np.array_equal(one.record_ids, two.record_ids):
            return []
        difference = paired_difference(
            one, two, min_positives=entry["min_positives"], unit=self.arguments.unit, resamples=self.arguments.resamples
        )
        return [difference_entry(reference.system.key, difference)]

    def _do(self, run: PlannedRun) -> str | None:
        """One run; the reason if it failed."""
        if run.system.pretraining is not None and (problem := self._pretrain(run.system.pretraining)) is not None:
            return problem
        argv = [*run.argv, *as_options({"corpus": self.arguments.corpus, "output_dir": run.folder})]

        def fine_tune() -> None:
            arguments = read_arguments([*argv, "--resume"], FineTuneArguments)
            DownstreamRun(arguments, print_line=lambda text: self.print_line(_indented(text))).run()

        if run.members:
            only = ["--only", run.system.name]
            problem = guarded(run.folder, "training/benchmark.py", only, run.settings, lambda: self._average(run))
        else:
            problem = guarded(run.folder, "training/finetune.py", argv, run.settings, fine_tune)
        if problem is None and is_main_process() and run.entries() is None:
            return f"it left no finished result of this run in {run.folder}"
        return problem

    def _average(self, run: PlannedRun) -> None:
        """Average the logits of finished runs, and write what a run leaves."""
        if not is_main_process():
            return
        members = {}
        for member in run.members:
            entries = member.entries()
            if entries is None:
                raise EcgError(f"{member.title} is not finished; its predictions are needed. Repeat when it is.")
            predictions = Predictions.load(str(member.prediction_file(entries[0])))
            members[member.system.key] = entries[0], predictions
        mode, arguments = run.system.mode, self.arguments
        report = ReportSettings(unit=arguments.unit, resamples=arguments.resamples)
        entries, predictions = systems_together(run.system.name, members, report, mode=mode)
        file = f"together_{mode.name}_{mode.initialization}_{run.labels}.safetensors"
        predictions.save(run.folder / "predictions" / file)
        if predictions.problem_type.endswith("_classification"):
            write_csv(run.folder / "labels.csv", label_table(predictions))
        merge_results(run.folder / "results.json", entries)

    def _pretrain(self, planned: PlannedPretraining) -> str | None:
        """Make the checkpoint of a pretraining unless it is there; the reason if that failed, now or before."""
        if planned.done:
            return None
        if planned not in self._failed_pretrainings:
            argv = [*planned.argv, *as_options({"output_dir": planned.folder})]

            def pretrain() -> None:
                run_pretraining(argv, print_line=self.print_line)
                if is_main_process():
                    write_text(planned.folder / "finished.json", json.dumps(planned.settings, indent=1))

            self.print_line(f"  pretraining {planned.name} in {planned.folder}")
            problem = guarded(planned.folder, "training/pretrain.py", argv, planned.settings, pretrain)
            if problem is None:
                return None
            self._failed_pretrainings[planned] = f"pretraining {planned.name}: {problem}"
        return self._failed_pretrainings[planned]

    def _seconds_left(self, missing: Sequence[PlannedRun]) -> float | None:
        """From the seconds per training fold of the finished runs, of the same system where there are any."""
        rates: dict[str, list[float]] = {}
        for run in self.runs:
            # What averages finished runs takes no time.
            if not run.members and (entries := run.entries()):
                seconds = sum(entry["seconds"] for entry in entries if entry["min_positives"] == 1)
                rates.setdefault(run.system.key, []).append(seconds / run.amount.size)
        if not rates:
            return None
        known = {key: sum(one) / len(one) for key, one in rates.items()}
        other = sum(known.values()) / len(known)
        return sum(known.get(run.system.key, other) * run.amount.size for run in missing if not run.members)


def _named(system: System, card: str | None) -> dict[str, str]:
    """The name of a system in entries for a card."""
    if card is None or system.checkpoint != card or system.name == card:
        return {"checkpoint": system.name}
    return {"checkpoint": card, "system": system.name}


def run_pretraining(argv: Sequence[str], *, print_line: Callable[[str], None]) -> PretrainingRun:
    """Do what `training/pretrain.py` does, from where it was interrupted.

    Args:
        argv: Its command line.
        print_line: Called with the introduction of the run.
    """
    settings = read_settings([*argv, "--resume"])
    set_seed(settings.training.seed)
    run = PretrainingRun(settings)
    print_line(_indented(run.introduction()))
    run.train()
    return run


def guarded(
    folder: Path, script: str, argv: Sequence[str], settings: dict[str, Any], work: Callable[[], None]
) -> str | None:
    """Do one command in its folder, where its settings and the traceback of a failure are kept.

    Args:
        folder: Folder of the run.
        script: Name of the script that does the same.
        argv: Its command line.
        settings: What could change the result, by name.
        work: What is to be done.

    Returns:
        The reason if it failed.
    """
    log = folder / "error.txt"
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        record = {"command": shlex.join([script, *argv]), "settings": settings}
        write_text(folder / "settings.json", json.dumps(record, indent=1))
        log.unlink(missing_ok=True)
    try:
        work()
    except Exception as error:
        # Whatever it was (a corpus without these labels, memory, a broken checkpoint), the other runs follow.
        if is_main_process():
            write_text(log, traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return None


def _clock(seconds: float) -> str:
    """Hours, minutes, seconds."""
    return str(timedelta(seconds=round(seconds)))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
