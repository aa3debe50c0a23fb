"""Definition of a corpus: its facts, how its records are found, and how a record becomes one or more rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CorpusError
from .fold_roles import FoldRoles
from .layout import CorpusRecord, Storage

__all__ = ["CorpusDefinition", "LabelSet", "PhysioNetProject", "RecordSource", "find_root"]


@dataclass(frozen=True)
class PhysioNetProject:
    """The address of a published corpus: `https://physionet.org/content/<slug>/<version>/`.

    Args:
        slug: the project's short name.
        version: the release.
        include: patterns of the files to download; empty: all.
    """

    slug: str
    version: str
    include: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """An ordered list of labels; a label is present in a record if one of its source codes is.

    Args:
        codes: label codes in the order of the columns.
        names: names of the labels, in the same order.
        system: label system: "scp", "snomed-ct", "aami", "own" ...
        sources: per label, the codes in the corpus that are mapped to it; None: the label's own code.
        problem_type: Transformers' `problem_type`: "multi_label_classification", "single_label_classification" or
            "regression".
    """

    codes: tuple[str, ...]
    names: tuple[str, ...]
    system: str
    sources: tuple[tuple[str, ...], ...] = None  # type: ignore[assignment]  # __post_init__ fills it in
    problem_type: str = "multi_label_classification"

    def __post_init__(self) -> None:
        """Fills in the sources and checks that no code is repeated."""
        if self.sources is None:
            object.__setattr__(self, "sources", tuple((code,) for code in self.codes))
        if not len(self.codes) == len(self.names) == len(self.sources) == len(set(self.codes)):
            raise CorpusError(
                f"a label set has {len(self.codes)} codes ({len(set(self.codes))} different), {len(self.names)} names "
                f"and {len(self.sources)} source lists; expected one of each per label."
            )

    def to_dict(self) -> dict[str, object]:
        """The set as written to `corpus.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LabelSet":
        """The set from `corpus.json`."""
        return cls(
            tuple(values["codes"]),
            tuple(values["names"]),
            values["system"],
            tuple(tuple(codes) for codes in values["sources"]),
            values["problem_type"],
        )


@dataclass(frozen=True)
class RecordSource:
    """A record before it is read: its file and its facts from the corpus's tables.

    Args:
        path: file of the record, relative to the corpus's root.
        name: name of the record.
        record_id: integer, unique in the corpus.
        patient_id: integer shared by all records of a patient; -1 where the patient is not known.
        age: years; None where not known.
        sex: "male", "female" or None.
        fold: number of the official fold; -1 where there is none.
        labels: codes as the corpus states them.
        targets: numbers to be predicted, for regression.
        notes: remarks kept with the record.
        size: bytes of the signal file, 0 where not known; decides the size of shards, and detects a changed source.
        extra: further facts for the corpus's reader.
    """

    path: str
    name: str
    record_id: int
    patient_id: int = -1
    age: float | None = None
    sex: str | None = None
    fold: int = -1
    labels: tuple[str, ...] = ()
    targets: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    size: int = 0
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class CorpusDefinition:
    """One corpus.

    Args:
        name: short name, as on the command line.
        title: full name.
        version: the release that was prepared.
        license: license of the recordings.
        homepage: address of its description.
        citation: publications to cite.
        label_system: system of the codes in the column `labels`.
        find: `(source, sampling_rate) -> (root, records)`: the official tree's records in a fixed order; raises
            CorpusError with the missing files if the tree is not there.
        read: `(root, record) -> row or rows`: reads one record, or cuts it into parts (`CorpusRecord.part`); its errors
            go to `refused.csv`.
        label_sets: `(codes that occur) -> {name: LabelSet}`.
        expected: official counts by name ("records", "patients", "fold 9" ...), compared with the counts found.
        physionet: source of `--download`; None where there is none.
        storage: type of the stored samples, "int16" or "float32".
        native_rates: rates in Hz at which the corpus is published; stored at one of them, nothing is resampled.
        fold_roles: which of its folds train, validate and test; None: the corpus has no official folds, and
            `default_fold_roles` holds for those that its records have.
        stored_after: gives the steps of a contract that `read` has applied, as `EcgFeatureExtractor.stamp` does; None:
            none.
    """

    name: str
    title: str
    version: str
    license: str
    homepage: str
    citation: str
    label_system: str
    find: Callable[[Path, float | None], tuple[Path, Sequence[RecordSource]]]
    read: Callable[[Path, RecordSource], CorpusRecord | Sequence[CorpusRecord]]
    label_sets: Callable[[Iterable[str]], dict[str, LabelSet]]
    expected: Mapping[str, int] = field(default_factory=dict)
    physionet: PhysioNetProject | None = None
    storage: Storage = "int16"
    native_rates: tuple[float, ...] = ()
    fold_roles: FoldRoles | None = None
    stored_after: Callable[[], Mapping[str, Any]] | None = None

    def facts(self) -> dict[str, object]:
        """Name, title, version, license, homepage and citation, as written to `corpus.json`."""
        names = ("name", "title", "version", "license", "homepage", "citation", "label_system")
        return {key: getattr(self, key) for key in names} | {"expected": dict(self.expected)}


def find_root(source: Path, corpus: str, *landmarks: str) -> Path:
    """The folder that holds all landmarks: `source` itself or the one folder below it that does.

    Raises:
        CorpusError: `source` is no folder, or no folder has them; the message names them.
    """
    if not source.is_dir():
        raise CorpusError(f"{source} is not a folder; expected the unpacked tree of {corpus}. Set --source.")
    candidates = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    found = [folder for folder in candidates if all((folder / name).exists() for name in landmarks)]
    if found and (found[0] == source or len(found) == 1):
        return found[0]
    wanted = ", ".join(landmarks)
    if found:
        raise CorpusError(f"{len(found)} folders of {source} hold {wanted}; set --source to one of them.")
    raise CorpusError(
        f"{source} is not the tree of {corpus}: looked for {wanted} there and in the folders directly below it "
        f"(found: {', '.join(sorted(path.name for path in source.iterdir())[:8]) or 'nothing'})."
    )
