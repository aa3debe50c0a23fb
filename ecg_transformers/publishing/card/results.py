"""The figures of a checkpoint: `results.json` read and checked, as a table for the card and as `model-index`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult

from ...errors import CheckpointError
from ...evaluation.results.entries import MODE_WORDS, label_words, metric_words, mode_words

__all__ = [
    "checkpoint_entries",
    "evaluation_results",
    "figure_words",
    "find_fold_role",
    "load_results",
    "main_entries",
    "results_table",
    "table_row",
]

REQUIRED_FIELDS = (
    "checkpoint", "mode", "initialisation", "corpus", "corpus_version", "sampling_rate", "labels", "train_folds",
    "evaluate_folds", "records", "num_labels", "metric", "value", "low", "high", "resamples", "seed", "pretraining",
    "config", "commit", "date",
)  # fmt: skip

# Fields that make two entries incomparable; the table shows those that occur with more than one value.
SETTING_FIELDS = (
    "corpus", "sampling_rate", "labels", "mode", "pooling", "layer", "train_fraction", "min_positives", "aggregate",
    "window_seconds", "window_stride_seconds", "unit", "seed",
)  # fmt: skip
DETAIL_FIELDS = (
    "mode", "pooling", "layer", "train_fraction", "min_positives", "train_folds", "evaluate_folds", "records",
    "num_labels", "low", "high", "resamples", "seed",
)  # fmt: skip

# Names of the Hub's metric register for ours.
METRIC_TYPES = {"macro_auroc": "roc_auc", "macro_average_precision": "average_precision", "macro_f1": "f1"}

TEST_FOLDS = {"ptbxl": [10]}
VALIDATION_FOLDS = {"ptbxl": [9]}


def load_results(path: str | Path) -> list[dict]:
    """Reads `results.json` and checks every entry.

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
    """Says what the evaluated folds are: `"test"`, `"validation"` or `"folds 3, 4"`.

    PTB-XL's fold 10 is the test fold of the literature and fold 9 the validation fold; a validation figure must never
    look like a test figure, so every other choice is named by its numbers.
    """
    folds = list(entry["evaluate_folds"])
    if folds == TEST_FOLDS.get(entry["corpus"]):
        return "test"
    if folds == VALIDATION_FOLDS.get(entry["corpus"]):
        return "validation"
    return f"folds {', '.join(map(str, folds))}"


def main_entries(entries: Sequence[Mapping], name: str = "") -> list[Mapping]:
    """The entries of the results table: of this checkpoint, on clean recordings, with all of its training folds.

    Systems that stand beside it in a comparison, figures under noise and the points of a label-efficiency curve with
    fewer folds have sections of their own and never look like a result of the checkpoint.

    Args:
        entries: Of `results.json`.
        name: Name of the checkpoint. Where no entry has it (a run that is published under another name), the entries
            named like the first one are its own.
    """
    names = [entry["checkpoint"] for entry in entries]
    own = name if name in names else next(iter(names), "")
    clean = [entry for entry in entries if entry["checkpoint"] == own and not entry.get("noise_level")]
    return [entry for entry in clean if not any(_is_point_below(entry, other) for other in clean)]


def _is_point_below(entry: Mapping, other: Mapping) -> bool:
    """Whether two entries are of one system and the other was trained on these folds and more."""
    alike = all(
        entry.get(field) == other.get(field)
        for field in ("mode", "initialisation", "corpus", "labels", "metric", "train_fraction", "evaluate_folds")
    )
    return alike and set(entry["train_folds"]) < set(other["train_folds"])


def checkpoint_entries(entries: Sequence[Mapping], name: str = "") -> list[Mapping]:
    """The main entries that judge the published weights themselves.

    Of a pretrained checkpoint all that start from it; entries from new weights are its baseline. Of a supervised one,
    where nothing is pretrained, those of the first entry's training: other label sets and seeds are other models.

    Args:
        entries: Of `results.json`.
        name: As for `main_entries`.
    """
    main = main_entries(entries, name)
    pretrained = [entry for entry in main if entry["initialisation"] != "random"]
    if pretrained or not main:
        return pretrained
    fields = ("mode", "corpus", "corpus_version", "labels", "label_codes", "sampling_rate", "train_folds", "seed")
    return [entry for entry in main if all(entry.get(field) == main[0].get(field) for field in fields)]


def evaluation_results(entries: Sequence[Mapping], name: str = "") -> list[EvalResult]:
    """Gives the figures of the published weights in the form of the card's `model-index`.

    Baselines, other systems, figures under noise and with fewer training folds stand in the card only.

    Args:
        entries: Of `results.json`.
        name: As for `main_entries`.
    """
    results = []
    for entry in checkpoint_entries(entries, name):
        details = {field: entry[field] for field in DETAIL_FIELDS if entry.get(field) is not None}
        least = entry.get("min_positives") or 1
        rare = f", labels with {least} positives or more" if least > 1 else ""
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
                metric_name=f"{metric_words(entry['metric'])}, {mode_words(entry['mode'])}{rare}",
                metric_value=entry["value"],
                metric_args=details,
            )
        )
    return results


def results_table(entries: Sequence[Mapping], name: str = "") -> str:
    """Renders the main entries as Markdown: one row per setting and initialization, one column per part of a corpus.

    A figure stands with its 95 % bootstrap interval; the column `gain` holds the paired difference, if one was made.
    Below it stands in words at how many labeled records the pretrained encoder is ahead of the same one from scratch.
    Where nothing is pretrained, the rows say which of them are the published weights.

    Args:
        entries: Of `results.json`.
        name: As for `main_entries`.
    """
    main = main_entries(entries, name)
    if not main:
        return "No evaluation of this checkpoint has been recorded."
    kept = [entry for number, entry in enumerate(main) if not _repeats(entry, main[:number])]
    published = checkpoint_entries(entries, name)
    supervised = all(entry["initialisation"] == "random" for entry in kept)
    roles = list(dict.fromkeys(["validation", "test", *map(find_fold_role, kept)]))
    if not {"validation", "test"} & set(map(find_fold_role, kept)):
        roles = roles[2:]
    varying = [field for field in SETTING_FIELDS if len({json.dumps(entry.get(field)) for entry in kept}) > 1]
    metrics = list(dict.fromkeys(metric_words(entry["metric"]) for entry in kept))
    shown = [field for field in varying if field not in ("mode", "labels", "min_positives")]
    rows: dict[tuple, list[Mapping]] = {}
    for entry in kept:
        key = (*(json.dumps(entry.get(field)) for field in SETTING_FIELDS), entry["initialisation"], entry["metric"])
        rows.setdefault(key, []).append(entry)
    gains = any(map(_gain, kept))
    header = ["labels", "protocol", *(field.replace("_", " ") for field in shown)]
    header += ["weights" if supervised else "encoder"] + (["metric"] if len(metrics) > 1 else [])
    header += [_fold_word(role, kept) for role in roles] + (["gain (paired)"] if gains else []) + ["records"]
    lines = [table_row(header), table_row(["---"] * len(header))]
    for group in sorted(rows.values(), key=lambda group: _order(group[0])):
        first = group[0]
        cells = [label_words(first), mode_words(first["mode"])]
        cells += ["-" if first.get(field) is None else str(first[field]) for field in shown]
        cells += [_weights(first, published) if supervised else str(first["initialisation"])]
        cells += [metric_words(first["metric"])] if len(metrics) > 1 else []
        cells += [
            "; ".join(figure_words(entry) for entry in group if find_fold_role(entry) == role) or "-" for role in roles
        ]
        cells += ["; ".join(filter(None, map(_gain, group))) or "-"] if gains else []
        cells += ["; ".join(dict.fromkeys(f"{entry['records']:,}" for entry in group))]
        lines.append(table_row(cells))
    parts = [" ".join(_notes(kept, varying, metrics))]
    parts += ["\n".join(f"- {sentence}" for sentence in _worth(kept))] if _worth(kept) else []
    return "\n\n".join(["\n".join(lines), *parts])


def _weights(entry: Mapping, published: Sequence[Mapping]) -> str:
    """Whether a row of a supervised card is of the weights in the folder."""
    return "this checkpoint" if entry in published else "another training, not published here"


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
    vanished = max(float(entry.get("resamples_with_vanished_label") or 0) for entry in entries)
    if vanished:
        notes.append(
            "A label that does not occur in a resample is left out of that resample's mean; this happened in at most "
            f"{100 * vanished:.2g} % of the resamples of a row."
        )
    supervised = all(entry["initialisation"] == "random" for entry in entries)
    fixed = [
        f"{field.replace('_', ' ')} {entries[0][field]}"
        for field in (("seed",) if supervised else ("pooling", "train_fraction", "seed"))
        if field not in varying and entries[0].get(field) is not None
    ]
    if fixed:
        notes.append(f"In every row: {', '.join(fixed)}.")
    roles = set(map(find_fold_role, entries))
    if "test" not in roles and "validation" in roles:
        notes.append(
            "The test fold was not evaluated: these are validation figures and must not be read as test figures. "
            "On a machine that holds the fold, `training/score.py --folds 10` fills the column."
        )
    if not any(entry["initialisation"] == "random" for entry in entries):
        notes.append("No randomly initialized encoder was evaluated beside it, so these figures do not show a gain.")
    return notes


def _worth(entries: Sequence[Mapping]) -> list[str]:
    """At how many labeled records fine-tuning the checkpoint is ahead of training the same encoder from scratch."""
    compared = [
        entry
        for entry in entries
        if entry["mode"] == "fine_tune" and (entry.get("difference") or {}).get("against") == "from_scratch"
    ]
    sentences = []
    for entry in sorted(compared, key=_order):
        low, high = entry["difference"]["low"], entry["difference"]["high"]
        verdict = "ahead of" if low > 0 else "behind" if high < 0 else "not distinguishable from"
        records = entry.get("train_records")
        amount = f"{records:,} labeled records" if records else "the labeled records"
        difference = f"{entry['difference']['value']:+.3f} ({low:+.3f} to {high:+.3f})"
        sentences.append(
            f"Fine-tuned on {amount}, {label_words(entry)}: {verdict} the same encoder from scratch, {difference}."
        )
    return sentences


def figure_words(entry: Mapping) -> str:
    """A figure with its interval."""
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
    amounts = (entry.get("min_positives") or 1, family, entry.get("train_fraction") or 1.0)
    return (str(entry["corpus"]), str(entry["labels"]), *amounts, mode, settings, start)


def table_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
