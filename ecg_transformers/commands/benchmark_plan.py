"""The settings of a benchmark, and the list of runs that follows from them.

The YAML file names `systems`, `labels`, `seeds` and perhaps `label_efficiency`; every further name is a setting of
`training/finetune.py` for all systems. A system is a checkpoint, a recipe, or a mapping with a name and settings of its
own: one mode each, so that it is one row of the table (one for each number of folds). A mapping with `pretrain` is
pretrained first, once for all systems that name the same pretraining. One with `together` trains nothing: it averages
the logits of systems above it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.identification import PATIENTS
from ..corpora.prepared import load_corpus
from ..corpora.protocol import chosen_folds
from ..errors import ArgumentsError, check_names
from ..evaluation.modes import MODES, Mode
from ..evaluation.results.published import check_published_name
from ..evaluation.results.store import read_results
from ..evaluation.results.together import MEAN_OF_LOGITS
from ..trainer.arguments import EcgTrainingArguments
from .benchmark_options import BenchmarkArguments
from .command_line import field_types, read_command_line, read_yaml
from .downstream import FineTuneArguments, read_arguments
from .finetune import checkpoint_name
from .label_efficiency import TrainingAmount, refuse_second_share, training_amounts
from .options import build, changed_options, converted, declared_options
from .recipe import recipe_names
from .settings import read_settings

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus

__all__ = [
    "PlannedPretraining",
    "PlannedRun",
    "System",
    "plan_runs",
    "read_benchmark",
    "as_options",
]


# Settings of finetune.py that one does not give for all systems at once, and what to do instead.
_NOT_COMMON = {
    "seed": "Set seeds.",
    "model": "Name it in systems.",
    "model_type": "Name a recipe in systems.",
    "config": "Name it in systems.",
    "table": "Prepare a corpus (training/prepare.py folder).",
    "root": "Prepare a corpus (training/prepare.py folder).",
    "resume": "Leave it out: a run always resumes where it left off.",
}
# Of the Trainer's arguments, what cannot change a result.
_SCREEN = ("disable_tqdm",)


@dataclass(frozen=True, eq=False)
class PlannedPretraining:
    """A pretraining that systems start from.

    Args:
        name: Name of its configuration.
        argv: Its command line for `training/pretrain.py`, without the output folder.
        settings: What could change its weights, by name.
        parent: The folder of all pretrainings.
    """

    name: str
    argv: tuple[str, ...]
    settings: dict[str, Any]
    parent: Path

    @cached_property
    def folder(self) -> Path:
        """Its folder; another setting is another folder."""
        return self.parent / f"{self.name}_{_digest(self.settings)}"

    @property
    def done(self) -> bool:
        """Whether it was finished."""
        return (self.folder / "finished.json").is_file()


@dataclass(frozen=True, eq=False)
class System:
    """One system in one mode.

    Args:
        name: Its name in the table.
        mode: Its mode.
        config: YAML of its settings, a recipe or for a checkpoint.
        settings: Its further settings by name.
        published: Its name in `published.PUBLISHED`.
        pretraining: What makes its checkpoint; `None` = it is there.
        against: Names of systems that it is compared with in addition to the first.
        checkpoint: Name of the checkpoint that it starts from; `None` = a recipe, or systems together.
    """

    name: str
    mode: Mode
    config: str | None
    settings: dict[str, Any]
    published: str | None = None
    pretraining: PlannedPretraining | None = None
    against: tuple[str, ...] = ()
    checkpoint: str | None = None

    @property
    def key(self) -> str:
        """Name and mode, different for any two systems."""
        return f"{self.name}, {self.mode.title}"


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run: a system, a label set, training folds, a seed.

    Args:
        system: The system.
        labels: Label set.
        train_folds: Training folds.
        seed: Seed.
        argv: Its command line for `training/finetune.py`, without corpus and output folder.
        settings: What could change its result, by name.
        parent: The folder of all runs.
        members: The runs whose logits it averages; none = it is trained.
    """

    system: System
    labels: str
    train_folds: tuple[int, ...]
    seed: int
    argv: tuple[str, ...]
    settings: dict[str, Any]
    parent: Path
    members: "tuple[PlannedRun, ...]" = ()

    @property
    def cell(self) -> tuple[str, int, TrainingAmount]:
        """Labels, seed and training records: runs of two systems that share them are compared."""
        return self.labels, self.seed, self.amount

    @property
    def amount(self) -> TrainingAmount:
        """Training folds, and the share of their records."""
        return TrainingAmount(self.train_folds, self.settings.get("train_fraction", 1.0))

    @property
    def folds_text(self) -> str:
        """The training folds as a user would write them, with the share of their records."""
        return str(self.amount)

    @property
    def title(self) -> str:
        """Name of the run on the screen."""
        folds = f"fold{'s' if len(self.train_folds) > 1 else ''} {self.folds_text}"
        return f"{self.system.key}, {self.labels}, {folds}, seed {self.seed}"

    @property
    def _stem(self) -> str:
        parts = [self.system.name, self.system.mode.name, self.labels, f"folds{self.folds_text}", f"seed{self.seed}"]
        return re.sub(r"[^A-Za-z0-9.+,_-]+", "-", "_".join(parts))

    @cached_property
    def folder(self) -> Path:
        """Its folder; another setting is another folder."""
        return self.parent / f"{self._stem}_{_digest(self.settings)}"

    def entries(self) -> list[dict[str, Any]] | None:
        """The entries of its `results.json` on the recordings as they are, its own first; `None` if it is not done."""
        try:
            found = read_results(self.folder / "results.json")
        except ValueError:
            return None
        mode = self.system.mode
        asked: dict[str, Any] = {"mode": mode.name, "initialization": mode.initialization}
        asked |= {"labels": self.labels, "seed": self.seed, "train_folds": list(self.train_folds)}
        asked["train_fraction"] = self.amount.fraction
        asked["corpus_hash"] = self.settings["corpus"]
        own = [entry for entry in found if all(_started(entry).get(name) == value for name, value in asked.items())]
        if any("unfinished" in entry for entry in found):
            return None
        levels = {entry.get("noise_level") or 0 for entry in own}
        file = self.prediction_file(own[0]) if {0, *self.settings.get("noise_levels", ())} <= levels else None
        if file is None or not all(member._finished_before(file) for member in self.members):
            return None
        clean = [entry for entry in found if not entry.get("noise_level")]
        return sorted(clean, key=lambda entry: entry not in own)

    def _finished_before(self, file: Path) -> bool:
        """Whether it is done, and its predictions are no newer than a file that was made of them."""
        entries = self.entries()
        own = self.prediction_file(entries[0]) if entries else None
        return own is not None and own.stat().st_mtime_ns <= file.stat().st_mtime_ns

    def prediction_file(self, entry: Mapping[str, Any]) -> Path | None:
        """Where the predictions behind an entry of this run are; `None` if they are gone."""
        pattern = f"*_{entry['mode']}_{_started(entry)['initialization']}_*.safetensors"
        return next((self.folder / "predictions").glob(pattern), None)

    def state(self) -> str:
        """`done`, `begun`, `failed` or `missing`."""
        if self.entries() is not None:
            return "done"
        if (self.folder / "error.txt").is_file():
            return "failed"
        return "begun" if self.folder.is_dir() else "missing"

    def changes(self) -> str:
        """Settings that differ from those of an earlier run of the same name; empty if there is none."""
        for folder in sorted(self.parent.glob(f"{self._stem}_????????")):
            file = folder / "settings.json"
            if folder == self.folder or not file.is_file():
                continue
            before, now = json.loads(file.read_text(encoding="utf-8"))["settings"], self.settings
            different = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
            # Of the corpus and the checkpoint only hashes are kept.
            return ", ".join(
                f"another {name}"
                if name in ("corpus", "model")
                else f"{name} {before.get(name, 'default')} -> {now.get(name, 'default')}"
                for name in different
            )
        return ""


def read_benchmark(argv: Sequence[str]) -> tuple[BenchmarkArguments, dict[str, Any], dict[str, Any]]:
    """Read `CONFIG.yaml --name value ...`.

    Args:
        argv: Without the program's name.

    Returns:
        The benchmark's own settings, those of every system, and those of the command line that win over a system's own.

    Raises:
        ArgumentsError: An unknown name, a value of the wrong type, no system.
    """
    config, from_file, options = read_command_line(argv)
    own = declared_options(BenchmarkArguments)
    given = {name: value for name, value in {**from_file, **options}.items() if name in own}
    if isinstance(given.get("only"), str):
        # A name may have commas, at which the text of a list is divided.
        given["only"] = [given["only"]]
    values = converted(given, own, {})
    if not values.get("systems"):
        raise ArgumentsError("systems is empty; expected checkpoints or recipes, in CONFIG or as --systems A B.")
    if not (values.get("corpus") and values.get("output_dir")):
        raise ArgumentsError("--corpus DIR and --output_dir DIR must be given.")
    values |= {name: list(dict.fromkeys(values[name])) for name in ("labels", "seeds") if name in values}
    arguments = build(BenchmarkArguments, values)
    known = {*own, *declared_options(FineTuneArguments), *field_types(EcgTrainingArguments), "folds", "config"}
    for system in arguments.systems:
        known |= set(_architecture_names(_as_mapping(system)))
    for where, names in ((str(config), from_file), ("the command line", options)):
        check_names(names, known, where=where)
        for name in _NOT_COMMON.keys() & names.keys():
            raise ArgumentsError(f"{where} has {name!r}, which a benchmark does not take. {_NOT_COMMON[name]}")
    common = {name: value for name, value in from_file.items() if name not in own}
    overrides = {name: value for name, value in options.items() if name not in own}
    return arguments, common, overrides


def _architecture_names(system: Mapping[str, Any]) -> dict[str, Any]:
    """Names that a recipe has in addition to the settings that all systems have."""
    values = {**(read_yaml(system["config"]) if system.get("config") else {}), **system}
    return recipe_names(values["model_type"], values.get("backbone_config")) if values.get("model_type") else {}


def _as_mapping(system: Any) -> dict[str, Any]:
    """A system as a mapping of settings: a YAML file is a recipe, other text a checkpoint."""
    if isinstance(system, Mapping):
        return dict(system)
    if not isinstance(system, str):
        raise ArgumentsError(f"systems has {system!r}; expected a checkpoint, a recipe, or a mapping with settings.")
    return {"config" if system.endswith((".yaml", ".yml", ".json")) else "model": system}


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of a command line."""
    options = []
    for name, value in settings.items():
        text = json.dumps(value) if isinstance(value, list | tuple | dict | bool) else str(value)
        options.append(f"--{name}={text}")
    return options


def plan_runs(
    arguments: BenchmarkArguments, common: Mapping[str, Any], overrides: Mapping[str, Any], corpus: "Corpus"
) -> list[PlannedRun]:
    """Every run of a benchmark: all systems with the first seed, then with the next; each from few folds to many.

    Args:
        arguments: The benchmark's settings.
        common: Settings for every system; those of a system win.
        overrides: Settings that win over those of a system.
        corpus: The corpus.

    Raises:
        ArgumentsError: Settings that `training/finetune.py` would refuse, two systems of one name and mode, or the
            name of a system that is not there.
        CorpusError: The corpus has no such label set.
    """
    for labels in arguments.labels:
        if labels != PATIENTS:
            corpus.label_matrix(labels)
    plan = _Plan(arguments, dict(common), dict(overrides), corpus)
    runs: list[PlannedRun] = []
    for number, given in enumerate(arguments.systems, start=1):
        mapping = _as_mapping(given)
        where = f"system {mapping.get('name') or number}"
        not_here = {*declared_options(BenchmarkArguments), "seed"} & mapping.keys()
        if not_here:
            raise ArgumentsError(
                f"{where} has {', '.join(sorted(not_here))}, which is one for all systems. Set it at the top level."
            )
        try:
            runs += plan.runs_together(mapping, runs) if "together" in mapping else plan.runs_of(mapping)
        except ArgumentsError as error:
            raise ArgumentsError(f"{where}: {error}") from error
    names = dict.fromkeys(run.system.name for run in runs)
    listed = ", ".join(map(repr, names))
    for run in runs:
        if unknown := [name for name in run.system.against if name not in names]:
            raise ArgumentsError(
                f"system {run.system.name}: against has {unknown[0]!r}; expected names of systems: {listed}."
            )
    if arguments.only is not None:
        if unknown := [name for name in arguments.only if name not in names]:
            raise ArgumentsError(f"only has {unknown[0]!r}; expected names of systems: {listed}.")
        chosen = [run for run in runs if run.system.name in arguments.only]
        # Systems together need the runs that they are made of.
        chosen_systems = {one.system for run in chosen for one in (run, *run.members)}
        runs = [run for run in runs if run.system in chosen_systems]
    # A first table with one seed comes early; further seeds make it firmer.
    return sorted(runs, key=lambda run: arguments.seeds.index(run.seed))


class _Plan:
    """From the mapping of a system to its runs."""

    def __init__(
        self, arguments: BenchmarkArguments, common: dict[str, Any], overrides: dict[str, Any], corpus: "Corpus"
    ) -> None:
        self.arguments, self.common, self.overrides, self.corpus = arguments, common, overrides, corpus
        self.folder = Path(arguments.output_dir)
        self.fingerprints: dict[str, str] = {}
        self.pretrainings: dict[Path, PlannedPretraining] = {}
        self.keys: set[str] = set()

    def runs_of(self, mapping: dict[str, Any]) -> list[PlannedRun]:
        """The runs of a system: for each number of folds, seed and label set."""
        arguments = self.arguments
        name, published = mapping.pop("name", None), mapping.pop("published", None)
        if published is not None:
            check_published_name(published)
        against = _names(mapping.pop("against", ()))
        pretraining = self._pretraining(mapping.pop("pretrain", None), mapping)
        settings = {**self.common, **mapping, **self.overrides}
        config = settings.pop("config", None)
        if pretraining is not None:
            name, settings["model"] = name or pretraining.name, str(pretraining.folder)
        system, values = _system(name, config, settings, published, pretraining)
        system = replace(system, against=against)
        self._check_key(system)
        named = values.pop("train_folds", None), values.get("evaluate_folds")
        folds, values["evaluate_folds"] = chosen_folds(self.corpus, *named)
        if pretraining is not None:
            values["model"] = _digest(pretraining.settings, length=64)
        elif checkpoint := values.get("model"):
            if checkpoint not in self.fingerprints:
                self.fingerprints[checkpoint] = fingerprint(checkpoint)
            values["model"] = self.fingerprints[checkpoint]
        numbers = arguments.label_efficiency
        judged = {"unit": arguments.unit, "resamples": arguments.resamples}
        runs = []
        for part in [TrainingAmount(folds)] if numbers is None else training_amounts(folds, numbers):
            share = {} if part.fraction == 1.0 else {"train_fraction": part.fraction}
            if share:
                refuse_second_share(values.get("train_fraction", 1.0))
            for seed in arguments.seeds:
                for labels in arguments.labels:
                    varied = {"labels": labels, "train_folds": list(part.folds), "seed": seed, **share}
                    argv = [*([config] if config else []), *as_options({**settings, **judged, **varied})]
                    identity = {"corpus": self.corpus.hash, **values, **varied}
                    identity = json.loads(json.dumps(identity, default=str))
                    runs.append(
                        PlannedRun(system, labels, part.folds, seed, tuple(argv), identity, self.folder / "runs")
                    )
        return runs

    def runs_together(self, mapping: dict[str, Any], above: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs of a system that averages the logits of others: one in each cell of the first of them.

        Args:
            mapping: `name`, `together`, and perhaps `against`.
            above: The runs of the systems above it.
        """
        name, names = mapping.pop("name", None), _names(mapping.pop("together"))
        against = _names(mapping.pop("against", ()))
        if mapping or name is None:
            raise ArgumentsError(
                f"together averages the logits of other systems; expected name, together and against, found "
                f"{', '.join(['together', *mapping]) if mapping else 'no name'}."
            )
        if PATIENTS in self.arguments.labels:
            raise ArgumentsError(f"together averages logits, and the label set {PATIENTS} has none. Leave one out.")
        members = [self._member(one, above) for one in dict.fromkeys(names)]
        if len(members) < 2:
            raise ArgumentsError(f"together is {list(names)}; expected the names of two systems or more.")
        starts = {member.mode.initialization for member in members}
        mode = replace(MEAN_OF_LOGITS, initialization="random" if starts == {"random"} else "pretrained")
        system = System(name, mode, None, {}, against=against)
        self._check_key(system)
        runs = []
        for run in (run for run in above if run.system is members[0]):
            cell = [one for one in above if one.system in members and one.cell == run.cell]
            for missing in [member for member in members if member not in [one.system for one in cell]]:
                raise ArgumentsError(f"{missing.name} has no run like {run.title}; expected the same train_folds.")
            identity = {key: run.settings[key] for key in ("corpus", "labels", "train_folds", "evaluate_folds", "seed")}
            identity |= {"train_fraction": run.amount.fraction, "together": sorted(one.folder.name for one in cell)}
            runs.append(replace(run, system=system, argv=(), settings=identity, members=tuple(cell)))
        return runs

    def _member(self, name: str, above: Sequence[PlannedRun]) -> System:
        """The one trained system of a name above."""
        systems = [one for one in dict.fromkeys(run.system for run in above if not run.members)]
        found = [one for one in systems if name == one.name]
        if len(found) == 1:
            return found[0]
        if found:
            raise ArgumentsError(f"together has {name!r}, the name of {len(found)} systems; give each its own name.")
        names = ", ".join(repr(one.name) for one in systems)
        raise ArgumentsError(f"together has {name!r}; expected names of trained systems above: {names}.")

    def _check_key(self, system: System) -> None:
        if system.key in self.keys:
            raise ArgumentsError(f"two systems are called {system.key}; give each a name.")
        self.keys.add(system.key)

    def _pretraining(self, given: Any, mapping: Mapping[str, Any]) -> PlannedPretraining | None:
        """The pretraining of a system, one for all that name the same."""
        if given is None:
            return None
        if "model" in mapping or "config" in mapping:
            raise ArgumentsError("pretrain makes the checkpoint; expected no model or config for the system itself.")
        settings = {"config": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
        config = settings.pop("config", None)
        if not isinstance(config, str):
            raise ArgumentsError(f"pretrain is {given!r}; expected a CONFIG, or a mapping with config and settings.")
        argv = [config, *as_options({"corpus": self.arguments.corpus, **settings})]
        values = dict(read_settings([*argv, f"--output_dir={self.folder}"]).values)
        corpora = values.pop("corpus")
        hashes = [load_corpus(path).hash for path in corpora] if "corpus" in settings else [self.corpus.hash]
        for name in ("output_dir", "resume", *_SCREEN):
            values.pop(name, None)
        values = json.loads(json.dumps({"corpora": hashes, **values}, default=str))
        planned = PlannedPretraining(Path(config).stem, tuple(argv), values, self.folder / "pretrained")
        return self.pretrainings.setdefault(planned.folder, planned)


def _system(
    name: str | None,
    config: str | None,
    settings: dict[str, Any],
    published: str | None,
    pretraining: PlannedPretraining | None,
) -> tuple[System, dict[str, Any]]:
    """A system, and everything that was set for it and could change its results, checked and converted."""
    argv = [*([config] if config else []), *as_options(settings), "--output_dir=-"]
    read = read_arguments(argv, FineTuneArguments)
    for left_out, value in (
        ("table", read.table), ("root", read.root), ("label_efficiency", read.report.label_efficiency)
    ):  # fmt: skip
        if value is not None:
            raise ArgumentsError(f"{left_out} is set; a benchmark is of a prepared corpus. Leave it out.")
    recipe = read.model_type is not None
    if recipe and read.mode not in (None, "from_scratch"):
        raise ArgumentsError(f"mode is {read.mode}; a recipe has no weights, so it is from_scratch.")
    mode = MODES[read.mode or ("from_scratch" if recipe else "fine_tune")]
    checkpoint = None if recipe else checkpoint_name(read.model)
    name = name or checkpoint or Path(str(config)).stem
    training = {key: value for key, value in read.learning.training.items() if key not in _SCREEN}
    values = {**changed_options(read), **read.architecture, **training, "mode": mode.name}
    values |= {"model": read.model} if read.model else {}
    # Label set and seed are those of each run; unit and resamples judge its predictions again.
    for key in ("labels", "seed", "unit", "resamples"):
        values.pop(key, None)
    return System(name, mode, config, settings, published, pretraining, checkpoint=checkpoint), values


def _names(given: Any) -> tuple[str, ...]:
    """Names of systems, from one name or a list of them."""
    return (given,) if isinstance(given, str) else tuple(map(str, given))


def _digest(settings: Mapping[str, Any], *, length: int = 8) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:length]


def _started(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with the initialization that was asked for: a checkpoint, whatever it was trained on."""
    return {**entry, "initialization": "pretrained"} if entry["initialization"] == "supervised" else entry


def fingerprint(checkpoint: str) -> str:
    """Hash of a checkpoint's weights, config and preprocessing; its name if it is no folder."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*config.json"), *folder.glob("model*.safetensors")]):
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
