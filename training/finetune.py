"""Fine-tune a checkpoint, or probe it, on a prepared corpus or on your own table of labels.

    accelerate launch training/finetune.py --model CHECKPOINT --corpus DIR --labels SET --output_dir DIR
        [--mode linear_probe|attentive_probe|fine_tune|from_scratch] [--train_fraction F] [--no_baseline] ...
    accelerate launch training/finetune.py RECIPE.yaml --corpus DIR --labels SET --output_dir DIR
    accelerate launch training/finetune.py --model CHECKPOINT --table labels.csv --root DIR --output_dir DIR

A recipe (training/configs/xresnet1d50_ptbxl.yaml) trains an architecture from random weights; a YAML file without
model_type holds settings for a checkpoint.  finetune.py CONFIG.yaml --help  lists the fields of the architecture too.

The table has the columns record[, patient, fold, age, sex] and then labels: one column of names, columns of 0 and 1, or
numbers. The output is a folder that AutoModelForSequenceClassification opens, with results.json, labels.csv and the
predictions, and the baseline from random weights in baseline/.
"""

from typing import TYPE_CHECKING

from ecg_transformers.commands.downstream import FineTuneArguments, read_arguments
from ecg_transformers.commands.entry import arguments_of, run_script
from ecg_transformers.commands.help import command_help, wants_help
from ecg_transformers.commands.memory import keep_freed_memory
from ecg_transformers.commands.options import option_types
from ecg_transformers.evaluation.settings import TRAINING_DEFAULTS

if TYPE_CHECKING:
    from ecg_transformers.corpora.prepared import Corpus


def main(argv: list[str] | None = None) -> list[dict[str, object]]:
    argv = arguments_of(argv)
    if wants_help(argv):
        print(command_help(str(__doc__), FineTuneArguments, argv, trainer=TRAINING_DEFAULTS))
        return []
    # Here, so that help is there at once.
    from transformers.utils import logging

    from ecg_transformers.commands.finetune import DownstreamRun, is_main_process
    from ecg_transformers.commands.label_efficiency import label_efficiency
    from ecg_transformers.evaluation.results.store import add_to_card

    def print_line(line: str) -> None:
        if is_main_process():
            print(line, flush=True)

    def evaluate(arguments: FineTuneArguments, corpus: "Corpus | None" = None) -> list[dict[str, object]]:
        entries = DownstreamRun(arguments, print_line=print_line, corpus=corpus).run()
        print_line(f"-> {arguments.output_dir}")
        return entries

    arguments = read_arguments(argv, FineTuneArguments)
    if not is_main_process():
        logging.set_verbosity_error()
    curve, card = arguments.report.label_efficiency is not None, arguments.report.card
    entries = label_efficiency(arguments, evaluate, print_line=print_line) if curve else evaluate(arguments)
    if card is not None and entries and is_main_process():
        named = [entry | {"checkpoint": card} for entry in entries]
        print_line(f"-> {add_to_card(card, named, run=None if curve else arguments.output_dir)}")
    return entries


if __name__ == "__main__":
    keep_freed_memory()
    run_script(
        main,
        "finetune.py",
        interrupted="add --resume to continue from the last checkpoint.",
        options=option_types(FineTuneArguments),
    )
