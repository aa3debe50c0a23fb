"""Label systems: the tables of codes, the published label sets, and translation from one system to another.

The tables are data files (`tables/*.csv`), each with its source and version in its first lines. Names of systems: "scp"
(PTB-XL's 71 statements) with its parts "scp-diagnostic", "scp-subclass", "scp-superclass", "scp-form" and "scp-rhythm";
"snomed-ct" as used by the PhysioNet/CinC Challenges; "challenge2021" (its 26 scored classes); "chapman"; "cpsc2018";
"cinc2017"; "ecg_fm" (outputs of that model); "mitbih" (beat symbols); "aami".
"""

import csv
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError
from .definition import LabelSet
from .prepared import Corpus

if TYPE_CHECKING:
    import datasets

__all__ = [
    "label_set",
    "map_labels",
    "read_table",
    "scored_label_set",
    "scp_label_sets",
    "snomed_label_sets",
    "translation",
]

_TABLES = Path(__file__).parent / "tables"
_SCP_PARTS = ("diagnostic", "subclass", "superclass", "form", "rhythm")


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `tables/<name>.csv`."""
    with open(_TABLES / f"{name}.csv", encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


@cache
def scp_label_sets() -> dict[str, LabelSet]:
    """PTB-XL's six label sets: all 71 statements, 44 diagnostic, 23 subclasses, 5 superclasses, 19 form, 12 rhythm.

    Labels are in the sorted order of their codes, as the published benchmarks have them. A statement counts whatever
    its likelihood.

    Example:
        >>> {name: len(labels.codes) for name, labels in scp_label_sets().items()}
        {'all': 71, 'diagnostic': 44, 'subclass': 23, 'superclass': 5, 'form': 19, 'rhythm': 12}
    """
    rows = sorted(read_table("scp_statements"), key=lambda row: row["code"])
    sets = {"all": LabelSet(tuple(row["code"] for row in rows), tuple(row["name"] for row in rows), "scp")}
    for part in _SCP_PARTS:
        if part in ("subclass", "superclass"):
            names = {row["code"]: row["name"] for row in read_table("scp_classes") if row["level"] == part}
            codes = tuple(sorted(names))
            sources = tuple(
                tuple(row["code"] for row in rows if row["diagnostic"] == "1" and row[part] == code) for code in codes
            )
            sets[part] = LabelSet(codes, tuple(names[code] for code in codes), f"scp-{part}", sources)
        else:
            kept = [row for row in rows if row[part] == "1"]
            sets[part] = LabelSet(tuple(row["code"] for row in kept), tuple(row["name"] for row in kept), f"scp-{part}")
    return sets


def scored_label_set(system: str) -> LabelSet:
    """The 26 scored classes of the PhysioNet/CinC Challenge 2021, for records that are labeled in another system.

    A class that no code of the system means exactly has no source and is in no record.

    Args:
        system: Label system of the records.

    Example:
        >>> scored = scored_label_set("scp")
        >>> sum(map(bool, scored.sources)), dict(zip(scored.codes, scored.sources))["164889003"]
        (21, ('AFIB',))
    """
    classes, table = label_set("challenge2021"), translation(system, "challenge2021")
    sources = tuple(tuple(code for code, targets in table.items() if one in targets) for one in classes.codes)
    return replace(classes, sources=sources)


def snomed_label_sets(codes: Iterable[str]) -> dict[str, LabelSet]:
    """Label sets of a Challenge corpus: "all" its own statements in sorted order, "scored" the Challenge's 26 classes.

    The four pairs that count as one class are one label in "scored" and two in "all".

    Args:
        codes: the SNOMED CT codes that occur in the corpus.
    """
    names = {row["code"]: row["name"] for row in read_table("snomed")}
    codes = tuple(sorted(codes, key=lambda code: (len(code), code)))
    sets = {"all": LabelSet(codes, tuple(names.get(code, code) for code in codes), "snomed-ct")} if codes else {}
    return sets | {"scored": label_set("challenge2021")}


@cache
def label_set(system: str) -> LabelSet:
    """The labels of a system in their fixed order, each with the codes of the source system that it covers.

    Raises:
        CorpusError: there is no such system.

    Example:
        >>> label_set("aami").codes
        ('N', 'S', 'V', 'F', 'Q')
    """
    if system in ("scp", "scp-all"):
        return scp_label_sets()["all"]
    if system.removeprefix("scp-") in _SCP_PARTS:
        return scp_label_sets()[system.removeprefix("scp-")]
    if system == "challenge2021":
        rows = read_table("challenge2021")
        members: dict[str, list[str]] = {row["code"]: [] for row in rows}
        for row in read_table("snomed"):
            if row["scored_class"]:
                members[row["scored_class"]].append(row["code"])
        codes = tuple(members)
        return LabelSet(
            codes, tuple(row["name"] for row in rows), system, tuple(tuple(members[code]) for code in codes)
        )
    tables = {
        "snomed-ct": "snomed",
        "chapman": "chapman",
        "cpsc2018": "cpsc2018",
        "cinc2017": "cinc2017",
        "ecg_fm": "ecg_fm",
        "mitbih": "mitbih_beats",
        "aami": "aami",
    }
    if system not in tables:
        known = ["scp", *(f"scp-{part}" for part in _SCP_PARTS), "challenge2021", *tables]
        raise CorpusError(f"there is no label system {system!r}; expected one of {', '.join(known)}.")
    rows = read_table(tables[system])
    return LabelSet(tuple(row["code"] for row in rows), tuple(row["name"] for row in rows), system)


def _steps() -> dict[tuple[str, str], Callable[[], dict[str, tuple[str, ...]]]]:
    """The direct translations: (from, to) -> function that gives code -> codes."""

    def column(table: str, key: str, value: str) -> Callable[[], dict[str, tuple[str, ...]]]:
        def build() -> dict[str, tuple[str, ...]]:
            found: dict[str, tuple[str, ...]] = {}
            for row in read_table(table):
                if row[value]:
                    found[row[key]] = (*found.get(row[key], ()), row[value])
            return found

        return build

    def exact_snomed() -> dict[str, tuple[str, ...]]:
        first: dict[str, tuple[str, ...]] = {}
        for row in read_table("snomed_scp"):
            if row["relation"] == "exact":
                first.setdefault(row["scp"], (row["snomed"],))
        return first

    def members(system: str) -> Callable[[], dict[str, tuple[str, ...]]]:
        def build() -> dict[str, tuple[str, ...]]:
            found: dict[str, tuple[str, ...]] = {}
            labels = label_set(system)
            for code, sources in zip(labels.codes, labels.sources, strict=True):
                for source in sources:
                    found[source] = (*found.get(source, ()), code)
            return found

        return build

    return {
        ("chapman", "snomed-ct"): column("chapman", "code", "snomed"),
        ("cpsc2018", "snomed-ct"): column("cpsc2018", "code", "snomed"),
        ("cinc2017", "snomed-ct"): column("cinc2017", "code", "snomed"),
        ("mitbih", "aami"): column("mitbih_beats", "code", "aami"),
        ("snomed-ct", "cpsc2018"): column("cpsc2018", "snomed", "code"),
        ("snomed-ct", "scp"): column("snomed_scp", "snomed", "scp"),
        ("scp", "snomed-ct"): exact_snomed,
        ("snomed-ct", "challenge2021"): members("challenge2021"),
    } | {("scp", f"scp-{part}"): members(f"scp-{part}") for part in _SCP_PARTS}


@cache
def translation(source: str, target: str) -> dict[str, tuple[str, ...]]:
    """Which codes of `target` each code of `source` means, over as few tables as possible.

    Raises:
        CorpusError: no chain of tables leads from one system to the other.

    Example:
        >>> translation("snomed-ct", "scp-rhythm")["164889003"]
        ('AFIB',)
    """
    source, target = (system.replace("scp-all", "scp") for system in (source, target))
    label_set(source), label_set(target)  # refuses unknown systems by name
    steps = _steps()
    paths: dict[str, tuple[tuple[str, str], ...]] = {source: ()}
    queue = deque([source])
    while queue:
        here = queue.popleft()
        for begin, end in steps:
            if begin == here and end not in paths:
                paths[end] = (*paths[here], (begin, end))
                queue.append(end)
    if target not in paths:
        raise CorpusError(
            f"labels cannot be translated from {source!r} to {target!r}; from {source!r} one can reach "
            f"{', '.join(name for name in paths if name != source) or 'nothing'}."
        )
    codes: dict[str, tuple[str, ...]] = {code: (code,) for code in label_set(source).codes}
    for step in paths[target]:
        table = steps[step]()
        codes = {
            code: tuple(dict.fromkeys(new for old in olds for new in table.get(old, ())))
            for code, olds in codes.items()
        }
    return {code: targets for code, targets in codes.items() if targets}


def map_labels(
    dataset: "Corpus | datasets.Dataset | Sequence[Sequence[str]]", source: str, target: str
) -> tuple["Corpus | datasets.Dataset | list[tuple[str, ...]]", dict[str, int]]:
    """The same records with their labels in another system, and the codes that had no target.

    No table invents what a system does not state: "sinus rhythm" of SNOMED CT is SR, not NORM (a normal ECG), so that
    records translated to "scp-superclass" never have NORM.

    Args:
        dataset: a corpus, a dataset with a column `labels`, or a list of label lists.
        source: system of the labels as they are.
        target: system wanted.

    Returns:
        The records of the same kind as given, labels without doubles in the order of their sources; and the codes
        that could not be translated with the number of records that carry them, most frequent first.

    Raises:
        CorpusError: a system is unknown, no table leads from one to the other, or nothing could be translated.

    Example:
        >>> map_labels([["164889003", "426783006"], ["39732003"]], source="snomed-ct", target="scp-rhythm")
        ([('AFIB', 'SR'), ()], {'39732003': 1})
    """
    table = translation(source, target)
    given: Any = dataset
    is_corpus, is_list = isinstance(dataset, Corpus), isinstance(dataset, list | tuple)
    lists = given.labels if is_corpus else given if is_list else given.with_format(None)["labels"]
    lists = [tuple(labels) for labels in lists]
    unmapped: Counter[str] = Counter()
    mapped = []
    for labels in lists:
        mapped.append(tuple(dict.fromkeys(new for code in labels for new in table.get(code, ()))))
        unmapped.update(code for code in set(labels) if code not in table)
    if any(lists) and not any(mapped):
        few = ", ".join(code for code, _ in unmapped.most_common(5))
        raise CorpusError(
            f"none of the labels ({few} ...) is a code of {source!r} that has a target in {target!r}; check source=."
        )
    left = dict(sorted(unmapped.items(), key=lambda item: (-item[1], item[0])))
    if is_corpus:
        return given.with_labels(mapped, label_set(target), note=f"{source} -> {target}"), left
    if is_list:
        return mapped, left
    fingerprint = hashlib.sha256(f"{given._fingerprint} {source} {target}".encode()).hexdigest()[:16]
    column = [list(labels) for labels in mapped]
    return given.remove_columns("labels").add_column("labels", column, new_fingerprint=fingerprint), left
