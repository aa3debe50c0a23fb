"""The page "Results": one table, one plot over labels and one over noise, from every `hub_cards/*/results.json`."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_transformers.corpora import official_fold_roles
from ecg_transformers.evaluation.beats.report import MODE as BEATS
from ecg_transformers.evaluation.modes import MODES
from ecg_transformers.evaluation.results.entries import (
    KEY_FIELDS,
    READOUT_FIELDS,
    field_text,
    label_efficiency_curves,
    label_set_title,
    metric_title,
    mode_title,
    noise_curves,
    noise_level,
)
from ecg_transformers.evaluation.results.store import read_results
from ecg_transformers.evaluation.results.together import MEAN_OF_LOGITS
from ecg_transformers.publishing.card.beats import beats_table, find_beat_entries
from ecg_transformers.publishing.card.table import difference_text, find_baseline

__all__ = ["comparable_rows", "read_all_results", "results_figures", "results_page"]

Entry = Mapping[str, Any]

# What may distinguish two rows of one checkpoint and one mode.
DISTINGUISHING = (*READOUT_FIELDS, "window_seconds", "leads", "split", "seed")

INTRODUCTION = """\
# Results

Rendered from every `hub_cards/*/results.json` when the site is built; the commands are in
[real runs](../training/runs.md). Scores are **{metrics}**{on}, with the 95 % bootstrap interval over recordings.
A validation score is no test score: settings and thresholds were chosen on that fold.

- *new weights*: the same encoder under the same protocol, its weights random at the start.
- *difference*: from the same encoder with new weights, paired bootstrap over the same recordings.
"""
LABELS_TEXT = """
## Fewer labels

![Macro AUROC over the number of labeled recordings]({file})

Bands are 95 % intervals; dashed: no pretraining. `--label_efficiency 1,2,4,8` makes these scores.
"""
NOISE_TEXT = """
## Added noise

![Macro AUROC over the level of added noise]({file})

Levels 1 to 6: baseline wander, power-line interference, muscle noise and baseline shifts in the amplitudes of
Mehari and Strodthoff (2022). `--noise_levels 1-6` makes these scores.
"""
BEATS_TEXT = """
## Abnormal beats: {name}

{table}
"""
LABELS_FILE, NOISE_FILE = "label_efficiency.svg", "noise.svg"


def read_all_results(cards: Path) -> list[Entry]:
    """The entries of all cards, each result once.

    A card also holds the systems that it is compared with; where two cards have the same result, that of the
    checkpoint's own card counts.

    Args:
        cards: Folder with one folder per checkpoint.
    """
    found: dict[str, Entry] = {}
    for path in sorted(cards.glob("*/results.json")):
        for entry in read_results(path):
            key = str([entry.get(name) for name in KEY_FIELDS])
            if key not in found or entry["checkpoint"] == path.parent.name:
                found[key] = entry
    return list(found.values())


def comparable_rows(entries: Sequence[Entry]) -> list[Entry]:
    """The entries of the table: recordings without added noise, every label, and the largest number of folds.

    Encoders with new weights are baselines in the row of the pretrained one, unless the checkpoint has no other entry.

    Args:
        entries: Entries of `results.json`.
    """
    pretrained = {entry["checkpoint"] for entry in entries if entry["initialization"] != "random"}
    rows = [
        entry
        for entry in entries
        if entry["mode"] in (*MODES, MEAN_OF_LOGITS.name)
        and not noise_level(entry)
        and (entry.get("min_positives") or 1) == 1
        and (entry["initialization"] != "random" or entry["checkpoint"] not in pretrained)
        and len(entry["train_folds"]) == _most_folds(entry, entries)
    ]
    return sorted(rows, key=lambda row: (row["corpus"], row["labels"], _place(row), -row["value"]))


def results_page(entries: Sequence[Entry]) -> str:
    """The page in Markdown.

    Args:
        entries: Entries of `results.json`.
    """
    rows = comparable_rows(entries)
    metrics = ", ".join(dict.fromkeys(metric_title(row["metric"]) for row in rows))
    columns = {
        "labels": [label_set_title(row) for row in rows],
        "system": [f"`{row['checkpoint']}`" for row in rows],
        "trained on labels": [_training(row, rows) for row in rows],
        "evaluated on": [_place(row) for row in rows],
        "score": [f"**{row['value']:.3f}** ({row['low']:.3f}-{row['high']:.3f})" for row in rows],
        "new weights": [_new_weights(row, entries) for row in rows],
        "difference": [_difference(row) for row in rows],
    }
    if len(places := set(columns["evaluated on"])) == 1:
        del columns["evaluated on"]
    lines = [columns, ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    page = (
        INTRODUCTION.format(metrics=metrics, on=f" on {', '.join(places)}" if len(places) == 1 else "")
        + "\n"
        + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    )
    # Of a checkpoint of beats the entry says what it flags; those of the scorers beside it do not.
    beats = [entry for entry in entries if entry["mode"] == BEATS and "flagged" in entry]
    for name in dict.fromkeys(entry["checkpoint"] for entry in beats):
        page += BEATS_TEXT.format(name=f"`{name}`", table=beats_table(find_beat_entries(entries, name)))
    page += LABELS_TEXT.format(file=LABELS_FILE) if label_efficiency_curves(entries) else ""
    return page + (NOISE_TEXT.format(file=NOISE_FILE) if noise_curves(entries) else "")


def results_figures(entries: Sequence[Entry]) -> dict[str, bytes]:
    """The plots of the page as SVG, by file name.

    Args:
        entries: Entries of `results.json`.
    """
    from matplotlib import rc_context

    from ecg_transformers import viz

    figures = {}
    if label_efficiency_curves(entries):
        figures[LABELS_FILE] = viz.plot_label_efficiency(entries)
    if noise_curves(entries):
        figures[NOISE_FILE] = viz.plot_noise_robustness(entries)
    drawn = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        # The same entries give the same file.
        with rc_context({"svg.hashsalt": name}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        drawn[name] = buffer.getvalue()
    return drawn


def _place(entry: Entry) -> str:
    roles = official_fold_roles(entry["corpus"])
    role = entry.get("evaluate_role") or (roles and roles.role_of(tuple(entry["evaluate_folds"]))) or ""
    folds = ", ".join(map(str, entry["evaluate_folds"]))
    return " ".join(filter(None, [entry["corpus"], entry["corpus_version"], str(role), f"fold {folds}"]))


def _most_folds(entry: Entry, entries: Sequence[Entry]) -> int:
    """The largest number of training folds of the same system in the same mode."""
    alike = ("checkpoint", "mode", "initialization", "corpus", "labels", "evaluate_folds")
    same = (other for other in entries if all(other.get(name) == entry.get(name) for name in alike))
    return max(len(other["train_folds"]) for other in same)


def _training(row: Entry, rows: Sequence[Entry]) -> str:
    """Mode, number of labeled recordings, and what distinguishes it from other rows of the same checkpoint."""
    alike = [other for other in rows if all(other[name] == row[name] for name in ("checkpoint", "mode", "labels"))]
    differing = [name for name in DISTINGUISHING if len({str(other.get(name)) for other in alike}) > 1]
    named = [field_text(name, row[name]) for name in differing if row.get(name) is not None]
    return ", ".join([mode_title(row["mode"]), f"{row['train_records']:,} recordings", *named])


def _new_weights(row: Entry, entries: Sequence[Entry]) -> str:
    """The score of the same encoder with new weights under the same protocol."""
    own = [other for other in entries if other["checkpoint"] == row["checkpoint"] and not noise_level(other)]
    baseline = find_baseline(row, own)
    return f"{baseline['value']:.3f}" if baseline else "-"


def _difference(row: Entry) -> str:
    against = (row.get("difference") or {}).get("against", "random")
    other = "" if against in ("random", "from_scratch") else f" from `{against}`"
    return f"{difference_text(row)}{other}" or "-"
