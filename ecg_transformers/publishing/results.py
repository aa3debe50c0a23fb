"""The figures of a checkpoint: ``results.json`` read and checked, as a table for the card and as ``model-index``."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult

from ecg_transformers.errors import CheckpointError

__all__ = ["evaluation_results", "find_fold_role", "load_results", "results_table"]

REQUIRED_FIELDS = (
    "checkpoint", "mode", "initialisation", "corpus", "corpus_version", "sampling_rate", "labels", "train_folds",
    "evaluate_folds", "records", "num_labels", "metric", "value", "low", "high", "resamples", "seed", "pretraining",
    "config", "commit", "date",
)  # fmt: skip

# Fields that make two entries incomparable; the table shows those that occur with more than one value.
SETTING_FIELDS = (
    "corpus", "sampling_rate", "labels", "mode", "pooling", "layer", "train_fraction", "min_positives", "aggregate",
    "unit", "seed", "noise_level",
)  # fmt: skip
DETAIL_FIELDS = (
    "mode", "pooling", "layer", "train_fraction", "min_positives", "train_folds", "evaluate_folds", "records",
    "num_labels", "low", "high", "resamples", "seed", "noise_level",
)  # fmt: skip

MODE_WORDS = {
    "linear_probe": "linear probe",
    "attentive_probe": "attentive probe",
    "fine_tune": "fine-tuned",
    "from_scratch": "from scratch",
}
METRIC_WORDS = {"macro_auroc": "macro AUROC"}
# Names of the Hub's metric register for ours.
METRIC_TYPES = {"macro_auroc": "roc_auc", "macro_average_precision": "average_precision", "macro_f1": "f1"}

TEST_FOLDS = {"ptbxl": [10]}
VALIDATION_FOLDS = {"ptbxl": [9]}


def load_results(path: str | Path) -> list[dict]:
    """Reads ``results.json`` and checks every entry.

    Args:
        path: The file, a JSON list of entries (DESIGN section 6).

    Returns:
        The entries as they stand in the file.

    Raises:
        CheckpointError: If the file is no such list, a field is missing, or a figure or its interval is no number.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError(f"{path} is not a JSON list of entries; expected one object per evaluation.")
    for number, entry in enumerate(entries):
        missing = [field for field in REQUIRED_FIELDS if field not in entry]
        if missing:
            raise CheckpointError(f"{path}: entry {number} lacks {', '.join(missing)}.")
        figures = [entry["low"], entry["value"], entry["high"]]
        if not all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures):
            raise CheckpointError(f"{path}: entry {number} has the figures {figures}; expected three finite numbers.")
        if figures[0] > figures[2]:
            raise CheckpointError(f"{path}: entry {number} has the interval {figures[0]} to {figures[2]}, upside down.")
    return entries


def find_fold_role(entry: Mapping) -> str:
    """Says what the evaluated folds are: ``"test"``, ``"validation"`` or ``"folds 3, 4"``.

    PTB-XL's fold 10 is the test fold of the literature and fold 9 the validation fold; a validation figure must never
    look like a test figure, so every other choice is named by its numbers.
    """
    folds = list(entry["evaluate_folds"])
    if folds == TEST_FOLDS.get(entry["corpus"]):
        return "test"
    if folds == VALIDATION_FOLDS.get(entry["corpus"]):
        return "validation"
    return f"folds {', '.join(map(str, folds))}"


def evaluation_results(entries: Sequence[Mapping]) -> list[EvalResult]:
    """Gives the entries of the pretrained checkpoint in the form of the card's ``model-index``.

    Entries of other initialisations (the random baseline) are figures of other models and stay in the table.
    """
    results = []
    for entry in entries:
        if entry["initialisation"] != "pretrained":
            continue
        details = {field: entry[field] for field in DETAIL_FIELDS if entry.get(field) is not None}
        results.append(
            EvalResult(
                task_type="audio-classification",
                task_name="ECG classification",
                dataset_type=str(entry["corpus"]),
                dataset_name=str(entry.get("corpus_title", entry["corpus"])),
                dataset_config=str(entry["labels"]),
                dataset_split=find_fold_role(entry),
                dataset_revision=str(entry["corpus_version"]),
                metric_type=METRIC_TYPES.get(entry["metric"], entry["metric"]),
                metric_name=f"{_metric(entry)}, {MODE_WORDS.get(entry['mode'], entry['mode'])}",
                metric_value=entry["value"],
                metric_args=details,
            )
        )
    return results


def results_table(entries: Sequence[Mapping]) -> str:
    """Renders the entries as Markdown: one row per setting and initialisation, one column per part of a corpus.

    A figure stands with its 95 % bootstrap interval; the column ``gain`` holds the paired difference, if one was made.
    Below it stands in words at how many labelled records the pretrained encoder is ahead of the same one from scratch.
    """
    if not entries:
        return "No evaluation of this checkpoint has been recorded."
    kept = [entry for number, entry in enumerate(entries) if not _repeats(entry, entries[:number])]
    roles = list(dict.fromkeys(["validation", "test", *map(find_fold_role, kept)]))
    if not {"validation", "test"} & set(map(find_fold_role, kept)):
        roles = roles[2:]
    varying = [name for name in SETTING_FIELDS if len({json.dumps(entry.get(name)) for entry in kept}) > 1]
    metrics = list(dict.fromkeys(map(_metric, kept)))
    shown = [name for name in varying if name not in ("mode", "labels", "min_positives")]
    rows: dict[tuple, list[Mapping]] = {}
    for entry in kept:
        key = (*(json.dumps(entry.get(name)) for name in SETTING_FIELDS), entry["initialisation"], entry["metric"])
        rows.setdefault(key, []).append(entry)
    header = ["labels", "protocol", *(name.replace("_", " ") for name in shown), "encoder"]
    header += ["metric"] if len(metrics) > 1 else []
    header += [_fold_word(role, kept) for role in roles] + ["gain (paired)", "records"]
    lines = [_row(header), _row(["---"] * len(header))]
    for group in sorted(rows.values(), key=lambda group: _order(group[0])):
        first = group[0]
        cells = [_labels(first), MODE_WORDS.get(first["mode"], str(first["mode"]))]
        cells += ["-" if first.get(name) is None else str(first[name]) for name in shown]
        cells += [str(first["initialisation"])] + ([_metric(first)] if len(metrics) > 1 else [])
        cells += [
            "; ".join(_figure(entry) for entry in group if find_fold_role(entry) == role) or "-" for role in roles
        ]
        cells += ["; ".join(filter(None, map(_gain, group))) or "-"]
        cells += ["; ".join(dict.fromkeys(f"{entry['records']:,}" for entry in group))]
        lines.append(_row(cells))
    parts = [" ".join(_notes(kept, varying, metrics))]
    parts += ["\n".join(f"- {sentence}" for sentence in _worth(kept))] if _worth(kept) else []
    return "\n\n".join(["\n".join(lines), *parts])


def _repeats(entry: Mapping, earlier: Sequence[Mapping]) -> bool:
    """Whether leaving out rare labels left none out, so that an earlier entry says the same."""
    fields = [*(name for name in SETTING_FIELDS if name != "min_positives"), "initialisation", "metric", "num_labels"]
    fields += ["evaluate_folds", "value"]
    return any(all(entry.get(name) == other.get(name) for name in fields) for other in earlier)


def _notes(entries: Sequence[Mapping], varying: Sequence[str], metrics: Sequence[str]) -> list[str]:
    corpora = dict.fromkeys(f"{entry['corpus']} {entry['corpus_version']}".strip() for entry in entries)
    resamples = ", ".join(dict.fromkeys(f"{entry['resamples']:,}" for entry in entries))
    what = f"{metrics[0][0].upper()}{metrics[0][1:]} on" if len(metrics) == 1 else "On"
    notes = [f"{what} {', '.join(corpora)}; 95 % bootstrap intervals over records ({resamples} resamples)."]
    vanished = max(int(entry.get("resamples_with_vanished_label") or 0) for entry in entries)
    if vanished:
        notes.append(
            "A label that does not occur in a resample is left out of that resample's mean; "
            f"at most {vanished:,} resamples of a row had such a label."
        )
    fixed = [
        f"{name.replace('_', ' ')} {entries[0][name]}"
        for name in ("pooling", "train_fraction", "seed")
        if name not in varying and entries[0].get(name) is not None
    ]
    if fixed:
        notes.append(f"In every row: {', '.join(fixed)}.")
    roles = set(map(find_fold_role, entries))
    if "test" not in roles and "validation" in roles:
        notes.append(
            "The test fold was not evaluated: these are validation figures and must not be read as test figures. "
            "On a machine that holds the fold, `training/score.py --folds 10` fills the column."
        )
    if any(entry.get("noise_level") for entry in entries):
        notes.append(
            "A noise level from 1 to 6 is a figure on recordings with noise added: baseline wander, powerline, muscle "
            "noise and shifts of the baseline, the same for every encoder."
        )
    if not any(entry["initialisation"] == "random" for entry in entries):
        notes.append("No randomly initialised encoder was evaluated beside it, so these figures do not show a gain.")
    return notes


def _worth(entries: Sequence[Mapping]) -> list[str]:
    """At how many labelled records fine-tuning the checkpoint is ahead of training the same encoder from scratch."""
    compared = [
        entry
        for entry in entries
        if entry["mode"] == "fine_tune"
        and (entry.get("difference") or {}).get("against") == "from_scratch"
        and not entry.get("noise_level")
    ]
    sentences = []
    for entry in sorted(compared, key=_order):
        low, high = entry["difference"]["low"], entry["difference"]["high"]
        verdict = "ahead of" if low > 0 else "behind" if high < 0 else "not distinguishable from"
        records = entry.get("train_records")
        amount = f"{records:,} labelled records" if records else "the labelled records"
        difference = f"{entry['difference']['value']:+.3f} ({low:+.3f} to {high:+.3f})"
        sentences.append(
            f"Fine-tuned on {amount}, {_labels(entry)}: {verdict} the same encoder from scratch, {difference}."
        )
    return sentences


def _labels(entry: Mapping) -> str:
    least = entry.get("min_positives") or 1
    rare = f", {least} positives or more" if least > 1 else ""
    return f"{entry['labels']} ({entry['num_labels']} labels{rare})"


def _metric(entry: Mapping) -> str:
    return METRIC_WORDS.get(entry["metric"], str(entry["metric"]).replace("_", " "))


def _figure(entry: Mapping) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f}-{entry['high']:.3f})"


def _gain(entry: Mapping) -> str:
    difference = entry.get("difference")
    if not difference:
        return ""
    interval = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
    return f"{difference['value']:+.3f} ({interval}) over {str(difference['against']).replace('_', ' ')}"


def _fold_word(role: str, entries: Sequence[Mapping]) -> str:
    folds = {fold for entry in entries if find_fold_role(entry) == role for fold in entry["evaluate_folds"]}
    if role in ("validation", "test"):
        table = VALIDATION_FOLDS if role == "validation" else TEST_FOLDS
        folds = folds or {fold for entry in entries for fold in table.get(entry["corpus"], [])}
        return f"{role} (fold {', '.join(map(str, sorted(folds)))})"
    return role


def _order(entry: Mapping) -> tuple:
    modes, starts = list(MODE_WORDS), ["pretrained", "supervised", "random"]
    mode = modes.index(entry["mode"]) if entry["mode"] in modes else len(modes)
    start = starts.index(entry["initialisation"]) if entry["initialisation"] in starts else len(starts)
    # Fine-tuning and training from scratch are compared with each other: at equal amounts of data they stand together.
    family = min(mode, modes.index("fine_tune"))
    settings = [
        json.dumps(entry.get(name)) for name in ("pooling", "layer", "aggregate", "unit", "sampling_rate", "seed")
    ]
    amounts = (
        entry.get("min_positives") or 1,
        entry.get("noise_level") or 0,
        family,
        entry.get("train_fraction") or 1.0,
    )
    return (str(entry["corpus"]), str(entry["labels"]), *amounts, mode, settings, start)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
