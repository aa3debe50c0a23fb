"""Score the beats of a corpus by baselines and by checkpoints, and compare them patient by patient.

    python training/score_beats.py --corpus DIR [--splits de_chazal patients published/0] [--model A B ...]

DIR is made by  prepare.py mitdb_beats.  The split `published/N` has the same patients in training and in test: nothing
can be concluded from it alone. Without --model only the baselines are scored; a model must have been trained on the
split (pretrain.py --split). Intervals and differences are over patients.

    python training/score_beats.py --corpus DIR --model RUN --card NAME --as_used DIR

writes what publish.py makes the card NAME from: results.json, run.json and pictures in hub_cards/NAME. --as_used names
the official tree of the recordings, which the pipeline then scores as a user would: with detected beats.
"""

from ecg_transformers.commands.beat_options import BeatScoringArguments
from ecg_transformers.commands.entry import arguments_of, run_script
from ecg_transformers.commands.help import command_help, wants_help
from ecg_transformers.commands.options import option_types


def print_line(line: str) -> None:
    print(line, flush=True)


def main(argv: list[str] | None = None) -> list[dict[str, object]]:
    argv = arguments_of(argv)
    if wants_help(argv):
        print(command_help(str(__doc__), BeatScoringArguments))
        return []
    # Here, so that help is there at once.
    from ecg_transformers.commands.score_beats import BeatScoring, read_beat_arguments

    return BeatScoring(read_beat_arguments(argv), print_line=print_line).run()


if __name__ == "__main__":
    run_script(
        main, "score_beats.py", interrupted="run the same command again.", options=option_types(BeatScoringArguments)
    )
