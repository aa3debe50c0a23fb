"""On what, how long and where a checkpoint was trained, from ``run.json`` or the entries of ``results.json``."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from ecg_transformers.publishing.results import checkpoint_entries, main_entries

__all__ = ["training_words"]

MODE_LINES = {"from_scratch": "Supervised, from new weights", "fine_tune": "Fine-tuning"}


def training_words(results: Sequence[Mapping], run: Mapping, name: str = "", *, classifier: bool = False) -> str:
    """One line per run: the one that left ``run.json``, else those that the results name.

    Args:
        results: Entries of ``results.json``.
        run: ``run.json``, or nothing.
        name: Name of the checkpoint.
        classifier: Say too how the classifier itself was trained.
    """
    main = main_entries(results, name)
    named = [entry["pretraining"] | {"config": entry["config"], "commit": entry["commit"]}
             for entry in main if entry["initialisation"] == "pretrained"]  # fmt: skip
    runs = [run] if run else [one for number, one in enumerate(named) if one not in named[:number]]
    lines = [f"- {_run_words(one)}" for one in runs]
    own = next(iter(checkpoint_entries(results, name)), None)
    if classifier and not run and own is not None:
        trained = f"{MODE_LINES.get(own['mode'], 'Training')}: {_run_words(_training_run(own))}"
        lines = [*(line.replace("- ", "- Pretraining: ", 1) for line in lines), f"- {trained}"]
    return "\n".join(lines) or "No training facts have been recorded for this checkpoint."


def _training_run(entry: Mapping) -> Mapping:
    """What an entry says about the training of the classifier itself, in the words of ``run.json``."""
    chosen = entry.get("chosen") or {}
    run = {
        "corpus": {"name": entry["corpus"], "version": entry["corpus_version"]},
        "records": entry.get("train_records"),
        "epochs": entry.get("epochs") or chosen.get("epoch"),
        "steps": entry.get("steps"),
        "hours": entry.get("hours"),
        **{field: entry.get(field) for field in ("train_folds", "hardware", "seed")},
    }
    if entry["initialisation"] == "random" and entry["config"]:
        # Only the command that trained it names the configuration; the time of one that only scores is no training.
        run |= {"hours": run["hours"] or float(entry.get("seconds") or 0) / 3600}
        run |= {"config": entry["config"], "commit": entry["commit"]}
    return run


def _run_words(run: Mapping) -> str:
    corpus = run.get("corpus") or {}
    words = [f"{corpus['name']} {corpus.get('version') or ''}".strip()] if corpus.get("name") else []
    for key in ("records", "epochs", "steps"):
        if run.get(key):
            words.append(f"{run[key]:,.4g} {key}" if isinstance(run[key], float) else f"{run[key]:,} {key}")
    hours = float(run.get("hours") or 0)
    if hours:
        words.append(f"{hours:,.1f} hours" if hours >= 2 else f"{60 * hours:,.1f} minutes")
    if run.get("train_folds"):
        words.append(f"training folds {', '.join(map(str, run['train_folds']))}")
    words += [str(run["hardware"])] if run.get("hardware") else []
    words += [f"seed {run['seed']}"] if run.get("seed") is not None else []
    if run.get("config"):
        path = PurePath(str(run["config"]))
        words.append(f"configuration `{path.name if path.is_absolute() else path.as_posix()}`")
    words += [f"commit `{run['commit']}`"] if run.get("commit") else []
    return f"{', '.join(words)}."
