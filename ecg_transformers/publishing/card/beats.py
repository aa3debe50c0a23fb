"""Card of a detector of abnormal beats: its table, what it adds to RR and median beat, its false alarms."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.beats.baselines import DETECTED, RANK_SUM, rank_sum_with
from ...evaluation.beats.report import METRIC_TITLES, MODE
from .results import main_entries
from .table import MAX_ROWS, score_text, table_row

__all__ = ["added_value", "alarms_text", "as_used_text", "beats_table", "find_beat_entries", "split_title"]

Entry = Mapping[str, Any]

SPLIT_TITLES = {
    "de_chazal": "DS2 (trained on DS1, no patient in both)",
    "patients": "folds of patients",
    "published": "random beats of patients who are in training, too",
}
# Metrics in addition to the main one.
_COLUMNS = ("auroc", "average_precision", "auroc_S", "auroc_V", "auroc_F", "f1")
_KINDS = {"S": "supraventricular", "V": "ventricular", "F": "fusion"}


def split_title(name: str) -> str:
    """Description of a split.

    Args:
        name: Name of the split.

    Example:
        >>> split_title("patients/3")
        'folds of patients, fold 3'
    """
    group, _, fold = name.partition("/")
    return f"{SPLIT_TITLES.get(group, group)}{f', fold {fold}' if fold else ''}"


def find_beat_entries(entries: Sequence[Entry], name: str = "") -> dict[str, Entry]:
    """The entries by their scorer on the split of the checkpoint; empty if the checkpoint detects no abnormal beats.

    Args:
        entries: Entries of `results.json`.
        name: Name of the checkpoint, as for `main_entries`.
    """
    own = next((entry for entry in main_entries(entries, name) if entry["mode"] == MODE), None)
    if own is None:
        return {}
    shared = ("mode", "corpus", "corpus_version", "split")
    alike = [entry for entry in entries if all(entry.get(field) == own[field] for field in shared)]
    return {entry["checkpoint"]: entry for entry in [own, *alike]}


def beats_table(found: Mapping[str, Entry]) -> str:
    """Renders the checkpoint and its baselines as one Markdown table of at most ten rows, with notes.

    Args:
        found: From `find_beat_entries`, the checkpoint first.
    """
    own, *_ = found.values()
    rows = [entry for title, entry in found.items() if not title.endswith(DETECTED)][:MAX_ROWS]
    differences = {one["against"]: one for one in own.get("differences", [own.get("difference", {"against": None})])}
    head = ["scorer", METRIC_TITLES[own["metric"]], *map(METRIC_TITLES.__getitem__, _COLUMNS), "checkpoint minus it"]
    lines = [table_row(head), table_row(["---"] * len(head))]
    for entry in rows:
        title = str(entry["checkpoint"])
        values = [entry["metrics"].get(name) for name in _COLUMNS]
        cells = ["-" if one is None else f"{one['value']:.3f}" for one in values]
        difference = differences.get(title)
        compared = "-" if difference is None else _signed(difference)
        lines.append(table_row([f"**{title}**" if entry is own else title, score_text(entry), *cells, compared]))
    notes = (
        f"{own['corpus']} {own['corpus_version']}, {split_title(own['split'])}: trained on normal beats of "
        f"{len(own['train_patients'])} patients, tested on {own['records']:,} beats of {own['patients']} others. "
        if not own["shares_patients"]
        else f"{own['corpus']} {own['corpus_version']}, {split_title(own['split'])}: {own['records']:,} beats. Nothing "
        "follows from these scores for other patients. "
    )
    notes += (
        f"In parentheses: 95 % bootstrap interval over patients ({own['resamples']:,} resamples). Mean AUROC over "
        "patients: those with ten beats of each kind or more; AUROC, AP and F1: beats of all patients together. F1 at "
        "the saved threshold; of a baseline at the same quantile of normal validation beats. Last column: paired "
        "difference of the mean AUROC over patients."
    )
    source = f"Commit `{str(own['commit'])[:7]}`, {str(own['date'])[:10]}, {own.get('hardware', '')}."
    return "\n\n".join(["\n".join(lines), notes, source])


def added_value(found: Mapping[str, Entry]) -> str:
    """Says whether the network adds to RR interval and the record's own median beat.

    Args:
        found: From `find_beat_entries`, the checkpoint first.
    """
    own, *_ = found.values()
    without, with_it = found.get(RANK_SUM), found.get(rank_sum_with(own["checkpoint"]))
    if without is None or with_it is None:
        return ""
    difference = with_it["difference"]
    verdict = "No: no difference could be shown."
    if difference["low"] > 0:
        verdict = "Yes."
    elif difference["high"] < 0:
        verdict = "No: it makes them worse."
    text = (
        f"**Does the network add to the RR interval and the distance from the record's own median beat?** {verdict} On "
        f"{split_title(own['split'])}, the mean AUROC over patients is {score_text(without)} for the ranks of these "
        f"two added, which need no training, {score_text(with_it)} with the ranks of the network added as well (paired "
        f"difference {_signed(difference)}), and {score_text(own)} for the network alone."
    )
    changes = {code: difference["metrics"].get(f"auroc_{code}") for code in _KINDS}
    better = [f"{_KINDS[code]} ({_signed(one)})" for code, one in changes.items() if one and one["low"] > 0]
    worse = [f"{_KINDS[code]} ({_signed(one)})" for code, one in changes.items() if one and one["high"] < 0]
    if better:
        text += f" With it, AUROC of normal beats against these is higher: {', '.join(better)}."
    if worse:
        text += f" {'L' if better else 'With it, AUROC of normal beats against these is l'}ower: {', '.join(worse)}."
    return text


def alarms_text(found: Mapping[str, Entry]) -> str:
    """Says what is flagged at the saved threshold, at one scaled to the recording, and at one of the patient's own.

    Args:
        found: From `find_beat_entries`, the checkpoint first.
    """
    own, *_ = found.values()
    titles = {
        "saved": "Saved threshold",
        "record": 'Scaled to the recording (`calibrate="record"` in the pipeline)',
        "patient": "From the patient's own normal beats of the first five minutes (`model.calibrate`), on the others",
    }
    lines = []
    for key, title in titles.items():
        shares = own.get("flagged", {}).get(key)
        if shares is None:
            continue
        patients = shares["patients"]
        others = ", ".join(f"{_percent(shares[code])} of {code}" for code in _KINDS if code in shares)
        lines.append(
            f"- {title}: flagged are {_percent(shares['N'])} of the normal beats of the test patients (by patient "
            f"{_percent(patients['low'])} to {_percent(patients['high'])}, median {_percent(patients['median'])}), "
            f"{others}."
        )
    return "\n".join(lines)


def as_used_text(found: Mapping[str, Entry]) -> str:
    """Says what the pipeline gives on the test recordings with detected instead of annotated beats.

    Args:
        found: From `find_beat_entries`, the checkpoint first.
    """
    own, *_ = found.values()
    used, ranked = found.get(f"{own['checkpoint']}{DETECTED}"), found.get(f"{RANK_SUM}{DETECTED}")
    if used is None or ranked is None:
        return ""
    beats = used["detected"]
    return (
        f"Of {beats['annotated']:,} annotated beats the pipeline found and scored {beats['found']:,} and missed "
        f"{beats['missed']:,}; {beats['extra']:,} more were found where none is annotated. Mean AUROC over patients of "
        f"the found ones: network {score_text(used)}, ranks of RR and median beat {score_text(ranked)}."
    )


def _signed(one: Mapping[str, float]) -> str:
    return f"{one['value']:+.3f}, {one['low']:+.3f} to {one['high']:+.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
