"""Figures that move with one thing, for the card: the number of training folds, and the level of noise.

Each is a table with a row for every amount and a column for every system, the checkpoint and those beside it, all of
them entries of `results.json`. They stay out of the table of main results.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...evaluation.results.entries import (
    Curves,
    label_efficiency_curves,
    label_words,
    metric_words,
    noise_curves,
    noise_level,
    num_train_folds,
)
from .results import figure_words, find_fold_role, table_row

__all__ = ["label_efficiency_section", "noise_section"]

Entries = Sequence[Mapping]


def label_efficiency_section(entries: Entries, name: str = "") -> str:
    """The figures of systems that were trained on several numbers of folds; empty where there are none.

    Args:
        entries: Of `results.json`.
        name: Name of the checkpoint, whose column stands first.
    """
    parts, sentences = [], []
    for systems in label_efficiency_curves(entries):
        found = [entry for system in systems.values() for entry in system]
        rows = {amount: _fold_words(amount, found) for amount in sorted(set(map(num_train_folds, found)))}
        parts.append(_table("training folds (labeled records)", rows, systems, num_train_folds, name))
        sentences += _comparisons(systems)
    parts += ["\n".join(f"- {sentence}" for sentence in dict.fromkeys(sentences))] if sentences else []
    return "\n\n".join(parts)


def noise_section(entries: Entries, name: str = "") -> str:
    """The figures of systems that were scored under noise, the clean ones first; empty where there are none.

    Args:
        entries: Of `results.json`.
        name: Name of the checkpoint, whose column stands first.
    """
    parts = []
    for systems in noise_curves(entries):
        levels = sorted({noise_level(entry) for system in systems.values() for entry in system})
        rows = {level: str(level) if level else "none" for level in levels}
        parts.append(_table("level of noise", rows, systems, noise_level, name))
    return "\n\n".join(parts)


def _table(header: str, rows: Mapping[int, str], systems: Curves, amount: Callable[[Mapping], int], name: str) -> str:
    """A caption and a table: a row for each amount, a column for each system, the figure of every seed in a cell."""
    # The checkpoint of this card first, the others as they come.
    systems = dict(sorted(systems.items(), key=lambda item: item[1][0]["checkpoint"] != name))
    first = next(iter(systems.values()))[0]
    role = find_fold_role(first)
    folds = ", ".join(map(str, first["evaluate_folds"]))
    where = f"{role} fold {folds}" if role in ("validation", "test") else role
    caption = (
        f"{label_words(first)}, {where} of {first['corpus']} {first['corpus_version']}, "
        f"{metric_words(first['metric'])} with 95 % interval:"
    )
    lines = [table_row([header, *systems]), table_row(["---"] * (1 + len(systems)))]
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


def _fold_words(amount: int, entries: Entries) -> str:
    counts = sorted(
        {int(entry.get("train_records") or 0) for entry in entries if num_train_folds(entry) == amount} - {0}
    )
    return f"{amount} ({' or '.join(f'{count:,}' for count in counts)})" if counts else str(amount)


def _by_seed(entries: Entries) -> list[Mapping]:
    return sorted(entries, key=lambda entry: entry["seed"])


def _comparisons(systems: Curves) -> list[str]:
    """The paired differences that were made along the curves, in words, from few folds to many."""
    sentences = []
    points = [(entry, name) for name, system in systems.items() for entry in system]
    for entry, name in sorted(points, key=lambda point: num_train_folds(point[0])):
        differences: list[Any] = entry.get("differences") or [entry.get("difference")]
        for difference in filter(None, differences):
            low, high = difference["low"], difference["high"]
            verdict = "ahead of" if low > 0 else "behind" if high < 0 else "not distinguishable from"
            against = str(difference["against"])
            other = "the same encoder from scratch" if against == "from_scratch" else against.replace("_", " ")
            records = f" ({entry['train_records']:,} records)" if entry.get("train_records") else ""
            amount = f"{num_train_folds(entry)} fold{'s' if num_train_folds(entry) > 1 else ''}{records}"
            sentences.append(
                f"{name}, {amount}, {label_words(entry)}: {verdict} {other}, "
                f"{difference['value']:+.3f} ({low:+.3f} to {high:+.3f}, paired)."
            )
    return sentences
