"""The table of architectures, and their registration with the auto classes of Transformers.

A row of `ARCHITECTURES` names the classes of a family; registration, publishing, inspection, the scripts and the
tests read it. Classes are imported on access. A family outside the package joins with `register_architecture`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import transformers

from .errors import CheckpointError, check_names

__all__ = ["ARCHITECTURES", "CLASS_KINDS", "Architecture", "ClassKind", "register", "register_architecture"]


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
        heads: Kinds of its model classes, names of `CLASS_KINDS`; any may be absent.
        builds_on: Families whose modules it imports.
        trainer: Class that runs its pretraining, as `module.Class`. Default: `PretrainingTrainer`.
        package: Package of its modules. Default: `ecg_transformers.models.<model_type>`.

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
        Architecture("byol", "Byol", builds_on=("simclr",)),
        # The converter of its official checkpoints shares the reader and the heads.
        Architecture("cpc", "Cpc", builds_on=("xresnet1d",)),
        Architecture("ecg_vit", "EcgVit", heads=("encoder", "classifier")),
        Architecture("mae_moco", "MaeMoco", builds_on=("ecg_vit",)),
        Architecture("mae_nextclip", "MaeNextclip", builds_on=("mae_moco", "ecg_vit")),
        Architecture("moco_v3", "MocoV3", builds_on=("ecg_vit",)),
        Architecture("simclr", "Simclr", builds_on=("xresnet1d",)),
        Architecture("swav", "Swav", builds_on=("simclr",)),
        Architecture("swin1d", "Swin1d", heads=("encoder", "classifier")),
        Architecture("xresnet1d", "Xresnet1d", heads=("encoder", "classifier")),
    )
}


def register_architecture(row: Architecture) -> None:
    """Add a family to the table and register its classes with the auto classes of Transformers.

    Args:
        row: The family; its package must be importable.
    """
    ARCHITECTURES[row.model_type] = row
    register([row])


def register(rows: Iterable[Architecture] | None = None) -> None:
    """Register families with the auto classes of Transformers; repeated registration has no effect.

    Args:
        rows: The families; all of the table by default.
    """
    for row in ARCHITECTURES.values() if rows is None else rows:
        for kind in row.kinds:
            for name in CLASS_KINDS[kind].auto_classes:
                key = row.model_type if kind == "config" else row.config
                getattr(transformers, name).register(key, row.find(kind), exist_ok=True)
