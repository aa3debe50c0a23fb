"""Label efficiency: the same evaluation with more and more training records (Mehari and Strodthoff 2022).

A whole number n means the first n training folds, a number below 1 for a share of the records of all training
folds. Both are nested: no patient is in two folds of PTB-XL, and a share is of whole patients, another draw for each
seed. The reported records stay the same; labels without a positive among the training records are left out and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..corpora.prepared import Corpus
from ..corpora.protocol import chosen_folds
from ..errors import ArgumentsError
from ..evaluation.results.entries import metric_title, mode_title, noise_level, train_amount
from ..evaluation.results.report import format_interval
from ..evaluation.results.store import format_table, merge_results
from ..files import replace_file
from .downstream import DownstreamArguments
from .finetune import is_main_process
from .open_corpus import corpus_with_folds, open_corpus

__all__ = ["TrainingAmount", "label_efficiency", "refuse_second_share", "training_amounts"]

Arguments = TypeVar("Arguments", bound=DownstreamArguments)


class TrainingAmount(NamedTuple):
    """What is trained on.

    Args:
        folds: Numbers of the training folds.
        fraction: Share of their records.
    """

    folds: tuple[int, ...]
    fraction: float = 1.0

    @property
    def size(self) -> float:
        """How many folds the records would fill."""
        return len(self.folds) * self.fraction

    def __str__(self) -> str:
        folds = self.folds
        whole = len(folds) > 1 and folds == tuple(range(folds[0], folds[-1] + 1))
        text = f"{folds[0]}-{folds[-1]}" if whole else ",".join(map(str, folds))
        return text if self.fraction == 1.0 else f"{self.fraction:g} of {text}"


def training_amounts(train_folds: Sequence[int], numbers: Sequence[float]) -> list[TrainingAmount]:
    """The first n of the training folds, or a share of all, for each number; from few records to many.

    Args:
        train_folds: All training folds, in order.
        numbers: Whole numbers of folds, or shares below 1.

    Raises:
        ArgumentsError: A number that is neither.

    Example:
        >>> [str(amount) for amount in training_amounts(range(1, 9), [4, 0.0115, 1])]
        ['0.0115 of 1-8', '1', '1-4']
    """
    most = len(train_folds)
    if not numbers or not all(0 < number < 1 or (number in range(1, most + 1)) for number in numbers):
        raise ArgumentsError(
            f"label_efficiency is {list(numbers)}; expected whole numbers from 1 to {most}, the number of training "
            "folds, or shares of their records between 0 and 1."
        )
    shares = sorted({number for number in numbers if number < 1})
    whole = sorted({int(number) for number in numbers if number >= 1})
    return [TrainingAmount(tuple(train_folds), share) for share in shares] + [
        TrainingAmount(tuple(train_folds[:number])) for number in whole
    ]


def label_efficiency(
    arguments: Arguments,
    evaluate: Callable[[Arguments, Corpus], list[dict[str, Any]]],
    *,
    print_line: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Evaluate with more and more training records, each amount in a folder of its own.

    `training/benchmark.py` does the same for several systems, and leaves out what is done.

    Args:
        arguments: The settings; `report.label_efficiency` holds the numbers. The output folder gets the
            folders, `results.json` with all entries and `label_efficiency.png`.
        evaluate: Does one evaluation with these settings on this corpus and returns its entries.
        print_line: Called with each line for the screen.

    Returns:
        All entries, from few records to many.

    Raises:
        ArgumentsError: A table of labels instead of a corpus, a share as well as `train_fraction`, or too many folds.
    """
    folder = Path(arguments.output_dir)
    if arguments.corpus is None:
        raise ArgumentsError("label_efficiency counts folds of a corpus; a table of labels has train_fraction instead.")
    protocol = arguments.protocol
    named = [*(protocol.train_folds or ()), *(protocol.evaluate_folds or ())]
    corpus = corpus_with_folds(open_corpus(arguments, print_line), named, folder, print_line)
    train_folds, _ = chosen_folds(corpus, protocol.train_folds, protocol.evaluate_folds)
    entries: list[dict[str, Any]] = []
    for amount in training_amounts(train_folds, arguments.report.label_efficiency or ()):
        print_line(f"folds {amount}:")
        protocol = replace(arguments.protocol, train_folds=list(amount.folds))
        name = f"first_{len(amount.folds)}_folds"
        if amount.fraction < 1:
            refuse_second_share(protocol.train_fraction)
            protocol, name = replace(protocol, train_fraction=amount.fraction), f"share_{amount.fraction:g}"
        changed = replace(arguments, protocol=protocol, output_dir=str(folder / name))
        entries += evaluate(changed, corpus)
    if is_main_process():
        from ..viz.label_efficiency import plot_label_efficiency

        merge_results(folder / "results.json", entries)
        print_line(_table(entries))
        if len({train_amount(entry) for entry in entries}) > 1:
            figure = folder / "label_efficiency.png"
            with replace_file(figure) as temporary:
                plot_label_efficiency(entries).savefig(temporary, dpi=150)
            print_line(f"-> {figure}")
    return entries


def refuse_second_share(train_fraction: float) -> None:
    """Refuse a share of the records in `label_efficiency` in addition to another one.

    Args:
        train_fraction: The share that is set otherwise.

    Raises:
        ArgumentsError: It is below 1.
    """
    if train_fraction != 1.0:
        raise ArgumentsError(
            f"train_fraction is {train_fraction}, and label_efficiency has a share too; expected one. Leave "
            "train_fraction out."
        )


def _table(entries: Sequence[dict[str, Any]]) -> str:
    shown = [entry for entry in entries if entry["min_positives"] == 1 and not noise_level(entry)]
    rows = [
        {
            "training folds": str(TrainingAmount(tuple(entry["train_folds"]), entry["train_fraction"])),
            "records": f"{entry['train_records']:,}",
            "system": f"{entry['checkpoint']}, {mode_title(entry['mode'])}, {entry['initialization']}",
            metric_title(entry["metric"]): format_interval(entry),
        }
        for entry in shown
    ]
    if any("difference" in entry for entry in shown):
        for row, entry in zip(rows, shown, strict=True):
            difference = entry.get("difference")
            row["difference"] = format_interval(difference, sign="+") if difference else ""
    return format_table(rows)
