"""Identification of patients as a task of the modes: frozen embeddings, the baseline, entries, refusals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel, TrainerCallback

from ecg_transformers import EcgWav2vec2FeatureExtractor
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.corpora.identification import identification_splits
from ecg_transformers.errors import ArgumentsError, CheckpointError, EcgError
from ecg_transformers.evaluation.classifier import save_classifier
from ecg_transformers.evaluation.identification import record_embeddings
from ecg_transformers.evaluation.modes import MODES
from ecg_transformers.evaluation.outcomes import run_mode
from ecg_transformers.evaluation.results.predictions import paired_difference
from ecg_transformers.evaluation.results.report import Evaluation, summary_line
from ecg_transformers.evaluation.settings import LearningSettings, ReportSettings
from ecg_transformers.inference.encode import EncoderOutput
from ecg_transformers.metrics.identification import identified

from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester


@pytest.fixture
def splits(corpus, extractor):
    return identification_splits(corpus, extractor, train_folds=[1], evaluate_folds=[8, 9, 10])


def test_frozen_embeddings_of_a_checkpoint_are_compared(checkpoint, extractor, splits):
    outcome = run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(pooling="cls"))
    model = AutoModel.from_pretrained(checkpoint).eval()
    embeddings = []
    for corpus in (splits.gallery, splits.evaluate.corpus):
        with torch.no_grad():
            embeddings.append(model(**extractor(list(corpus), return_tensors="pt")).pooler_output.numpy())
    patients = splits.evaluate.corpus.patient_ids
    np.testing.assert_array_equal(outcome.predictions.scores, identified(*embeddings, patients, patients))
    assert outcome.chosen == {}


def test_entries_have_accuracy_interval_and_paired_difference_over_patients(checkpoint, extractor, splits):
    outcomes = [
        run_mode("linear_probe", checkpoint, extractor, splits, initialization=start)
        for start in ("pretrained", "random")
    ]
    evaluation = Evaluation("tiny", checkpoint, extractor, splits, *outcomes)
    entries, baseline = evaluation.entries(ReportSettings(resamples=50))
    assert len(entries) == 1
    assert (entries[0]["labels"], entries[0]["metric"]) == ("patients", "identification_accuracy")
    assert entries[0]["records"] == 24
    assert entries[0]["value"] == outcomes[0].predictions.scores.mean()
    assert entries[0]["low"] <= entries[0]["value"] <= entries[0]["high"]
    difference = paired_difference(*(one.predictions for one in outcomes), resamples=50)
    assert entries[0]["difference"]["value"] == pytest.approx(difference.value)
    line = summary_line(entries, baseline, "validation")
    assert "identification accuracy" in line
    assert "24 patients" in line


def test_windows_of_a_record_are_averaged_at_unit_length(corpus, extractor):
    class LastSamples:
        name, extractor = "last samples", None

        def embed(self, inputs):
            pooled = inputs["input_values"][..., -1] * torch.arange(1, 13)
            return EncoderOutput(pooled, pooled[:, None], None)

    extractor.window_size = extractor.window_stride = 50
    embedder = LastSamples()
    embedder.extractor = extractor
    settings = SimpleNamespace(encode_batch_size=3)
    fitting = SimpleNamespace(settings=settings, bf16=False, model=SimpleNamespace(device="cpu"))
    found = record_embeddings(embedder, corpus.select(np.arange(5)), fitting)
    values = extractor(list(corpus.select(np.arange(5))))["input_values"][..., -1] * np.arange(1, 13)
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(found, units.reshape(5, 2, 12).mean(axis=1), atol=1e-6)


QUICK = {
    "num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "disable_tqdm": True, "bf16": False
}  # fmt: skip


@pytest.fixture
def waves(tmp_path):
    """A tiny checkpoint of a family with patient identification."""
    tester = EcgWav2vec2Tester()
    torch.manual_seed(0)
    tester.architecture.encoder(tester.get_config(sampling_rate=50)).save_pretrained(tmp_path / "waves")
    extractor = EcgWav2vec2FeatureExtractor(sampling_rate=50, window_size=64, normalization="record_lead")
    extractor.save_pretrained(tmp_path / "waves")
    return tmp_path / "waves", extractor


@pytest.mark.parametrize(("mode", "baseline"), [("fine_tune", "from_scratch"), ("from_scratch", None)])
def test_arcface_learns_the_training_patients(mode, baseline, waves, corpus, tmp_path):
    checkpoint, extractor = waves
    splits = identification_splits(corpus, extractor, train_folds=[1, 2], evaluate_folds=[8, 9, 10])
    settings = LearningSettings(training=QUICK, arcface_scale=16.0, arcface_margin=0.2)
    outcome = run_mode(mode, checkpoint, extractor, splits, settings, output_dir=tmp_path / "run")
    model = outcome.model
    assert type(model).__name__ == "EcgWav2vec2ForPatientIdentification"
    assert model.arcface.kernel.shape == (16, 16)
    assert (model.arcface.scale, model.arcface.margin) == (16.0, 0.2)
    before, now = AutoModel.from_pretrained(checkpoint).state_dict(), model.ecg_wav2vec2.state_dict()
    moved = {name for name, value in now.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("encoder.") for name in moved)
    # The pretrained stem stays as it is; a random one is trained.
    assert any(name.startswith("feature_extractor.") for name in moved) == (mode == "from_scratch")
    assert outcome.chosen == {}
    assert outcome.settings["arcface_margin"] == 0.2
    assert outcome.settings["choose_epoch"] == "last"
    assert MODES[mode].baseline == baseline
    # What was trained identifies the same patients once saved, also as a frozen encoder.
    save_classifier(model, extractor, tmp_path / "out", thresholds=None)
    again = run_mode("linear_probe", tmp_path / "out", extractor, splits)
    np.testing.assert_array_equal(again.predictions.scores, outcome.predictions.scores)


def test_arcface_training_resumes_exactly(waves, corpus, tmp_path):
    checkpoint, extractor = waves
    splits = identification_splits(corpus, extractor, train_folds=[1, 2], evaluate_folds=[9])
    whole = run_mode(
        "fine_tune", checkpoint, extractor, splits, LearningSettings(training=QUICK), output_dir=tmp_path / "whole"
    )

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    settings = LearningSettings(training=QUICK, resume=True)
    with pytest.raises(KeyboardInterrupt):
        run_mode(
            "fine_tune", checkpoint, extractor, splits, settings, output_dir=tmp_path / "killed", callbacks=[Kill()]
        )
    resumed = run_mode("fine_tune", checkpoint, extractor, splits, settings, output_dir=tmp_path / "killed")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_what_learns_no_embedding_is_refused(checkpoint, corpus, extractor, splits, tmp_path):
    with pytest.raises(EcgError, match="linear_probe"):
        run_mode("attentive_probe", checkpoint, extractor, splits)
    with pytest.raises(CheckpointError, match="a family without patient identification"):
        run_mode("fine_tune", checkpoint, extractor, splits, output_dir=tmp_path)
    with pytest.raises(ArgumentsError, match="validation_folds"):
        Protocol(labels="patients", validation_folds=[7]).split(corpus, extractor, seed=0)
