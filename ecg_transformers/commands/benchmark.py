"""What `training/benchmark.py` does: systems on label sets with seeds, each run as `training/finetune.py` does it.

A run has a folder of its own, whose name ends in a hash of everything that could change its result: the settings, the
corpus, the checkpoint's weights. So a finished run is found again, a changed setting is another run, and the earlier
one stays. In the folder a run is an ordinary fine-tuning with `--resume`, and goes on where it was killed.
"""

import json
import shlex
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from transformers.utils import logging

from ..corpora.prepared import load_corpus
from ..errors import ArgumentsError
from ..evaluation.results.entries import mode_words
from ..evaluation.results.store import format_table
from ..files import write_text
from .benchmark_plan import BenchmarkArguments, PlannedRun, plan_runs, words_of
from .finetune import DownstreamRun, is_main_process
from .options import FineTuneArguments, read_arguments

__all__ = ["Benchmark"]

logger = logging.get_logger(__name__)


class Benchmark:
    """The runs of a benchmark, done and missing.

    Args:
        arguments: The settings.
        common: Settings of `training/finetune.py` for every system, by name; those of a system win over them.
        overrides: The same from the command line; they win over those of the systems.
        say: Called with each line for the screen.

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
        say: Callable[[str], None] = logger.info,
    ) -> None:
        if not arguments.corpus or not arguments.output_dir:
            raise ArgumentsError("--corpus DIR and --output_dir DIR must be given.")
        self.arguments = arguments
        self.say = say
        self.corpus = load_corpus(arguments.corpus)
        self.runs = plan_runs(arguments, common, overrides, self.corpus)
        folds = {tuple(run.settings["evaluate_folds"]) for run in self.runs}
        if len(folds) > 1:
            raise ArgumentsError(
                f"the systems report different folds: {', '.join(str(list(one)) for one in sorted(folds))}; "
                "expected the same for all. Set evaluate_folds beside systems."
            )
        self.evaluate_folds = folds.pop()
        self.problems: dict[PlannedRun, str] = {}

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
                "protocol": mode_words(run.system.mode),
                "labels": run.labels,
                "train folds": run.folds_words,
                "seed": run.seed,
                "state": run.state(),
                "folder": run.folder.name,
            }
            for number, run in enumerate(self.runs, start=1)
        ]
        return "\n".join([format_table(rows), *self._changes()])

    def _changes(self) -> list[str]:
        """Of the missing runs that were done, or begun, with other settings: which settings those are."""
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
        self.say(f"{len(self.runs)} runs, {len(self.runs) - len(missing)} done, {len(missing)} to do")
        for line in self._changes():
            self.say(line)
        started = time.monotonic()
        for number, run in enumerate(missing, start=1):
            left = self._seconds_left(missing[number - 1 :])
            self.say(
                f"[{number}/{len(missing)}] {run.title}; {_clock(time.monotonic() - started)} elapsed, "
                f"{'time left unknown before the first is done' if left is None else f'about {_clock(left)} left'}"
            )
            if (problem := self._do(run)) is not None:
                self.problems[run] = problem
                self.say(f"  failed: {problem}")
        if missing:
            self.say(f"{_clock(time.monotonic() - started)} in all, {len(self.problems)} failed")
        return self.problems

    def entries(self) -> list[dict[str, Any]]:
        """The entries of all finished runs on clean recordings, under the names of their systems."""
        named = [(run.system.name, entry) for run in self.runs for entry in run.entries() or ()]
        return [{**entry, "checkpoint": name} for name, entry in named]

    def _do(self, run: PlannedRun) -> str | None:
        """One run; the reason where it failed."""
        words = [*run.words, *words_of({"corpus": self.arguments.corpus, "output_dir": run.folder})]
        log = run.folder / "error.txt"
        if is_main_process():
            run.folder.mkdir(parents=True, exist_ok=True)
            record = {"command": shlex.join(["training/finetune.py", *words]), "settings": run.settings}
            write_text(run.folder / "settings.json", json.dumps(record, indent=1))
            log.unlink(missing_ok=True)
        try:
            arguments, training = read_arguments([*words, "--resume"], FineTuneArguments)
            fine_tuning = DownstreamRun(arguments, training, say=lambda text: self.say(_indented(text)))
            self.say(_indented(fine_tuning.introduction()))
            fine_tuning.run()
        except Exception as error:
            # Whatever it was (a corpus without these labels, memory, a broken checkpoint), the other runs go on.
            if is_main_process():
                write_text(log, traceback.format_exc())
            return f"{type(error).__name__}: {error}"
        if is_main_process() and run.entries() is None:
            return f"it left no figure of this run in {run.folder}"
        return None

    def _seconds_left(self, missing: Sequence[PlannedRun]) -> float | None:
        """From the seconds per training fold of the finished runs, of the same system where there are any."""
        rates: dict[str, list[float]] = {}
        for run in self.runs:
            if entries := run.entries():
                seconds = sum(entry["seconds"] for entry in entries if entry["min_positives"] == 1)
                rates.setdefault(run.system.key, []).append(seconds / len(run.train_folds))
        if not rates:
            return None
        known = {key: sum(one) / len(one) for key, one in rates.items()}
        other = sum(known.values()) / len(known)
        return sum(known.get(run.system.key, other) * len(run.train_folds) for run in missing)


def _clock(seconds: float) -> str:
    """Hours, minutes, seconds."""
    return str(timedelta(seconds=round(seconds)))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
