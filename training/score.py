"""Evaluate checkpoints on a prepared corpus, each by its own feature extractor, and compare them.

    python training/score.py --model A [B ...] --corpus DIR --labels SET --folds 9 [--mode linear_probe] [--card NAME]

An encoder is probed (--mode linear_probe by default), and so is the same encoder with random weights. A classifier for
these labels is scored as it was saved when no --mode is given. --card adds the entries of the first checkpoint.
"""

from typing import TYPE_CHECKING

from ecg_transformers.commands.downstream import ScoreArguments, read_arguments
from ecg_transformers.commands.entry import arguments_of, run_script
from ecg_transformers.commands.help import command_help, wants_help
from ecg_transformers.commands.options import option_types
from ecg_transformers.errors import ArgumentsError
from ecg_transformers.evaluation.settings import TRAINING_DEFAULTS

if TYPE_CHECKING:
    from ecg_transformers.corpora.prepared import Corpus


def print_line(line: str) -> None:
    print(line, flush=True)


def main(argv: list[str] | None = None) -> list[dict[str, object]]:
    argv = arguments_of(argv)
    if wants_help(argv):
        print(command_help(str(__doc__), ScoreArguments, trainer=TRAINING_DEFAULTS))
        return []
    # Here, so that help is there at once.
    from ecg_transformers.commands.label_efficiency import label_efficiency
    from ecg_transformers.commands.score import Scoring

    def evaluate(arguments: ScoreArguments, corpus: "Corpus | None" = None) -> list[dict[str, object]]:
        return Scoring(arguments, print_line=print_line, corpus=corpus).run()

    arguments = read_arguments(argv, ScoreArguments)
    if arguments.report.label_efficiency is None:
        return evaluate(arguments)
    if arguments.mode is None:
        raise ArgumentsError("label_efficiency needs a mode that is trained on labels: --mode linear_probe, ...")
    return label_efficiency(arguments, evaluate, print_line=print_line)


if __name__ == "__main__":
    run_script(main, "score.py", interrupted="run the same command again.", options=option_types(ScoreArguments))
