"""The settings of a benchmark, and the list of runs that follows from them.

The YAML file names `systems`, `labels`, `seeds` and perhaps `label_efficiency`; every further name is a setting of
`training/finetune.py` for all systems. A system is a checkpoint, a recipe, or a mapping with a name and settings of its
own: one mode each, so that it is one row of the table (one for each number of folds).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..corpora.protocol import default_folds
from ..errors import ArgumentsError, check_names
from ..evaluation.modes import Mode
from ..evaluation.results.entries import mode_words
from ..evaluation.results.published import check_published_name
from ..evaluation.results.store import read_results
from ..trainer.arguments import EcgTrainingArguments
from .command_line import convert, field_types, parse_command_line, read_yaml
from .finetune import checkpoint_name
from .label_efficiency import first_folds
from .options import FineTuneArguments, read_arguments
from .recipe import recipe_names

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus

__all__ = ["BenchmarkArguments", "PlannedRun", "System", "plan_runs", "read_benchmark", "words_of"]


@dataclass
class BenchmarkArguments:
    """What `training/benchmark.py` has beside the settings of `training/finetune.py`.

    Args:
        systems: Checkpoints, recipes, or mappings with settings; the first is compared with the others.
        corpus: Folder of the prepared corpus.
        output_dir: Where the runs and the table go.
        labels: Label sets.
        seeds: Seeds.
        label_efficiency: Numbers of first training folds.
        unit: What the bootstrap draws.
        resamples: How many.
        card: Card that gets the entries.
        dry_run: Only list the runs.
    """

    systems: list[Any] = field(
        default_factory=list,
        metadata={"help": "Checkpoints, recipes, or in a YAML mappings (name, model, config, mode, any setting)."},
    )
    corpus: str | None = field(default=None, metadata={"help": "Folder of the prepared corpus (training/prepare.py)."})
    output_dir: str | None = field(default=None, metadata={"help": "Where the runs and the table go."})
    labels: list[str] = field(default_factory=lambda: ["all"], metadata={"help": "Label sets of the corpus."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Seeds of heads, orders and splits."})
    label_efficiency: list[int] | None = field(
        default=None, metadata={"help": "Train on the first n training folds, for each of these n (1,2,4,8)."}
    )
    unit: Literal["record", "patient"] = field(default="record", metadata={"help": "What the bootstrap draws."})
    resamples: int = field(default=1000, metadata={"help": "Bootstrap resamples."})
    card: str | None = field(
        default=None, metadata={"help": "Add the entries of all runs to hub_cards/NAME/results.json, by system."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "List the runs, done and missing, and the table so far; run nothing."}
    )


# Settings of finetune.py that one does not give for all systems at once, and what to do instead.
_NOT_COMMON = {
    "seed": "Set seeds.",
    "model": "Name it in systems.",
    "model_type": "Name a recipe in systems.",
    "config": "Name it in systems.",
    "table": "Prepare a corpus (training/prepare.py folder).",
    "root": "Prepare a corpus (training/prepare.py folder).",
    "resume": "Leave it out: a run always goes on where it was.",
}
# Settings that cannot change what is learned or predicted.
_NO_MATTER = ("corpus", "config", "resume", "card", "unit", "resamples", "num_proc", "output_dir", "disable_tqdm")


@dataclass(frozen=True, eq=False)
class System:
    """One system in one mode.

    Args:
        name: What the table calls it.
        mode: What learns.
        config: YAML of its settings, a recipe or for a checkpoint.
        settings: Its further settings by name.
        published: Its name in `published.PUBLISHED`.
    """

    name: str
    mode: Mode
    config: str | None
    settings: dict[str, Any]
    published: str | None = None

    @property
    def key(self) -> str:
        """What tells it from the other systems."""
        return f"{self.name}, {mode_words(self.mode)}"

    @property
    def initialization(self) -> str:
        """What its training starts from."""
        return "random" if self.mode == "from_scratch" else "pretrained"


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run: a system, a label set, training folds, a seed.

    Args:
        system: The system.
        labels: Label set.
        train_folds: Training folds.
        seed: Seed.
        words: Its command line for `training/finetune.py`, without corpus and output folder.
        settings: What could change its result, by name.
        parent: The folder of all runs.
    """

    system: System
    labels: str
    train_folds: tuple[int, ...]
    seed: int
    words: tuple[str, ...]
    settings: dict[str, Any]
    parent: Path

    @property
    def folds_words(self) -> str:
        """The training folds as a user writes them."""
        folds = self.train_folds
        whole = len(folds) > 1 and folds == tuple(range(folds[0], folds[-1] + 1))
        return f"{folds[0]}-{folds[-1]}" if whole else ",".join(map(str, folds))

    @property
    def title(self) -> str:
        """The run in words."""
        folds = f"fold{'s' if len(self.train_folds) > 1 else ''} {self.folds_words}"
        return f"{self.system.key}, {self.labels}, {folds}, seed {self.seed}"

    @property
    def _stem(self) -> str:
        words = [self.system.name, self.system.mode, self.labels, f"folds{self.folds_words}", f"seed{self.seed}"]
        return re.sub(r"[^A-Za-z0-9.+,_-]+", "-", "_".join(words))

    @cached_property
    def folder(self) -> Path:
        """Where it is; another setting is another folder."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return self.parent / f"{self._stem}_{digest[:8]}"

    def entries(self) -> list[dict[str, Any]] | None:
        """The entries of its `results.json` on the recordings as they are, its own first; `None` if it is not done."""
        try:
            found = read_results(self.folder / "results.json")
        except ValueError:
            return None
        asked: dict[str, Any] = {"mode": self.system.mode, "initialisation": self.system.initialization}
        asked |= {"labels": self.labels, "seed": self.seed, "train_folds": list(self.train_folds)}
        asked["corpus_hash"] = self.settings["corpus"]
        own = [entry for entry in found if all(_started(entry).get(name) == value for name, value in asked.items())]
        levels = {entry.get("noise_level") or 0 for entry in own}
        if not {0, *self.settings.get("noise_levels", ())} <= levels or self.prediction_file(own[0]) is None:
            return None
        clean = [entry for entry in found if not entry.get("noise_level")]
        return sorted(clean, key=lambda entry: entry not in own)

    def prediction_file(self, entry: Mapping[str, Any]) -> Path | None:
        """Where the predictions behind an entry of this run are; `None` if they are gone."""
        pattern = f"*_{entry['mode']}_{_started(entry)['initialisation']}_*.safetensors"
        return next((self.folder / "predictions").glob(pattern), None)

    def state(self) -> str:
        """`done`, `begun`, `failed` or `missing`."""
        if self.entries() is not None:
            return "done"
        if (self.folder / "error.txt").is_file():
            return "failed"
        return "begun" if self.folder.is_dir() else "missing"

    def changes(self) -> str:
        """What is different from an earlier run of the same name, in words; nothing if there is none."""
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


def read_benchmark(words: Sequence[str]) -> tuple[BenchmarkArguments, dict[str, Any], dict[str, Any]]:
    """Read `CONFIG.yaml --name value ...`.

    Args:
        words: Without the program's name.

    Returns:
        The benchmark's own settings, those of every system, and those of the command line that win over a system's own.

    Raises:
        ArgumentsError: An unknown name, a value of the wrong type, no system.
    """
    positional, options = parse_command_line(words)
    if len(positional) > 1:
        raise ArgumentsError(f"{positional[-1]!r} stands alone; expected --name value. See --help.")
    from_file = read_yaml(positional[0]) if positional else {}
    own = field_types(BenchmarkArguments)
    given = {name: convert(name, value, own[name]) for name, value in {**from_file, **options}.items() if name in own}
    arguments = BenchmarkArguments(**given)
    arguments.labels, arguments.seeds = list(dict.fromkeys(arguments.labels)), list(dict.fromkeys(arguments.seeds))
    if not arguments.systems:
        raise ArgumentsError("systems is empty; expected checkpoints or recipes, in CONFIG or as --systems A B.")
    known = {*own, *field_types(FineTuneArguments), *field_types(EcgTrainingArguments)}
    for system in arguments.systems:
        known |= set(_architecture_names(_as_mapping(system)))
    for where, names in ((positional[0] if positional else "", from_file), ("the command line", options)):
        check_names(names, known, where=where)
        for name in _NOT_COMMON.keys() & names.keys():
            raise ArgumentsError(f"{where} has {name!r}, which a benchmark does not take. {_NOT_COMMON[name]}")
    common = {name: value for name, value in from_file.items() if name not in own}
    overrides = {name: value for name, value in options.items() if name not in own}
    return arguments, common, overrides


def _architecture_names(system: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe lets one set besides the settings that all have."""
    values = {**(read_yaml(system["config"]) if system.get("config") else {}), **system}
    return recipe_names(values["model_type"]) if values.get("model_type") else {}


def _as_mapping(system: Any) -> dict[str, Any]:
    """A system as a mapping of settings: a YAML file is a recipe, other text a checkpoint."""
    if isinstance(system, Mapping):
        return dict(system)
    if not isinstance(system, str):
        raise ArgumentsError(f"systems has {system!r}; expected a checkpoint, a recipe, or a mapping with settings.")
    return {"config" if system.endswith((".yaml", ".yml", ".json")) else "model": system}


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    words = []
    for name, value in settings.items():
        text = json.dumps(value) if isinstance(value, list | tuple | dict | bool) else str(value)
        words.append(f"--{name}={text}")
    return words


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
        ArgumentsError: Settings that `training/finetune.py` would refuse, or two systems of one name and mode.
        CorpusError: The corpus has no such label set.
    """
    for labels in arguments.labels:
        corpus.label_matrix(labels)
    judged = {"unit": arguments.unit, "resamples": arguments.resamples}
    prints: dict[str, str] = {}
    runs: list[PlannedRun] = []
    seen: set[str] = set()
    for number, given in enumerate(arguments.systems, start=1):
        mapping = _as_mapping(given)
        name, published = mapping.pop("name", None), mapping.pop("published", None)
        where = f"system {name or number}"
        not_here = {*field_types(BenchmarkArguments)} & mapping.keys()
        if not_here or "seed" in mapping:
            raise ArgumentsError(
                f"{where} has {', '.join(sorted(not_here) or ['seed'])}, which is one for all systems. "
                "Set it beside systems."
            )
        if published is not None:
            check_published_name(published)
        settings = {**common, **mapping, **overrides}
        config = settings.pop("config", None)
        try:
            system, values = _system(name, config, settings, published)
            folds = values.pop("train_folds", None) or default_folds(corpus)[0]
            values["evaluate_folds"] = values.get("evaluate_folds") or default_folds(corpus)[1]
            if system.key in seen:
                raise ArgumentsError(f"two systems are called {system.key}; give each a name.")
            seen.add(system.key)
            numbers = arguments.label_efficiency
            parts = [tuple(folds)] if numbers is None else first_folds(folds, numbers)
            if checkpoint := values.get("model"):
                if checkpoint not in prints:
                    prints[checkpoint] = fingerprint(checkpoint)
                values["model"] = prints[checkpoint]
        except ArgumentsError as error:
            raise ArgumentsError(f"{where}: {error}") from error
        for part in parts:
            for seed in arguments.seeds:
                for labels in arguments.labels:
                    varied = {"labels": labels, "train_folds": list(part), "seed": seed}
                    words = [*([config] if config else []), *words_of({**settings, **judged, **varied})]
                    identity = json.loads(json.dumps({"corpus": corpus.hash, **values, **varied}, default=str))
                    parent = Path(str(arguments.output_dir)) / "runs"
                    runs.append(PlannedRun(system, labels, part, seed, tuple(words), identity, parent))
    # A first table with one seed comes early; further seeds make it firmer.
    return sorted(runs, key=lambda run: arguments.seeds.index(run.seed))


def _system(
    name: str | None, config: str | None, settings: dict[str, Any], published: str | None
) -> tuple[System, dict[str, Any]]:
    """A system, and everything that was set for it and could change its results, checked and converted."""
    words = [*([config] if config else []), *words_of(settings)]
    read, training = read_arguments(words, FineTuneArguments)
    for left_out in ("table", "root", "label_efficiency"):
        if getattr(read, left_out) is not None:
            raise ArgumentsError(f"{left_out} is set; a benchmark is of a prepared corpus. Leave it out.")
    recipe = read.model_type is not None
    if recipe and read.mode not in (None, "from_scratch"):
        raise ArgumentsError(f"mode is {read.mode}; a recipe has no weights, so it is from_scratch.")
    mode: Mode = read.mode or ("from_scratch" if recipe else "fine_tune")
    name = name or (Path(str(config)).stem if recipe else checkpoint_name(read.model))
    defaults = vars(FineTuneArguments())
    values = {key: value for key, value in vars(read).items() if value != defaults[key]} | training | {"mode": mode}
    # Label set and seed are those of each run.
    for key in (*_NO_MATTER, "labels", "seed"):
        values.pop(key, None)
    return System(name, mode, config, settings, published), values


def _started(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with the start that was asked for: a run from a checkpoint, whatever that learned from."""
    return {**entry, "initialisation": "pretrained"} if entry["initialisation"] == "supervised" else entry


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
