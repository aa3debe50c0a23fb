"""Label efficiency: the same evaluation with ever more training folds (ecg-selfsupervised, specification section 9).

The first n training folds train, for each n asked for. The sets are nested, and no patient is in two folds of PTB-XL,
so they grow by whole patients. What is reported stays the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..corpora.prepared import load_corpus
from ..corpora.protocol import default_folds
from ..errors import ArgumentsError
from ..evaluation.results.entries import noise_level, num_train_folds
from ..evaluation.results.store import format_table, merge_results
from .finetune import is_main_process
from .options import DownstreamArguments

__all__ = ["first_folds", "label_efficiency"]

Arguments = TypeVar("Arguments", bound=DownstreamArguments)


def first_folds(train_folds: Sequence[int], numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """The first n of the training folds, for each n, from few to many.

    Args:
        train_folds: All of them, in order.
        numbers: How many.

    Raises:
        ArgumentsError: There are not so many folds.

    Example:
        >>> first_folds(range(1, 9), [4, 1])
        [(1,), (1, 2, 3, 4)]
    """
    if not numbers or min(numbers) < 1 or max(numbers) > len(train_folds):
        raise ArgumentsError(
            f"label_efficiency is {list(numbers)}; expected numbers from 1 to {len(train_folds)}, the number of "
            "training folds."
        )
    return [tuple(train_folds[:number]) for number in sorted(set(numbers))]


def label_efficiency(
    arguments: Arguments,
    folder: str | Path,
    evaluate: Callable[[Arguments, Path], list[dict[str, Any]]],
    *,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Evaluate with ever more training folds, each in a folder of its own.

    `training/benchmark.py` does the same for several systems, and leaves out what is done.

    Args:
        arguments: The settings; `label_efficiency` says how many folds.
        folder: Where the folders, `results.json` with all entries and `label_efficiency.png` go.
        evaluate: Does one evaluation with these settings into this folder and returns its entries.
        say: Called with each line for the screen.

    Returns:
        All entries, from few folds to many.

    Raises:
        ArgumentsError: A table of labels instead of a corpus, nothing that trains, or too many folds.
    """
    folder = Path(folder)
    if arguments.corpus is None:
        raise ArgumentsError("label_efficiency counts folds of a corpus; a table of labels has train_fraction instead.")
    train_folds = arguments.train_folds or default_folds(load_corpus(arguments.corpus))[0]
    entries: list[dict[str, Any]] = []
    for folds in first_folds(train_folds, arguments.label_efficiency or ()):
        say(f"folds {', '.join(map(str, folds))}:")
        settings = replace(arguments, train_folds=list(folds), label_efficiency=None)
        entries += evaluate(settings, folder / f"first_{len(folds)}_folds")
    if is_main_process():
        from ..viz.label_efficiency import plot_label_efficiency

        merge_results(folder / "results.json", entries)
        say(_table(entries))
        if len({num_train_folds(entry) for entry in entries}) > 1:
            figure = folder / "label_efficiency.png"
            plot_label_efficiency(entries).savefig(figure, dpi=150)
            say(f"-> {figure}")
    return entries


def _table(entries: Sequence[dict[str, Any]]) -> str:
    rows = [
        {
            "training folds": len(entry["train_folds"]),
            "records": f"{entry['train_records']:,}",
            "system": f"{entry['checkpoint']}, {entry['mode'].replace('_', ' ')}, {entry['initialisation']}",
            "macro AUROC": f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]",
        }
        for entry in entries
        if entry["min_positives"] == 1 and not noise_level(entry)
    ]
    return format_table(rows)
