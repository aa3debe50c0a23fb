"""A benchmark without training: its runs, what makes a run another run, and the table of finished ones."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecg_transformers.commands.benchmark import Benchmark
from ecg_transformers.commands.benchmark_plan import read_benchmark
from ecg_transformers.commands.benchmark_table import benchmark_table
from ecg_transformers.commands.downstream import FineTuneArguments, read_arguments
from ecg_transformers.errors import ArgumentsError, CorpusError
from ecg_transformers.evaluation.results.predictions import Predictions, paired_difference, score_interval
from ecg_transformers.evaluation.results.published import PUBLISHED, published_results
from ecg_transformers.evaluation.results.store import merge_results
from ecg_transformers.publishing.card.table import find_baseline

RECIPE = """
model_type: xresnet1d
sampling_rate: 50
window_size: 100
learning_rate: 1e-2
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny_net.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def plan(tmp_path, corpus_folder):
    """Make a benchmark from a mapping, as if it stood in a YAML file, and words of the command line."""

    def make(settings, *words):
        path = tmp_path / "benchmark.yaml"
        path.write_text(json.dumps({"corpus": str(corpus_folder), "output_dir": str(tmp_path / "out"), **settings}))
        said = []
        benchmark = Benchmark(*read_benchmark([str(path), *words]), print_line=said.append)
        benchmark.said = said
        return benchmark

    return make


def finish(run, *, shift=0.0, baseline=None, records=None, **fields):
    """Put predictions and results where a finished run has them; `shift` tells good from bad systems."""
    random = np.random.default_rng(run.seed)
    labels = (np.random.default_rng(99).random((80, 3)) < 0.4).astype(np.uint8)
    entries = []
    mode = run.system.mode
    starts = [(mode.name, mode.initialization, shift)]
    starts += [] if baseline is None else [(mode.name, "random", baseline)]
    for name, start, strength in starts:
        scores = random.random((80, 3)) + strength * labels
        ids = np.arange(80) if records is None else records
        predictions = Predictions(
            labels, np.float32(scores), ids, ids // 2, ("A", "B", "C"), "multi_label_classification"
        )
        predictions.save(run.folder / "predictions" / f"x_tiny_{name}_{start}_all_cls_folds9_seed0.safetensors")
        interval = score_interval(predictions, resamples=50)
        entries.append(
            {
                "mode": name, "initialization": start, "labels": run.labels, "seed": run.seed, "min_positives": 1,
                "value": interval.value, "low": interval.low, "high": interval.high, "num_labels": 3, "records": 80,
                "train_records": 128, "train_folds": list(run.train_folds), "train_fraction": 1.0, "corpus": "tiny",
                "corpus_hash": run.settings["corpus"], "seconds": 10.0, "evaluate_folds": [9],
                "metric": "macro_auroc", "checkpoint": "x",
            } | fields
        )  # fmt: skip
    (run.folder / "results.json").write_text(json.dumps(entries))
    return entries


def predictions_of(run):
    return Predictions.load(next((run.folder / "predictions").glob(f"*_{run.system.mode.initialization}_*")))


def test_runs_are_systems_times_folds_times_label_sets_and_a_first_seed_comes_first(plan, recipe, checkpoint):
    benchmark = plan(
        {"systems": [str(recipe), {"model": str(checkpoint), "mode": "linear_probe"}], "seeds": [3, 1]},
        *("--label_efficiency", "2", "1"),
    )
    found = [(run.system.name, run.system.mode.name, run.folds_text, run.seed) for run in benchmark.runs]
    net, ecg = ("tiny_net", "from_scratch"), ("tiny-ecg", "linear_probe")
    assert found == [(*system, folds, seed) for seed in (3, 1) for system in (net, ecg) for folds in ("1", "1-2")]
    assert len({run.folder for run in benchmark.runs}) == 8


def test_the_command_line_wins_over_a_system_and_a_system_over_the_common_settings(plan, recipe):
    system = {"config": str(recipe), "num_train_epochs": 3}
    settings = {"systems": [system], "num_train_epochs": 7, "max_shift_seconds": 0}
    assert plan(settings).runs[0].settings["num_train_epochs"] == 3
    assert plan(settings).runs[0].settings["max_shift_seconds"] == 0
    assert plan(settings, "--num_train_epochs", "2").runs[0].settings["num_train_epochs"] == 2
    # Settings of the architecture too, as for finetune.py.
    assert plan(settings, "--head_dropout", "0.5").runs[0].settings["head_dropout"] == 0.5


def test_only_what_could_change_the_result_makes_another_run(plan, recipe, tmp_path, corpus_folder):
    def folder(settings, *words):
        return plan({"systems": [{"config": str(recipe), **settings}]}, *words).runs[0].folder

    first = folder({})
    assert folder({"aggregate": "mean", "train_folds": "1-8", "evaluate_folds": [9]}) == first
    assert folder({"disable_tqdm": True}, "--resamples", "77", "--unit", "patient") == first
    moved = tmp_path / "moved"
    shutil.copytree(corpus_folder, moved)
    assert folder({}, "--corpus", str(moved)) == first
    assert folder({"aggregate": "max"}) != first
    assert folder({"learning_rate": 1e-3}) != first
    recipe.write_text(RECIPE + "depths: [1, 1, 1, 1]\n")
    assert folder({}) != first


def test_other_weights_of_a_checkpoint_are_another_run(plan, checkpoint, tmp_path):
    copy = tmp_path / "tiny-ecg"
    shutil.copytree(checkpoint, copy)
    first, again = (plan({"systems": [str(path)]}).runs[0].folder for path in (checkpoint, copy))
    assert first == again
    with open(copy / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert plan({"systems": [str(copy)]}).runs[0].folder != first
    # Also where the checkpoint is named in a file of settings.
    settings = tmp_path / "probe.yaml"
    settings.write_text(f"model: {copy}\nmode: linear_probe\n")
    (run,) = plan({"systems": [str(settings)]}).runs
    assert (run.system.name, run.system.mode.name) == ("tiny-ecg", "linear_probe")
    assert len(run.settings["model"]) == 64


def test_a_changed_setting_is_named(plan, recipe):
    before = plan({"systems": [str(recipe)]}).runs[0]
    before.folder.mkdir(parents=True)
    (before.folder / "settings.json").write_text(json.dumps({"settings": before.settings}))
    listing = plan({"systems": [str(recipe)]}, "--learning_rate", "0.5").listing()
    assert "settings changed, so 1 run is new (the earlier stay)" in listing
    assert "learning_rate 0.01 -> 0.5" in listing
    assert "settings changed" not in plan({"systems": [str(recipe)]}).listing()


def test_states_of_a_run(plan, recipe):
    run = plan({"systems": [str(recipe)]}).runs[0]
    assert run.state() == "missing"
    run.folder.mkdir(parents=True)
    assert run.state() == "begun"
    (run.folder / "error.txt").write_text("why")
    assert run.state() == "failed"
    finish(run)
    assert run.state() == "done"
    # Results without their predictions cannot be compared; results of another seed are no results of this run.
    shutil.rmtree(run.folder / "predictions")
    assert run.entries() is None
    finish(run, seed=5)
    assert run.entries() is None
    finish(run)
    (run.folder / "results.json").write_text("[{")
    assert run.entries() is None


@pytest.mark.parametrize(
    ("settings", "words", "message"),
    [
        ({}, [], "systems is empty"),
        ({"systems": ["RECIPE"], "seed": 1}, [], "seed.*Set seeds"),
        ({"systems": ["RECIPE"], "sedds": [1]}, [], "sedds.*seeds"),
        ({"systems": ["RECIPE"]}, ["--learning_rat", "1"], "learning_rate"),
        ({"systems": [{"config": "RECIPE", "seed": 1}]}, [], "seed, which is one for all systems"),
        ({"systems": [{"config": "RECIPE", "labels": "all"}]}, [], "labels, which is one for all systems"),
        ({"systems": [{"config": "RECIPE", "poling": "max"}]}, [], "pooling"),
        ({"systems": [{"config": "RECIPE", "mode": "linear_probe"}]}, [], "a recipe has no weights"),
        ({"systems": [{"config": "RECIPE", "published": "xresnet1d52"}]}, [], "xresnet1d50"),
        ({"systems": ["RECIPE", "RECIPE"]}, [], "two systems are called"),
        ({"systems": [{"name": "nothing"}]}, [], "system nothing"),
        ({"systems": [7]}, [], "expected a checkpoint"),
        ({"systems": ["RECIPE"], "labels": ["al"]}, [], "no label set 'al'"),
        ({"systems": ["RECIPE"], "label_efficiency": [9]}, [], "from 1 to 8"),
        ({"systems": ["RECIPE", {"config": "RECIPE", "name": "b", "evaluate_folds": [10]}]}, [], "different folds"),
        ({"systems": ["RECIPE"]}, ["--resume"], "resumes where it left off"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(plan, recipe, settings, words, message):
    settings = json.loads(json.dumps(settings).replace("RECIPE", str(recipe)))
    with pytest.raises((ArgumentsError, CorpusError), match=message):
        plan(settings, *words)


def test_corpus_and_output_folder_must_be_given(plan, recipe):
    with pytest.raises(ArgumentsError, match="--corpus DIR and --output_dir DIR"):
        plan({"systems": [str(recipe)], "output_dir": None})


@pytest.fixture
def two_systems(plan, recipe, checkpoint):
    """A recipe and a probe, two seeds, all finished."""
    benchmark = plan(
        {
            "systems": [{"name": "net", "config": str(recipe), "published": "xresnet1d50"},
                        {"model": str(checkpoint), "mode": "linear_probe"}],
            "seeds": [0, 1], "resamples": 200,
        }
    )  # fmt: skip
    for run in benchmark.runs:
        finish(run, shift=0.6) if run.system.name == "net" else finish(run, shift=0.3, baseline=0.0)
    return benchmark


def test_one_seed_has_the_figures_of_the_scorer(plan, recipe, checkpoint):
    systems = [str(recipe), {"model": str(checkpoint), "mode": "linear_probe"}]
    benchmark = plan({"systems": systems, "resamples": 200})
    for run, shift in zip(benchmark.runs, (0.3, 0.1), strict=True):
        finish(run, shift=shift)
    net, probe = (row.cells["all"] for row in benchmark_table(benchmark).rows)
    first, second = (predictions_of(run) for run in benchmark.runs)
    interval = score_interval(first, resamples=200)
    assert (net.value, *net.interval) == pytest.approx((interval.value, interval.low, interval.high), abs=1e-12)
    assert net.difference is None
    paired = paired_difference(second, first, resamples=200)
    assert probe.difference == pytest.approx((paired.value, paired.low, paired.high), abs=1e-12)
    assert str(net) == str(interval)


def test_several_seeds_are_averaged_on_the_records_and_on_every_resample(two_systems):
    table = benchmark_table(two_systems)
    net, probe, random = (row.cells["all"] for row in table.rows)
    assert [row.protocol for row in table.rows] == ["from scratch", "linear probe", "linear probe, random weights"]
    runs = [run for run in two_systems.runs if run.system.name == "net"]
    intervals = [score_interval(predictions_of(run), resamples=200) for run in runs]
    assert net.value == pytest.approx(np.mean([one.value for one in intervals]))
    means = np.mean([one.samples for one in intervals], axis=0)
    assert net.interval == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    assert "(2 seeds)" in str(net)
    assert probe.difference[0] == pytest.approx(probe.value - net.value)
    assert probe.difference[1] < probe.difference[0] < probe.difference[2]
    assert random.difference[0] < probe.difference[0] < 0
    assert "a value is their mean" in table.text()


def test_the_table_says_what_is_missing_and_what_failed(two_systems):
    last = two_systems.runs[-1]
    shutil.rmtree(last.folder)
    shutil.rmtree(two_systems.runs[0].folder)
    shutil.rmtree(two_systems.runs[2].folder)
    two_systems.problems[last] = "MemoryError: too little"
    text = benchmark_table(two_systems).text()
    assert "missing" in text
    assert "(1 seed, 1 failed)" in text
    assert f"failed: {last.title}: MemoryError: too little" in text
    assert "Difference" not in text


def test_systems_on_other_records_are_not_compared(plan, recipe, checkpoint):
    benchmark = plan({"systems": [str(recipe), {"model": str(checkpoint), "mode": "linear_probe"}], "resamples": 50})
    finish(benchmark.runs[0])
    finish(benchmark.runs[1], records=np.arange(80) + 1)
    table = benchmark_table(benchmark)
    assert table.rows[1].cells["all"].difference is None
    assert "Difference" not in table.text()


def test_published_results_stand_apart_and_only_beside_all_training_folds_of_ptbxl(plan, recipe):
    systems = [{"name": "net", "config": str(recipe), "published": "xresnet1d101"}]
    benchmark = plan({"systems": systems, "label_efficiency": [1, 8], "resamples": 50})
    for run in benchmark.runs:
        finish(run, corpus="ptbxl")
    text = benchmark_table(benchmark).text()
    block = text[text.index("Published, brackets in units of 0.001. NOT on the records above: test fold 10") :]
    assert block.splitlines()[2].split()[-4:] == ["0.925(07);", "fold", "9:", "0.928"]
    assert "Strodthoff et al. 2021: one run (larger half of its 90 % bootstrap interval)" in block
    assert "0.925(07)" not in text[: text.index("Published")]
    for run in benchmark.runs:
        finish(run)
    assert "Published" not in benchmark_table(benchmark).text()


def test_figures_of_the_literature():
    assert [
        figure.value
        for figure in published_results("SimCLR, xresnet1d50", "linear_probe", corpus="ptbxl", labels="all")
    ] == [0.883]
    table = {figure.labels: str(figure) for figure in PUBLISHED if figure.system == "inception1d"}
    assert table == {
        "all": "0.925(08)", "diagnostic": "0.931(09)", "subclass": "0.930(10)", "superclass": "0.921(06)",
        "form": "0.899(22)", "rhythm": "0.953(13)",
    }  # fmt: skip
    assert published_results("xresnet1d50", "from_scratch", corpus="chapman", labels="all") == ()
    assert len({(one.system, one.mode, one.labels, one.evaluate_folds) for one in PUBLISHED}) == len(PUBLISHED)


def test_files_have_every_number(two_systems, tmp_path):
    folder = tmp_path / "out"
    written = benchmark_table(two_systems).write(folder)
    assert [path.name for path in written] == ["table.csv", "table.png"]
    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], row["mode"], row["initialization"]) for row in rows] == [
        ("net", "from_scratch", "random"),
        ("tiny-ecg", "linear_probe", "pretrained"),
        ("tiny-ecg", "linear_probe", "random"),
    ]
    assert rows[0]["all_seeds"] == "0 1"
    values = [float(value) for value in rows[0]["all_seed_values"].split()]
    assert float(rows[0]["all"]) == pytest.approx(np.mean(values))
    assert float(rows[1]["all_difference"]) == pytest.approx(float(rows[1]["all"]) - float(rows[0]["all"]))
    assert rows[0]["all_difference"] == ""
    assert (folder / "table.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob(".unfinished*"))


def test_several_numbers_of_folds_are_compared_number_by_number_and_drawn(plan, recipe, checkpoint, tmp_path):
    systems = [str(recipe), {"model": str(checkpoint), "mode": "fine_tune", "no_baseline": True}]
    benchmark = plan({"systems": systems, "label_efficiency": [1, 4, 0.05], "resamples": 50})
    for run in benchmark.runs:
        shift = 0.1 * run.amount.size + 0.1 * (run.system.name == "tiny-ecg")
        finish(run, shift=shift, train_fraction=run.amount.fraction)
    table = benchmark_table(benchmark)
    assert [(row.system, str(row.amount)) for row in table.rows] == [
        ("tiny_net", "0.05 of 1-8"), ("tiny_net", "1"), ("tiny_net", "1-4"),
        ("tiny-ecg", "0.05 of 1-8"), ("tiny-ecg", "1"), ("tiny-ecg", "1-4"),
    ]  # fmt: skip
    cells = [row.cells["all"] for row in table.rows]
    for own, other in zip(cells[:3], cells[3:], strict=True):
        assert other.difference[0] == pytest.approx(other.value - own.value)
        assert own.difference is None
    assert "--train_fraction=0.05" in benchmark.runs[0].argv
    assert "0.05 of 1-8" in benchmark.runs[0].title
    with pytest.raises(ArgumentsError, match="a share too"):
        plan({"systems": systems, "label_efficiency": [0.05], "train_fraction": 0.5})
    assert [path.name for path in table.write(tmp_path / "out")] == ["table.csv", "table.png", "label_efficiency.png"]


def test_one_layer_or_several_are_a_setting_of_a_row_or_of_all(plan, checkpoint):
    probe = {"model": str(checkpoint), "mode": "linear_probe"}
    layers = {"one": 1, "text": "0,1", "list": [0, 1]}
    runs = plan({"systems": [probe | {"name": name, "layer": layer} for name, layer in layers.items()]}).runs
    assert [run.settings["layer"] for run in runs] == [1, [0, 1], [0, 1]]
    read = [read_arguments([*run.argv, "--output_dir", "o"], FineTuneArguments) for run in runs]
    assert [arguments.learning.layer for arguments in read] == [1, [0, 1], [0, 1]]
    (run,) = plan({"systems": [probe | {"layer": 1}]}, "--layer", "0,1").runs
    assert run.settings["layer"] == [0, 1]


def test_the_time_left_follows_the_folds_of_the_same_system(plan, recipe, checkpoint):
    systems = [str(recipe), {"model": str(checkpoint), "mode": "linear_probe"}]
    benchmark = plan({"systems": systems, "label_efficiency": [1, 2, 4]})
    assert benchmark._seconds_left(benchmark.runs) is None
    finish(benchmark.runs[1], seconds=30.0)
    # 15 s per fold, for the other system too as long as nothing better is known.
    assert benchmark._seconds_left(benchmark.runs[2:4]) == 15 * 4 + 15 * 1
    finish(benchmark.runs[3], seconds=2.0)
    assert benchmark._seconds_left(benchmark.runs[4:]) == 2 * 2 + 2 * 4


def test_the_entries_of_the_others_carry_the_paired_difference_to_the_first_system(two_systems):
    net = next(run for run in two_systems.runs if run.system.name == "net" and run.seed == 1)
    probe = next(run for run in two_systems.runs if run.system.name == "tiny-ecg" and run.seed == 1)
    entries = [entry for entry in two_systems.entries() if entry["seed"] == 1]
    first, own, random = entries
    assert "difference" not in first
    paired = paired_difference(predictions_of(probe), predictions_of(net), resamples=200)
    assert own["difference"] == {
        "against": "net, from scratch", "value": paired.value, "low": paired.low, "high": paired.high,
        "p_value": paired.p_value,
    }  # fmt: skip
    assert random["difference"]["value"] == pytest.approx(random["value"] - first["value"])


def test_a_system_is_compared_with_those_that_it_names_too(plan, recipe, checkpoint, tmp_path):
    probe = {"model": str(checkpoint), "mode": "linear_probe"}
    systems = [str(recipe), probe | {"name": "part"}, probe | {"name": "whole", "against": ["part", "tiny_net"]}]
    benchmark = plan({"systems": systems, "resamples": 50, "seeds": [0, 1]})
    for run in benchmark.runs:
        finish(run, shift={"tiny_net": 0.2, "part": 0.4, "whole": 0.6}[run.system.name])
    table = benchmark_table(benchmark)
    net, part, whole = (row.cells["all"] for row in table.rows)
    assert (net.further, part.further) == ({}, {})
    assert whole.difference[0] == pytest.approx(whole.value - net.value)
    assert whole.further == {"part, linear probe": whole.compare(part)}
    assert whole.further["part, linear probe"][0] == pytest.approx(whole.value - part.value)
    printed = table.text()
    block = printed[printed.index("Difference to part, linear probe [95 %, paired]") :].splitlines()
    assert block[2].split()[0] == "whole"
    table.write(tmp_path / "out")
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["all_further"].partition(":")[0] for line in lines] == ["", "", "part, linear probe"]
    entry = next(one for one in benchmark.entries() if (one["checkpoint"], one["seed"]) == ("whole", 1))
    assert [one["against"] for one in entry["differences"]] == ["tiny_net, from scratch", "part, linear probe"]
    with pytest.raises(ArgumentsError, match="against has 'parts'; expected names of systems: 'tiny_net', 'part"):
        plan({"systems": [str(recipe), probe | {"name": "part", "against": "parts"}]})


def test_for_a_card_what_starts_from_its_checkpoint_has_its_name(plan, recipe, checkpoint, tmp_path):
    probe = {"model": str(checkpoint), "mode": "linear_probe"}
    systems = [str(recipe), probe | {"name": "one"}, probe | {"name": "two", "against": "one"}, probe]
    benchmark = plan({"systems": systems, "resamples": 50})
    for run in benchmark.runs:
        finish(run, baseline=None if run.system.name == "tiny_net" else 0.0, corpus_version="1")
    entries = benchmark.entries(card="tiny-ecg")
    names = [(entry["checkpoint"], entry.get("system"), entry["initialization"]) for entry in entries]
    assert names[1:] == [
        ("tiny-ecg", system, start) for system in ("one", "two", None) for start in ("pretrained", "random")
    ]
    assert names[0] == ("tiny_net", None, "random")
    # Each is a result of its own in the card, beside the random weights of its own row.
    merged = merge_results(tmp_path / "results.json", entries)
    assert len(merged) == len(entries)
    two = merged[3]
    assert find_baseline(two | {"difference": None}, merged) == merged[4]
    assert find_baseline(two | {"difference": {"against": "tiny_net, from scratch"}}, merged) == merged[0]
    assert {entry["checkpoint"] for entry in benchmark.entries()} == {"tiny_net", "one", "two", "tiny-ecg"}


@pytest.fixture
def three_systems(recipe, checkpoint):
    """Settings of two trained systems and of both together."""
    probe = {"name": "probe", "model": str(checkpoint), "mode": "linear_probe", "no_baseline": True}
    both = {"name": "both", "together": ["probe", "tiny_net"], "against": "probe"}
    return {"systems": [str(recipe), probe, both], "seeds": [0, 1], "resamples": 50}


def finish_as_probabilities(run, *, strength):
    """A finished run whose scores are probabilities, as those of real runs are."""
    finish(run, corpus_version="1", evaluate_role="validation", records_without_label=0, labels_without_training=[])
    file = next((run.folder / "predictions").iterdir())
    predictions = Predictions.load(file)
    noise = np.random.default_rng(int(10 * strength) + run.seed).normal(size=predictions.scores.shape)
    logits = noise + strength * predictions.labels
    replace(predictions, scores=np.float32(1 / (1 + np.exp(-logits)))).save(file)
    return logits


def test_two_systems_together_are_the_mean_of_their_logits(plan, three_systems):
    benchmark = plan(three_systems)
    net, probe, both = benchmark.runs[:3]
    assert [run.system.name for run in benchmark.runs] == ["tiny_net", "probe", "both"] * 2
    logits = [finish_as_probabilities(run, strength=s) for run, s in ((net, 1.0), (probe, 1.5))]
    assert benchmark._seconds_left([both]) == 0
    assert benchmark._do(both) is None
    found = predictions_of(both)
    assert np.allclose(found.scores, 1 / (1 + np.exp(-np.mean(logits, axis=0))), atol=1e-6)
    # 80 records: every label has its threshold, judged by those of other patients.
    assert found.thresholds.judging.shape == found.scores.shape
    first, rare = both.entries()
    assert (first["mode"], first["initialization"], rare["min_positives"]) == ("mean_of_logits", "pretrained", 10)
    assert first["settings"]["together"] == ["tiny_net, from scratch", "probe, linear probe"]
    assert first["settings"]["rule"].startswith("mean of the logits of the saved probabilities, equal weights")
    assert first["selection"] == "nothing is chosen; thresholds on folds 9, which are reported"
    assert first["labels_with_threshold"] == 3
    entry = next(one for one in benchmark.entries() if one["checkpoint"] == "both")
    assert [one["against"] for one in entry["differences"]] == ["tiny_net, from scratch", "probe, linear probe"]
    row = benchmark_table(benchmark).rows[2]
    assert (row.system, row.protocol) == ("both", "mean of logits")
    assert row.cells["all"].further.keys() == {"probe, linear probe"}
    assert plan(three_systems).runs[2].state() == "done"


def test_systems_together_are_made_again_when_one_of_them_was(plan, three_systems):
    benchmark = plan(three_systems)
    net, probe, both = benchmark.runs[:3]
    for run in (net, probe):
        finish_as_probabilities(run, strength=1.0)
    assert benchmark._do(both) is None
    assert both.state() == "done"
    logits = [finish_as_probabilities(run, strength=s) for run, s in ((net, 1.0), (probe, 3.0))]
    assert both.entries() is None
    assert benchmark._do(both) is None
    assert both.state() == "done"
    assert np.allclose(predictions_of(both).scores, 1 / (1 + np.exp(-np.mean(logits, axis=0))), atol=1e-6)
    shutil.rmtree(probe.folder)
    assert both.entries() is None


def test_systems_together_wait_for_their_parts_and_change_with_them(plan, three_systems):
    benchmark = plan(three_systems)
    both = benchmark.runs[2]
    assert "tiny_net, from scratch, all, folds 1-8, seed 0 is not finished" in benchmark._do(both)
    assert both.state() == "failed"
    assert plan(three_systems, "--learning_rate", "0.5").runs[2].folder != both.folder
    # Only they and what they are made of.
    assert [run.system.name for run in plan(three_systems, "--only", "both").runs] == ["tiny_net", "probe", "both"] * 2
    other = finish_as_probabilities(benchmark.runs[0], strength=1.0)
    assert len(other) == 80
    finish_as_probabilities(benchmark.runs[1], strength=1.0)
    results = benchmark.runs[1].folder / "results.json"
    results.write_text(results.read_text().replace('"train_records": 128', '"train_records": 127'))
    assert "differ in train_records (tiny_net, from scratch: 128; probe, linear probe: 127)" in benchmark._do(both)


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        (
            {"together": ["probe", "net"]},
            {},
            "together has 'net'; expected names of trained systems above: 'tiny_net', ",
        ),
        ({"together": "probe"}, {}, r"together is \['probe'\]; expected the names of two systems"),
        ({"mode": "linear_probe"}, {}, "expected name, together and against, found together, mode"),
        ({"name": None}, {}, "found no name"),
        ({"together": ["both", "probe"]}, {}, "together has 'both'; expected names of trained systems above"),
        ({}, {"labels": ["patients"]}, "label set patients has none"),
        ({"together": ["early", "probe"]}, {"early": True}, "probe has no run like early, .*same train_folds"),
    ],
)
def test_systems_together_that_cannot_be_meant_are_refused(plan, three_systems, recipe, changes, more, message):
    more = dict(more)
    if more.pop("early", False):
        three_systems["systems"].insert(0, {"name": "early", "config": str(recipe), "train_folds": [1, 2]})
    three_systems["systems"][-1] |= changes
    with pytest.raises(ArgumentsError, match=message):
        plan(three_systems | more)


def test_a_difference_to_the_baseline_stays_the_first(plan, recipe, checkpoint):
    benchmark = plan({"systems": [str(recipe), {"model": str(checkpoint), "mode": "linear_probe"}], "resamples": 50})
    against = {"against": "random", "value": 0.1, "low": 0.0, "high": 0.2, "p_value": 0.04}
    finish(benchmark.runs[0])
    finish(benchmark.runs[1], difference=against)
    (_, own) = benchmark.entries()
    assert own["difference"] == against
    assert [one["against"] for one in own["differences"]] == ["random", "tiny_net, from scratch"]


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"pretrain": 7}, "pretrain is 7; expected a CONFIG"),
        ({"pretrain": {"max_steps": 3}}, "pretrain is .* expected a CONFIG"),
        ({"pretrain": "CONFIG", "model": "m"}, "no model or config"),
        ({"pretrain": {"config": "CONFIG", "max_stepz": 3}}, "max_steps"),
        ({"pretrain": "RECIPE"}, "without an objective"),
    ],
)
def test_a_pretraining_that_cannot_be_meant_is_refused_before_anything_runs(plan, recipe, system, message):
    config = Path(__file__).parents[2] / "training" / "configs" / "mae_moco_tiny.yaml"
    text = json.dumps(system).replace("CONFIG", str(config)).replace("RECIPE", str(recipe))
    with pytest.raises(ArgumentsError, match=message):
        plan({"systems": [json.loads(text)]})
