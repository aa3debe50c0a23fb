"""Pretrain a self-supervised ECG model on a prepared corpus.

    accelerate launch training/pretrain.py CONFIG.yaml --corpus DIR --output_dir DIR [--model CHECKPOINT]
        [--data_fraction F] [--max_steps N] [--max_seconds S] [--resume] [--any_other_setting VALUE]

CONFIG is a flat YAML file. Its names, and those on the command line, which win, are the options below and the fields of
the architecture and its signal, which  pretrain.py CONFIG.yaml --help  lists.
"""

import sys
import time
from typing import TYPE_CHECKING

from ecg_transformers.commands.entry import arguments_of, run_script
from ecg_transformers.commands.help import command_help, wants_help
from ecg_transformers.commands.memory import keep_freed_memory
from ecg_transformers.commands.pretraining_options import PretrainingArguments

if TYPE_CHECKING:
    from ecg_transformers.commands.pretrain import PretrainingRun


def main(argv: list[str] | None = None) -> "PretrainingRun | None":
    argv = arguments_of(argv)
    if wants_help(argv):
        print(command_help(str(__doc__), PretrainingArguments, argv, trainer={}))
        return None
    started = time.monotonic()
    # Here, so that help is there at once.
    from transformers import set_seed
    from transformers.utils import logging

    from ecg_transformers.commands.pretrain import PretrainingRun
    from ecg_transformers.commands.settings import read_settings

    settings = read_settings(argv)
    if not settings.training.should_log:
        logging.set_verbosity_error()
    set_seed(settings.training.seed)
    run = PretrainingRun(settings, started=started)
    if run.trainer.is_world_process_zero():
        print(run.introduction(), flush=True)
    run.train()
    if run.trainer.is_world_process_zero():
        print(run.summary())
    return run


def option_names() -> set[str]:
    """Names of the options, those of the architecture included."""
    from ecg_transformers.commands.settings import setting_names

    return setting_names(sys.argv[1:])


if __name__ == "__main__":
    keep_freed_memory()
    run_script(
        main,
        "pretrain.py",
        interrupted="add --resume to continue from the last checkpoint.",
        options=option_names,
    )
