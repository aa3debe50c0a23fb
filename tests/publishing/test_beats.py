"""A model of beats: its golden file keeps the R peaks, it opens by remote code under its own name, its card says so."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ecg_transformers import (
    BeatganConfig,
    BeatganFeatureExtractor,
    BeatganForPreTraining,
    SiBeatganConfig,
    SiBeatganFeatureExtractor,
    SiBeatganForPreTraining,
    read_record,
)
from ecg_transformers.publishing import publish
from ecg_transformers.publishing.golden import read_golden_record
from ecg_transformers.publishing.inspection import inspect_checkpoint
from ecg_transformers.signals.beats import annotated_peaks, detect_r_peaks

from ..conftest import script


@pytest.fixture(scope="module")
def record(data_dir):
    return read_record(data_dir / "mitdb" / "100")


@pytest.fixture
def run(tmp_path, record):
    """What a run leaves: the pretraining model, calibrated, and the extractor."""
    torch.manual_seed(0)
    model = BeatganForPreTraining(BeatganConfig(base_channels=4, latent_size=6))
    extractor = BeatganFeatureExtractor()
    beats = extractor(record, peaks=annotated_peaks(record)[0], return_tensors="pt")["input_values"]
    model.calibrate(beats)
    model.save_pretrained(tmp_path / "run")
    extractor.save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_the_detector_of_a_pretraining_run_is_published_and_opens_without_the_package(run, record, tmp_path):
    done = publish(run, output_dir=tmp_path / "beatgan", golden_record=record, golden_source="MIT-BIH 1.0.0")
    assert done.verification.golden.passed
    assert set(done.verification.golden.differences) == {"input_values", "score"}
    opened = set(done.verification.opened)
    assert {"BeatganForAnomalyDetection", "AutoModel", "AutoModelForSequenceClassification"} <= opened
    golden = load_file(done.folder / "golden.safetensors")
    assert golden["peaks"].tolist() == annotated_peaks(record)[0].tolist()
    assert golden["score"].shape == (len(golden["input_values"]),)
    config = json.loads((done.folder / "config.json").read_text())
    assert config["architectures"] == ["BeatganForAnomalyDetection"]
    assert config["anomaly_threshold"] > 0
    names = {path.name for path in done.folder.glob("*.py")}
    assert not [name for name in names if name.startswith(("pretraining", "objectives", "augmentations"))]
    card = (done.folder / "README.md").read_text()
    assert "peaks = ecg_transformers.signals.beats.detect_r_peaks(record)" in card
    assert 'extractor(signal, sampling_rate=500, peaks=peaks, return_tensors="pt")' in card
    assert "the 0.99 quantile of" in card
    assert 'find = pipeline("ecg-anomaly-detection", model=' in card

    # Publishing again keeps the peaks.
    again = publish(done.folder, output_dir=tmp_path / "again", bundle_code=False, golden_source="another source")
    assert load_file(again.folder / "golden.safetensors")["peaks"].tolist() == golden["peaks"].tolist()
    text = inspect_checkpoint(again.folder).text
    assert "equal: record 100" in text
    assert f"threshold   score {config['anomaly_threshold']:.4g}" in text
    golden["score"] = golden["score"] + 0.1
    description = {"recording": json.dumps({"record": "100", "sampling_rate": 360, "leads": ["MLII", "V5"],
                   "units": "mV", "source": "", "auto_class": "BeatganForAnomalyDetection"})}  # fmt: skip
    save_file(golden, again.folder / "golden.safetensors", metadata=description)
    assert not inspect_checkpoint(again.folder).golden.passed


def test_a_student_is_published_without_its_teacher_but_with_its_name_and_hash(run, record, tmp_path):
    torch.manual_seed(1)
    student = SiBeatganForPreTraining(SiBeatganConfig(base_channels=4, latent_size=6, teacher=str(run)))
    student(torch.rand(4, 1, 320))
    student.save_pretrained(tmp_path / "student")
    SiBeatganFeatureExtractor().save_pretrained(tmp_path / "student")
    done = publish(tmp_path / "student", output_dir=tmp_path / "out", golden_record=record)
    assert done.verification.golden.passed
    assert "SiBeatganForAnomalyDetection" in done.verification.opened
    config = json.loads((done.folder / "config.json").read_text())
    assert (config["teacher"], config["teacher_hash"]) == ("run", student.config.teacher_hash)


def test_without_annotations_the_peaks_are_detected(run, record, tmp_path):
    record = replace(record, annotations=None)
    folder = publish(run, output_dir=tmp_path / "b", golden_record=record, bundle_code=False).folder
    found, _ = read_golden_record(folder)
    assert found.annotations.samples.tolist() == detect_r_peaks(record).tolist()


def test_the_golden_recording_of_the_command_has_the_leads_of_the_checkpoint(run, tmp_path):
    find_golden = script("publish").find_golden
    assert find_golden(run)[0].name == "100"
    (tmp_path / "preprocessor_config.json").write_text('{"lead_names": ["I", "V6"]}')
    assert find_golden(tmp_path)[0].name == "00001_lr"
    (tmp_path / "preprocessor_config.json").write_text('{"lead_names": ["X"]}')
    assert find_golden(tmp_path) == (None, "")
