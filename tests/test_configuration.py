"""Labels of a config: names, system and thresholds go with the codes, on every way to set them."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

from ecg_transformers import Xresnet1dConfig, Xresnet1dFeatureExtractor, Xresnet1dForSequenceClassification
from ecg_transformers.errors import CheckpointError

TINY = {
    "sampling_rate": 50, "window_size": 50, "block": "basic", "depths": [1, 1, 1, 1], "width": 8,
    "stem_sizes": [8, 8, 8], "head_hidden_sizes": [8],
}  # fmt: skip
LABELS = {
    "id2label": {0: "AFIB", 1: "SR", 2: "PVC"}, "label2id": {"AFIB": 0, "SR": 1, "PVC": 2},
    "label_names": ["atrial fibrillation", "sinus rhythm", "ventricular premature complex"], "label_system": "scp",
    "thresholds": [0.1, None, 0.9], "thresholds_from": {"corpus": "ptbxl", "folds": [9]},
    "problem_type": "multi_label_classification",
}  # fmt: skip
STALE = ("label_names", "label_system", "thresholds", "thresholds_from")
OWN = {0: "P", 1: "Q", 2: "R", 3: "S"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A multi-label classifier of three labels."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    Xresnet1dForSequenceClassification(Xresnet1dConfig(**TINY, **LABELS)).save_pretrained(folder)
    Xresnet1dFeatureExtractor(sampling_rate=50, window_size=50).save_pretrained(folder)
    return folder


def test_a_config_comes_back_from_its_file_with_all_of_its_labels(classifier):
    config = AutoConfig.from_pretrained(classifier)
    for name, value in LABELS.items():
        assert getattr(config, name) == value, name
    # The same labels once more are no new ones.
    config.id2label = {"2": "PVC", "0": "AFIB", "1": "SR"}
    assert config.thresholds == LABELS["thresholds"]
    again = AutoConfig.from_pretrained(classifier, id2label=dict(LABELS["id2label"]))
    assert again.label_names == LABELS["label_names"]


@pytest.mark.parametrize("size", [3, 4])
def test_other_labels_take_no_names_and_no_thresholds_of_the_old_ones(classifier, size):
    codes = {number: OWN[number] for number in range(size)}
    for config in (
        AutoConfig.from_pretrained(classifier, id2label=codes),
        AutoConfig.from_pretrained(classifier, id2label={str(number): code for number, code in codes.items()}),
        AutoConfig.from_pretrained(classifier, num_labels=size, id2label=codes),
        _changed(AutoConfig.from_pretrained(classifier), codes),
    ):
        assert config.id2label == codes
        assert config.label2id == {code: number for number, code in codes.items()}
        assert config.num_labels == size
        assert [getattr(config, name) for name in STALE] == [None] * 4
        assert config.problem_type == (LABELS["problem_type"] if size == 3 else None)


def test_names_and_thresholds_that_are_given_with_the_labels_stay(classifier):
    given = {"thresholds": [0.2] * 4, "label_names": list("pqrs"), "problem_type": "multi_label_classification"}
    config = AutoConfig.from_pretrained(classifier, **given, id2label=OWN)
    assert {name: getattr(config, name) for name in given} == given
    assert config.label_system is None


def _changed(config, codes):
    config.id2label = codes
    return config


def test_a_new_head_with_the_stock_trainer_and_the_pipeline(classifier, tmp_path, caplog):
    model = AutoModelForSequenceClassification.from_pretrained(
        classifier, num_labels=4, id2label=OWN, label2id={code: k for k, code in OWN.items()},
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    assert "incompatible" not in caplog.text
    assert model.config.num_labels == 4
    generator = torch.Generator().manual_seed(0)
    rows = [{"input_values": torch.randn(12, 50, generator=generator), "labels": k % 4} for k in range(16)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    trainer = Trainer(
        model, arguments, train_dataset=rows, processing_class=AutoFeatureExtractor.from_pretrained(classifier)
    )
    trainer.train()
    trainer.save_model()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["problem_type"] == "single_label_classification"
    assert saved["thresholds"] is None
    signal = torch.randn(12, 100, generator=generator).numpy()
    answer = pipeline("ecg-classification", model=str(tmp_path), device="cpu")(signal, sampling_rate=50)
    assert {one["label"]: one["name"] for one in answer} == {code: code for code in OWN.values()}
    assert [one["positive"] for one in answer] == [True, False, False, False]


def test_class_numbers_for_a_multi_label_head_are_explained(classifier):
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    with pytest.raises(CheckpointError, match="single_label_classification"):
        model(torch.randn(4, 12, 50), labels=torch.tensor([0, 1, 2, 0]))
