"""A family whose only model returns a score and a reconstruction: it names its golden outputs and card sections."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ecg_transformers.auto import ARCHITECTURES, Architecture
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import export, publish
from ecg_transformers.publishing.inspection import inspect_checkpoint

from .. import fresh
from .conftest import WITHOUT_PACKAGE

ROW = Architecture("toy_score", "ToyScore", heads=("anomaly_detection",), package="tests.toys.toy_score")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What a run leaves, and the family in the registry."""
    monkeypatch.setitem(ARCHITECTURES, ROW.model_type, ROW)
    torch.manual_seed(0)
    ROW.anomaly_detection(ROW.config()).save_pretrained(tmp_path / "run")
    ROW.feature_extractor().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_a_family_without_encoder_and_classifier_is_published_and_opens_by_remote_code(run, record_file, tmp_path):
    done = publish(run, output_dir=tmp_path / "toy", golden_record=record_file)
    assert set(done.verification.golden.differences) == {"input_values", "score", "reconstruction"}
    assert done.verification.golden.passed
    assert set(done.verification.opened) == {"AutoConfig", "AutoFeatureExtractor", "ToyScoreForAnomalyDetection"}
    assert all(module.startswith("transformers_modules.") for module in done.verification.opened.values())
    config = json.loads((done.folder / "config.json").read_text())
    assert config["auto_map"]["ToyScoreForAnomalyDetection"] == "modeling_toy_score.ToyScoreForAnomalyDetection"
    card = (done.folder / "README.md").read_text()
    assert "It scores windows." in card
    assert "### Score\n\nLarger is more abnormal." in card
    assert "pooler_output" not in card


def test_its_golden_outputs_are_compared(run, record_file, tmp_path):
    folder = publish(run, output_dir=tmp_path / "toy", golden_record=record_file, clean_process=False).folder
    text = inspect_checkpoint(folder).text
    assert "reconstruction by 0.0e+00, score by 0.0e+00" in text
    weights = load_file(folder / "model.safetensors")
    weights["up.bias"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert not inspect_checkpoint(folder).golden.passed


def test_a_model_that_names_no_output_and_has_no_encoder_is_refused(run, record_file, tmp_path, monkeypatch):
    model_class = ROW.anomaly_detection
    for outputs, reason in (((), "declares no golden outputs"), (("logits",), "golden output logits")):
        monkeypatch.setattr(model_class, "golden_outputs", outputs)
        with pytest.raises(CheckpointError, match=reason):
            publish(run, output_dir=tmp_path / "toy", golden_record=record_file, clean_process=False)


def test_a_published_encoder_names_no_head_that_has_no_weights_there(tmp_path, monkeypatch):
    from ecg_transformers.models.mae_moco import modeling_mae_moco

    row = replace(ARCHITECTURES["mae_moco"], heads=("encoder", "classifier", "patient_identification"))
    name = row.class_name("patient_identification")
    head = type(name, (modeling_mae_moco.MaeMocoForSequenceClassification,), {"__module__": modeling_mae_moco.__name__})
    monkeypatch.setattr(modeling_mae_moco, name, head, raising=False)
    for published, named in (("encoder", False), ("patient_identification", True)):
        auto_map, _ = export._write_code(tmp_path, SimpleNamespace(architecture=row, head=published))
        assert (name in auto_map) == named
        assert {"AutoModel", "AutoModelForSequenceClassification"} <= auto_map.keys()


def test_a_card_without_sections_of_its_own_describes_the_published_head(run, record_file, tmp_path, monkeypatch):
    monkeypatch.delattr(ROW.anomaly_detection, "card_sections")
    folder = publish(run, output_dir=tmp_path / "toy", golden_record=record_file).folder
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: other" in card
    assert "Output: `score`, `reconstruction` of each window." in card
    assert "AutoModel" not in card
    assert 'ecg_transformers.ToyScoreForAnomalyDetection.from_pretrained("toy")' in card
    assert "embedding" not in card
    # What the card says runs without the package.
    lines = (
        card.split("```python\n")[2]
        .split("```")[0]
        .replace('np.load("signal.npy")', "np.random.default_rng(0).normal(size=(12, 5000))")
    )
    script = tmp_path / "as_in_the_card.txt"
    script.write_text(f"{WITHOUT_PACKAGE}{lines}\nassert output.score.ndim == 1\n")
    done = fresh.run([sys.executable, script], cwd=folder.parent)
    assert done.returncode == 0, done.stderr[-2000:]
