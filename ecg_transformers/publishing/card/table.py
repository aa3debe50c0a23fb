"""The one table of a card: how good the checkpoint is, with its baseline, the paired difference and its source."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...corpora import official_fold_roles
from ...evaluation.modes import MODES, mode_title
from ...evaluation.results.entries import field_text, label_set_title, metric_title, unfinished_text
from .results import (
    NAMED_FIELDS,
    SETTING_FIELDS,
    checkpoint_entries,
    distinct_entries,
    find_fold_role,
    main_entries,
    setting_text,
    varying_fields,
)

__all__ = ["difference_text", "find_baseline", "results_table", "score_text"]

Entry = Mapping[str, Any]
Row = Mapping[str, Entry]

MAX_ROWS = 10
# A baseline shares these with the entry that it is compared with.
SHARED_FIELDS = {*SETTING_FIELDS, "corpus_version", "metric", "train_folds", "evaluate_folds"} - {"mode", "system"}
NO_TEST = "The test fold was not evaluated: these are validation scores and must not be read as test scores."


def results_table(entries: Sequence[Entry], name: str = "") -> str:
    """Renders the scores of a checkpoint as a Markdown table of at most ten rows, with notes.

    A row is one evaluation protocol: the score on the validation and on the test fold with 95 % bootstrap interval, the
    score of the same encoder from random weights, the paired difference, and a number that refers to where the row
    comes from. Where nothing was pretrained, a column marks the rows of the published weights. Rows with a paired
    difference come first when there are too many.

    Args:
        entries: Entries of `results.json`.
        name: Name of the checkpoint.
    """
    main = distinct_entries(main_entries(entries, name))
    if not main:
        return "No evaluation of this checkpoint has been recorded."
    supervised = all(entry["initialization"] == "random" for entry in main)
    own = main if supervised else [entry for entry in main if entry["initialization"] != "random"]
    rows = _rows(own)
    shown = rows if len(rows) <= MAX_ROWS else [row for row in rows if row in sorted(rows, key=_priority)[:MAX_ROWS]]
    sources = list(dict.fromkeys(_source(entry) for row in shown for entry in row.values()))
    published = checkpoint_entries(entries, name) if supervised else []
    columns = _columns(shown, entries, published, sources)
    lines = [table_row(list(columns)), table_row(["---"] * len(columns))]
    lines += [table_row(cells) for cells in zip(*columns.values(), strict=True)]
    notes = [" ".join(_notes([entry for row in shown for entry in row.values()], len(rows) - len(shown)))]
    if not supervised and not any(entry["initialization"] == "random" or entry.get("difference") for entry in main):
        notes.append("No randomly initialized encoder was evaluated, so these scores do not show a gain.")
    listed = "\n".join(f"{number}. {source}" for number, source in enumerate(sources, 1))
    return "\n\n".join(["\n".join(lines), *notes, f"Sources of the rows:\n\n{listed}"])


def score_text(entry: Entry) -> str:
    """A score with its interval, e.g. `"0.898 (0.885-0.913)"`."""
    return f"{entry['value']:.3f} ({entry['low']:.3f}-{entry['high']:.3f})"


def table_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _rows(entries: Sequence[Entry]) -> list[Row]:
    """Entries of one setting by the role of their folds, in the order of the table."""
    rows: dict[str, dict[str, Entry]] = {}
    for entry in sorted(entries, key=_order):
        key = json.dumps([*(entry.get(field) for field in SETTING_FIELDS), entry["initialization"], entry["metric"]])
        rows.setdefault(key, {})[find_fold_role(entry)] = entry
    return list(rows.values())


def _priority(row: Row) -> tuple[bool, int]:
    first = next(iter(row.values()))
    return (not any(entry.get("difference") for entry in row.values()), first.get("min_positives") or 1)


def _order(entry: Entry) -> tuple[Any, ...]:
    modes = list(MODES)
    mode = modes.index(entry["mode"]) if entry["mode"] in modes else len(modes)
    settings = [json.dumps(entry.get(name)) for name in SETTING_FIELDS]
    amounts = (entry.get("min_positives") or 1, mode, -(entry.get("train_fraction") or 1.0))
    return (str(entry["corpus"]), str(entry["labels"]), *amounts, settings)


def _columns(
    rows: Sequence[Row], entries: Sequence[Entry], published: Sequence[Entry], sources: Sequence[str]
) -> dict[str, list[str]]:
    """The columns: a title and one cell per row."""
    shown = [entry for row in rows for entry in row.values()]
    firsts = [next(iter(row.values())) for row in rows]
    columns = {
        "labels": [label_set_title(one) for one in firsts],
        "protocol": [setting_text(one, shown) for one in firsts],
    }
    if published and any(entry not in published for entry in shown):
        columns["weights"] = ["published" if one in published else "another training" for one in firsts]
    if len({entry["metric"] for entry in shown}) > 1:
        columns["metric"] = [metric_title(one["metric"]) for one in firsts]
    found = list(dict.fromkeys(map(find_fold_role, shown)))
    standard = ["validation", "test"] if {"validation", "test"} & set(found) else []
    for role in dict.fromkeys([*standard, *found]):
        found_here = [row.get(role) for row in rows]
        title = _fold_text(role, shown)
        columns[title] = [score_text(one) if one else "-" for one in found_here]
        if any(baselines := [_baseline_text(one, entries) if one else "" for one in found_here]):
            columns["baseline" if role == found[0] else f"baseline, {role}"] = [cell or "-" for cell in baselines]
        if any(differences := [difference_text(one) if one else "" for one in found_here]):
            title = "paired difference" if role == found[0] else f"paired difference, {role}"
            columns[title] = [cell or "-" for cell in differences]
    numbers = {source: str(number) for number, source in enumerate(sources, 1)}
    columns["records"] = ["; ".join(dict.fromkeys(f"{one['records']:,}" for one in row.values())) for row in rows]
    columns["source"] = [", ".join(dict.fromkeys(numbers[_source(one)] for one in row.values())) for row in rows]
    return columns


def find_baseline(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """What an entry is compared with under the same protocol; `None` if it was not evaluated.

    That is the same encoder from random weights, or the system that the paired difference of the entry names.

    Args:
        entry: Entry of `results.json`.
        entries: Entries of the same file.
    """
    modes = {entry["mode"], MODES[entry["mode"]].baseline if entry["mode"] in MODES else None}
    against = (entry.get("difference") or {}).get("against")
    clean = [other for other in entries if (other.get("noise_level") or 0) == (entry.get("noise_level") or 0)]
    for other in clean:
        named = all(other.get(name) == entry.get(name) for name in ("checkpoint", "system"))
        twin = named and other["mode"] in modes and other["initialization"] == "random"
        if other is not entry and (twin or _title(other) == against):
            if all(other.get(field) == entry.get(field) for field in SHARED_FIELDS):
                return other
    return None


def _title(entry: Entry) -> str:
    """Name of a system and its mode, as differences name it."""
    return f"{entry.get('system') or entry['checkpoint']}, {mode_title(entry['mode'])}"


def _baseline_text(entry: Entry, entries: Sequence[Entry]) -> str:
    baseline = find_baseline(entry, entries)
    if baseline is None:
        return ""
    if baseline["checkpoint"] != entry["checkpoint"]:
        return f"{baseline['value']:.3f} ({_title(baseline)})"
    kind = "random weights" if baseline["mode"] == entry["mode"] else mode_title(baseline["mode"])
    return f"{baseline['value']:.3f} ({kind})"


def difference_text(entry: Entry) -> str:
    """The paired difference of an entry with its interval, e.g. `"+0.012 (+0.004 to +0.020)"`; empty without one."""
    difference = entry.get("difference")
    return "{value:+.3f} ({low:+.3f} to {high:+.3f})".format(**difference) if difference else ""


def _source(entry: Entry) -> str:
    """Configuration, commit, day and hardware of an entry, what is unfinished and what was filled in by hand."""
    commit, _, changes = str(entry["commit"]).partition("+")
    parts = [
        f"`{entry['config']}`" if entry.get("config") else "",
        f"commit `{commit[:7]}`{' with uncommitted changes' if changes else ''}" if commit else "",
        str(entry["date"])[:10],
        str(entry.get("hardware") or ""),
        unfinished_text(entry),
    ]
    return ", ".join(filter(None, parts)) + (f". {entry['provenance']}" if entry.get("provenance") else "")


def _notes(entries: Sequence[Entry], hidden: int) -> list[str]:
    corpora = dict.fromkeys(f"{entry['corpus']} {entry['corpus_version']}".strip() for entry in entries)
    resamples = ", ".join(dict.fromkeys(f"{entry['resamples']:,}" for entry in entries))
    metrics = list(dict.fromkeys(metric_title(entry["metric"]) for entry in entries))
    what = f"{metrics[0][0].upper()}{metrics[0][1:]} on" if len(metrics) == 1 else "On"
    notes = [f"{what} {', '.join(corpora)} with 95 % bootstrap interval over records ({resamples} resamples)."]
    if any(entry.get("difference") for entry in entries):
        notes.append("A gain counts where the interval of the paired difference is above 0.")
    vanished = max(float(entry.get("resamples_with_vanished_label") or 0) for entry in entries)
    if vanished:
        notes.append(
            "A label that does not occur in a resample is left out of the mean of that resample: at most "
            f"{100 * vanished:.2g} % of the resamples of a row."
        )
    varying = varying_fields(entries)
    fixed = [
        field_text(field, entries[0][field])
        for field in SETTING_FIELDS
        if field not in (*NAMED_FIELDS, *varying) and entries[0].get(field) is not None
    ]
    notes += [f"All rows: {', '.join(fixed)}."] if fixed else []
    roles = set(map(find_fold_role, entries))
    if "test" not in roles and "validation" in roles:
        folds = _folds_of("test", entries).replace(", ", ",")
        command = f" `training/score.py --folds {folds}` fills the column where the fold is available."
        notes += [NO_TEST + command if folds else NO_TEST]
    notes += [f"{hidden} more rows are in `results.json`."] if hidden else []
    return notes


def _fold_text(role: str, entries: Sequence[Entry]) -> str:
    if role not in ("validation", "test"):
        return role
    folds = _folds_of(role, entries)
    return f"{role} (fold {folds})" if folds else role


def _folds_of(role: str, entries: Sequence[Entry]) -> str:
    """The evaluated folds of a role, else the official ones of the corpora."""
    folds = {fold for entry in entries if find_fold_role(entry) == role for fold in entry["evaluate_folds"]}
    official = [official_fold_roles(corpus) for corpus in {str(entry["corpus"]) for entry in entries}]
    folds = folds or {fold for roles in official if roles for fold in getattr(roles, role)}
    return ", ".join(map(str, sorted(folds)))
