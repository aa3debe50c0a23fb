"""Evaluate checkpoints on a prepared corpus, each through its own feature extractor, and compare them.

    python training/score.py --model A [B ...] --corpus DIR --labels SET --folds 9 [--mode linear_probe] [--card NAME]

An encoder is probed (--mode linear_probe by default, attentive_probe, fine_tune, from_scratch), its randomly
initialised twin beside it. A classifier for these labels is scored as it is when no --mode is given. --card
adds the entries of the first checkpoint to hub_cards/NAME/results.json.
"""

import sys

from transformers import HfArgumentParser

from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.arguments import ScoreArguments, read_arguments
from ecg_transformers.evaluation.scoring import Scoring


def main(words: list[str] | None = None) -> list[dict[str, object]]:
    words = sys.argv[1:] if words is None else words
    if not words or "--help" in words or "-h" in words:
        print(__doc__)
        HfArgumentParser(ScoreArguments, prog="score.py", add_help=False).print_help()
        return []
    arguments, training = read_arguments(words, ScoreArguments)
    return Scoring(arguments, training, say=lambda line: print(line, flush=True)).run()


if __name__ == "__main__":
    try:
        main()
    except EcgError as error:
        sys.exit(f"score.py: {type(error).__name__}: {error}")
