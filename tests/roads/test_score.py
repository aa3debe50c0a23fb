"""`training/score.py` as a user types it: encoders and classifiers on the same records, the table, the card."""

import json
from pathlib import Path

import pytest

from ecg_transformers.errors import CheckpointError

from ..conftest import script
from .conftest import make_checkpoint


def test_two_encoders_of_different_rates_are_compared_on_the_same_records(corpus, tmp_path, capsys, monkeypatch):
    first = make_checkpoint(tmp_path / "slow-ecg", rate=25, seed=7)
    second = make_checkpoint(tmp_path / "fast-ecg", rate=50, seed=8)
    monkeypatch.chdir(tmp_path)
    words = f"--model {first} {second} --corpus {corpus} --labels all --folds 9 --mode linear_probe --resamples 50"
    entries = script("score").main([*words.split(), "--card", "slow-ecg"])
    printed = capsys.readouterr().out
    assert "validation (fold 9) macro AUROC" in printed
    table = printed[printed.index("checkpoint ") :].splitlines()
    assert all(
        word in table[0] for word in ("Hz", "window s", "leads", "parameters", "pretraining records", "p (Holm)")
    )
    assert table[1].split()[2:4] == ["25", "4"]
    assert table[2].split()[2:4] == ["50", "2"]
    by_name = {entry["checkpoint"]: entry for entry in entries if entry["initialisation"] == "pretrained"}
    assert by_name["slow-ecg"]["records"] == by_name["fast-ecg"]["records"]
    others = [difference["against"] for difference in by_name["fast-ecg"]["differences"]]
    assert others == ["random", "slow-ecg"]
    card = json.loads((tmp_path / "hub_cards" / "slow-ecg" / "results.json").read_text())
    assert {entry["checkpoint"] for entry in card} == {"slow-ecg"}
    assert {entry["initialisation"] for entry in card} == {"pretrained", "random"}


def test_one_layer_or_several_are_probed_saved_and_scored(corpus, tmp_path, monkeypatch):
    from transformers import AutoModelForSequenceClassification

    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=50, seed=7)
    monkeypatch.chdir(tmp_path)
    words = f"--corpus {corpus} --resamples 50 --seed 3"
    values = {}
    for layer, saved, width in (("0", 0, 16), ("0,1", [0, 1], 32)):
        out = f"width{width}"
        options = f"--model {checkpoint} {words} --mode linear_probe --pooling cls --layer {layer}"
        trained = script("finetune").main([*options.split(), "--output_dir", out])
        model = AutoModelForSequenceClassification.from_pretrained(out)
        assert (model.config.layer, model.classifier.in_features) == (saved, width)
        assert {json.dumps(entry["layer"]) for entry in trained} == {json.dumps(saved)}
        scored = script("score").main([*options.split(), "--folds", "9", "--output_dir", f"scored-{out}"])
        again = script("score").main(f"--model {out} {words} --folds 9".split())
        values[layer] = [entry["value"] for entry in trained]
        for entries in (scored, again):
            assert [entry["value"] for entry in entries] == pytest.approx(values[layer], abs=1e-6)
            assert {json.dumps(entry["layer"]) for entry in entries} == {json.dumps(saved)}
    assert values["0"] != values["0,1"]
    with pytest.raises(CheckpointError, match="from -2 to 1"):
        script("score").main([*f"--model {checkpoint} {words} --mode linear_probe --layer 2".split(), "--folds", "9"])


def test_a_classifier_is_scored_as_it_is_beside_its_saved_baseline(corpus, tmp_path, capsys, monkeypatch):
    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=50, seed=7)
    monkeypatch.chdir(tmp_path)
    words = f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir out --resamples 50"
    trained = script("finetune").main(words.split())
    scored = script("score").main(f"--model out --corpus {corpus} --folds 9 --resamples 50".split())
    assert [entry["value"] for entry in scored] == pytest.approx([entry["value"] for entry in trained], abs=1e-6)
    assert scored[0]["mode"] == "linear_probe"
    assert scored[0]["difference"]["value"] == pytest.approx(trained[0]["difference"]["value"], abs=1e-6)
    words = f"--model out --corpus {corpus} --folds 9 --resamples 50 --output_dir noisy --noise_levels 3"
    noisy = script("score").main(words.split())
    levels = [(entry["initialisation"], entry.get("noise_level")) for entry in noisy if entry["min_positives"] == 1]
    assert levels == [("pretrained", None), ("random", None), ("pretrained", 3), ("random", 3)]
    clean = [entry["value"] for entry in noisy if not entry.get("noise_level")]
    assert clean == pytest.approx([entry["value"] for entry in scored], abs=1e-6)
    assert Path("noisy/noise_robustness.png").is_file()
    test = script("score").main(f"--model out --corpus {corpus} --folds 10 --resamples 50".split())
    assert test[0]["evaluate_folds"] == [10]
    assert "test (fold 10)" in capsys.readouterr().out
