"""Checkpoints of other projects: read without running anything that they name, and taken over tensor by tensor."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from .errors import CheckpointError

if TYPE_CHECKING:
    from .features.extractor import EcgFeatureExtractor
    from .modeling import EcgPreTrainedModel

__all__ = ["Converted", "OfficialState", "OutputLabels", "Source", "read_checkpoint", "read_tensors"]


@dataclass(frozen=True)
class OutputLabels:
    """Labels of the outputs of a head, whose order most files do not hold.

    Args:
        codes: Codes in the order of the outputs.
        names: Names in the same order. Default: the codes.
        system: Label system of the codes.
        max_over_windows: Codes whose score of a recording is the maximum over its windows instead of the mean.
    """

    codes: tuple[str, ...]
    names: tuple[str, ...] = ()
    system: str = "own"
    max_over_windows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a checkpoint comes from, for its card.

    Args:
        project: Name of the project.
        homepage: Its address.
        license: License of its files as an identifier of the Hub.
        weights_license: The same in a sentence.
        citation: Publications.
        tags: Tags of the card.
        limits: What is not known or was not tried, in sentences.
    """

    project: str
    homepage: str
    license: str
    weights_license: str
    citation: str
    tags: tuple[str, ...] = ()
    limits: str = ""


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Args:
        model: The model.
        extractor: Its feature extractor.
        notes: What was left out or assumed, in sentences.
        source: Where it comes from; with it a template of the card and the license are written.
    """

    model: "EcgPreTrainedModel"
    extractor: "EcgFeatureExtractor"
    notes: list[str] = field(default_factory=list)
    source: Source | None = None


class _Foreign:
    """Replaces an object of a class that is not imported; its contents in the file are ignored."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Foreign":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_tensors(path: str | Path, *, known_packages: Iterable[str] = ()) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint of PyTorch, Lightning or fastai, or of a safetensors file.

    A pickle is read with `weights_only=True`. Objects of `known_packages` (hyperparameters, callbacks) are replaced by
    empty ones; nothing of them is imported or run.

    Args:
        path: The file.
        known_packages: Beginnings of the names that the file may refer to, such as `"pytorch_lightning."`.

    Raises:
        CheckpointError: The file is no checkpoint, refers to anything else, or holds other values than tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        return load_file(path)
    found = _load(path, known_packages=tuple(known_packages))
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    return _tensors(found, path)


def read_checkpoint(
    path: str | Path, *, named: str = "model", known_packages: Iterable[str] = ()
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a checkpoint that holds more than tensors: settings, counts, logged metrics, states of an optimizer.

    It is read with `weights_only=True`, and only the parts that are used come from the disk. NumPy's scalars and dtypes
    are the only objects apart from those that PyTorch allows itself: logged metrics may be such.

    Args:
        path: The file.
        named: Key of the state dict.
        known_packages: As in `read_tensors`.

    Returns:
        The tensors by name, and everything else by key.

    Raises:
        CheckpointError: The file is no checkpoint, refers to anything else, or has no such state dict.
    """
    path = Path(path)
    found = _load(path, known_packages=tuple(known_packages), allowed=_numpy_scalars(), mmap=True)
    if not isinstance(found, Mapping) or not isinstance(found.get(named), Mapping):
        keys = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise CheckpointError(f"{path} holds {keys or 'nothing'}; expected a state dict under {named!r}.")
    return _tensors(found[named], path), {str(key): value for key, value in found.items() if key != named}


def _numpy_scalars() -> list[Any]:
    """What a pickled NumPy scalar refers to, under its names before and since NumPy 2."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = dict.fromkeys(type(np.dtype(code)) for code in "?bBhHiIlLqQefd")
    return [*kinds, np.dtype, *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core"))]


def _tensors(found: Any, path: Path) -> dict[str, torch.Tensor]:
    """The state dict, checked."""
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors; expected one, alone or as state_dict or model.")
    return {str(name): value for name, value in found.items()}


def _load(path: Path, *, known_packages: tuple[str, ...] = (), allowed: Sequence[Any] = (), mmap: bool = False) -> Any:
    """The content of a file, of which nothing is run; objects of the known packages are empty."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected the file of a checkpoint.")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        # The format before zip archives, which may name nothing foreign at all; or no checkpoint, as is seen below.
        names = []
    foreign = [name for name in names if not name.startswith(known_packages)]
    if foreign:
        raise CheckpointError(
            f"{path} refers to {', '.join(sorted(foreign))}, which is no part of such a checkpoint; nothing of it "
            "was run. Expected tensors, numbers and text only."
        )
    try:
        with torch.serialization.safe_globals([*allowed, *((_Foreign, name) for name in names)]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap or None)
    except Exception as error:  # a damaged file meets errors of the archive, the unpickler and torch alike
        # The line of torch that names what it refuses; its other lines advise to load the file without protection.
        refused = (line.strip() for line in str(error).splitlines() if "GLOBAL" in line)
        reason = next(refused, "expected a file written by torch.save, whole and undamaged.")
        raise CheckpointError(f"{path} cannot be read as a checkpoint; nothing of it was run: {reason}") from error


class OfficialState:
    """Tensors of an official checkpoint, of which each is to be taken once or dropped for a reason.

    Args:
        tensors: By official name.
        source: Name of the file, for messages.

    Raises:
        CheckpointError: A tensor has values that are not finite.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], source: str):
        self.tensors = dict(tensors)
        self.source = source
        for name, value in self.tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise CheckpointError(f"{source}: {name} {list(value.shape)} has values that are not finite.")

    def names(self, prefix: str) -> list[str]:
        """Names below a prefix that were not taken yet, without it."""
        return [name.removeprefix(prefix) for name in self.tensors if name.startswith(prefix)]

    def has(self, name: str) -> bool:
        """Whether a tensor is there and was not taken yet."""
        return name in self.tensors

    def shape(self, name: str) -> list[int]:
        """Shape of a tensor.

        Raises:
            CheckpointError: There is no such tensor.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.source} has no tensor {name!r}; expected it in such a checkpoint.")
        return list(self.tensors[name].shape)

    def take(self, name: str) -> torch.Tensor:
        """Take a tensor out.

        Raises:
            CheckpointError: There is no such tensor.
        """
        self.shape(name)
        return self.tensors.pop(name)

    def take_module(self, official: str, ours: str) -> dict[str, torch.Tensor]:
        """Take all tensors of a module (weight, bias, statistics) under our name.

        Args:
            official: Prefix of their official names, with its dot.
            ours: Prefix of our names, with its dot.

        Raises:
            CheckpointError: The module has no weight.
        """
        self.shape(f"{official}weight")
        kinds = [name for name in self.names(official) if "." not in name]
        return {f"{ours}{kind}": self.take(f"{official}{kind}") for kind in kinds}

    def drop(self, prefix: str) -> int:
        """Drop the tensors below a prefix; returns how many there were."""
        dropped = [name for name in self.tensors if name.startswith(prefix)]
        for name in dropped:
            del self.tensors[name]
        return len(dropped)

    def drop_equal(self, duplicate: str, original: torch.Tensor) -> None:
        """Drop a second copy of a tensor.

        Raises:
            CheckpointError: It is not there, or is not equal.
        """
        if not torch.equal(self.take(duplicate), original):
            raise CheckpointError(
                f"{self.source}: {duplicate} {list(original.shape)} differs from the tensor that it is a copy of."
            )

    def load_into(
        self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, new: Iterable[str] = ()
    ) -> None:
        """Load the converted tensors into our model, strictly; nothing may be left of the official ones.

        Args:
            model: Our model.
            tensors: By our names.
            new: Prefixes of tensors of ours that no checkpoint holds.

        Raises:
            CheckpointError: A tensor is missing, left over or of another shape.
        """
        if self.tensors:
            name, value = next(iter(self.tensors.items()))
            raise CheckpointError(
                f"{self.source} has {len(self.tensors)} tensors that no part of the model takes, first {name} "
                f"{list(value.shape)}."
            )
        wanted = {n: v for n, v in model.state_dict().items() if not n.startswith(tuple(new))}
        if absent := sorted(wanted.keys() - tensors.keys()):
            raise CheckpointError(f"{self.source} lacks {len(absent)} tensors, first {absent[0]} (our name).")
        for name, value in tensors.items():
            if name not in wanted or wanted[name].shape != value.shape:
                shape = list(wanted[name].shape) if name in wanted else "none of this name"
                raise CheckpointError(f"{self.source}: {name} (our name) is {list(value.shape)}; expected {shape}.")
        model.load_state_dict({**model.state_dict(), **tensors})
