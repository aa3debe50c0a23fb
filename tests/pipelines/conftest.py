"""Tiny checkpoints with random weights, and recordings of unequal length and rate."""

import numpy as np
import pytest
import torch
from transformers import pipeline

import ecg_transformers  # noqa: F401 (registers architectures and tasks)
from ecg_transformers import pipelines
from ecg_transformers.models.mae_moco.configuration_mae_moco import MaeMocoConfig
from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor
from ecg_transformers.models.mae_moco.modeling_mae_moco import MaeMocoForSequenceClassification, MaeMocoModel
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.record import EcgRecord

LABELS = {0: "NORM", 1: "AFIB", 2: "PVC"}


def write_checkpoint(folder, *, classifier=True, leads=STANDARD_LEADS, config=None, extractor=None):
    """A checkpoint folder with random weights, reproducible."""
    torch.manual_seed(0)
    facts = {
        "num_leads": len(leads),
        "lead_names": list(leads),
        "sampling_rate": 100,
        "window_size": 1000,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "decoder_hidden_size": 16,
        "decoder_num_attention_heads": 2,
        "initializer_range": 0.5,
    }
    if classifier:
        facts |= {
            "id2label": LABELS,
            "label2id": {code: index for index, code in LABELS.items()},
            "label_names": ["normal", "atrial fibrillation", "ventricular beats"],
            "problem_type": "multi_label_classification",
        }
    model_class = MaeMocoForSequenceClassification if classifier else MaeMocoModel
    model_class(MaeMocoConfig(**facts | (config or {}))).save_pretrained(folder)
    contract = {"lead_names": leads, "sampling_rate": 100, "window_size": 1000, "missing_leads": "mask"}
    MaeMocoFeatureExtractor(**contract | (extractor or {})).save_pretrained(folder)
    return str(folder)


def draw_record(seconds, rate, *, leads=STANDARD_LEADS, seed=0, name=""):
    """Noise with a beat in it: every window is another."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    beat = np.sin(2 * np.pi * 1.2 * np.arange(samples) / rate) ** 15
    signal = rng.normal(0, 0.1, (len(leads), samples)) + beat * rng.uniform(-1, 1, (len(leads), 1))
    return EcgRecord(signal, rate, leads=leads, name=name or f"r{seed}")


@pytest.fixture(scope="session")
def save_checkpoint():
    return write_checkpoint


@pytest.fixture(scope="session")
def make_record():
    return draw_record


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("encoder"), classifier=False)


@pytest.fixture(scope="session")
def classify(classifier_folder):
    pipelines.register()
    return pipeline("ecg-classification", model=classifier_folder, device="cpu")


@pytest.fixture(scope="session")
def embed(encoder_folder):
    pipelines.register()
    return pipeline("ecg-feature-extraction", model=encoder_folder, device="cpu")


@pytest.fixture(scope="session")
def unequal_records():
    """One padded window, one, three with a padded last one, four."""
    return [
        draw_record(7, 1000, seed=1),
        draw_record(10, 500, seed=2),
        draw_record(25, 250, seed=3),
        draw_record(40, 100, seed=4),
    ]
