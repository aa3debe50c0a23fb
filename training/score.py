"""Evaluate checkpoints on a prepared corpus, each through its own feature extractor, and compare them.

    python training/score.py --model A [B ...] --corpus DIR --labels SET --folds 9 [--mode linear_probe] [--card NAME]

An encoder is probed (--mode linear_probe by default, attentive_probe, fine_tune, from_scratch), its randomly
initialized twin beside it. A classifier for these labels is scored as it is when no --mode is given. --card
adds the entries of the first checkpoint to hub_cards/NAME/results.json. --label_efficiency 1,2,4,8 repeats it all with
the first n training folds.
"""

import sys
from dataclasses import replace
from pathlib import Path

from transformers import HfArgumentParser

from ecg_transformers.commands.label_efficiency import label_efficiency
from ecg_transformers.commands.options import ScoreArguments, read_arguments
from ecg_transformers.commands.score import Scoring
from ecg_transformers.errors import ArgumentsError, EcgError


def say(line: str) -> None:
    print(line, flush=True)


def main(words: list[str] | None = None) -> list[dict[str, object]]:
    words = sys.argv[1:] if words is None else words
    if not words or "--help" in words or "-h" in words:
        print(__doc__)
        HfArgumentParser(ScoreArguments, prog="score.py", add_help=False).print_help()
        return []
    arguments, training = read_arguments(words, ScoreArguments)

    def evaluate(arguments: ScoreArguments, folder: Path) -> list[dict[str, object]]:
        return Scoring(replace(arguments, output_dir=str(folder)), training, say=say).run()

    if arguments.label_efficiency is None:
        return evaluate(arguments, Path(arguments.output_dir))
    if arguments.mode is None:
        raise ArgumentsError("label_efficiency trains with ever more folds; name what learns: --mode linear_probe, ...")
    return label_efficiency(arguments, arguments.output_dir, evaluate, say=say)


if __name__ == "__main__":
    try:
        main()
    except EcgError as error:
        sys.exit(f"score.py: {type(error).__name__}: {error}")
