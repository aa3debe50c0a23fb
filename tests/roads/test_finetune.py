"""`training/finetune.py` as a user types it: every mode, a user's own table, what is left in the folder."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ecg_transformers.errors import ArgumentsError, CheckpointError, EcgError

from .. import fresh
from ..conftest import CONFIGS, ROOT, script
from .conftest import make_checkpoint, small_definition

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
QUICK = "--num_train_epochs 2 --per_device_train_batch_size 16 --disable_tqdm true --resamples 50".split()
QUICK += ["--scratch", '{"num_train_epochs": 2}']


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny pretraining checkpoint with its record."""
    folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-ecg")
    facts = {"records": 7, "epochs": 3.0, "steps": 9, "hardware": "a test", "hours": 0.1, "config": "tiny.yaml"}
    facts |= {"commit": "c0ffee1", "corpus": {"name": "ptbxl", "version": "1.0.3"}}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def test_a_probe_leaves_a_checkpoint_folder_and_honest_results(corpus, checkpoint, tmp_path, capsys):
    from transformers import AutoModelForSequenceClassification

    from ecg_transformers.publishing.card.results import load_results
    from ecg_transformers.publishing.card.table import results_table

    words = f"--model {checkpoint} --corpus {corpus} --labels all --mode linear_probe --output_dir {tmp_path}".split()
    entries = script("finetune").main([*words, "--resamples", "50"])
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.id2label[0] != "LABEL_0"
    assert len(model.config.label_names) == len(model.config.thresholds) == model.config.num_labels
    saved = load_results(tmp_path / "results.json")
    assert saved == [entry | {"evaluations": 1} for entry in json.loads(json.dumps(entries))]
    first = saved[0]
    assert (first["mode"], first["initialization"], first["labels"]) == ("linear_probe", "pretrained", "all")
    assert first["pretraining"] == {
        "records": 7, "epochs": 3.0, "steps": 9, "hardware": "a test", "hours": 0.1, "config": "tiny.yaml",
        "commit": "c0ffee1",
    }  # fmt: skip
    assert first["config"] == "tiny.yaml"
    assert first["difference"]["against"] == "random"
    assert first["label_codes"] == list(model.config.id2label.values())
    assert {entry["initialization"] for entry in saved} == {"pretrained", "random"}
    assert len(list((tmp_path / "predictions").glob("*.safetensors"))) == 2
    assert (tmp_path / "baseline" / "config.json").is_file()
    assert "linear probe" in results_table(saved)
    with open(tmp_path / "labels.csv", newline="") as file:
        assert [row["code"] for row in csv.DictReader(file)] == first["label_codes"]
    printed = capsys.readouterr().out
    assert "validation (fold 9) macro AUROC" in printed
    assert "random encoder" in printed
    assert "difference" in printed


def test_fine_tuning_is_compared_with_training_from_scratch_by_settings_of_its_own(corpus, checkpoint, tmp_path):
    words = f"--model {checkpoint} --corpus {corpus} --mode fine_tune --output_dir {tmp_path} --train_fraction 0.5"
    entries = script("finetune").main([*words.split(), *QUICK, "--learning_rate", "2e-3"])
    tuned, scratch = (entry["settings"] for entry in entries if entry["min_positives"] == 1)
    assert (tuned["learning_rate"], scratch["learning_rate"]) == (2e-3, 5e-4)
    assert (tuned["warmup_steps"], scratch["warmup_steps"]) == (0.05, 0.1)
    assert (tuned["num_train_epochs"], scratch["num_train_epochs"]) == (2, 2)
    modes = [(entry["mode"], entry["initialization"]) for entry in entries if entry["min_positives"] == 1]
    assert modes == [("fine_tune", "pretrained"), ("from_scratch", "random")]
    assert entries[0]["train_fraction"] == 0.5
    assert entries[0]["difference"]["against"] == "from_scratch"
    # Only what AutoModel needs, results and predictions are left; no optimizer state.
    left = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in left if name.startswith(("training", "checkpoint", "."))]
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("mode", ["fine_tune", "linear_probe"])
def test_an_entry_repeats_its_run_from_its_own_settings(mode, corpus, checkpoint, tmp_path):
    from ecg_transformers.commands.benchmark_plan import as_options

    main = script("finetune").main
    places = ["--model", str(checkpoint), "--corpus", str(corpus), "--output_dir"]
    options = "--train_folds 1-6 --aggregate max --window_seconds 1 --seed 3 --layer 1 --pooling mean --balanced false"
    options += " --one_cycle" if mode == "fine_tune" else ""
    saved = main([*places, str(tmp_path / "first"), "--mode", mode, *options.split(), *QUICK])
    own, baseline = (entry for entry in json.loads(json.dumps(saved)) if entry["min_positives"] == 1)
    again = main([*places, str(tmp_path / "again"), *as_options(own["settings"])])
    repeated = [entry for entry in again if entry["min_positives"] == 1]
    for before, after in zip((own, baseline), repeated, strict=True):
        for name in ("value", "low", "high", "chosen", "selection", "train_records", "window_stride_seconds"):
            assert before[name] == after[name], name
    if mode == "fine_tune":
        # The baseline is a run of its own: its row alone repeats it.
        (alone, *_) = main([*places, str(tmp_path / "scratch"), *as_options(baseline["settings"])])
        assert (alone["mode"], alone["value"], alone["chosen"]) == (
            "from_scratch", baseline["value"], baseline["chosen"],
        )  # fmt: skip
    # What decides nothing of the result is not in it.
    assert not {"output_dir", "corpus", "model", "disable_tqdm", "resume", "card"} & own["settings"].keys()


def test_a_recipe_repeats_from_its_entry_without_the_file(corpus, recipe, tmp_path):
    from ecg_transformers.commands.benchmark_plan import as_options

    main = script("finetune").main
    places = ["--corpus", str(corpus), "--output_dir"]
    (first, *_) = main([str(recipe), *places, str(tmp_path / "first"), "--num_train_epochs", "1"])
    (again, *_) = main([*places, str(tmp_path / "again"), *as_options(json.loads(json.dumps(first["settings"])))])
    assert (again["value"], again["chosen"]) == (first["value"], first["chosen"])
    run = json.loads((tmp_path / "first" / "run.json").read_text())
    known = {name: value for name, value in run["settings"].items() if name != "disable_tqdm"}
    assert {name: first["settings"].get(name) for name in known} == known


def test_levels_of_noise_leave_entries_a_table_and_a_picture(corpus, checkpoint, tmp_path, capsys):
    words = f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir {tmp_path} --resamples 50".split()
    entries = script("finetune").main([*words, "--noise_levels", "1,6"])
    printed = capsys.readouterr().out
    table = printed[printed.index("noise  ") :].splitlines()
    assert table[0].split() == ["noise", "macro", "AUROC", "random", "difference"]
    assert [row.split()[0] for row in table[1:4]] == ["clean", "1", "6"]
    assert "noise_robustness.png" in table[4]
    saved = json.loads((tmp_path / "results.json").read_text())
    assert len(saved) == len(entries)
    figures = {(one["initialization"], one.get("noise_level", 0)): one for one in saved if one["min_positives"] == 1}
    assert set(figures) == {(start, level) for start in ("pretrained", "random") for level in (0, 1, 6)}
    assert figures["pretrained", 6]["value"] < figures["pretrained", 0]["value"]
    assert figures["pretrained", 6]["difference"]["against"] == "random"
    assert figures["pretrained", 6]["noise_seed"] == 0
    assert len(list((tmp_path / "predictions").glob("*.safetensors"))) == 2
    assert len(list((tmp_path / "predictions" / "noise6").glob("*.safetensors"))) == 2
    assert (tmp_path / "noise_robustness.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"noise_levels has 0, 7; expected numbers from 1 to 6"):
        script("finetune").main([*words, "--noise_levels", "0,6,7"])


def test_accelerate_launch_runs_the_attentive_probe(corpus, checkpoint, tmp_path):
    accelerate = f"{sys.executable} -m accelerate.commands.launch"
    launch = f"{accelerate} --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
    words = (
        f"training/finetune.py --model {checkpoint} --corpus {corpus} --mode attentive_probe --output_dir {tmp_path}"
    )
    finished = fresh.run(
        [*launch.split(), *words.split(), "--no_baseline", "--resamples", "50"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert json.loads((tmp_path / "config.json").read_text())["pooling"] == "attention"
    assert "Traceback" not in finished.stderr


def write_table(folder, *, patients=True, kind="multi"):
    """48 CSV recordings of 24 patients and a table of labels."""
    generator = np.random.default_rng(0)
    (folder / "ecgs").mkdir()
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        columns = {"multi": ["AFIB", "SR", "NEVER"], "single": ["rhythm"], "number": ["rate"]}[kind]
        writer.writerow(["record", *(["patient"] if patients else []), *columns])
        for number in range(48):
            fast = number % 4 in (0, 1)
            rate = 2.5 if fast else 1.2
            time = np.arange(100) / 50
            signal = np.sin(2 * np.pi * rate * time + generator.uniform(0, 6, (12, 1))) + 0.2 * generator.normal(
                size=(12, 100)
            )
            np.savetxt(
                folder / "ecgs" / f"r{number}.csv",
                signal.T,
                fmt="%.4f",
                delimiter=",",
                header=",".join(LEADS),
                comments="",
            )
            labels = {"multi": [int(fast), int(not fast), int(number == 3)], "single": ["AFIB" if fast else "SR"]}
            labels["number"] = [round(rate * 60 + generator.normal(), 2)]
            writer.writerow([f"r{number}.csv", *([f"p{number // 2}"] if patients else []), *labels[kind]])
    return f"--table {folder / 'labels.csv'} --root {folder / 'ecgs'} --read_sampling_rate 50"


def test_a_users_own_table_trains_with_one_command(checkpoint, tmp_path, capsys):
    from ecg_transformers.publishing.card.head import split_head, unstated

    words = f"--model {checkpoint} {write_table(tmp_path)} --output_dir {tmp_path / 'out'} --resamples 50"
    entries = script("finetune").main([*words.split(), "--cross_validation", "0"])
    printed = capsys.readouterr().out
    assert "multi-label, 3 in the order of the columns (AFIB 24, SR 24, NEVER 1); 48 records, 24 patients" in printed
    assert "split by patient 8:1:1, seed 0" in printed
    assert "validation (fold 2) macro AUROC" in printed
    assert entries[0]["mode"] == "linear_probe"
    assert entries[0]["label_codes"] == ["AFIB", "SR"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label_system"] == "own"
    # The card names the base and its corpus, and asks for the license of the recordings.
    head, _ = split_head((tmp_path / "out" / "card.md").read_text())
    assert head["base_model"] == "tiny-ecg"
    assert [one["name"] for one in head["corpora"]] == ["ptbxl", "folder"]
    assert unstated(head) == ["license", "corpora[1].title (of folder)", "corpora[1].license (of folder)"]
    with open(tmp_path / "out" / "labels_with_folds.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    folds = {}
    for row in rows:
        folds.setdefault(row["patient"], set()).add(row["fold"])
    assert all(len(found) == 1 for found in folds.values())
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    # The test fold is scored on request; the label that was dropped is left out.
    out = tmp_path / "out"
    scored = script("score").main(
        f"--model {out} --corpus {out / 'corpus'} --folds 3 --output_dir {tmp_path / 'score'} --resamples 50".split()
    )
    assert scored[0]["label_codes"] == ["AFIB", "SR"]
    with pytest.raises(ValueError, match=r"trained on folds \[1\]"):
        script("score").main(f"--model {out} --corpus {out / 'corpus'} --train_folds 2 --folds 1".split())


def test_a_small_table_is_cross_validated_by_patient(checkpoint, tmp_path, capsys):
    """Every record is reported once, by a model that has not seen its patient; the saved model has seen them all."""
    from ecg_transformers.corpora.prepared import load_corpus
    from ecg_transformers.evaluation.results.predictions import Predictions
    from ecg_transformers.publishing.card.table import results_table

    out = tmp_path / "out"
    words = f"--model {checkpoint} {write_table(tmp_path)} --output_dir {out} --resamples 50"
    entries = script("finetune").main(words.split())
    printed = capsys.readouterr().out
    assert "48 records, 24 patients; 5-fold cross-validation by patient, seed 0" in printed
    assert "each is reported once, by a model of the other 4 of 5 folds" in printed
    assert "5-fold cross-validation by patient, macro AUROC" in printed
    own = entries[0]
    assert (own["records"], own["train_records"], own["evaluate_role"]) == (48, 48, "cross-validation")
    assert own["evaluate_folds"] == own["train_folds"] == [1, 2, 3, 4, 5]
    assert "cross-validation" in results_table(entries, own["checkpoint"])
    # Thresholds come from the same out-of-fold scores.
    with open(out / "labels.csv", newline="") as file:
        assert [int(row["threshold_positives"]) for row in csv.DictReader(file)] == [24, 24]
    # One part by hand: a table that names the fold as its validation fold.
    corpus = load_corpus(out / "corpus")
    with open(out / "labels_with_folds.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["fold"] = {"3": "2"}.get(row["fold"], "1")
    with open(tmp_path / "by_hand.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    words = words.replace(str(tmp_path / "labels.csv"), str(tmp_path / "by_hand.csv")).replace(str(out), f"{out}2")
    script("finetune").main(words.split())
    whole, part = (
        Predictions.load(str(next((folder / "predictions").glob("*_pretrained_*"))))
        for folder in (out, tmp_path / "out2")
    )
    np.testing.assert_allclose(whole.scores[corpus.folds == 3], part.scores, atol=1e-5)
    with pytest.raises(ValueError, match=r"trained on folds \[2, 3, 4, 5\]"):
        script("score").main(f"--model {out} --corpus {out / 'corpus'} --train_folds 1 --folds 2-5".split())


def test_leads_that_no_training_record_has_are_left_out_of_every_recording(checkpoint, tmp_path, capsys):
    from transformers import pipeline

    from ecg_transformers import EcgRecord
    from ecg_transformers.evaluation.classifier import load_extractor

    table, out = write_table(tmp_path, kind="single"), tmp_path / "out"
    whole = np.loadtxt(tmp_path / "ecgs" / "r0.csv", delimiter=",", skiprows=1)
    for number, file in enumerate(sorted((tmp_path / "ecgs").iterdir())):
        place = LEADS.index("V1" if number % 5 == 0 else "II")
        np.savetxt(
            file, np.loadtxt(file, delimiter=",", skiprows=1)[:, [place]], fmt="%.4f", header=LEADS[place], comments=""
        )
    words = f"--model {checkpoint} {table} --output_dir {out} --resamples 50 --missing_leads mask --no_baseline"
    script("finetune").main(words.split())
    said = "trained on leads II, V1: saved as used_leads; other leads are left out of every recording"
    assert said in capsys.readouterr().out
    assert json.loads((out / "preprocessor_config.json").read_text())["used_leads"] == ["II", "V1"]
    assert "only II, V1 used" in load_extractor(out).describe()
    classify = pipeline("ecg-classification", str(out), device="cpu")
    found, expected = (
        classify(EcgRecord(signal.T, 50, leads=names))
        for signal, names in ((whole, LEADS), (whole[:, [1, 6]], ("II", "V1")))
    )
    assert found == expected


def test_one_column_of_names_is_a_single_label_task(checkpoint, tmp_path, capsys):
    words = (
        f"--model {checkpoint} {write_table(tmp_path, patients=False, kind='single')} --output_dir {tmp_path / 'out'}"
    )
    entries = script("finetune").main([*words.split(), *QUICK, "--mode", "fine_tune", "--no_baseline"])
    assert "single-label, 2 in sorted order" in capsys.readouterr().out
    assert {"accuracy", "one_vs_one_auroc"} <= entries[0].keys()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["problem_type"] == "single_label_classification"


def test_numbers_are_a_regression(checkpoint, tmp_path, capsys):
    words = (
        f"--model {checkpoint} {write_table(tmp_path, kind='number')} --output_dir {tmp_path / 'out'} --resamples 50"
    )
    entries = script("finetune").main(words.split())
    assert entries[0]["metric"] == "negative_mean_absolute_error"
    assert "positives" not in capsys.readouterr().out
    assert -100 < entries[0]["value"] < 0


def test_misspelled_and_missing_settings_are_refused_by_name(checkpoint, corpus):
    from ecg_transformers.errors import EcgError

    main = script("finetune").main
    with pytest.raises(EcgError, match="pooling"):
        main(["--model", str(checkpoint), "--poling", "mean"])
    with pytest.raises(EcgError, match="output_dir"):
        main(["--model", str(checkpoint), "--corpus", str(corpus)])
    with pytest.raises(EcgError, match="--model"):
        main(["--corpus", str(corpus)])
    with pytest.raises(EcgError, match="--table"):
        main(["--model", str(checkpoint), "--output_dir", "x"])
    assert main(["--help"]) == []


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A tiny xresnet1d from new weights: windows of 1 s out of records of 4 s."""
    path = tmp_path_factory.mktemp("recipe") / "tiny_xresnet1d.yaml"
    path.write_text(
        "model_type: xresnet1d\nsampling_rate: 50\nwindow_size: 50\nblock: basic\ndepths: [1, 1, 1, 1]\nwidth: 8\n"
        "stem_sizes: [8, 8, 8]\nhead_hidden_sizes: [8]\nlabels: all\nchoose_epoch: last\none_cycle: true\n"
        "learning_rate: 1e-2\nmax_shift_seconds: 0\nnum_train_epochs: 3\nper_device_train_batch_size: 16\n"
        "eval_strategy: steps\neval_steps: 0.5\nsave_strategy: epoch\nresamples: 50\ndisable_tqdm: true\n"
    )
    return path


def test_a_recipe_trains_new_weights_on_every_training_record(corpus, recipe, tmp_path, capsys):
    from transformers import AutoFeatureExtractor, AutoModelForSequenceClassification

    entries = script("finetune").main([str(recipe), "--corpus", str(corpus), "--output_dir", str(tmp_path)])
    first = entries[0]
    assert (first["mode"], first["initialization"], first["checkpoint"]) == ("from_scratch", "random", "tiny_xresnet1d")
    assert first["config"] == recipe.name
    assert (first["window_seconds"], first["window_stride_seconds"], first["pooling"]) == (1.0, 0.5, "cls")
    assert first["chosen"]["epoch"] == 3
    assert "nothing is chosen (last epoch); thresholds on folds 9, which are reported" in capsys.readouterr().out
    assert first["selection"].startswith("nothing is chosen")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.model_type == "xresnet1d"
    assert len(model.config.thresholds) == model.config.num_labels
    assert AutoFeatureExtractor.from_pretrained(tmp_path).window_size == 50
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["epochs"], run["records"], run["labels"]) == (3, first["train_records"], "all")
    assert run["settings"]["depths"] == [1, 1, 1, 1]


def test_thresholds_are_fitted_anew_on_other_records(corpus, recipe, checkpoint, tmp_path, monkeypatch):
    from ecg_transformers.errors import EcgError

    words = ["--corpus", str(corpus), "--labels", "all", "--resamples", "50", "--output_dir"]
    script("finetune").main([str(recipe), *words, str(tmp_path / "run"), "--num_train_epochs", "1"])
    monkeypatch.chdir(tmp_path)
    fit = ["--train_folds", "1-7", "--folds", "10", "--fit_thresholds", "--card", "net-ecg"]
    entries = script("score").main(["--model", str(tmp_path / "run"), *words, str(tmp_path / "score"), *fit])
    config = json.loads((tmp_path / "score" / "run" / "config.json").read_text())
    assert config["thresholds_from"] == {"corpus": "synthetic", "folds": [10]}
    with open(tmp_path / "hub_cards" / "net-ecg" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {
        "code", "positives", "auroc", "average_precision", "threshold", "threshold_positives", "predicted",
        "precision", "recall", "f1",
    }  # fmt: skip
    assert [row["threshold"] != "" for row in rows] == [cut is not None for cut in config["thresholds"]]
    assert [int(row["threshold_positives"]) >= 10 for row in rows] == [cut is not None for cut in config["thresholds"]]
    assert entries[0]["labels_with_threshold"] == sum(cut is not None for cut in config["thresholds"])
    with pytest.raises(EcgError, match="--fit_thresholds needs a classifier"):
        script("score").main(["--model", str(checkpoint), *words, str(tmp_path / "score"), "--fit_thresholds"])


def test_a_supervised_checkpoint_is_scored_as_it_is_and_fine_tuned_head_first(corpus, recipe, tmp_path):
    from ecg_transformers.evaluation.results.predictions import Predictions

    words = ["--corpus", str(corpus), "--output_dir"]
    script("finetune").main([str(recipe), *words, str(tmp_path / "supervised")])
    options = ["--resamples", "50", "--disable_tqdm", "true"]
    model = ["--model", str(tmp_path / "supervised")]
    scored = script("score").main([*model, *words, str(tmp_path / "scored"), "--labels", "all", *options])
    assert (scored[0]["mode"], scored[0]["initialization"]) == ("from_scratch", "random")
    before, after = (
        Predictions.load(next((tmp_path / folder / "predictions").glob("*.safetensors")))
        for folder in ("supervised", "scored")
    )
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-6)
    tuning = "--mode fine_tune --head_epochs 1 --layer_decay 0.25 --num_train_epochs 1 --no_baseline".split()
    tuned = script("finetune").main([*model, *words, str(tmp_path / "tuned"), *tuning, *options])
    # What was learned before were labels.
    assert (tuned[0]["mode"], tuned[0]["initialization"]) == ("fine_tune", "supervised")
    wide = script("score").main(
        [*model, *words, str(tmp_path / "wide"), "--labels", "all", *options, "--window_seconds", "2"]
    )
    assert (wide[0]["window_seconds"], wide[0]["window_stride_seconds"]) == (2.0, 1.0)


def test_label_efficiency_takes_the_first_folds(corpus, checkpoint, tmp_path, capsys):
    words = f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir {tmp_path}"
    words += " --label_efficiency 4,0.1,1 --train_folds 1-8"
    entries = script("finetune").main([*words.split(), "--resamples", "50", "--no_baseline"])
    entries = [entry for entry in entries if entry["min_positives"] == 1]
    assert [entry["train_folds"] for entry in entries] == [[*range(1, 9)], [1], [1, 2, 3, 4]]
    assert [entry["train_fraction"] for entry in entries] == [0.1, 1.0, 1.0]
    missing = entries[0]["labels_without_training"]
    assert [entry["labels_without_training"] for entry in entries] == [missing, [], []]
    assert entries[0]["num_labels"] == entries[1]["num_labels"] - len(missing) < entries[1]["num_labels"]
    assert not set(missing) & set(entries[0]["label_codes"])
    assert entries[0]["train_records"] < entries[2]["train_records"]
    assert (tmp_path / "label_efficiency.png").is_file()
    printed = capsys.readouterr().out
    assert "training folds" in printed
    assert "0.1 of 1-8" in printed
    assert f"{len(missing)} more without a training record are left out" in printed
    with pytest.raises(ArgumentsError, match="a share too"):
        script("finetune").main([*words.split(), "--train_fraction", "0.5"])
    with pytest.raises(ArgumentsError, match=r"\[1\.5\]; expected whole numbers from 1 to 8"):
        script("finetune").main([*words.split(), "--label_efficiency", "1.5"])


@pytest.mark.parametrize("command", ["finetune", "score"])
def test_label_efficiency_of_an_official_tree_without_folds(command, checkpoint, tmp_path, capsys, monkeypatch):
    """The tree is prepared once, and every amount is trained on the same folds."""
    from ecg_transformers.corpora import CORPORA

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CORPORA, "bare", small_definition(tmp_path / "bare", folds=False))
    words = f"--model {checkpoint} --corpus bare --source {tmp_path} --labels rhythm --mode linear_probe"
    words += " --output_dir out --resamples 50 --no_baseline --label_efficiency 1,4"
    entries = [entry for entry in script(command).main(words.split()) if entry["min_positives"] == 1]
    assert [(entry["train_folds"], entry["evaluate_folds"]) for entry in entries] == [([1], [9]), ([1, 2, 3, 4], [9])]
    printed = capsys.readouterr().out
    assert printed.count("bare has no folds to train on and report: 10 folds by patient") == 1
    assert [path.name for path in Path("out").rglob("corpus.json")] == ["corpus.json"]
    with open(tmp_path / "out" / "folds.csv", newline="") as file:
        assert {row["fold"] for row in csv.DictReader(file)} == {str(fold) for fold in range(1, 11)}


def test_a_checkpoint_is_fine_tuned_with_another_head(corpus, checkpoint, tmp_path):
    from transformers import AutoModelForSequenceClassification

    words = f"--model {checkpoint} --corpus {corpus} --mode fine_tune --output_dir {tmp_path} --no_baseline"
    words += " --head_hidden_sizes 6 --head_dropout 0.5 --head_batch_norm true --num_train_epochs 1 --resamples 50"
    entries = script("finetune").main(words.split())
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert [type(layer).__name__ for layer in model.classifier] == [
        "BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"
    ]  # fmt: skip
    assert entries[0]["settings"]["head_hidden_sizes"] == [6]
    assert entries[0]["settings"]["head_dropout"] == 0.5
    with pytest.raises(EcgError, match=r"head_dropout 1\.5"):
        script("finetune").main([*words.split(), "--head_dropout", "1.5", "--output_dir", str(tmp_path / "no")])


def test_other_windows_for_any_encoder(corpus, checkpoint, tmp_path):
    from transformers import AutoModelForSequenceClassification

    words = f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir {tmp_path} --no_baseline"
    windows = "--window_seconds 1 --window_stride_seconds 0.6 --aggregate max --resamples 50"
    entries = script("finetune").main([*words.split(), *windows.split()])
    assert (entries[0]["window_seconds"], entries[0]["window_stride_seconds"]) == (1.0, 0.6)
    assert entries[0]["aggregate"] == "max"
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.window_size == 50


def test_a_kill_during_the_baseline_does_not_repeat_the_training(corpus, checkpoint, tmp_path, monkeypatch):
    from ecg_transformers.evaluation import outcomes

    words = f"--model {checkpoint} --corpus {corpus} --mode fine_tune --output_dir {tmp_path} --resume".split()
    run_mode = outcomes.run_mode

    def killed(mode, *args, **options):
        if mode == "from_scratch":
            raise KeyboardInterrupt
        return run_mode(mode, *args, **options)

    monkeypatch.setattr(outcomes, "run_mode", killed)
    with pytest.raises(KeyboardInterrupt):
        script("finetune").main([*words, *QUICK])
    newest = sorted((tmp_path / "training" / "system").glob("checkpoint-*"))[-1]
    written = newest.stat().st_mtime_ns

    def watched(mode, *args, **options):
        outcome = run_mode(mode, *args, **options)
        assert newest.stat().st_mtime_ns == written
        return outcome

    monkeypatch.setattr(outcomes, "run_mode", watched)
    assert script("finetune").main([*words, *QUICK])
    assert not (tmp_path / "training").exists()


def test_a_time_limit_is_said_and_resumed(corpus, checkpoint, tmp_path, capsys, monkeypatch):
    from ecg_transformers.errors import EcgError
    from ecg_transformers.evaluation.results.store import add_to_card
    from ecg_transformers.publishing.card.table import results_table

    main = script("finetune").main
    words = f"--model {checkpoint} --corpus {corpus} --mode fine_tune --output_dir".split()
    whole = main([*words, str(tmp_path / "whole"), *QUICK])
    capsys.readouterr()
    cut = main([*words, str(tmp_path / "cut"), *QUICK, "--max_seconds", "0"])
    printed = capsys.readouterr().out
    steps = cut[0]["unfinished"]
    assert steps["steps"] == 1 < steps["max_steps"]
    said = f"unfinished, 1 of {steps['max_steps']} steps"
    assert f"no result of a whole run: training is {said}" in printed
    assert "no result of a whole run: its baseline is unfinished, 1 of" in printed
    assert "add --resume to continue" in printed
    saved = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert all(entry["unfinished"]["steps"] == 1 for entry in saved)
    assert said in results_table(saved, cut[0]["checkpoint"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EcgError, match=said):
        add_to_card("tiny-ecg", saved)
    # A checkpoint that was not trained to its end says so wherever it is scored.
    options = ["--labels", "all", "--resamples", "50", "--output_dir", str(tmp_path / "score")]
    scored = script("score").main(["--model", str(tmp_path / "cut"), "--corpus", str(corpus), *options])
    assert scored[0]["unfinished"] == steps
    with pytest.raises(EcgError, match="--resume"):
        main([*words, str(tmp_path / "cut"), *QUICK])
    capsys.readouterr()
    resumed = main([*words, str(tmp_path / "cut"), *QUICK, "--resume"])
    assert "unfinished" not in capsys.readouterr().out
    for one, other in zip(whole, resumed, strict=True):
        assert "unfinished" not in other
        assert (one["value"], one["chosen"]) == (other["value"], other["chosen"])
    # Once more: everything is there.
    written = (tmp_path / "cut" / "model.safetensors").stat().st_mtime_ns
    again = main([*words, str(tmp_path / "cut"), *QUICK, "--resume"])
    assert "nothing is left to train" in capsys.readouterr().out
    assert [entry["value"] for entry in again] == [entry["value"] for entry in resumed]
    assert (tmp_path / "cut" / "model.safetensors").stat().st_mtime_ns == written


def test_a_card_with_other_systems_does_not_mislabel_a_published_checkpoint(corpus, recipe, tmp_path, monkeypatch):
    words = ["--corpus", str(corpus), "--output_dir"]
    script("finetune").main([str(recipe), *words, str(tmp_path / "run")])
    published = tmp_path / "net-ecg"
    published.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (published / name).write_bytes((tmp_path / "run" / name).read_bytes())
    own = [entry | {"checkpoint": "net-ecg"} for entry in json.loads((tmp_path / "run" / "results.json").read_text())]
    other = [entry | {"checkpoint": "mae-ecg", "mode": "fine_tune", "initialization": "pretrained"} for entry in own]
    card = tmp_path / "hub_cards" / "net-ecg"
    card.mkdir(parents=True)
    (card / "results.json").write_text(json.dumps([*other, *own]))
    monkeypatch.chdir(tmp_path)
    options = ["--labels", "all", "--resamples", "50"]
    entries = script("score").main(["--model", str(published), *words, str(tmp_path / "scored"), *options])
    assert (entries[0]["mode"], entries[0]["initialization"], entries[0]["config"]) == (
        "from_scratch", "random", recipe.name,
    )  # fmt: skip


def test_a_recipe_on_a_small_table_trains_new_weights(recipe, tmp_path):
    words = f"{recipe} {write_table(tmp_path)} --output_dir {tmp_path / 'out'} --num_train_epochs 1"
    script("finetune").main(words.split())
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model_type"] == "xresnet1d"


def test_settings_that_a_mode_has_no_use_for_are_named(corpus, checkpoint, tmp_path, capsys):
    words = f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir {tmp_path} --no_baseline"
    script("finetune").main([*words.split(), "--resamples", "50", "--choose_epoch", "last", "--num_train_epochs", "7"])
    assert "not used by linear_probe: choose_epoch, num_train_epochs" in capsys.readouterr().out


def test_settings_that_cannot_train_are_refused_in_words(corpus, recipe, checkpoint, tmp_path):
    from ecg_transformers.errors import EcgError

    words = ["--corpus", str(corpus), "--output_dir", str(tmp_path)]
    large = ["--per_device_train_batch_size", "4096", "--dataloader_drop_last", "true"]
    with pytest.raises(EcgError, match="do not fill one batch of 4096"):
        script("finetune").main([str(recipe), *words, *large])
    blind = ["--model", str(checkpoint), "--mode", "fine_tune", "--eval_strategy", "no", "--no_baseline"]
    with pytest.raises(EcgError, match="choose_epoch last"):
        script("finetune").main([*blind, *words])


def test_a_card_takes_the_figures_and_facts_of_a_run(corpus, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"{recipe} --corpus {corpus} --output_dir {tmp_path / 'run'} --num_train_epochs 1 --card net-ecg"
    script("finetune").main(words.split())
    card = tmp_path / "hub_cards" / "net-ecg"
    assert {path.name for path in card.iterdir()} == {"results.json", "run.json", "labels.csv"}
    assert {entry["checkpoint"] for entry in json.loads((card / "results.json").read_text())} == {"net-ecg"}
    assert (card / "run.json").read_bytes() == (tmp_path / "run" / "run.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("finetune", "--mode linear_probe --corpus CORPUS --output_dir OUT"),
        ("score", "--labels all --corpus CORPUS --output_dir OUT"),
        ("pretrain", f"{CONFIGS / 'mae_moco_tiny.yaml'} --corpus CORPUS --output_dir OUT"),
        ("prepare", "synthetic --records 10 --output OUT"),
    ],
)
def test_a_checkpoint_that_cannot_be_opened_is_one_line(name, words, corpus, tmp_path):
    given = words.replace("CORPUS", str(corpus)).replace("OUT", str(tmp_path / "out")).split()
    (tmp_path / "empty").mkdir()
    for model in ("me/nothing", str(tmp_path / "empty")):
        with pytest.raises(CheckpointError, match=f"^{model} cannot be opened: .*config.json") as caught:
            script(name).main([*given, "--model", model])
        assert "\n" not in str(caught.value)
    # Without asking the Hub.
    (tmp_path / "tiny-ecg").mkdir()
    (tmp_path / "tiny-ecg" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=rf"does not exist; .* are tiny-ecg. Did you mean {tmp_path}/tiny-ecg\?"):
        script(name).main([*given, "--model", str(tmp_path / "tiny-egc")])


def test_one_lead_of_a_corpus_without_folds(corpus, checkpoint, tmp_path, capsys):
    """The lead's name, the absent leads and the folds: stated once on the command line, then remembered."""
    from transformers import AutoFeatureExtractor, pipeline

    from ecg_transformers.corpora.build import write_corpus
    from ecg_transformers.corpora.prepared import load_corpus
    from ecg_transformers.signals.record import EcgRecord

    records = [
        EcgRecord(one.signal[:1], one.sampling_rate, ["ECG"], name=one.name, labels=one.labels)
        for one in load_corpus(corpus)
    ]
    write_corpus(records, tmp_path / "watch", {"name": "watch", "label_system": "scp"})
    words = (
        f"--model {checkpoint} --corpus {tmp_path}/watch --mode linear_probe --output_dir {tmp_path}/out --resamples 50"
    )
    with pytest.raises(EcgError, match="treat_as"):
        script("finetune").main(words.split())
    entries = script("finetune").main([*words.split(), *"--treat_as ECG=I --missing_leads mask".split()])
    text = capsys.readouterr().out
    assert "watch has no folds to train on and report: 10 folds by patient" in text
    assert "validation (fold 9) macro AUROC" in text
    assert entries[0]["settings"]["treat_as"] == {"ECG": "I"}
    rows = list(csv.DictReader((tmp_path / "out" / "folds.csv").open()))
    assert len(rows) == 220
    saved = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    assert (saved.treat_as, saved.missing_leads) == ({"ECG": "I"}, "mask")
    classify = pipeline("ecg-classification", model=str(tmp_path / "out"))
    assert classify(records[0])[0]["score"] > 0
    again = script("score").main(
        f"--model {tmp_path}/out --corpus {tmp_path}/watch --resamples 50 --output_dir {tmp_path}/score".split()
    )
    assert again[0]["value"] == pytest.approx(entries[0]["value"], abs=1e-6)
    assert again[0]["evaluate_folds"] == [9]


def test_a_switch_is_negated_as_people_write_it(corpus, checkpoint, tmp_path):
    from ecg_transformers.commands.downstream import FineTuneArguments, read_arguments

    words = (
        f"--model {checkpoint} --corpus {corpus} --output_dir {tmp_path} --no_head_first --no_baseline --no_balanced"
    )
    arguments = read_arguments(words.split(), FineTuneArguments)
    assert (arguments.learning.head_first, arguments.learning.balanced, arguments.report.no_baseline) == (
        False, False, True,
    )  # fmt: skip


def test_a_table_of_which_half_is_refused_is_no_training_set(checkpoint, tmp_path, capsys):
    from ecg_transformers.errors import CorpusError

    root = tmp_path / "in"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        head = ",".join(f"{lead} (mV)" if number % 2 else lead for lead in LEADS)
        values = rng.normal(scale=0.3, size=(300, 12)) * (1 if number % 2 else 1000)
        np.savetxt(root / f"r{number}.csv", values, delimiter=",", header=head, comments="")
    rows = "".join(f"r{number}.csv,{number % 3 // 2}\n" for number in range(12))
    (tmp_path / "labels.csv").write_text(f"record,AFIB\n{rows}")
    words = f"--model {checkpoint} --table {tmp_path}/labels.csv --root {root} --output_dir {tmp_path}/out"
    with pytest.raises(CorpusError, match="6 of 12 records of the table were refused"):
        script("finetune").main([*words.split(), "--read_sampling_rate", "100"])
    text = capsys.readouterr().out
    assert "Set --read_units" in text
    assert "refused: 6 of 12 records; all reasons are in" in text
    assert "multi_label: 0 and 1 in 1 column" in text


def test_patients_are_identified_by_frozen_embeddings(corpus, checkpoint, tmp_path, capsys, monkeypatch):
    from ecg_transformers.corpora.prepared import load_corpus

    monkeypatch.chdir(tmp_path)
    words = f"--model {checkpoint} --corpus {corpus} --labels patients --mode linear_probe --resamples 50 --leads I,II"
    entries = script("finetune").main([*words.split(), "--output_dir", "out"])
    printed = capsys.readouterr().out
    assert "nothing is learned" in printed
    assert "identification accuracy" in printed
    assert [entry["initialization"] for entry in entries] == ["pretrained", "random"]
    assert (entries[0]["leads"], entries[0]["labels"]) == (["I", "II"], "patients")
    ids = load_corpus(corpus).select(folds=[9]).patient_ids
    assert entries[0]["records"] == int((np.unique(ids, return_counts=True)[1] > 1).sum())
    # The checkpoint is the model: no other one is saved.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predictions", "results.json"]
    again = script("score").main([*words.split()[:6], "--resamples", "50", "--leads", "I,II"])
    assert again[0]["value"] == entries[0]["value"]
    with pytest.raises(EcgError, match="noise_levels"):
        script("score").main([*words.split(), "--noise_levels", "1"])
