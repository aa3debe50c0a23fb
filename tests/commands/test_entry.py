"""How a script ends: one line for an error, how to continue after an interruption, exit codes."""

import subprocess
import sys

import pytest

from ecg_transformers.commands.entry import run_script
from ecg_transformers.errors import ArgumentsError, CheckpointError
from ecg_transformers.trainer.arguments import EcgTrainingArguments


def failing(error):
    def main():
        raise error

    return main


def ended(main, capsys):
    """The exit code and what was said."""
    with pytest.raises(SystemExit) as end:
        run_script(main, "train.py", interrupted="add --resume to continue.")
    code = end.value.code
    return (1, code) if isinstance(code, str) else (code, capsys.readouterr().err)


def test_errors_are_one_line_and_interruptions_say_how_to_continue(capsys):
    assert ended(failing(CheckpointError("no config.json")), capsys) == (1, "train.py: CheckpointError: no config.json")
    assert ended(failing(ModuleNotFoundError("needs h5py")), capsys) == (1, "train.py: ModuleNotFoundError: needs h5py")
    code, words = ended(failing(KeyboardInterrupt()), capsys)
    assert code == 130
    assert words.strip() == "train.py: interrupted; add --resume to continue."
    assert ended(lambda: 1, capsys)[0] == 1
    assert ended(lambda: [{"value": 0.9}], capsys)[0] == 0
    with pytest.raises(ZeroDivisionError):
        run_script(failing(ZeroDivisionError()), "train.py", interrupted="")


def test_a_logger_that_is_not_installed_is_named_before_anything_is_loaded(tmp_path, monkeypatch):
    from ecg_transformers.trainer import arguments

    monkeypatch.setattr(arguments, "get_available_reporting_integrations", lambda: ["tensorboard"])
    with pytest.raises(ArgumentsError, match=r"report_to is wandb.*pip install wandb.*--report_to none"):
        EcgTrainingArguments(output_dir=str(tmp_path), report_to="wandb", use_cpu=True)
    assert EcgTrainingArguments(output_dir=str(tmp_path), report_to="tensorboard", use_cpu=True).report_to
    assert EcgTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True).report_to == []


def test_a_run_of_no_steps_is_refused(tmp_path):
    for nothing in ({"max_steps": 0}, {"num_train_epochs": 0}, {"max_steps": -1, "num_train_epochs": -2.0}):
        with pytest.raises(ArgumentsError, match=r"max_steps is .* and num_train_epochs .*: nothing would be trained"):
            EcgTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **nothing)
    assert EcgTrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=1, num_train_epochs=0).max_steps == 1


def test_a_reader_that_stops_reading_ends_the_script_quietly():
    start = "from ecg_transformers.commands.entry import run_script; "
    code = start + "run_script(lambda: print('x' * 10**6), 'train.py', interrupted='')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(10) == b"x" * 10
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
