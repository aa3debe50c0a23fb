"""Every cure that a message names is an argument of the call, and an option of the command, in which it is shown."""

import ast
import re
from dataclasses import fields
from inspect import signature

import numpy as np
import pytest

from ecg_transformers import read_record
from ecg_transformers.cli import build_parser
from ecg_transformers.commands.downstream import FineTuneArguments
from ecg_transformers.commands.entry import script_text
from ecg_transformers.commands.options import option_types
from ecg_transformers.commands.own_table import corpus_of_table
from ecg_transformers.commands.recordings import FileSettings, RecordingSettings
from ecg_transformers.errors import CorpusError
from ecg_transformers.features.contract import FIELD_NAMES, POLICIES
from ecg_transformers.features.extractor import CALL_NAMES, EcgFeatureExtractor
from ecg_transformers.pipelines.records import READING
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.synthesis import synthesize_record

from ..conftest import ROOT, script

PACKAGE = ROOT / "ecg_transformers"
ARGUMENT = re.compile(r"\b([a-z_]{2,})=(?!=)")
# What is named beside cures: facts of a call, and what only Python has.
FACTS = {"folds", "source", "sep", "auto_scale", "reference", "window_mode", "normalization", "bandpass", "zero_phase"}
PYTHON_ONLY = {"peaks", "lead", "window", "method", "detector", "reference_beat"}


def template(node):
    """The text of a message, `{}` where it is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def messages(*parts):
    """The texts with a cure in errors, notes and warnings of some parts of the package, and where they are."""
    for part in parts:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
            inside |= {
                id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and ast.get_docstring(n)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inside:
                    if ARGUMENT.search(text := template(node)):
                        yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text


def command_options(name):
    subcommands = next(action for action in build_parser()._actions if action.dest == "command").choices
    return {action.dest for action in subcommands[name]._actions}


COMMANDS = {
    "prepare.py folder": script("prepare").option_names("folder"),
    "finetune.py": set(option_types(FineTuneArguments)),
    **{f"ecg-transformers {name}": command_options(name) for name in ("classify", "embed", "inspect")},
}


def test_options_for_files_and_unusual_recordings_are_the_arguments_of_the_package():
    of_files = set(signature(read_record).parameters) - {"path", "treat_as"}
    assert {field.name for field in fields(FileSettings)} == {f"read_{name}" for name in of_files}
    assert {field.name for field in fields(RecordingSettings)} == set(POLICIES)
    assert set(READING) == {*of_files, "treat_as"}
    for command, options in COMMANDS.items():
        for name in (*of_files, *POLICIES):
            assert options & {name, f"read_{name}"}, (command, name)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_cure_on_a_screen_is_an_option_of_the_command(command):
    """What has no option is left out of the message, or is no cure."""
    seen = 0
    for where, text in messages("signals", "features", "corpora", "pipelines", "inference"):
        left = set(ARGUMENT.findall(script_text(text, COMMANDS[command]))) - FACTS - PYTHON_ONLY
        if "label_table" in where and "task" not in COMMANDS[command]:
            left -= {"task"}
        assert not left, f"{where} names {left}, which {command} does not have: {text}"
        seen += 1
    assert seen > 80


@pytest.mark.parametrize("command", ["plot", "convert"])
def test_every_cure_for_a_file_is_an_option_where_it_is_only_read(command):
    for where, text in messages("signals/formats", "signals/wfdb", "signals"):
        left = set(ARGUMENT.findall(script_text(text, command_options(command)))) - FACTS - PYTHON_ONLY
        assert left <= {"nan_policy"}, f"{where} names {left}, which {command} does not have: {text}"


@pytest.mark.parametrize(
    ("part", "arguments"),
    [
        ("signals/formats", {*signature(read_record).parameters}),
        ("signals/wfdb", {*signature(read_record).parameters}),
        ("features", {*CALL_NAMES, *FIELD_NAMES}),
    ],
)
def test_every_cure_in_python_is_an_argument_of_the_call(part, arguments):
    for where, text in messages(part):
        left = set(ARGUMENT.findall(text)) - FACTS - arguments
        assert not left, f"{where} names {left}, which no call takes: {text}"


def test_advice_without_an_option_is_left_out():
    options = {"read_gain", "treat_as", "bandpass"}
    said = "x holds 5 bytes. Set gain=5 or sampling_rate=... now. Pass peaks=detect_r_peaks(record)."
    assert script_text(said, options) == "x holds 5 bytes. Set --read_gain 5 or sampling_rate=... now."
    assert script_text(said, ()) == said
    assert script_text("Set bandpass=[0.5, 40].", options) == "Set --bandpass [0.5, 40]."
    assert script_text("a=1/x.csv: bad. Set treat_as={'ECG': 'I'}.", options) == "a=1/x.csv: bad. Set --treat_as ECG=I."


def test_a_rule_for_amplitudes_holds_where_the_records_of_a_table_are_stored(tmp_path):
    signal = 40 * synthesize_record(duration=4, sampling_rate=100).signal
    for name in ("a", "b"):
        np.savetxt(tmp_path / f"{name}.csv", signal.T, delimiter=",", header=",".join(STANDARD_LEADS), comments="")
    (tmp_path / "labels.csv").write_text("record,fold,dx\na,1,A\nb,2,B\n")
    extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200)
    options = {"read_options": {"sampling_rate": 100, "units": "mV"}, "progress": False}
    with pytest.raises(CorpusError, match="implausible_amplitude='accept'"):
        corpus_of_table(tmp_path / "labels.csv", tmp_path, tmp_path / "out", extractor, **options)
    accepting = extractor.with_policies(implausible_amplitude="accept")
    assert len(corpus_of_table(tmp_path / "labels.csv", tmp_path, tmp_path / "out", accepting, **options)) == 2
