"""`training/score.py` as a user types it: encoders and classifiers on the same records, the table, the card."""

import json
from pathlib import Path

import pytest

from ecg_transformers.errors import CheckpointError

from ..conftest import script
from .conftest import make_checkpoint, small_corpus


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
    by_name = {entry["checkpoint"]: entry for entry in entries if entry["initialization"] == "pretrained"}
    assert by_name["slow-ecg"]["records"] == by_name["fast-ecg"]["records"]
    others = [difference["against"] for difference in by_name["fast-ecg"]["differences"]]
    assert others == ["random", "slow-ecg"]
    card = json.loads((tmp_path / "hub_cards" / "slow-ecg" / "results.json").read_text())
    assert {entry["checkpoint"] for entry in card} == {"slow-ecg"}
    assert {entry["initialization"] for entry in card} == {"pretrained", "random"}


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
    levels = [(entry["initialization"], entry.get("noise_level")) for entry in noisy if entry["min_positives"] == 1]
    assert levels == [("pretrained", None), ("random", None), ("pretrained", 3), ("random", 3)]
    clean = [entry["value"] for entry in noisy if not entry.get("noise_level")]
    assert clean == pytest.approx([entry["value"] for entry in scored], abs=1e-6)
    assert Path("noisy/noise_robustness.png").is_file()
    test = script("score").main(f"--model out --corpus {corpus} --folds 10 --resamples 50".split())
    assert test[0]["evaluate_folds"] == [10]
    assert "test (fold 10)" in capsys.readouterr().out


def elsewhere(corpus, folder):
    """The same recordings as those of another corpus: SNOMED CT codes, no folds."""
    from ecg_transformers.corpora.build import write_corpus
    from ecg_transformers.corpora.labels import translation
    from ecg_transformers.corpora.prepared import load_corpus
    from ecg_transformers.signals.record import EcgRecord

    table = translation("scp", "snomed-ct")
    records = [
        EcgRecord(
            record.signal, record.sampling_rate, record.leads,
            name=record.name, labels=tuple(new for code in record.labels for new in table.get(code, ())),
        )
        for record in load_corpus(corpus)
    ]  # fmt: skip
    write_corpus(records, folder, {"name": "elsewhere", "label_system": "snomed-ct", "expected": {"records": 5000}})
    return folder


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_classifier_is_validated_on_another_corpus_in_one_command(corpus, tmp_path, capsys, monkeypatch):
    import numpy as np

    from ecg_transformers.evaluation.results.predictions import Predictions

    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=50, seed=7)
    monkeypatch.chdir(tmp_path)
    options = (
        f"--model {checkpoint} --corpus {corpus} --mode linear_probe --output_dir out --resamples 50 --no_baseline"
    )
    script("finetune").main(options.split())
    script("score").main(f"--model out --corpus {corpus} --folds 10 --resamples 50 --output_dir here".split())
    other = elsewhere(corpus, tmp_path / "elsewhere")
    capsys.readouterr()
    entries = script("score").main(f"--model out --corpus {other} --resamples 50 --output_dir there".split())
    text = capsys.readouterr().out
    assert "external validation on elsewhere, a sample of 220 of 5,000 records" in text
    assert "labels snomed-ct -> scp" in text
    assert "all records macro AUROC" in text
    # What is scored was not trained here.
    row = {name: cells for name, *cells in zip(*map(cells_of, text.splitlines()[-2:]), strict=True)}
    assert row["mode"] == ["as saved (linear probe)"]
    assert row["training records"] == [f"{entries[0]['train_records']:,}"]
    assert row["pretraining records"] == ["-"]
    assert entries[0]["evaluate_folds"] == []
    assert entries[0]["sample"] == "a sample of 220 of 5,000 records"
    assert entries[0]["external"]["labels_of_corpus"] == "snomed-ct"
    here, there = (
        Predictions.load(next(Path(folder).glob("predictions/*.safetensors"))) for folder in ("here", "there")
    )
    rows = np.flatnonzero(np.isin(there.record_ids, here.record_ids))
    assert len(rows) > 10
    same = np.isin(here.record_ids, there.record_ids)
    np.testing.assert_allclose(there.scores[rows], here.scores[same], atol=1e-6)
    named = [k for k, code in enumerate(here.codes) if there.labels[:, k].any()]
    np.testing.assert_array_equal(there.labels[rows][:, named], here.labels[same][:, named])


def test_an_official_tree_is_prepared_when_it_is_first_used(data_dir, tmp_path, monkeypatch):
    from ecg_transformers.errors import ArgumentsError, CheckpointError

    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=50, seed=7)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="hub/none"):
        script("score").main(f"--model {checkpoint} hub/none --corpus georgia --source {data_dir}/georgia".split())
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ArgumentsError, match="--corpus georgia --source DIR"):
        script("score").main(f"--model {checkpoint} --corpus georgia".split())
    with pytest.raises(ArgumentsError, match="expected --corpus ptbxl"):
        script("score").main(f"--model {checkpoint} --corpus nowhere --source {data_dir}".split())
    with pytest.raises(ValueError, match="1 patients cannot be divided"):
        script("score").main(f"--model {checkpoint} --corpus georgia --source {data_dir}/georgia".split())
    assert (tmp_path / "runs" / "score" / "corpus-georgia" / "corpus.json").is_file()


def test_a_probe_of_some_leads_and_one_of_all_leads_given_some(corpus, tmp_path, capsys, monkeypatch):
    from transformers import AutoFeatureExtractor

    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=50, seed=7)
    monkeypatch.chdir(tmp_path)
    words = f"--corpus {corpus} --resamples 50 --mode linear_probe"
    trained = script("finetune").main(f"--model {checkpoint} {words} --leads II,I --output_dir two".split())
    assert AutoFeatureExtractor.from_pretrained("two").used_leads == ["I", "II"]
    assert {json.dumps(entry["leads"]) for entry in trained} == {'["I", "II"]'}
    again = script("score").main(f"--model {checkpoint} {words} --leads I,II --card tiny-ecg".split())
    assert [entry["value"] for entry in again] == pytest.approx([entry["value"] for entry in trained], abs=1e-6)
    saved = script("score").main(f"--model two --corpus {corpus} --resamples 50 --output_dir saved".split())
    assert [entry["value"] for entry in saved] == pytest.approx([entry["value"] for entry in trained], abs=1e-6)
    assert "train_leads" not in saved[0]
    # The head of all leads, given two of them.
    whole = script("finetune").main(f"--model {checkpoint} {words} --output_dir whole".split())
    assert "leads" not in whole[0]
    capsys.readouterr()
    few = script("score").main(f"--model whole --corpus {corpus} --resamples 50 --leads I,II --card tiny-ecg".split())
    assert "  I, II  " in capsys.readouterr().out
    assert (few[0]["leads"], few[0]["train_leads"]) == (["I", "II"], "all")
    assert len({entry["value"] for entry in (trained[0], whole[0], few[0])}) == 3
    # Two results of two lead sets, which the card keeps apart.
    card = json.loads(Path("hub_cards/tiny-ecg/results.json").read_text())
    assert len(card) == len(again) + len(few)
    from ecg_transformers.publishing.card.table import results_table

    assert "linear probe, train leads all" in results_table(card)


def test_a_record_without_signal_of_an_older_corpus_is_counted_and_gets_no_statement(tmp_path, monkeypatch, caplog):
    # Corpora were prepared before such records were refused.
    monkeypatch.setattr("ecg_transformers.corpora.shard_builder._check_values", lambda *_: None)
    folder = small_corpus(tmp_path / "small", silent=(0, 4))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    checkpoint = make_checkpoint(tmp_path / "tiny-ecg", rate=100)
    words = f"--model {checkpoint} --corpus {folder} --labels rhythm --mode linear_probe --no_baseline --resamples 20"
    (entry,) = script("score").main(words.split())
    assert "2 records of small have no signal in any lead and are left out" in caplog.text
    assert (entry["evaluate_folds"], entry["records"]) == ([3], 7)
