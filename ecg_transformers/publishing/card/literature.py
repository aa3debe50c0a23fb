"""Published scores of other systems in a card: always with the folds they were computed on and their source."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CheckpointError
from ...evaluation.results.entries import mode_title
from ...evaluation.results.published import PUBLISHED, published_results
from .results import find_fold_role

__all__ = ["literature_list"]


def literature_list(systems: Sequence[Mapping[str, str]], entries: Sequence[Mapping[str, Any]]) -> str:
    """Lists the published scores of these systems on the corpus and label set of the checkpoint.

    Args:
        systems: `system` and `mode`, as `ecg_transformers.evaluation.results.published` names them.
        entries: Of `results.json`, those of the checkpoint; each label set among them is looked up.

    Returns:
        One line per source; empty without systems, results or scores.

    Raises:
        CheckpointError: If nothing is known of a system.
    """
    groups: dict[str, dict[str, None]] = {}
    for one in systems:
        system, mode = str(one.get("system")), str(one.get("mode", "from_scratch"))
        if not any((score.system, score.mode) == (system, mode) for score in PUBLISHED):
            known = ", ".join(sorted({f"{score.system} ({score.mode})" for score in PUBLISHED}))
            raise CheckpointError(f"published names {system} ({mode}) in the head of the card; known are {known}.")
        for corpus, labels in dict.fromkeys((str(entry["corpus"]), str(entry["labels"])) for entry in entries):
            for score in published_results(system, mode, corpus=corpus, labels=labels):
                folds = list(score.evaluate_folds)
                role = find_fold_role({"corpus": corpus, "evaluate_folds": folds})
                where = f"{role} fold {', '.join(map(str, folds))}" if role in ("test", "validation") else role
                kind = score.source.brackets.partition(" (")[0]
                text = f"{system}, {mode_title(mode)}, {labels}: {score.value:.3f}"
                groups.setdefault(f"{where}, {kind} ({score.source.citation})", {})[text] = None
    return "\n".join(f"- {source}: {'; '.join(scores)}." for source, scores in groups.items())
