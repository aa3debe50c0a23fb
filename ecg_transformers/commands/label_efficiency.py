"""Label efficiency: the same evaluation with more and more training folds (Mehari and Strodthoff 2022).

The first n training folds are trained on, for each n asked for. The sets are nested, and no patient is in two folds of
PTB-XL, so they grow by whole patients. The reported records stay the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..corpora.prepared import load_corpus
from ..corpora.protocol import default_folds
from ..errors import ArgumentsError
from ..evaluation.results.entries import metric_title, mode_title, noise_level, num_train_folds
from ..evaluation.results.report import format_interval
from ..evaluation.results.store import format_table, merge_results
from .downstream import DownstreamArguments
from .finetune import is_main_process

__all__ = ["first_folds", "label_efficiency"]

Arguments = TypeVar("Arguments", bound=DownstreamArguments)


def first_folds(train_folds: Sequence[int], numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """The first n of the training folds, for each n, from few to many.

    Args:
        train_folds: All training folds, in order.
        numbers: Numbers of folds.

    Raises:
        ArgumentsError: A number below 1 or above that of the folds.

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
    evaluate: Callable[[Arguments], list[dict[str, Any]]],
    *,
    print_line: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Evaluate with more and more training folds, each in a folder of its own.

    `training/benchmark.py` does the same for several systems, and leaves out what is done.

    Args:
        arguments: The settings; `report.label_efficiency` holds the numbers of folds. The output folder gets the
            folders, `results.json` with all entries and `label_efficiency.png`.
        evaluate: Does one evaluation with these settings and returns its entries.
        print_line: Called with each line for the screen.

    Returns:
        All entries, from few folds to many.

    Raises:
        ArgumentsError: A table of labels instead of a corpus, nothing that trains, or too many folds.
    """
    folder = Path(arguments.output_dir)
    if arguments.corpus is None:
        raise ArgumentsError("label_efficiency counts folds of a corpus; a table of labels has train_fraction instead.")
    train_folds = arguments.protocol.train_folds or default_folds(load_corpus(arguments.corpus))[0]
    entries: list[dict[str, Any]] = []
    for folds in first_folds(train_folds, arguments.report.label_efficiency or ()):
        print_line(f"folds {', '.join(map(str, folds))}:")
        changed = replace(
            arguments,
            protocol=replace(arguments.protocol, train_folds=list(folds)),
            output_dir=str(folder / f"first_{len(folds)}_folds"),
        )
        entries += evaluate(changed)
    if is_main_process():
        from ..viz.label_efficiency import plot_label_efficiency

        merge_results(folder / "results.json", entries)
        print_line(_table(entries))
        if len({num_train_folds(entry) for entry in entries}) > 1:
            figure = folder / "label_efficiency.png"
            plot_label_efficiency(entries).savefig(figure, dpi=150)
            print_line(f"-> {figure}")
    return entries


def _table(entries: Sequence[dict[str, Any]]) -> str:
    shown = [entry for entry in entries if entry["min_positives"] == 1 and not noise_level(entry)]
    rows = [
        {
            "training folds": len(entry["train_folds"]),
            "records": f"{entry['train_records']:,}",
            "system": f"{entry['checkpoint']}, {mode_title(entry['mode'])}, {entry['initialisation']}",
            metric_title(entry["metric"]): format_interval(entry),
        }
        for entry in shown
    ]
    if any("difference" in entry for entry in shown):
        for row, entry in zip(rows, shown, strict=True):
            difference = entry.get("difference")
            row["difference"] = format_interval(difference, sign="+") if difference else ""
    return format_table(rows)
