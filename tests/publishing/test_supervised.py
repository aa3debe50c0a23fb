"""A supervised convolutional network, published by the command: no pretraining class, BatchNorm, a head with layers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification

from ecg_transformers import (
    Xresnet1dConfig,
    Xresnet1dFeatureExtractor,
    Xresnet1dForSequenceClassification,
    Xresnet1dModel,
    read_record,
)
from ecg_transformers.cli import main as inspect
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish
from ecg_transformers.publishing.inspection import inspect_checkpoint

from ..conftest import script

# More than ten: as text, label 10 comes before label 2.
CODES = ("NORM", "MI", "STTC", "CD", "HYP", "AFIB", "AFLT", "SR", "PACE", "PVC", "PAC", "WPW")
THRESHOLDS = [round(0.05 * number, 2) for number in range(1, 13)]
SIZES = {"stem_sizes": (8, 8, 16), "depths": (1, 2, 1, 1), "width": 8, "head_hidden_sizes": (12,)}


def train_a_little(model):
    """Tensors and statistics that are nobody's start values."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            model.train()(torch.randn(16, 12, 250))
    return model.eval()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What a supervised run leaves: classifier, extractor, and tables that are never published."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-xresnet1d"
    config = Xresnet1dConfig(
        **SIZES,
        id2label=dict(enumerate(CODES)),
        label2id={code: number for number, code in enumerate(CODES)},
        label_system="scp",
        problem_type="multi_label_classification",
        thresholds=THRESHOLDS,
        label_names=[f"the label {code}" for code in CODES],
    )
    train_a_little(Xresnet1dForSequenceClassification(config)).save_pretrained(folder)
    Xresnet1dFeatureExtractor().save_pretrained(folder)
    (folder / "labels.csv").write_text("label,positives\nNORM,3\n")
    (folder / "predictions").mkdir()
    return folder


@pytest.fixture(scope="module")
def published(run_folder, tmp_path_factory):
    """The folder that `training/publish.py CHECKPOINT --output_dir DIR` writes, verified in a clean process."""
    target = tmp_path_factory.mktemp("hub") / "tiny-xresnet1d"
    return script("publish").main([str(run_folder), "--output_dir", str(target)])


def test_the_folder_holds_a_classifier_and_no_code_of_pretraining(published):
    names = set(published.files)
    assert {"modeling_xresnet1d.py", "configuration_xresnet1d.py", "feature_extraction_xresnet1d.py"} <= names
    assert not [name for name in names if name.startswith(("pretraining_", "objectives_", "augmentations_"))]
    assert not [name for name in names if name.endswith(".csv")]
    config = json.loads((published.folder / "config.json").read_text())
    assert config["architectures"] == ["Xresnet1dForSequenceClassification"]
    assert "AutoModelForPreTraining" not in config["auto_map"]
    assert config["dtype"] == "float32"
    assert config["thresholds"] == THRESHOLDS
    assert list(config["id2label"].values()) == list(CODES)
    assert set(published.verification.opened) == set(config["auto_map"])
    assert all(module.startswith("transformers_modules.") for module in published.verification.opened.values())
    assert published.verification.golden.passed


def test_weights_are_bfloat16_and_all_of_batchnorm_float32(published, run_folder):
    stored, original = (load_file(folder / "model.safetensors") for folder in (published.folder, run_folder))
    model = AutoModelForSequenceClassification.from_pretrained(published.folder)
    norms = {n for n, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    # One per convolution, and two in the head.
    assert len(norms) == 3 + 5 * 3 + 1 + 2
    assert stored.keys() == original.keys()
    for name, value in stored.items():
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            assert value.dtype == torch.int64
        elif owner in norms:
            assert value.dtype == torch.float32, name
            assert torch.equal(value, original[name]), name
        else:
            assert value.dtype == torch.bfloat16, name
            assert torch.equal(value, original[name].bfloat16()), name
    assert {value.dtype for name, value in model.state_dict().items() if "tracked" not in name} == {torch.float32}
    assert all(torch.equal(value, stored[name].to(value.dtype)) for name, value in model.state_dict().items())


def test_without_the_package_it_computes_the_same_numbers(published, record_file, in_process, tmp_path):
    signal = read_record(record_file).signal
    save_file({"signal": torch.from_numpy(signal)}, tmp_path / "signal.safetensors")
    modules = in_process(
        f"""
import json
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
from transformers import AutoModelForSequenceClassification

folder, out = {str(published.folder)!r}, {str(tmp_path)!r}
signal = load_file(out + "/signal.safetensors")["signal"].numpy()
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
inputs = extractor(signal, sampling_rate=500, return_tensors="pt")
heads = (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification)
models = [head.from_pretrained(folder, trust_remote_code=True) for head in heads]
with torch.no_grad():
    encoded, scored, audio = [model(**inputs) for model in models]
found = {{"input_values": inputs["input_values"], "pooler_output": encoded.pooler_output}}
save_file(found | {{"logits": scored.logits, "audio": audio.logits.clone()}}, out + "/found.safetensors")
print(json.dumps([type(one).__module__ for one in (extractor, *models)]))
""",
        package=False,
    )
    assert all(module.startswith("transformers_modules.") for module in modules)
    found = load_file(tmp_path / "found.safetensors")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(published.folder)
        inputs = extractor(np.asarray(signal), sampling_rate=500, return_tensors="pt")
        classifier = AutoModelForSequenceClassification.from_pretrained(published.folder)
        with torch.no_grad():
            pooled = AutoModel.from_pretrained(published.folder)(**inputs).pooler_output
            logits = classifier(**inputs).logits
    finally:
        torch.set_num_threads(threads)
    assert type(classifier) is Xresnet1dForSequenceClassification
    assert inputs["input_values"].shape == (7, 12, 250)
    assert torch.equal(found["input_values"], inputs["input_values"])
    # Another process, other memory: the same network to rounding, not to the bit.
    for name, value in (("pooler_output", pooled), ("logits", logits), ("audio", logits)):
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def test_inspect_says_what_it_is_and_runs_its_golden_recording(published, capsys):
    assert inspect(["inspect", str(published.folder)]) == 0
    text = capsys.readouterr().out
    for part in (
        "Xresnet1dForSequenceClassification (xresnet1d)",
        "stored as BF16, F32, I64",
        "12 leads, 250 samples at 100 Hz",
        "64 numbers per window",
        "NORM (the label NORM), MI (the label MI), STTC (the label STTC)",
        "equal: record 00001_lr",
    ):
        assert part in text


def test_a_moved_statistic_fails_the_golden_check(published, tmp_path):
    for path in published.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["xresnet1d.stem.1.norm.running_mean"] += 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert not inspect_checkpoint(tmp_path).golden.passed


def test_its_encoder_alone_is_published_too(run_folder, record_file, tmp_path):
    encoder = Xresnet1dModel.from_pretrained(run_folder)
    encoder.save_pretrained(tmp_path / "encoder")
    Xresnet1dFeatureExtractor().save_pretrained(tmp_path / "encoder")
    target = tmp_path / "hub" / "encoder"
    done = publish(tmp_path / "encoder", output_dir=target, golden_record=record_file, clean_process=False)
    assert "one embedding of 64 numbers per window" in (done.folder / "README.md").read_text()
    opened = AutoModel.from_pretrained(done.folder)
    running = {name: value for name, value in encoder.state_dict().items() if "running_" in name}
    assert all(torch.equal(opened.state_dict()[name], value) for name, value in running.items())


def test_it_has_no_state_of_pretraining(run_folder, record_file):
    with pytest.raises(CheckpointError, match="no pretraining state"):
        publish(run_folder, "a/b", dry_run=True, golden_record=record_file, with_pretraining_state=True)


def test_a_class_that_the_family_does_not_have_is_refused(run_folder, tmp_path):
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    config = json.loads((run_folder / "config.json").read_text()) | {"architectures": ["Xresnet1dForPreTraining"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="one of Xresnet1dModel, Xresnet1dForSequenceClassification"):
        inspect_checkpoint(tmp_path)
