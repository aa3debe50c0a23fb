"""`results.json`: entries replace their own kind and nothing else, files appear whole, tables line up."""

import json

import pytest

from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.results.store import format_table, merge_results, read_results


def entry(value, **changes):
    facts = {
        "checkpoint": "a",
        "mode": "linear_probe",
        "initialization": "pretrained",
        "evaluate_folds": [9],
        "seed": 0,
    }
    return {**facts, "value": value, "low": value - 0.1, "high": value + 0.1, **changes}


def test_a_new_entry_replaces_the_one_with_its_key_and_keeps_the_others(tmp_path):
    path = tmp_path / "card" / "results.json"
    merge_results(path, [entry(0.7), entry(0.6, initialization="random"), entry(0.5, evaluate_folds=[10])])
    merge_results(path, [entry(0.8, date="later"), entry(0.9, seed=1)])
    values = [one["value"] for one in read_results(path)]
    assert values == [0.8, 0.6, 0.5, 0.9]
    assert [one["evaluations"] for one in read_results(path)] == [2, 1, 1, 1]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    assert read_results(tmp_path / "nothing.json") == []


def test_figures_under_noise_stand_beside_the_clean_one_which_keeps_its_key(tmp_path):
    path = tmp_path / "results.json"
    merge_results(path, [entry(0.7)])
    merge_results(path, [entry(0.6, noise_level=1), entry(0.5, noise_level=2), entry(0.8, noise_level=0)])
    merge_results(path, [entry(0.4, noise_level=2)])
    assert [one["value"] for one in read_results(path)] == [0.8, 0.6, 0.4]


def test_a_figure_that_is_no_number_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "results.json"
    merge_results(path, [entry(0.7)])
    with pytest.raises(EcgError, match="value is nan"):
        merge_results(path, [entry(float("nan"), seed=3)])
    assert len(json.loads(path.read_text())) == 1


def test_a_table_lines_up():
    lines = format_table([{"checkpoint": "a", "score": "0.9"}, {"checkpoint": "a-long-name", "score": "0.85"}]).split(
        "\n"
    )
    assert lines[0] == "checkpoint   score"
    assert lines[2] == "a-long-name  0.85"
    assert format_table([]) == ""
