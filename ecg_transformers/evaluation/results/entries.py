"""Names for the entries of `results.json`: titles of labels, metrics and modes, names of systems, curves.

Writers, tables and plots of entries share these names; so this file imports none of the three.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ...corpora.identification import PATIENTS
from ...metrics.table import metric_title
from ...readout import Readout
from ..modes import MODES, mode_title

__all__ = [
    "READOUT_FIELDS",
    "KEY_FIELDS",
    "label_efficiency_curves",
    "field_text",
    "label_set_title",
    "metric_title",
    "mode_title",
    "noise_curves",
    "noise_level",
    "size_text",
    "train_amount",
    "unfinished_text",
]

# What the head is given of the encoder; the config of a classifier has the same names.
READOUT_FIELDS = tuple(field.name for field in fields(Readout))
# Entries that share these can be compared with each other.
TASK_FIELDS = ("corpus", "corpus_version", "labels", "split", "evaluate_folds", "metric")
# Those that share these too are of one system. Seeds are repetitions of a point.
SYSTEM_FIELDS = (
    "checkpoint", "mode", "initialization", *READOUT_FIELDS, "aggregate", "sampling_rate", "window_seconds",
    "window_stride_seconds", "leads", "train_leads", "unit", "system",
)  # fmt: skip
# Under noise nothing is trained, so that every training is a system.
TRAINING_FIELDS = (*SYSTEM_FIELDS, "train_fraction", "train_folds", "seed")
# Two entries that agree in all of these are the same result: the newer one replaces the older.
KEY_FIELDS = (*TASK_FIELDS, *TRAINING_FIELDS, "min_positives", "noise_level")

Entry = Mapping[str, Any]
Curves = dict[str, list[Entry]]


def label_set_title(entry: Entry) -> str:
    """The label set, with the number of labels that count and how many positives they have at least."""
    least = entry.get("min_positives") or 1
    parts = [size_text(entry)] if entry.get("num_labels") else []
    parts += [f"{least} positives or more"] if least > 1 else []
    return " ".join([str(entry.get("labels") or ""), *([f"({', '.join(parts)})"] if parts else [])]).strip()


def size_text(entry: Entry) -> str:
    """What a score is the mean over: labels, or patients of an identification.

    Example:
        >>> size_text({"labels": "patients", "num_labels": 1, "records": 189})
        '189 patients'
    """
    if entry.get("labels") == PATIENTS:
        return f"{entry['records']} patients"
    return f"{entry['num_labels']} labels"


def train_amount(entry: Entry) -> float:
    """How many folds a system was trained on; a share of the records of eight folds counts as so much of eight.

    Example:
        >>> train_amount({"train_folds": [1, 2], "train_fraction": 0.25})
        0.5
    """
    return len(entry.get("train_folds") or ()) * (entry.get("train_fraction") or 1.0)


def unfinished_text(entry: Entry) -> str:
    """What a time limit left of the training of an entry; empty if it was trained to its end.

    Example:
        >>> unfinished_text({"unfinished": {"steps": 27, "max_steps": 6650}})
        'unfinished, 27 of 6,650 steps'
    """
    cut = entry.get("unfinished")
    return f"unfinished, {cut['steps']:,} of {cut['max_steps']:,} steps" if cut else ""


def noise_level(entry: Entry) -> int:
    """The level of noise it was scored under, 0 for the recordings as they are."""
    return int(entry.get("noise_level") or 0)


def label_efficiency_curves(entries: Sequence[Entry]) -> list[Curves]:
    """The systems that were trained on several numbers or shares of folds, scored without noise.

    Args:
        entries: Entries of `results.json`.

    Returns:
        For each task (corpus, labels, reported folds, metric, least number of positives) the entries of each system by
        its name. A task that repeats the results of another, because no label is rare, is left out.

    Example:
        >>> few = {"checkpoint": "xresnet1d50-ecg", "mode": "from_scratch", "train_folds": [1], "value": 0.84}
        >>> many = few | {"train_folds": [1, 2], "value": 0.87}
        >>> [list(systems) for systems in label_efficiency_curves([few, many])]
        [['xresnet1d50-ecg, from scratch']]
    """
    clean = [entry for entry in entries if not noise_level(entry)]
    return _curves(clean, SYSTEM_FIELDS, lambda system: len(set(map(train_amount, system))) > 1)


def noise_curves(entries: Sequence[Entry]) -> list[Curves]:
    """The systems that were scored under noise, with their results on clean recordings; as `label_efficiency_curves`.

    Args:
        entries: Of `results.json`; those under noise carry `noise_level`.
    """
    return _curves(entries, TRAINING_FIELDS, lambda system: any(map(noise_level, system)))


def _curves(
    entries: Sequence[Entry], fields: Sequence[str], is_curve: Callable[[Sequence[Entry]], bool]
) -> list[Curves]:
    groups: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        systems = groups.setdefault(_key(entry, (*TASK_FIELDS, "min_positives")), {})
        systems.setdefault(_key(entry, fields), []).append(entry)
    tasks: dict[str, dict[str, list[Entry]]] = {}
    for systems in groups.values():
        if kept := {key: system for key, system in systems.items() if is_curve(system)}:
            shown = (*TASK_FIELDS, "num_labels", "train_folds", "noise_level", "value")
            tasks.setdefault(json.dumps(sorted(_key(entry, shown) for one in kept.values() for entry in one)), kept)
    names = _system_names({key: system[0] for systems in tasks.values() for key, system in systems.items()}, fields)
    return [{names[key]: system for key, system in systems.items()} for systems in tasks.values()]


def _system_names(systems: Mapping[str, Entry], fields: Sequence[str]) -> dict[str, str]:
    """Checkpoint and mode of each system, and those of the fields that distinguish it from others of both."""
    pretrained = {entry["checkpoint"] for entry in systems.values() if entry.get("initialization") != "random"}
    starts: dict[str, list[str]] = {}
    alike: dict[str, list[Entry]] = {}
    for key, entry in systems.items():
        random = entry.get("initialization") == "random"
        # Where the checkpoint is in the plot too, random weights are those of its encoder and not the checkpoint.
        own = entry.get("mode") in MODES and MODES[entry["mode"]].initialization == "random"
        of_encoder = random and (entry["checkpoint"] in pretrained or not own)
        checkpoint = str(entry["checkpoint"])
        starts[key] = [f"encoder of {checkpoint} with new weights" if of_encoder else checkpoint]
        starts[key] += [mode_title(entry["mode"])] if entry.get("mode") else []
        alike.setdefault(", ".join(starts[key]), []).append(entry)
    names = {}
    for key, start in starts.items():
        others = alike[", ".join(start)]
        differing = [field for field in fields if len({_key(other, (field,)) for other in others}) > 1]
        names[key] = ", ".join([*start, *(field_text(field, systems[key].get(field)) for field in differing)])
    return names


def field_text(field: str, value: Any) -> str:
    """A setting of an entry as text.

    Args:
        field: Name of the setting.
        value: Its value.

    Example:
        >>> field_text("leads", ["I", "II"])
        'leads I, II'
    """
    if field == "train_folds" and value:
        return f"trained on folds {', '.join(map(str, value))}"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    # The key of the entries is spelled as it always was; texts are in American English.
    return f"{field.replace('_', ' ')} {value}"


def _key(entry: Entry, fields: Sequence[str]) -> str:
    return json.dumps([entry.get(field) for field in fields])
