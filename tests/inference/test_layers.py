"""One encoding at a layer: pipeline, classifier, probe and probe curve read the shipped checkpoints alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

import ecg_transformers  # noqa: F401 (registers architectures and tasks)
from ecg_transformers.corpora.protocol import Task
from ecg_transformers.errors import CheckpointError
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.inference.encode import CheckpointEncoder, embed_windows
from ecg_transformers.readout import Readout

HUB = Path(__file__).parents[2] / "hub"
TASK = Task("all", ("A", "B"), ("label A", "label B"), "own", "multi_label_classification")


@pytest.mark.parametrize(
    ("checkpoint", "layer", "pooling", "width"),
    [
        ("xresnet1d50-ecg", 2, "cls", 512),
        ("xresnet1d50-ecg", 2, "mean", 256),
        ("xresnet1d50-ecg", -2, "cls_mean", 768),
        ("xresnet1d50-ecg", [0, 2, -1], "cls", 128 + 512 + 512),
        ("mae-moco-ecg", -2, "cls", 512),
        ("mae-moco-ecg", [1, -1], "cls_mean", 2048),
        ("mae-moco-ecg", -1, "cls", 512),
    ],
)
def test_a_layer_means_the_same_everywhere(checkpoint, layer, pooling, width, ptbxl_records):
    folder, record = HUB / checkpoint, ptbxl_records[0]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = dict(extractor(record, return_tensors="pt"))
    inputs.pop("record_index")
    piped = pipeline("ecg-feature-extraction", model=str(folder), device="cpu")
    vectors = piped(record, pooling=pooling, layer=layer, windows=True)
    assert vectors.shape == (len(inputs["input_values"]), width)
    classifier = build_classifier(folder, TASK, readout=Readout(pooling, layer), linear_head=True).eval()
    probed = CheckpointEncoder(classifier, extractor, "shipped").embed(inputs).pooled
    with torch.no_grad():
        logits = classifier(**inputs).logits
        embedded = embed_windows(AutoModel.from_pretrained(folder), inputs, Readout(pooling, layer))
        torch.testing.assert_close(classifier.classifier(embedded), logits, rtol=1e-4, atol=1e-5)
    for other in (probed.numpy(), embedded.numpy()):
        np.testing.assert_allclose(vectors, other, rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_not_there_is_refused_alike(ptbxl_records):
    folder = HUB / "mae-moco-ecg"
    layers = AutoModel.from_pretrained(folder).num_layers
    piped = pipeline("ecg-feature-extraction", model=str(folder), device="cpu")
    for layer in (1.5, "2", True):
        with pytest.raises(CheckpointError, match="layer is"):
            piped(ptbxl_records[0], layer=layer)
    for layer in (layers + 1, -layers - 2, [1, 1], []):
        with pytest.raises(CheckpointError, match="layer is"):
            piped(ptbxl_records[0], layer=layer)
        with pytest.raises(CheckpointError, match="layer is"):
            build_classifier(folder, TASK, readout=Readout(layer=layer))
