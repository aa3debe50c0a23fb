"""`results.json`: one entry per figure with everything needed to make it again (DESIGN section 6), and its table."""

import datetime
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...corpora.protocol import Splits
from ...errors import EcgError
from ...files import write_text
from ...metrics.bootstrap import Difference, Interval
from .predictions import Predictions, other_figures

__all__ = ["KEY_FIELDS", "add_to_card", "format_table", "merge_results", "read_results", "result_entry"]

# Two entries that agree in all of these are the same figure: the newer one replaces the older.
KEY_FIELDS = (
    "checkpoint", "mode", "initialisation", "corpus", "corpus_version", "sampling_rate", "labels", "train_folds",
    "evaluate_folds", "metric", "min_positives", "pooling", "layer", "train_fraction", "aggregate", "unit", "seed",
    "window_seconds", "window_stride_seconds", "noise_level",
)  # fmt: skip
# What an entry without the field has.
_KEY_DEFAULTS = {"noise_level": 0}


def result_entry(
    interval: Interval,
    predictions: Predictions,
    splits: Splits,
    *,
    checkpoint: str,
    mode: str,
    initialization: str,
    pooling: str,
    layer: int,
    aggregate: str,
    min_positives: int,
    seed: int,
    sampling_rate: float,
    pretraining: Mapping[str, Any],
    difference: tuple[str, Difference] | None = None,
    **facts: object,
) -> dict[str, Any]:
    """One entry of `results.json`.

    Args:
        interval: The figure.
        predictions: What it was computed from.
        splits: The protocol.
        checkpoint: Name of the checkpoint.
        mode: `linear_probe`, `attentive_probe`, `fine_tune` or `from_scratch`.
        initialization: `pretrained`, `random` or `supervised`.
        pooling: What the head reads.
        layer: Whose tokens it reads.
        aggregate: How windows are joined to records.
        min_positives: Labels with fewer positives were left out.
        seed: Of heads, order and splits.
        sampling_rate: Of the model's input in Hz.
        pretraining: Records, epochs, steps, hardware, hours.
        difference: Against what, and the paired difference.
        **facts: Commit, hardware, seconds, config, what was chosen, and so on.
    """
    corpus = splits.evaluate.corpus
    regression = predictions.problem_type == "regression"
    entry: dict[str, Any] = {
        "checkpoint": checkpoint,
        "mode": mode,
        "initialisation": initialization,
        "corpus": corpus.name,
        "corpus_version": corpus.info.get("version") or "",
        "corpus_hash": corpus.hash,
        "sampling_rate": sampling_rate,
        "labels": splits.task.label_set,
        "train_folds": list(splits.train_folds),
        "evaluate_folds": list(splits.evaluate_folds),
        "evaluate_role": splits.evaluate_role,
        "train_records": len(splits.train),
        "train_fraction": splits.train_fraction,
        "records": len(predictions),
        "records_without_label": splits.left_out,
        "num_labels": interval.num_labels,
        "label_codes": list(predictions.codes),
        "labels_left_out": [predictions.codes[k] for k in interval.left_out],
        "min_positives": min_positives,
        "pooling": pooling,
        "layer": layer,
        "aggregate": aggregate,
        "metric": "negative_mean_absolute_error" if regression else "macro_auroc",
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "unit": interval.unit,
        "resamples": interval.resamples,
        "resamples_with_vanished_label": interval.vanished,
        **(other_figures(predictions) if min_positives == 1 else {}),
        "selection": splits.selection_of(trains_once=mode != "linear_probe"),
        "seed": seed,
        "pretraining": dict(pretraining),
        "config": "",
        "commit": "",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if difference is not None:
        against, paired = difference
        entry["difference"] = {
            "against": against,
            "value": paired.value,
            "low": paired.low,
            "high": paired.high,
            "p_value": paired.p_value,
        }
    return entry | facts


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a file; none where there is no file."""
    path = Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def merge_results(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add entries to a file: one with the key of an older entry replaces it, the others stay.

    `evaluations` counts how often a figure was made, so that one of a test fold says how often that was touched.

    Args:
        path: `results.json`; written whole or not at all.
        entries: New entries.

    Returns:
        All entries of the file.

    Raises:
        EcgError: A figure is not finite.
    """
    for entry in entries:
        for name in ("value", "low", "high"):
            if not math.isfinite(entry[name]):
                raise EcgError(
                    f"{entry['checkpoint']}, {entry['mode']}: {name} is {entry[name]}; expected a number. "
                    "Evaluate more records."
                )
    path = Path(path)
    merged = {_key(entry): dict(entry) for entry in read_results(path)}
    for entry in entries:
        earlier = merged.get(_key(entry))
        count = 1 if earlier is None else int(earlier.get("evaluations", 1)) + 1
        merged[_key(entry)] = dict(entry) | {"evaluations": count}
    write_text(path, json.dumps(list(merged.values()), indent=1, allow_nan=False) + "\n")
    return list(merged.values())


def add_to_card(name: str, entries: Sequence[Mapping[str, Any]], *, run: str | Path | None = None) -> Path:
    """Add entries to the results of a card, and take what else its run left for it.

    Args:
        name: Folder under `hub_cards/`.
        entries: New entries, named as the card should call them.
        run: Output folder whose `run.json` and `labels.csv` belong to the checkpoint of the card.

    Returns:
        The card's `results.json`.
    """
    card = Path("hub_cards") / name
    merge_results(card / "results.json", entries)
    for file in ("run.json", "labels.csv"):
        if run is not None and (Path(run) / file).is_file():
            shutil.copyfile(Path(run) / file, card / file)
    return card / "results.json"


def _key(entry: Mapping[str, Any]) -> str:
    return json.dumps([entry.get(name, _KEY_DEFAULTS.get(name)) for name in KEY_FIELDS])


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned plain text, the keys as header."""
    if not rows:
        return ""
    cells = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(lines)
