"""Identification of patients as a task of the modes: frozen embeddings, the baseline, entries, refusals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel

from ecg_transformers.corpora.identification import identification_splits
from ecg_transformers.errors import ArgumentsError, CheckpointError, EcgError
from ecg_transformers.evaluation.identification import record_embeddings
from ecg_transformers.evaluation.outcomes import run_mode
from ecg_transformers.evaluation.results.predictions import paired_difference
from ecg_transformers.evaluation.results.report import Evaluation, summary_line
from ecg_transformers.evaluation.settings import LearningSettings, Protocol, ReportSettings
from ecg_transformers.inference.encode import EncoderOutput
from ecg_transformers.metrics.identification import identified


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


def test_what_learns_no_embedding_is_refused(checkpoint, corpus, extractor, splits, tmp_path):
    with pytest.raises(EcgError, match="linear_probe"):
        run_mode("attentive_probe", checkpoint, extractor, splits)
    with pytest.raises(CheckpointError, match="a family without patient identification"):
        run_mode("fine_tune", checkpoint, extractor, splits, output_dir=tmp_path)
    with pytest.raises(ArgumentsError, match="validation_folds"):
        Protocol(labels="patients", validation_folds=[7]).split(corpus, extractor, seed=0)
