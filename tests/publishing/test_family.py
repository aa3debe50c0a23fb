"""What publishing asks of a family: a registry row and a model that names its golden outputs; nothing else."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish
from ecg_transformers.publishing.inspection import inspect_checkpoint


@pytest.fixture
def toy(monkeypatch):
    """The module of a family that lives outside the package, with its row in the registry."""
    name = "toy_family"
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)
    specification.loader.exec_module(module)
    row = SimpleNamespace(
        model_type="toy_score",
        config=module.ToyScoreConfig,
        feature_extractor=module.ToyScoreFeatureExtractor,
        models={"anomaly_detection": module.ToyScoreForAnomalyDetection},
    )
    monkeypatch.setitem(ARCHITECTURES, "toy_score", row)
    return module


@pytest.fixture
def run_folder(toy, tmp_path):
    torch.manual_seed(0)
    toy.ToyScoreForAnomalyDetection(toy.ToyScoreConfig()).save_pretrained(tmp_path / "run")
    toy.ToyScoreFeatureExtractor().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_a_family_without_encoder_and_classifier_is_published_and_opens_by_remote_code(
    run_folder, record_file, tmp_path
):
    done = publish(run_folder, output_dir=tmp_path / "toy", golden_record=record_file)
    assert set(done.verification.golden.differences) == {"input_values", "score", "reconstruction"}
    assert done.verification.golden.passed
    assert set(done.verification.opened) == {"AutoConfig", "AutoFeatureExtractor", "ToyScoreForAnomalyDetection"}
    assert all(module.startswith("transformers_modules.") for module in done.verification.opened.values())
    config = json.loads((done.folder / "config.json").read_text())
    assert config["auto_map"]["ToyScoreForAnomalyDetection"] == "toy_family.ToyScoreForAnomalyDetection"
    card = (done.folder / "README.md").read_text()
    assert "It scores windows." in card
    assert "### Score\n\nLarger is more abnormal." in card
    assert "pooler_output" not in card


def test_its_golden_outputs_are_compared(run_folder, record_file, tmp_path):
    folder = publish(run_folder, output_dir=tmp_path / "toy", golden_record=record_file, clean_process=False).folder
    text = inspect_checkpoint(folder).text
    assert "reconstruction by 0.0e+00, score by 0.0e+00" in text
    weights = load_file(folder / "model.safetensors")
    weights["up.bias"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert not inspect_checkpoint(folder).golden.passed


def test_a_model_that_names_no_output_and_has_no_encoder_is_refused(toy, run_folder, record_file, tmp_path):
    toy.ToyScoreForAnomalyDetection.golden_outputs = ()
    with pytest.raises(CheckpointError, match="declares no golden outputs"):
        publish(run_folder, output_dir=tmp_path / "toy", golden_record=record_file, clean_process=False)
    toy.ToyScoreForAnomalyDetection.golden_outputs = ("logits",)
    with pytest.raises(CheckpointError, match="golden output logits"):
        publish(run_folder, output_dir=tmp_path / "toy", golden_record=record_file, clean_process=False)
