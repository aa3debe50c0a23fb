"""On what, how long and where a checkpoint was trained, from `run.json` or the entries of `results.json`."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ...evaluation.modes import MODES
from .results import checkpoint_entries, main_entries

__all__ = ["training_text"]


def training_text(
    results: Sequence[Mapping[str, Any]], run: Mapping[str, Any], name: str = "", *, classifier: bool = False
) -> str:
    """One line per training run: the one that left `run.json`, else those that the results name.

    Args:
        results: Entries of `results.json`.
        run: `run.json`, or nothing.
        name: Name of the checkpoint.
        classifier: Whether the checkpoint is a classifier, so that its own training is named too.
    """
    own = next(iter(checkpoint_entries(results, name)), None)
    kind = MODES[own["mode"]].made if own is not None and own["mode"] in MODES else "Training"
    if run:
        return f"- {kind if classifier else 'Pretraining'}: {_run_text(run)}"
    pretrained = [entry for entry in main_entries(results, name) if entry["initialization"] == "pretrained"]
    # The commit of an entry is that of the evaluation; entries of today know that of the pretraining.
    runs = [{"config": entry["config"]} | entry["pretraining"] for entry in pretrained]
    lines = dict.fromkeys(f"- Pretraining: {_run_text(one)}" for one in runs)
    if classifier and own is not None:
        lines[f"- {kind}: {_run_text(_training_run(own))}"] = None
    return "\n".join(lines) or "No training facts have been recorded for this checkpoint."


def _training_run(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The training of the classifier itself, from an entry, under the keys of `run.json`."""
    # A later command that only scored may have made the entry: its seconds and its commit are not the training's.
    run = {
        "corpus": {"name": entry["corpus"], "version": entry["corpus_version"]},
        "records": entry.get("train_records"),
        "epochs": (entry.get("chosen") or {}).get("epoch"),
        "train_folds": entry.get("train_folds"),
        "seed": entry.get("seed"),
    }
    # Of a fine-tuned classifier the configuration is that of its pretraining.
    return run | ({"config": entry["config"]} if entry["initialization"] == "random" else {})


def _run_text(run: Mapping[str, Any]) -> str:
    corpus = run.get("corpus") or {}
    parts = [f"{corpus['name']} {corpus.get('version') or ''}".strip()] if corpus.get("name") else []
    for key in ("records", "patients", "epochs", "steps"):
        if run.get(key):
            parts.append(f"{run[key]:,.4g} {key}" if isinstance(run[key], float) else f"{run[key]:,} {key}")
    if (run.get("data_fraction") or 1) != 1:
        parts.append(f"{run['data_fraction']:.0%} of the training data")
    if run.get("sampling", "none") != "none":
        parts.append(f"positives by `{run['sampling']}`")
    hours = float(run.get("hours") or 0)
    if hours:
        parts.append(f"{hours:,.1f} hours" if hours >= 2 else f"{60 * hours:,.1f} minutes")
    if run.get("train_folds"):
        parts.append(f"training folds {', '.join(map(str, run['train_folds']))}")
    parts += [str(run["hardware"])] if run.get("hardware") else []
    parts += [f"seed {run['seed']}"] if run.get("seed") is not None else []
    if run.get("config"):
        path = PurePath(str(run["config"]))
        parts.append(f"configuration `{path.name if path.is_absolute() else path.as_posix()}`")
    parts += [f"commit `{str(run['commit'])[:7]}`"] if run.get("commit") else []
    return f"{', '.join(parts)}.{' ' + run['provenance'] if run.get('provenance') else ''}"
