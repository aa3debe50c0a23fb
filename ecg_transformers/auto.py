"""The table of architectures, and their registration with the auto classes of Transformers.

A row of `ARCHITECTURES` names the classes of a family; registration, publishing, inspection, the scripts and the
tests read it. Classes are imported on access. A family outside the package joins with `register_architecture`.

Transformers and torch take seconds to import, and whoever reads or plots a recording needs neither. So registration
waits for the modules of Transformers that it concerns, where they are not loaded yet. An import that loads one of them
is followed by the registration before the importing code continues; never inside it, where modules are only half there.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import CheckpointError, check_names

__all__ = [
    "ARCHITECTURES",
    "CLASS_KINDS",
    "Architecture",
    "ClassKind",
    "call_after_import",
    "family_with",
    "register",
    "register_architecture",
]

# Modules of Transformers with the auto classes.
_AUTO = "transformers.models.auto"
_AUTO_MODULES = {
    "AutoConfig": f"{_AUTO}.configuration_auto",
    "AutoFeatureExtractor": f"{_AUTO}.feature_extraction_auto",
}
_MODEL_MODULE = f"{_AUTO}.modeling_auto"


@dataclass(frozen=True)
class ClassKind:
    """A kind of class that a family can have.

    Args:
        file: Prefix of the module that defines it: `modeling` for `modeling_<model_type>.py`.
        suffix: Suffix of the class name: `Model` for `<Prefix>Model`.
        auto_classes: Names of the auto classes of Transformers that it is registered with.
    """

    file: str
    suffix: str
    auto_classes: tuple[str, ...] = ()


CLASS_KINDS: dict[str, ClassKind] = {
    "config": ClassKind("configuration", "Config", ("AutoConfig",)),
    "feature_extractor": ClassKind("feature_extraction", "FeatureExtractor", ("AutoFeatureExtractor",)),
    "encoder": ClassKind("modeling", "Model", ("AutoModel",)),
    "pretraining": ClassKind("pretraining", "ForPreTraining", ("AutoModelForPreTraining",)),
    # Where Transformers puts its own classifiers of signals, and under the general name.
    "classifier": ClassKind(
        "modeling",
        "ForSequenceClassification",
        ("AutoModelForSequenceClassification", "AutoModelForAudioClassification"),
    ),
    "anomaly_detection": ClassKind("modeling", "ForAnomalyDetection"),
    "patient_identification": ClassKind("modeling", "ForPatientIdentification"),
}
# Every family has these two; a row names its models.
_ALWAYS = ("config", "feature_extractor")


@dataclass(frozen=True)
class Architecture:
    """One family of models.

    Args:
        model_type: Name in `config.json`, and suffix of its modules.
        prefix: Prefix of its class names.
        heads: Kinds of its model classes, names of `CLASS_KINDS`; any may be absent. Of a pretraining checkpoint the
            first one that is not `"pretraining"` is published.
        builds_on: Families whose modules it imports.
        trainer: Class that runs its pretraining, as `module.Class`. Default: `PretrainingTrainer`.
        package: Package of its modules, or the one module that defines its classes. Default:
            `ecg_transformers.models.<model_type>`.

    Raises:
        ArgumentsError: An unknown kind of head.
    """

    model_type: str
    prefix: str
    heads: tuple[str, ...] = ("encoder", "pretraining", "classifier")
    builds_on: tuple[str, ...] = ()
    trainer: str = "ecg_transformers.trainer.pretraining.PretrainingTrainer"
    package: str | None = None

    def __post_init__(self) -> None:
        check_names(self.heads, CLASS_KINDS.keys() - set(_ALWAYS), where=f"heads of {self.model_type!r}")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of all its classes."""
        return (*_ALWAYS, *self.heads)

    def module_name(self, kind: str) -> str:
        """Return the module of a kind of class.

        Args:
            kind: A name of `CLASS_KINDS`.
        """
        package = self.package or f"{__package__}.models.{self.model_type}"
        if self.package and not hasattr(import_module(package), "__path__"):
            return package
        return f"{package}.{CLASS_KINDS[kind].file}_{self.model_type}"

    def class_name(self, kind: str) -> str:
        """Return the name of a kind of class.

        Args:
            kind: A name of `CLASS_KINDS`.
        """
        return f"{self.prefix}{CLASS_KINDS[kind].suffix}"

    def find(self, kind: str) -> type[Any] | None:
        """Import a class of the family; `None` if the family has none of this kind.

        Args:
            kind: A name of `CLASS_KINDS`.

        Raises:
            CheckpointError: The row names the class, but its module does not define it.
        """
        if kind not in self.kinds:
            return None
        module, name = self.module_name(kind), self.class_name(kind)
        found = getattr(import_module(module), name, None)
        if found is None:
            raise CheckpointError(
                f"{module} defines no class {name}. Add it, or remove {kind!r} from the heads of {self.model_type!r}."
            )
        return found

    def __getattr__(self, kind: str) -> Any:
        """Return a class of the family by its kind (`row.config`, `row.encoder`); `None` if it has none: see `find`."""
        if kind not in CLASS_KINDS:
            raise AttributeError(f"{type(self).__name__} has no attribute {kind!r}")
        return self.find(kind)

    @property
    def models(self) -> dict[str, Any]:
        """Its model classes by kind."""
        return {kind: self.find(kind) for kind in self.heads}

    @property
    def trainer_class(self) -> Any:
        """Class that runs its pretraining."""
        module, _, name = self.trainer.rpartition(".")
        return getattr(import_module(module), name)


ARCHITECTURES: dict[str, Architecture] = {
    row.model_type: row
    for row in (
        Architecture("beatgan", "Beatgan", heads=("anomaly_detection", "encoder", "pretraining", "classifier")),
        Architecture("byol", "Byol", builds_on=("simclr",)),
        # The converter of its official checkpoints shares the reader and the heads.
        Architecture("cpc", "Cpc", builds_on=("xresnet1d",)),
        Architecture("ecg_vit", "EcgVit", heads=("encoder", "classifier")),
        Architecture(
            "ecg_wav2vec2",
            "EcgWav2vec2",
            heads=("encoder", "pretraining", "classifier", "patient_identification"),
        ),
        Architecture("mae_moco", "MaeMoco", builds_on=("ecg_vit",)),
        Architecture("mae_nextclip", "MaeNextclip", builds_on=("mae_moco", "ecg_vit")),
        Architecture("moco_v3", "MocoV3", builds_on=("ecg_vit",)),
        Architecture(
            "si_beatgan",
            "SiBeatgan",
            heads=("anomaly_detection", "encoder", "pretraining", "classifier"),
            builds_on=("beatgan",),
        ),
        Architecture("simclr", "Simclr", builds_on=("xresnet1d",)),
        Architecture("swav", "Swav", builds_on=("simclr",)),
        Architecture("swin1d", "Swin1d", heads=("encoder", "classifier")),
        Architecture("xresnet1d", "Xresnet1d", heads=("encoder", "classifier")),
    )
}


def family_with(kind: str, model_type: str, checkpoint: str | Path, hint: str) -> Architecture:
    """The family of a checkpoint, which must have a kind of head.

    Args:
        kind: A name of `CLASS_KINDS`.
        model_type: Name of the family.
        checkpoint: For the message.
        hint: What to do without this head.

    Raises:
        CheckpointError: It is no family of the table, or has no such head.
    """
    row = ARCHITECTURES.get(model_type)
    if row is None or kind not in row.heads:
        raise CheckpointError(f"{checkpoint} is a {model_type}, a family without {kind.replace('_', ' ')}. {hint}")
    return row


def register_architecture(row: Architecture) -> None:
    """Add a family to the table and register its classes with the auto classes of Transformers.

    Args:
        row: The family; its package must be importable.
    """
    ARCHITECTURES[row.model_type] = row
    register([row])


def register(rows: Iterable[Architecture] | None = None) -> None:
    """Register families with the auto classes of Transformers; repeated registration has no effect.

    It waits for Transformers where that is not imported yet.

    Args:
        rows: The families; all of the table by default.
    """
    chosen = None if rows is None else list(rows)
    for module in (*_AUTO_MODULES.values(), _MODEL_MODULE):
        call_after_import(module, partial(_register_in, module, chosen))


def _register_in(module: str, rows: Iterable[Architecture] | None) -> None:
    """Register with the auto classes of one module."""
    for row in list(ARCHITECTURES.values()) if rows is None else rows:
        for kind in row.kinds:
            for name in CLASS_KINDS[kind].auto_classes:
                if _AUTO_MODULES.get(name, _MODEL_MODULE) == module:
                    key = row.model_type if kind == "config" else row.config
                    getattr(import_module(module), name).register(key, row.find(kind), exist_ok=True)


Action = Callable[[], object]

# Packages whose modules may be half loaded when an awaited one is done.
_WATCHED = ("transformers", str(__package__))


class _Waiting(MetaPathFinder):
    """Finds modules of the watched packages as the other finders do, and notices when the outermost one is loaded."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}
        self.thread = threading.local()

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the module's own spec, with a loader that counts the modules being loaded."""
        if fullname.partition(".")[0] not in _WATCHED:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self.execute(execute, module)  # type: ignore[method-assign]
        return spec

    def execute(self, execute: Callable[[ModuleType], object], module: ModuleType) -> None:
        """Load a module; after the outermost one, call the actions whose modules are there."""
        depth = getattr(self.thread, "depth", 0)
        self.thread.depth = depth + 1
        try:
            execute(module)
            while depth == 0 and (name := next((one for one in self.actions if one in sys.modules), None)):
                for action in self.actions.pop(name):
                    action()
        finally:
            self.thread.depth = depth
        if not self.actions and self in sys.meta_path:
            sys.meta_path.remove(self)


_WAITING = _Waiting()


def call_after_import(name: str, action: Action) -> None:
    """Call an action when a module of Transformers has been imported: now if it is loaded.

    Args:
        name: Full name of the module.
        action: Called once, after those that were given before.
    """
    if name in sys.modules:
        action()
        return
    _WAITING.actions.setdefault(name, []).append(action)
    if _WAITING not in sys.meta_path:
        sys.meta_path.insert(0, _WAITING)
