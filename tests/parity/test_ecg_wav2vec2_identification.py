"""Patient identification of Wav2Vec 2.0 against values recorded from fairseq-signals, and what its head is given."""

import pytest
import torch

from ecg_transformers import EcgWav2vec2Config
from ecg_transformers.models.ecg_wav2vec2.modeling_ecg_wav2vec2 import (
    EcgWav2vec2ForPatientIdentification,
    EcgWav2vec2Model,
)

from .test_ecg_wav2vec2_fixtures import SMALL, load, near, official_weights, sample_mask


@pytest.fixture
def identifier():
    config = EcgWav2vec2Config(**SMALL, num_patients=5)
    model = EcgWav2vec2ForPatientIdentification(config).eval()
    model.ecg_wav2vec2.load_state_dict(official_weights("encoder"))
    with torch.no_grad():
        model.arcface.kernel.copy_(load("finetune")["arcface.kernel"])
    return model


def test_embeddings_loss_and_gradients_with_frozen_convolutions(identifier):
    want, source = load("finetune"), load("input")["source"]
    labels = want["arcface.label"]
    outputs = identifier(source, labels=labels)
    near(outputs.embeddings, want["arcface.embedding"])
    near(identifier(source).logits / 192, want["arcface.cosine"])
    torch.testing.assert_close(6 * outputs.loss, want["arcface.loss_sum"], rtol=1e-5, atol=0)
    outputs.loss.backward()
    encoder = identifier.ecg_wav2vec2
    near(identifier.arcface.kernel.grad, want["arcface.grad.kernel"], atol=2e-5, rtol=1e-3)
    last = encoder.encoder.layer[1].output.dense.weight.grad
    near(last, want["arcface.grad.encoder.layers.1.fc2.weight"], atol=2e-5, rtol=1e-3)
    assert all(parameter.grad is None for parameter in encoder.feature_extractor.parameters())


@torch.no_grad()
def test_frames_that_see_padding_are_not_pooled(identifier):
    want, source = load("finetune"), load("input")["source"]
    mask = sample_mask(load("padding_eval")["input.padding_mask"])
    near(identifier(source, attention_mask=mask).embeddings, want["arcface.embedding_padded_masked"])


def test_a_checkpoint_opens_as_encoder_and_starts_as_published(identifier, tmp_path):
    identifier.save_pretrained(tmp_path)
    encoder, report = EcgWav2vec2Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    encoder.save_pretrained(tmp_path / "encoder")
    started = EcgWav2vec2ForPatientIdentification.from_pretrained(tmp_path / "encoder", num_patients=7)
    assert started.arcface.kernel.shape == (7, 32)
    torch.testing.assert_close(started.arcface.kernel.norm(dim=0), torch.ones(32))
    assert not any(parameter.requires_grad for parameter in started.ecg_wav2vec2.feature_extractor.parameters())
