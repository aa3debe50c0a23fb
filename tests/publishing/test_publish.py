"""A published folder: what is in it, how it is rounded, what is refused, and that nothing private is left."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)

from ecg_transformers import EcgRecord, read_record
from ecg_transformers.commands.entry import script_text
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish, verify
from ecg_transformers.publishing.card.facts import load_material

# The package's attribute of this name is the function.
MODULE = sys.modules["ecg_transformers.publishing.publish"]


def quick(checkpoint, repo_id=None, **arguments):
    return publish(checkpoint, repo_id, **{"clean_process": False} | arguments)


@pytest.fixture
def copied_run(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def edit_json(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(values))


def test_the_folder_holds_what_opening_needs_and_nothing_else(published):
    names = set(published.files)
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "golden.safetensors", "README.md"} <= names
    assert {"LICENSE", "modeling_mae_moco.py", "configuration_mae_moco.py", "feature_extraction_mae_moco.py"} <= names
    assert sorted(path.name for path in published.folder.iterdir()) == sorted(names)
    assert not [name for name in names if "objectives" in name or "augmentations" in name or "pretraining" in name]
    assert not [path for path in published.folder.parent.iterdir() if path.name.startswith(".")]


def test_every_class_was_opened_from_the_folder_in_a_clean_process(published):
    opened = published.verification.opened
    assert set(opened) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForSequenceClassification",
        "AutoModelForAudioClassification",
        "AutoFeatureExtractor",
    }
    assert all(module.startswith("transformers_modules.") for module in opened.values())
    assert published.verification.golden.passed
    config = json.loads((published.folder / "config.json").read_text())
    assert set(config["auto_map"]) == set(opened)
    assert config["architectures"] == ["MaeMocoModel"]
    assert config["dtype"] == "float32"
    extractor = json.loads((published.folder / "preprocessor_config.json").read_text())
    assert extractor["auto_map"] == {"AutoFeatureExtractor": "feature_extraction_mae_moco.MaeMocoFeatureExtractor"}


def test_weights_are_the_encoders_rounded_to_bfloat16_and_load_as_float32(published, run_folder):
    stored = load_file(published.folder / "model.safetensors")
    model = AutoModel.from_pretrained(published.folder)
    original = AutoModelForPreTraining.from_pretrained(run_folder).encoder
    parameters = dict(original.named_parameters())
    assert set(stored) == set(original.state_dict())
    assert {stored[name].dtype for name in parameters} == {torch.bfloat16}
    assert not model.training
    for name, value in model.named_parameters():
        assert value.dtype == torch.float32
        assert torch.equal(value, parameters[name].to(torch.bfloat16).float()), name


def test_batchnorm_statistics_stay_float32(run_folder, record_file, tmp_path):
    done = quick(run_folder, output_dir=tmp_path / "state", golden_record=record_file, with_pretraining_state=True)
    stored = load_file(done.folder / "model.safetensors")
    running = {name: value.dtype for name, value in stored.items() if "running_" in name}
    assert running
    assert set(running.values()) == {torch.float32}
    assert stored["queue.keys"].dtype == torch.float32
    config = json.loads((done.folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForPreTraining"] == "pretraining_mae_moco.MaeMocoForPreTraining"
    assert "objectives_infonce.py" in done.files
    loaded = AutoModelForPreTraining.from_pretrained(done.folder)
    assert torch.equal(loaded.queue.keys, AutoModelForPreTraining.from_pretrained(run_folder).queue.keys)


def test_a_decoder_is_published_without_the_state_of_other_objectives(run_folder, record_file, tmp_path):
    done = quick(run_folder, output_dir=tmp_path / "decoder", golden_record=record_file, with_decoder=True)
    whole = AutoModelForPreTraining.from_pretrained(run_folder)
    model = AutoModelForPreTraining.from_pretrained(done.folder)
    assert list(model.loss_weights) == ["reconstruction_loss"]
    assert {name.partition(".")[0] for name in model.state_dict()} == {"mae_moco", "decoder"}
    inputs = {"input_values": torch.randn(2, *torch.Size((model.config.num_leads, model.config.window_size)))}
    inputs["patch_noise"] = torch.rand(2, model.config.num_patches)
    with torch.no_grad():
        expected = whole.eval()(**inputs).reconstruction
        found = model.eval()(**inputs).reconstruction
    # The weights were rounded to bfloat16.
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    with pytest.raises(CheckpointError, match="no decoder"):
        publish("hub/mae-moco-ecg", dry_run=True, with_decoder=True)


def test_the_golden_file_is_a_real_recording_made_from_the_rounded_weights(published, record_file):
    with safe_open(published.folder / "golden.safetensors", framework="pt") as file:
        metadata = file.metadata()
        assert list(metadata) == ["recording"]
        golden = {name: file.get_tensor(name) for name in file.keys()}
    record = read_record(record_file)
    assert json.loads(metadata["recording"]) == {
        "record": "00001_hr",
        "sampling_rate": 500,
        "leads": ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"],
        "units": "mV",
        "source": "PTB-XL 1.0.3, CC BY 4.0",
    }
    assert np.array_equal(golden["signal"].numpy(), record.signal)
    extractor = AutoFeatureExtractor.from_pretrained(published.folder)
    inputs = extractor(record, return_tensors="pt")
    assert torch.equal(inputs["input_values"], golden["input_values"])
    with torch.no_grad():
        output = AutoModel.from_pretrained(published.folder)(**inputs).pooler_output
    torch.testing.assert_close(output, golden["pooler_output"], rtol=1e-5, atol=1e-6)


def test_a_classifier_keeps_its_labels_and_opens_with_every_head(published_classifier):
    folder = published_classifier.folder
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["MaeMocoForSequenceClassification"]
    assert config["id2label"] == {"0": "NORM", "1": "MI", "2": "STTC", "3": "CD", "4": "HYP"}
    assert config["label_names"][1] == "infarction"
    models = [
        auto_class.from_pretrained(folder)
        for auto_class in (AutoModelForSequenceClassification, AutoModelForAudioClassification)
    ]
    assert torch.equal(models[0].classifier.weight, models[1].classifier.weight)
    encoder = AutoModel.from_pretrained(folder)
    assert torch.equal(encoder.layernorm.weight, models[0].base_model.layernorm.weight)


def test_weights_can_be_sharded(run_folder, record_file, tmp_path, published):
    done = quick(run_folder, output_dir=tmp_path / "shards", golden_record=record_file, max_shard_size="20KB")
    shards = [name for name in done.files if name.startswith("model-")]
    assert len(shards) > 1
    assert "model.safetensors.index.json" in done.files
    whole, parts = (AutoModel.from_pretrained(folder).state_dict() for folder in (published.folder, done.folder))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_published_folder_is_published_again_without_further_words(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = quick(published.folder, "me/tiny", dry_run="out/")
    assert 'from_pretrained("me/tiny")' in (tmp_path / "out" / "README.md").read_text()
    for name in ("model.safetensors", "golden.safetensors", "config.json", "preprocessor_config.json", "errors.py"):
        assert (tmp_path / "out" / name).read_bytes() == (published.folder / name).read_bytes(), name
    assert done.revision is None


def test_publishing_twice_gives_the_same_bytes_and_replaces_the_folder(run_folder, record_file, tmp_path):
    first = quick(run_folder, output_dir=tmp_path / "twice", golden_record=record_file)
    before = {name: (first.folder / name).read_bytes() for name in first.files}
    (first.folder / "stale.py").write_text("")
    second = quick(run_folder, output_dir=tmp_path / "twice", golden_record=record_file)
    assert {name: (second.folder / name).read_bytes() for name in second.files} == before
    assert not (second.folder / "stale.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["twice"]


def test_a_dry_run_without_a_folder_keeps_nothing(run_folder, record_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = quick(run_folder, "me/tiny", dry_run=True, golden_record=record_file)
    assert done.folder is None
    assert "README.md" in done.files
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_checkpoint_is_not_overwritten(run_folder, record_file, tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        quick(run_folder, output_dir=tmp_path, golden_record=record_file)
    assert (tmp_path / "letters.txt").read_text() == "mine"


def test_a_failure_leaves_the_old_folder_and_no_remains(published, copied_run, record_file, tmp_path, monkeypatch):
    target = tmp_path / "hub" / "tiny"
    shutil.copytree(published.folder, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    monkeypatch.setattr(MODULE, "render_card", lambda *arguments: "no card")
    with pytest.raises(CheckpointError):
        quick(copied_run, output_dir=target, golden_record=record_file)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "No destination given"),
        ({"push": True, "output_dir": "x"}, "needs a repo_id"),
        ({"repo_id": "a/b", "push": True, "dry_run": True}, "no dry_run"),
        ({"output_dir": "x", "dry_run": "y"}, "one of them"),
    ],
)
def test_a_call_that_does_not_say_where_is_refused(run_folder, arguments, reason):
    with pytest.raises(CheckpointError, match=reason):
        publish(run_folder, **arguments)


def test_checkpoints_with_missing_or_contradicting_parts_are_refused(copied_run, record_file, tmp_path):
    target = {"output_dir": tmp_path / "target", "golden_record": record_file}
    with pytest.raises(CheckpointError, match="golden recording"):
        quick(copied_run, output_dir=tmp_path / "target")
    edit_json(copied_run / "preprocessor_config.json", sampling_rate=250)
    with pytest.raises(CheckpointError, match=r"sampling_rate is 100 in config\.json but 250"):
        quick(copied_run, **target)
    (copied_run / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no preprocessor_config\.json"):
        quick(copied_run, **target)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        quick(tmp_path / "nowhere", **target)
    assert not (tmp_path / "target").exists()


def test_weights_that_are_a_pickle_or_hold_nan_are_refused(copied_run, record_file, tmp_path):
    target = {"output_dir": tmp_path / "target", "golden_record": record_file}
    model = AutoModelForPreTraining.from_pretrained(copied_run)
    with torch.no_grad():
        model.encoder.layernorm.weight[0] = float("nan")
    model.save_pretrained(copied_run)
    with pytest.raises(CheckpointError, match=r"NaN .*layernorm\.weight"):
        quick(copied_run, **target)
    (copied_run / "model.safetensors").rename(copied_run / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        quick(copied_run, **target)


def test_a_classifier_with_nameless_outputs_is_refused(classifier_folder, record_file, tmp_path):
    shutil.copytree(classifier_folder, tmp_path / "run")
    labels = {str(number): f"LABEL_{number}" for number in range(5)}
    edit_json(tmp_path / "run" / "config.json", id2label=labels, label2id={v: int(k) for k, v in labels.items()})
    with pytest.raises(CheckpointError, match="without names"):
        quick(tmp_path / "run", output_dir=tmp_path / "target", golden_record=record_file)


def test_names_that_are_not_one_per_label_are_refused(classifier_folder, record_file, tmp_path):
    shutil.copytree(classifier_folder, tmp_path / "run")
    edit_json(tmp_path / "run" / "config.json", thresholds=[0.5])
    with pytest.raises(CheckpointError, match="5 labels but 1 thresholds"):
        quick(tmp_path / "run", output_dir=tmp_path / "target", golden_record=record_file)


def test_results_are_required_where_they_are_asked_for(classifier_folder, record_file):
    with pytest.raises(CheckpointError, match=r"no results\.json"):
        quick(classifier_folder, "me/tiny", dry_run=True, golden_record=record_file, require_results=True)


def test_only_one_who_was_pretrained_has_a_state_of_pretraining(classifier_folder, record_file):
    with pytest.raises(CheckpointError, match="no pretraining state"):
        quick(classifier_folder, "a/b", dry_run=True, golden_record=record_file, with_pretraining_state=True)


def test_values_of_the_card_come_from_hub_cards_beside_hub(published, tmp_path, results):
    shutil.copytree(published.folder, tmp_path / "hub" / "tiny")
    cards = tmp_path / "hub_cards" / "tiny"
    cards.mkdir(parents=True)
    (cards / "results.json").write_text(json.dumps(results[:1]))
    done = quick(tmp_path / "hub" / "tiny", output_dir=tmp_path / "out")
    text = (done.folder / "README.md").read_text()
    assert "0.871 (0.860-0.882)" in text
    assert "0.900" not in text


def test_a_card_that_is_not_there_is_named_as_a_command_takes_it(tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_material(tmp_path, "nowhere", "encoder", required=False)
    assert script_text(str(error.value), ["card"]).startswith("--card nowhere is not a folder")


def test_a_folder_without_code_holds_no_code_and_is_verified_with_the_package(run_folder, record_file, tmp_path):
    done = publish(run_folder, output_dir=tmp_path / "bare", golden_record=record_file, bundle_code=False)
    assert not [name for name in done.files if name.endswith(".py")]
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in (done.folder / name).read_text()
    assert done.verification.golden.passed
    assert done.verification.opened == {}
    again = quick(done.folder, output_dir=tmp_path / "whole")
    assert "modeling_mae_moco.py" in again.files
    assert (again.folder / "golden.safetensors").read_bytes() == (done.folder / "golden.safetensors").read_bytes()


def test_a_golden_file_that_no_longer_holds_is_written_anew(published, tmp_path):
    shutil.copytree(published.folder, tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    weights["layernorm.bias"] += 1
    save_file(weights, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})
    done = quick(tmp_path / "copy", output_dir=tmp_path / "out")
    old, new = (load_file(folder / "golden.safetensors") for folder in (published.folder, done.folder))
    assert torch.equal(old["signal"], new["signal"])
    assert not torch.equal(old["pooler_output"], new["pooler_output"])
    assert verify(done.folder).golden.passed


def test_nothing_about_the_patient_is_published(run_folder, record_file, tmp_path):
    record = read_record(record_file)
    told = EcgRecord(
        record.signal,
        500,
        leads=record.leads,
        name="r1",
        patient_id="P-4711-SECRET",
        age=47.125,
        source=str(record_file),
    )
    done = quick(run_folder, output_dir=tmp_path / "private", golden_record=told)
    for path in done.folder.iterdir():
        content = path.read_bytes()
        assert b"P-4711-SECRET" not in content, path.name
        assert b"47.125" not in content, path.name
        assert str(record_file.parent).encode() not in content, path.name
        assert str(run_folder).encode() not in content, path.name


def edit_text(path, text):
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "optimizer.pt").write_bytes(b""), "never published"),
        (lambda folder: (folder / "model.bin").write_bytes(b""), "never published"),
        (lambda folder: (folder / "checkpoint-1").mkdir(), "is flat"),
        (lambda folder: (folder / "LICENSE").unlink(), "lacks LICENSE"),
        (lambda folder: edit_json(folder / "config.json", corpus="/home/me/ptb-xl"), "/home/me/ptb-xl"),
        (lambda folder: edit_json(folder / "config.json", corpus="C:\\data\\x"), "path"),
        (lambda folder: edit_json(folder / "config.json", more={"patient_ids": [1]}), "patient_ids"),
        (lambda folder: edit_json(folder / "config.json", window_size=500), "window_size is 500"),
        (lambda folder: edit_json(folder / "config.json", auto_map={}), "auto_map"),
        (lambda folder: edit_json(folder / "config.json", auto_map={"AutoModel": "modeling_mae_moco.Other"}), "Other"),
        (lambda folder: edit_text(folder / "README.md", "\nMade in /home/me/runs/a.\n"), "/home/me/runs/a"),
        (lambda folder: edit_text(folder / "errors.py", "\nimport wfdb\n"), "wfdb"),
        (lambda folder: (folder / "layers_patches.py").unlink(), "layers_patches"),
        (lambda folder: (folder / "config.json").write_text("{"), "JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "list"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"), "whole safetensors"),
        (lambda folder: (folder / "golden.safetensors").write_bytes(b"\x08"), "golden"),
    ],
)
def test_verification_finds_what_must_not_be_published(published, tmp_path, change, reason):
    folder = tmp_path / "copy"
    shutil.copytree(published.folder, folder)
    change(folder)
    with pytest.raises(CheckpointError, match=reason.replace("\\", "\\\\")):
        verify(folder, clean_process=False)
