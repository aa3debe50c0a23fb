"""Figures of the literature beside those of a card: always with the folds they were made on and their source."""

from collections.abc import Mapping, Sequence

from ...errors import CheckpointError
from ...evaluation.results.entries import mode_words
from ...evaluation.results.published import PUBLISHED, PublishedFigure, published_figures
from .results import find_fold_role, table_row

__all__ = ["literature_table"]


def literature_table(systems: Sequence[Mapping], entries: Sequence[Mapping]) -> str:
    """A row for each published figure of these systems on the corpus and label set of the checkpoint.

    Args:
        systems: `system` and `mode`, as `ecg_transformers.evaluation.results.published` names them.
        entries: Of `results.json`, those of the checkpoint; the first says corpus and label set.

    Returns:
        The table and its sources; empty without systems, results or figures.

    Raises:
        CheckpointError: If nothing is known of a system.
    """
    if not systems or not entries:
        return ""
    corpus, labels = str(entries[0]["corpus"]), str(entries[0]["labels"])
    figures: list[PublishedFigure] = []
    for one in systems:
        system, mode = str(one.get("system")), str(one.get("mode", "from_scratch"))
        if not any((figure.system, figure.mode) == (system, mode) for figure in PUBLISHED):
            known = ", ".join(sorted({f"{figure.system} ({figure.mode})" for figure in PUBLISHED}))
            raise CheckpointError(f"published names {system} ({mode}) in the head of the card; known are {known}.")
        figures += published_figures(system, mode, corpus=corpus, labels=labels)
    if not figures:
        return ""
    header = ["published", "protocol", "macro AUROC", "what it is", "reported on", "source"]
    lines = [table_row(header), table_row(["---"] * len(header))]
    for figure in figures:
        folds = list(figure.evaluate_folds)
        role = find_fold_role({"corpus": corpus, "evaluate_folds": folds})
        where = f"{role} fold {', '.join(map(str, folds))}" if role in ("test", "validation") else role
        cells = [figure.system, mode_words(figure.mode), f"{figure.value:.3f}", _kind(figure), where]
        lines.append(table_row([*cells, figure.source.name]))
    sources = dict.fromkeys(figure.source for figure in figures)
    return "\n".join([*lines, "", *(f"- {source.name}: {source.citation}." for source in sources)])


def _kind(figure: PublishedFigure) -> str:
    """What the figure is, with the number that the publication puts in brackets behind it."""
    what, _, spread = figure.source.brackets.partition(" (")
    if figure.brackets is None or not spread:
        return what
    return f"{what}, {spread.removesuffix(')')} {figure.brackets / 1000:.3f}"
