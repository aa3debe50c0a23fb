from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from ecg_transformers.commands.command_line import (
    convert,
    field_types,
    parse_command_line,
    read_yaml,
    with_negations,
)
from ecg_transformers.commands.recordings import script_text
from ecg_transformers.errors import ArgumentsError, check_names
from ecg_transformers.trainer.arguments import EcgTrainingArguments


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        ("1e-3", float, 1e-3),
        (1, float, 1.0),
        ("5", int, 5),
        ("1e3", int, 1000),
        (True, bool, True),
        ("false", bool, False),
        ("no", bool, False),
        (False, str, "no"),
        (9, str, "9"),
        ("1-3,7", list[int], [1, 2, 3, 7]),
        (["1-2", "9"], list[int], [1, 2, 9]),
        (9, list[int], [9]),
        ("[0.1, 0.2]", list[float], [0.1, 0.2]),
        ("a,b", list[str], ["a", "b"]),
        ('{"x": 1}', dict[str, Any], {"x": 1}),
        ("none", float | None, None),
        (None, list[int] | None, None),
        ("0.5", float | int, 0.5),
        (3, float | int, 3),
        ("auto", Literal["auto"] | bool, "auto"),
        ("true", Literal["auto"] | bool, True),
        ("linear", Literal["linear", "convolution"], "linear"),
    ],
)
def test_values_are_converted_to_the_type_of_their_field(value, kind, result):
    made = convert("name", value, kind)
    assert made == result
    assert type(made) is type(result)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("fast", float),
        (True, float),
        ("1.5", int),
        (True, int),
        ("maybe", bool),
        (None, int),
        ("three", Literal["one", "two"]),
        ("x", dict[str, Any]),
        ("1,b", list[int]),
    ],
)
def test_a_value_that_does_not_fit_is_named(value, kind):
    with pytest.raises(ArgumentsError, match=r"^width is"):
        convert("width", value, kind)


def test_a_folder_with_commas_in_its_name_is_one(tmp_path):
    (tmp_path / "SimCLR,-1e-2").mkdir()
    assert convert("model", f"{tmp_path}/SimCLR,-1e-2", list[str]) == [f"{tmp_path}/SimCLR,-1e-2"]


def test_command_line_is_split_into_words_and_options():
    words, options = parse_command_line(
        ["a.yaml", "--max_steps", "5", "--resume", "--train-folds", "1", "2", "--seed=3", "--learning_rate", "-1"]
    )
    assert words == ["a.yaml"]
    assert options == {"max_steps": "5", "resume": True, "train_folds": ["1", "2"], "seed": "3", "learning_rate": "-1"}


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ArgumentsError, match=r"run\.yaml has 'learning_rat'.*learning_rate"):
        check_names(["learning_rat"], ["learning_rate", "seed"], where="run.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1", "1: 2\n"])
def test_a_yaml_that_is_no_flat_mapping_is_refused(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentsError, match=r"run\.yaml"):
        read_yaml(path)
    with pytest.raises(ArgumentsError, match="does not exist"):
        read_yaml(Path("nowhere.yaml"))


def test_every_field_of_the_training_arguments_has_a_type():
    types = field_types(EcgTrainingArguments)
    assert types["learning_rate"] is float
    assert types["no_decay"] == list[str]
    # YAML reads a bare `no` as False.
    assert convert("eval_strategy", False, types["eval_strategy"]) == "no"
    assert convert("save_steps", "500", types["save_steps"]) == 500


def test_a_switch_may_be_negated():
    kinds = {"head_first": bool, "balanced": bool | None, "no_baseline": bool, "seed": int}
    given = {"no_head_first": True, "no_balanced": True, "no_baseline": True, "no_seed": True, "no_such": True}
    assert with_negations(given, kinds) == {
        "head_first": False, "balanced": False, "no_baseline": True, "no_seed": True, "no_such": True,
    }  # fmt: skip


def test_leads_of_an_extractor_are_a_list():
    kind = Sequence[str] | None
    assert convert("used_leads", "I,II", kind) == convert("used_leads", '["I", "II"]', kind) == ["I", "II"]
    assert convert("used_leads", "none", kind) is None


@pytest.mark.parametrize("value", ["ECG=I", ["ECG=I"], '{"ECG": "I"}', {"ECG": "I"}])
def test_leads_that_stand_for_others(value):
    assert convert("treat_as", value, dict[str, str] | None) == {"ECG": "I"}


def test_messages_name_the_options_of_the_script():
    names = {"read_units", "read_gain", "derive_leads", "missing_leads", "treat_as", "task"}
    message = (
        "Set units= ('mV', 'uV'), gain=200 or leads=[...]; derive_leads=True, missing_leads='mask', task='regression'"
    )
    assert script_text(message, names) == (
        "Set --read_units ('mV', 'uV'), --read_gain 200 or leads=[...]; --derive_leads, --missing_leads mask, "
        "--task regression"
    )
    assert script_text("treat_as={'ECG': 'I'} takes ECG for I", names) == "--treat_as ECG=I takes ECG for I"


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("100Hz", float | None, "expected a number."),
        ("1.5", int | None, "expected a whole number."),
        ("maybe", bool | None, "expected true or false."),
        ("mask", Literal["error", "interpolate"] | None, "expected one of error, interpolate."),
        ("a,b", list[int], "expected a list, of each a whole number."),
        ("ECG", dict[str, str] | None, "NAME=VALUE"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(value, kind, words):
    with pytest.raises(ArgumentsError) as refused:
        convert("it", value, kind)
    assert str(refused.value).startswith(f"it is {value!r}; expected ")
    assert words in str(refused.value)
    assert "Optional" not in str(refused.value)
    assert "could not convert" not in str(refused.value)
