"""Figures that move with one thing, for the card: the number of training folds, and the level of noise.

Each is a table with a row for every amount and a column for every system, the checkpoint and those beside it, all of
them entries of ``results.json``. They stay out of the table of main results.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ecg_transformers.publishing.results import (
    METRIC_WORDS,
    MODE_WORDS,
    figure_words,
    find_fold_role,
    label_words,
    table_row,
)

__all__ = ["label_efficiency_section", "noise_section"]

# Entries that share these stand in one table; those that share these too are one column of it.
TABLE_FIELDS = ("corpus", "corpus_version", "labels", "evaluate_folds", "metric", "min_positives")
SYSTEM_FIELDS = (
    "checkpoint", "mode", "initialisation", "pooling", "layer", "train_fraction", "aggregate", "sampling_rate",
    "window_seconds", "window_stride_seconds", "unit",
)  # fmt: skip

# Under noise nothing is trained, so that every training is a system.
NOISY_FIELDS = (*SYSTEM_FIELDS, "train_folds", "seed")

Entries = Sequence[Mapping]


def label_efficiency_section(entries: Entries, name: str = "") -> str:
    """The figures of systems that were trained on several numbers of folds; empty where there are none.

    Args:
        entries: Of ``results.json``.
        name: Name of the checkpoint, whose column stands first.
    """
    clean = [entry for entry in entries if not entry.get("noise_level")]
    tables = _tables(clean, SYSTEM_FIELDS, _num_folds, name)
    if not tables:
        return ""
    parts = []
    for systems in tables:
        found = [entry for system in systems.values() for entry in system]
        amounts = sorted(set(map(_num_folds, found)))
        rows = {amount: _fold_words(amount, found) for amount in amounts}
        parts.append(_table("training folds (labelled records)", rows, systems, _num_folds, SYSTEM_FIELDS))
    curves = [entry for systems in tables for system in systems.values() for entry in system]
    sentences = list(dict.fromkeys(_comparisons(curves)))
    parts += ["\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
    return "\n\n".join(parts)


def noise_section(entries: Entries, name: str = "") -> str:
    """The figures of systems that were scored under noise, the clean ones first; empty where there are none.

    Args:
        entries: Of ``results.json``.
        name: Name of the checkpoint, whose column stands first.
    """
    tables = _tables(entries, NOISY_FIELDS, _level, name, least=1)
    parts = []
    for systems in tables:
        found = [entry for system in systems.values() for entry in system]
        levels = sorted(set(map(_level, found)))
        rows = {level: str(level) if level else "none" for level in levels}
        parts.append(_table("level of noise", rows, systems, _level, NOISY_FIELDS))
    return "\n\n".join(parts)


def _tables(
    entries: Entries, fields: Sequence[str], amount: Callable[[Mapping], int], name: str, *, least: int = 0
) -> list[dict[str, list[Mapping]]]:
    """Entries by table and by system; systems with one amount, or none above ``least``, are no curve.

    A table that only repeats another one, because no label is rare, is left out.
    """
    groups: dict[str, dict[str, list[Mapping]]] = {}
    for entry in entries:
        table = groups.setdefault(_key(entry, TABLE_FIELDS), {})
        table.setdefault(_key(entry, fields), []).append(entry)
    tables: dict[str, dict[str, list[Mapping]]] = {}
    for systems in groups.values():
        kept = {
            key: system
            for key, system in systems.items()
            if max(map(amount, system)) >= least and (least or len(set(map(amount, system))) > 1)
        }
        if kept:
            # The checkpoint of this card first, the others as they come.
            ordered = dict(sorted(kept.items(), key=lambda item: item[1][0]["checkpoint"] != name))
            figures = [
                _key(entry, ("corpus", "labels", "num_labels", "evaluate_folds", "train_folds", "noise_level", "value"))
                for system in ordered.values()
                for entry in system
            ]
            tables.setdefault(json.dumps(figures), ordered)
    return list(tables.values())


def _table(
    header: str,
    rows: Mapping[int, str],
    systems: Mapping[str, list[Mapping]],
    amount: Callable[[Mapping], int],
    fields: Sequence[str],
) -> str:
    """A caption and a table: a row for each amount, a column for each system, the figure of every seed in a cell."""
    first = next(iter(systems.values()))[0]
    role = find_fold_role(first)
    folds = ", ".join(map(str, first["evaluate_folds"]))
    where = f"{role} fold {folds}" if role in ("validation", "test") else role
    metric = METRIC_WORDS.get(first["metric"], str(first["metric"]).replace("_", " "))
    caption = (
        f"{label_words(first)}, {where} of {first['corpus']} {first['corpus_version']}, {metric} with 95 % interval:"
    )
    names = _system_names([system[0] for system in systems.values()], fields)
    lines = [table_row([header, *names]), table_row(["---"] * (1 + len(names)))]
    for place, words in rows.items():
        cells = [
            "; ".join(figure_words(entry) for entry in _by_seed(system) if amount(entry) == place) or "-"
            for system in systems.values()
        ]
        lines.append(table_row([words, *cells]))
    several = any(";" in line for line in lines)
    note = (
        ["", "Where a cell has several figures, they are of several seeds, the lowest seed first."] if several else []
    )
    return "\n".join([caption, "", *lines, *note])


def _num_folds(entry: Mapping) -> int:
    return len(entry["train_folds"])


def _level(entry: Mapping) -> int:
    return int(entry.get("noise_level") or 0)


def _fold_words(amount: int, entries: Entries) -> str:
    counts = sorted(
        {int(entry.get("train_records") or 0) for entry in entries if len(entry["train_folds"]) == amount} - {0}
    )
    return f"{amount} ({' or '.join(f'{count:,}' for count in counts)})" if counts else str(amount)


def _by_seed(entries: Entries) -> list[Mapping]:
    return sorted(entries, key=lambda entry: entry["seed"])


def _comparisons(entries: Entries) -> list[str]:
    """The paired differences that were made along a curve, in words."""
    sentences = []
    for entry in sorted(entries, key=lambda entry: (entry.get("min_positives") or 1, len(entry["train_folds"]))):
        differences: list[Any] = entry.get("differences") or [entry.get("difference")]
        for difference in filter(None, differences):
            low, high = difference["low"], difference["high"]
            verdict = "ahead of" if low > 0 else "behind" if high < 0 else "not distinguishable from"
            against = str(difference["against"])
            other = "the same encoder from scratch" if against == "from_scratch" else against.replace("_", " ")
            records = f" ({entry['train_records']:,} records)" if entry.get("train_records") else ""
            amount = f"{_num_folds(entry)} fold{'s' if _num_folds(entry) > 1 else ''}{records}"
            sentences.append(
                f"{_system_names([entry], ())[0]}, {amount}, {label_words(entry)}: {verdict} {other}, "
                f"{difference['value']:+.3f} ({low:+.3f} to {high:+.3f}, paired)."
            )
    return sentences


def _system_names(entries: Entries, fields: Sequence[str]) -> list[str]:
    """A name for each system: checkpoint and mode, and whichever of the fields tells it from one with the same."""
    pretrained = {entry["checkpoint"] for entry in entries if entry["initialisation"] != "random"}
    names = []
    for entry in entries:
        mode = MODE_WORDS.get(entry["mode"], str(entry["mode"]))
        # Where a checkpoint stands beside it, new weights are those of its encoder and not the checkpoint.
        encoder = entry["initialisation"] == "random" and (
            entry["checkpoint"] in pretrained or entry["mode"] != "from_scratch"
        )
        name = f"encoder of {entry['checkpoint']} with new weights" if encoder else str(entry["checkpoint"])
        alike = [
            other
            for other in entries
            if all(other[field] == entry[field] for field in ("checkpoint", "mode", "initialisation"))
        ]
        differing = [
            _words(field, entry.get(field)) for field in fields if len({_key(other, (field,)) for other in alike}) > 1
        ]
        names.append(", ".join([name, mode, *differing]))
    return names


def _words(field: str, value: object) -> str:
    if field == "train_folds" and isinstance(value, list):
        return f"trained on folds {', '.join(map(str, value))}"
    return f"{field.replace('_', ' ')} {value}"


def _key(entry: Mapping, fields: Sequence[str]) -> str:
    return json.dumps([entry.get(field) for field in fields])
