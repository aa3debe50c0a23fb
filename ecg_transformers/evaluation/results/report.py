"""From the outcome of a mode, and that of its baseline, to entries of `results.json` and a line for the screen."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...corpora.protocol import Splits
from ...errors import EcgError
from ...trainer.run_record import describe_hardware, find_commit
from ..classifier import pretraining_facts
from ..modes import Outcome
from .entries import metric_words
from .predictions import FEW_POSITIVES, paired_difference, score_interval
from .store import result_entry

__all__ = ["outcome_entries", "prediction_file", "summary_line"]

# A bootstrap over fewer records knows too little of the spread to be read without a warning.
FEW_RECORDS = 50

_NO_PRETRAINING = {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0}


def prediction_file(folder: str | Path, outcome: Outcome, splits: Splits, *, checkpoint: str, seed: int) -> Path:
    """Where the predictions of an outcome are kept: a name that says which they are."""
    folds = "-".join(map(str, splits.evaluate_folds))
    model = outcome.model.config
    words = [
        checkpoint,
        splits.evaluate.corpus.name,
        outcome.mode,
        outcome.initialization,
        splits.task.label_set,
        model.pooling,
    ]
    words += [f"layer{model.layer}"] if model.layer != -1 else []
    words += [f"trained{'-'.join(map(str, splits.train_folds))}"]
    words += [f"fraction{splits.train_fraction:g}"] if splits.train_fraction != 1.0 else []
    return Path(folder) / "predictions" / f"{'_'.join(words)}_folds{folds}_seed{seed}.safetensors"


def outcome_entries(
    outcome: Outcome,
    splits: Splits,
    *,
    checkpoint: str | Path,
    name: str,
    seed: int,
    against: Sequence[tuple[str, Outcome]] = (),
    aggregate: str = "mean",
    unit: str = "record",
    resamples: int = 1000,
    window_stride_seconds: float | None = None,
    config_file: str | None = None,
) -> list[dict[str, Any]]:
    """Two entries: over all labels, and over those with enough positives to mean something.

    Args:
        outcome: Of the system.
        splits: The protocol.
        checkpoint: Folder or Hub name, for the facts of its pretraining.
        name: What the entries call it.
        seed: Of the run.
        against: Names and outcomes it is compared with; the first is the baseline (`difference`), the others are kept
            under `differences`.
        aggregate: How windows were joined.
        unit: What the bootstrap draws.
        resamples: How many.
        window_stride_seconds: Distance of two windows of a record.
        config_file: The YAML file of the run; that of the pretraining if not given.
    """
    known = pretraining_facts(checkpoint)
    config, supervised = known.pop("config"), bool(known.pop("labels"))
    pretrained = outcome.initialization == "pretrained"
    facts: dict[str, Any] = {
        "config": config_file or (config if pretrained else ""),
        "commit": _commit(),
        "hardware": describe_hardware(),
        "seconds": round(outcome.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in outcome.model.base_model.parameters()),
        "chosen": {name: None if value != value else value for name, value in outcome.chosen.items()},
    }
    entries = []
    for min_positives in (1, FEW_POSITIVES):
        options: dict[str, Any] = {"min_positives": min_positives, "unit": unit, "resamples": resamples}
        try:
            interval = score_interval(outcome.predictions, **options)
        except EcgError:
            if min_positives == 1:
                raise
            continue  # no label has so many positives
        differences = [
            (other, paired_difference(outcome.predictions, one.predictions, **options)) for other, one in against
        ]
        entry = result_entry(
            interval,
            outcome.predictions,
            splits,
            checkpoint=name,
            mode=outcome.mode,
            initialization="supervised" if pretrained and supervised else outcome.initialization,
            pooling=outcome.model.config.pooling,
            layer=outcome.model.config.layer,
            aggregate=aggregate,
            min_positives=min_positives,
            seed=seed,
            sampling_rate=outcome.model.config.sampling_rate,
            window_seconds=outcome.model.config.window_size / outcome.model.config.sampling_rate,
            window_stride_seconds=window_stride_seconds,
            pretraining=known if pretrained else _NO_PRETRAINING,
            difference=differences[0] if differences else None,
            **facts,
        )
        if len(differences) > 1:
            entry["differences"] = [
                {"against": other, "value": one.value, "low": one.low, "high": one.high, "p_value": one.p_value}
                for other, one in differences
            ]
        entries.append(entry)
    return entries


@cache
def _commit() -> str:
    return find_commit() or ""


def summary_line(entries: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], role: str) -> str:
    """The figures of an outcome, of its baseline, and their difference, in one line."""
    first = entries[0]
    metric = metric_words(first["metric"])
    line = f"{role} {metric} {_figure(first)}  {first['num_labels']} labels"
    if len(entries) > 1:
        line += f", {entries[1]['num_labels']} with >= {entries[1]['min_positives']} positives: {_figure(entries[1])}"
    if baseline:
        word = "from scratch" if baseline[0]["mode"] == "from_scratch" else "random encoder"
        difference = first["difference"]
        line += f"   {word} {_figure(baseline[0])}"
        line += f"   difference {difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    if first["records"] < FEW_RECORDS:
        line += f"\nonly {first['records']} records are reported: figure and interval say little"
    return line


def _figure(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
