"""Several finished systems as one: their logits averaged, nothing trained."""

import datetime
from collections.abc import Mapping
from dataclasses import replace

from ...errors import EcgError
from ...metrics.thresholds import fit_reported_thresholds
from ...trainer.run_record import describe_hardware
from ..modes import Mode
from ..outcomes import recorded
from ..settings import ReportSettings
from .entries import READOUT_FIELDS
from .predictions import Predictions, mean_of_logits
from .report import NO_PRETRAINING, Entry, current_commit, result_entries

__all__ = ["MEAN_OF_LOGITS", "systems_together"]

MEAN_OF_LOGITS = Mode(
    "mean_of_logits",
    title="mean of logits",
    learned="nothing; the logits of finished systems are averaged",
    fitted_by="",
    uses=frozenset(),
)
_RULE = "mean of the logits of the saved probabilities, equal weights; regressions: mean of the predictions"
# What the entries of the systems must share, and an entry of them together takes over.
_SHARED = (
    "corpus", "corpus_version", "corpus_hash", "labels", "train_folds", "train_fraction", "evaluate_folds",
    "evaluate_role", "train_records", "records_without_label", "labels_without_training", "seed",
)  # fmt: skip
# What it takes over where they share it.
_PERHAPS_SHARED = ("sampling_rate", *READOUT_FIELDS, "window_seconds", "window_stride_seconds", "leads")


def systems_together(
    name: str, members: Mapping[str, tuple[Entry, Predictions]], report: ReportSettings, *, mode: Mode = MEAN_OF_LOGITS
) -> tuple[list[Entry], Predictions]:
    """The entries of several systems together, and their predictions.

    Thresholds of multi-label tasks are fitted on the reported records, each of which is judged by those of other
    patients: the scores of held-out records are not kept.

    Args:
        name: Name of the systems together in the entries.
        members: An entry and the predictions of each system, by its name.
        report: Bootstrap settings.
        mode: `MEAN_OF_LOGITS`, perhaps with another initialization.

    Raises:
        EcgError: The systems are of other records, labels or training records.
    """
    entries = [entry for entry, _ in members.values()]
    for field in _SHARED:
        found = {key: entry.get(field) for key, (entry, _) in members.items()}
        if any(value != entries[0].get(field) for value in found.values()):
            texts = "; ".join(f"{key}: {value}" for key, value in found.items())
            raise EcgError(f"{name}: the systems differ in {field} ({texts}); expected the same for all.")
    predictions = mean_of_logits([one for _, one in members.values()])
    selection = "nothing is chosen"
    if predictions.problem_type == "multi_label_classification":
        source = {"corpus": entries[0]["corpus"], "folds": entries[0]["evaluate_folds"]}
        thresholds = fit_reported_thresholds(
            predictions.labels, predictions.scores, predictions.patient_ids, source=source
        )
        predictions = replace(predictions, thresholds=thresholds)
        folds = ", ".join(map(str, entries[0]["evaluate_folds"]))
        selection += f"; thresholds on folds {folds}, which are reported"
    same = [field for field in _PERHAPS_SHARED if len({repr(entry.get(field)) for entry in entries}) == 1]
    facts = {
        "checkpoint": name,
        "mode": mode.name,
        "initialization": mode.initialization,
        **{field: entries[0][field] for field in (*_SHARED, *same) if field in entries[0]},
        "selection": selection,
        "chosen": {},
        "settings": {"mode": mode.name, "rule": _RULE, "together": list(members), **recorded(report)},
        "pretraining": NO_PRETRAINING,
        "config": "",
        "commit": current_commit(),
        "hardware": describe_hardware(),
        "seconds": 0.0,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return result_entries(facts, predictions, report), predictions
