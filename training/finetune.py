"""Fine-tune a checkpoint, or probe it, on a prepared corpus or on your own table of labels.

    accelerate launch training/finetune.py --model CHECKPOINT --corpus DIR --labels SET --output_dir DIR
        [--mode linear_probe|attentive_probe|fine_tune|from_scratch] [--train_fraction F] [--no_baseline] ...
    accelerate launch training/finetune.py RECIPE.yaml --corpus DIR --labels SET --output_dir DIR
    accelerate launch training/finetune.py --model CHECKPOINT --table labels.csv --root DIR --output_dir DIR

A recipe (training/configs/xresnet1d50_ptbxl.yaml) trains an architecture from new weights. A YAML file without
model_type holds settings for a checkpoint. --label_efficiency 1,2,4,8 repeats it all with the first n training folds.

The table has the columns record[, patient, fold, age, sex] and then labels: one column of names, columns of 0 and 1, or
numbers. The output is a folder that AutoModelForSequenceClassification opens, with results.json, labels.csv and the
predictions beside it, and the same from random weights in baseline/. Every field of TrainingArguments is an option too
(--num_train_epochs, --learning_rate, --per_device_train_batch_size, --bf16 ...).
"""

import sys
from pathlib import Path

from transformers import HfArgumentParser
from transformers.utils import logging

from ecg_transformers.commands.finetune import DownstreamRun, is_main_process
from ecg_transformers.commands.label_efficiency import label_efficiency
from ecg_transformers.commands.options import FineTuneArguments, read_arguments
from ecg_transformers.errors import ArgumentsError, EcgError
from ecg_transformers.evaluation.results.store import add_to_card


def say(line: str) -> None:
    if is_main_process():
        print(line, flush=True)


def main(words: list[str] | None = None) -> list[dict[str, object]]:
    words = sys.argv[1:] if words is None else words
    if not words or "--help" in words or "-h" in words:
        print(__doc__)
        HfArgumentParser(FineTuneArguments, prog="finetune.py", add_help=False).print_help()
        return []
    arguments, training = read_arguments(words, FineTuneArguments)
    if not is_main_process():
        logging.set_verbosity_error()

    def evaluate(arguments: FineTuneArguments, folder: Path) -> list[dict[str, object]]:
        run = DownstreamRun(arguments, training | {"output_dir": str(folder)}, say=say)
        say(run.introduction())
        entries = run.run()
        say(f"-> {run.folder}")
        return entries

    if not training.get("output_dir"):
        raise ArgumentsError("--output_dir DIR must be given.")
    folder = Path(training["output_dir"])
    curve = arguments.label_efficiency is not None
    entries = label_efficiency(arguments, folder, evaluate, say=say) if curve else evaluate(arguments, folder)
    if arguments.card is not None and entries and is_main_process():
        named = [entry | {"checkpoint": arguments.card} for entry in entries]
        say(f"-> {add_to_card(arguments.card, named, run=None if curve else folder)}")
    return entries


if __name__ == "__main__":
    try:
        main()
    except EcgError as error:
        sys.exit(f"finetune.py: {type(error).__name__}: {error}")
