"""What `training/benchmark.py` does for systems that score beats: trainings on splits of beats with seeds, and claims.

Every run is a pretraining on the normal beats of a split, scored on its test beats, in a folder of its own whose name
ends in a hash of everything that could change its result. Systems are compared within the cells of split and seed.
A comparison has two intervals: over the patients of the test sets, and over the cells.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from transformers.utils import logging

from ..corpora.beat_splits import beat_classes, named_split
from ..corpora.prepared import load_corpus
from ..errors import ArgumentsError, check_names
from ..evaluation.beats.checkpoint import BeatScorer
from ..evaluation.beats.report import METRIC_TITLES, Measured, ScoredBeats, measure, table
from ..files import replace_file, write_text
from .benchmark import guarded, run_pretraining
from .benchmark_options import BeatBenchmarkArguments
from .benchmark_plan import PlannedPretraining, as_options
from .command_line import read_command_line
from .options import build, converted, declared_options
from .settings import read_settings

__all__ = ["BeatBenchmark", "BeatCell", "Comparison", "is_beat_benchmark", "read_beat_benchmark"]

logger = logging.get_logger(__name__)

MAIN = next(iter(METRIC_TITLES))
# Checkpoints of a run that are scored: the last epoch, and the smallest error on normal validation beats.
EPOCHS = {"last": "last epoch", "best": "epoch of the smallest validation error"}
RESULT = "measured.safetensors"
# Of the settings of a pretraining, what cannot change its result.
_NO_RESULT = ("corpus", "output_dir", "resume", "disable_tqdm")


def is_beat_benchmark(argv: Sequence[str]) -> bool:
    """Whether the CONFIG of a command line names splits of beats."""
    _, from_file, options = read_command_line(argv)
    return "splits" in {**from_file, **options}


def read_beat_benchmark(argv: Sequence[str]) -> BeatBenchmarkArguments:
    """Read `CONFIG.yaml --name value ...`.

    Args:
        argv: Without the program's name.

    Raises:
        ArgumentsError: An unknown name, a value of the wrong type, no system.
    """
    config, from_file, options = read_command_line(argv)
    own = declared_options(BeatBenchmarkArguments)
    for where, names in ((str(config), from_file), ("the command line", options)):
        check_names(names, own, where=where)
    values = converted({**from_file, **options}, own, {})
    if missing := [name for name in ("systems", "corpus", "output_dir") if not values.get(name)]:
        raise ArgumentsError(f"{' and '.join(missing)} must be given, in CONFIG or as --{missing[0]}.")
    return build(BeatBenchmarkArguments, values)


@dataclass(frozen=True, eq=False)
class BeatCell:
    """One run: a system on a split with a seed.

    Args:
        system: Name of the system.
        split: Name of the split.
        seed: Seed of the benchmark; that of the training is `seed_offset` larger.
        training: Its pretraining.
        teacher: The run whose model it learns from; None without one.
    """

    system: str
    split: str
    seed: int
    training: PlannedPretraining
    teacher: "BeatCell | None" = None

    @property
    def title(self) -> str:
        """Name of the run on the screen."""
        return f"{self.system}, {self.split}, seed {self.seed}"

    @property
    def state(self) -> str:
        """`done`, `begun`, `failed` or `missing`."""
        folder = self.training.folder
        if self.training.done:
            return "done"
        return "failed" if (folder / "error.txt").is_file() else "begun" if folder.is_dir() else "missing"

    @cached_property
    def measured(self) -> dict[str, dict[str, Measured]]:
        """Metrics with their resamples by name, for each of `EPOCHS`; of a finished run."""
        found: dict[str, dict[str, Measured]] = {}
        for name, values in load_file(self.training.folder / RESULT).items():
            epoch, metric = name.split("/")
            found.setdefault(epoch, {})[metric] = Measured(float(values[0]), values[1:])
        return found


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems in a metric, over the cells that both have finished.

    Args:
        claim: What would be true if the difference were positive.
        system: The first system.
        against: The second one.
        cells: Number of cells.
        value: Mean difference.
        over_patients: 95 % interval over resamples of the patients of the test sets.
        over_cells: 95 % interval over resamples of the cells.
    """

    claim: str
    system: str
    against: str
    cells: int
    value: float
    over_patients: tuple[float, float]
    over_cells: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Both intervals above 0: yes; both below: the contrary; else not shown."""
        if min(self.over_patients[0], self.over_cells[0]) > 0:
            return "yes"
        return "the contrary" if max(self.over_patients[1], self.over_cells[1]) < 0 else "no significant difference"

    def __str__(self) -> str:
        """One line."""
        patients, cells = (
            f"[{low:+.3f}, {high:+.3f}] over {over}"
            for (low, high), over in ((self.over_patients, "patients"), (self.over_cells, f"{self.cells} runs"))
        )
        return (
            f"{self.claim}: {self.system} minus {self.against} {self.value:+.3f}, {patients}, {cells}: {self.verdict}"
        )


class BeatBenchmark:
    """The runs of a benchmark on beats, done and missing.

    Args:
        arguments: The settings.
        print_line: Called with each line for the screen.

    Raises:
        ArgumentsError: A setting that `training/pretrain.py` would refuse, or a name of no system.
        CorpusError: The corpus holds no beats, or there is no such split.

    Attributes:
        cells: Every run, those of the first seed first, teachers before their students.
        problems: The runs that failed, and why.
    """

    def __init__(self, arguments: BeatBenchmarkArguments, *, print_line: Callable[[str], None] = logger.info) -> None:
        self.arguments, self.print_line = arguments, print_line
        self.corpus = load_corpus(arguments.corpus)
        self.classes = beat_classes(self.corpus)
        self.splits = {name: named_split(self.corpus, name) for name in arguments.splits}
        names = [str(system.get("name")) for system in arguments.systems]
        if len(set(names)) < len(names):
            raise ArgumentsError(f"systems are called {', '.join(names)}; give each its own name.")
        for claim in arguments.claims:
            check_names(claim, ("claim", "system", "against"), where="claims")
            check_names([claim["system"], claim["against"]], names, where=f"claim {claim['claim']!r}")
        self.systems = names
        self.cells: list[BeatCell] = []
        for seed in arguments.seeds:
            for split in arguments.splits:
                for system in arguments.systems:
                    self.cells.append(self._plan(dict(system), split, seed))
        self.problems: dict[str, str] = {}
        for cell in (cell for cell in self.cells if cell.training.done):
            found = {len(one.samples) for metrics in cell.measured.values() for one in metrics.values()}
            if found - {arguments.resamples}:
                raise ArgumentsError(
                    f"{cell.title} was measured with {found.pop()} resamples, this call has {arguments.resamples}; "
                    "set resamples to the former, or choose another output_dir."
                )

    def _plan(self, system: dict[str, Any], split: str, seed: int) -> BeatCell:
        name, config = system.pop("name"), system.pop("config", None)
        teacher, offset = system.pop("teacher", None), int(system.pop("seed_offset", 0))
        if not isinstance(config, str):
            raise ArgumentsError(f"system {name}: config is {config!r}; expected the file of a pretraining.")
        settings = {**system, "split": split, "seed": seed + offset}
        master = None
        if teacher is not None:
            master = next(
                (one for one in self.cells if (one.system, one.split, one.seed) == (teacher, split, seed)), None
            )
            if master is None:
                raise ArgumentsError(f"system {name}: teacher is {teacher!r}; expected the name of a system above it.")
            settings["teacher"] = str(master.training.folder)
        argv = [config, *as_options({"corpus": self.arguments.corpus, **settings})]
        values = dict(read_settings([*argv, f"--output_dir={self.arguments.output_dir}"]).values)
        for one in _NO_RESULT:
            values.pop(one, None)
        if master is not None:
            values["teacher"] = master.training.folder.name
        values = json.loads(json.dumps({"corpus": self.corpus.hash, **values}, default=str))
        stem = f"{name}_{split}_seed{seed}".replace("/", "-").replace(" ", "-")
        training = PlannedPretraining(stem, tuple(argv), values, Path(self.arguments.output_dir) / "runs")
        return BeatCell(name, split, seed, training, master)

    def listing(self) -> str:
        """Every run and its state."""
        return "\n".join(f"{cell.state:<8} {cell.title}  {cell.training.folder.name}" for cell in self.cells)

    def run(self) -> dict[str, str]:
        """Do what is missing, one run after the other; a failure does not stop the others.

        Returns:
            What failed, and why.
        """
        missing = [cell for cell in self.cells if not cell.training.done]
        self.print_line(f"{len(self.cells)} runs, {len(self.cells) - len(missing)} done, {len(missing)} to do")
        for number, cell in enumerate(missing, start=1):
            self.print_line(f"[{number}/{len(missing)}] {cell.title}")
            if cell.teacher is not None and not cell.teacher.training.done:
                problem: str | None = f"its teacher ({cell.teacher.title}) is not done"
            else:
                problem = self._do(cell)
            if problem is not None:
                self.problems[cell.title] = problem
                self.print_line(f"  failed: {problem}")
        return self.problems

    def _do(self, cell: BeatCell) -> str | None:
        """One run; the reason if it failed."""
        folder = cell.training.folder
        argv = [*cell.training.argv, *as_options({"output_dir": folder})]

        def work() -> None:
            training = run_pretraining(argv, print_line=self.print_line)
            best = training.trainer.state.best_model_checkpoint
            self._score(cell, {"last": str(folder), **({} if best is None else {"best": best})})
            write_text(folder / "finished.json", json.dumps(cell.training.settings, indent=1))

        return guarded(folder, "training/pretrain.py", argv, cell.training.settings, work)

    def _score(self, cell: BeatCell, checkpoints: Mapping[str, str]) -> None:
        """Score the test beats by each checkpoint, and keep the metrics with their resamples."""
        rows, stored = self.splits[cell.split].test, {}
        for epoch, checkpoint in checkpoints.items():
            scorer = BeatScorer(checkpoint)
            scores = scorer.score(self.corpus.select(rows))
            part = ScoredBeats(self.classes[rows], scores, self.corpus.patient_ids[rows], scorer.threshold)
            for name, one in measure([part], resamples=self.arguments.resamples).items():
                stored[f"{epoch}/{name}"] = np.array([one.value, *one.samples])
        with replace_file(cell.training.folder / RESULT) as path:
            save_file(stored, path)

    def table(self) -> str:
        """The metrics of each system, mean over its finished runs, and the verdict on each claim."""
        lines = []
        for epoch, title in EPOCHS.items():
            rows = {}
            for system in self.systems:
                cells = list(self._finished(system, epoch).values())
                if cells:
                    rows[f"{system} ({len(cells)})"] = _mean([cell.measured[epoch] for cell in cells])
            if rows:
                lines += [f"\n{title}, mean of the runs in brackets", table(rows)]
        return "\n".join([*lines, "", *map(str, self.comparisons())])

    def comparisons(self, epoch: str = "last") -> list[Comparison]:
        """Each claim on the cells that both of its systems have finished.

        Args:
            epoch: Which checkpoint counts, a name of `EPOCHS`.
        """
        found = []
        for claim in self.arguments.claims:
            one, two = (self._finished(claim[name], epoch) for name in ("system", "against"))
            both = [(one[cell].measured[epoch][MAIN], two[cell].measured[epoch][MAIN]) for cell in one if cell in two]
            if not both:
                continue
            differences = np.array([first.value - second.value for first, second in both])
            samples = np.mean([first.samples - second.samples for first, second in both], axis=0)
            drawn = np.random.default_rng(0).integers(0, len(both), (self.arguments.resamples, len(both)))
            found.append(
                Comparison(
                    claim["claim"],
                    claim["system"],
                    claim["against"],
                    len(both),
                    float(differences.mean()),
                    Measured(0.0, samples).interval,
                    Measured(0.0, differences[drawn].mean(axis=1)).interval,
                )
            )
        return found

    def _finished(self, system: str, epoch: str) -> dict[tuple[str, int], BeatCell]:
        """The finished runs of a system by split and seed."""
        return {
            (cell.split, cell.seed): cell
            for cell in self.cells
            if cell.system == system and cell.training.done and epoch in cell.measured
        }


def _mean(parts: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
    """Mean over runs of each metric that all of them have; resample by resample, which are the same patients."""
    names = [name for name in METRIC_TITLES if all(name in part for part in parts)]
    return {
        name: Measured(
            float(np.mean([part[name].value for part in parts])),
            np.mean([part[name].samples for part in parts], axis=0),
        )
        for name in names
    }
