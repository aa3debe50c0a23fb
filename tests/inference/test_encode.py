"""Windows, embeddings and predictions of a corpus against the model called by hand."""

import numpy as np
import pytest
import torch

from ecg_transformers.corpora.protocol import Task, usable_records
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.inference.aggregation import aggregate_windows
from ecg_transformers.inference.encode import (
    CheckpointEncoder,
    Embedder,
    encode_corpus,
    iterate_windows,
    predict_records,
)
from ecg_transformers.readout import Readout

TASK = Task("all", ("A", "B"), ("label A", "label B"), "own", "multi_label_classification")


@pytest.fixture
def model(checkpoint):
    return build_classifier(checkpoint, TASK, readout=Readout("cls_mean")).eval()


def test_every_window_of_every_record_comes_once_in_order(single_corpus, extractor):
    batches = list(iterate_windows(single_corpus, extractor, batch_size=7))
    record_index = np.concatenate([index for _, index in batches])
    expected = np.repeat(np.arange(60), [2 if number % 4 == 0 else 1 for number in range(60)])
    assert (record_index == expected).all()
    assert all(len(index) <= 7 for _, index in batches)
    windows = torch.cat([inputs["input_values"] for inputs, _ in batches])
    by_hand = extractor(single_corpus[8], return_tensors="pt")["input_values"]
    assert torch.equal(windows[record_index == 8], by_hand)


def test_masks_of_ones_are_left_out_and_others_kept(single_corpus, extractor):
    names = {name for inputs, _ in iterate_windows(single_corpus, extractor) for name in inputs}
    assert names == {"input_values"}
    extractor.window_size, extractor.window_stride = 150, 150
    names = {name for inputs, _ in iterate_windows(single_corpus, extractor) for name in inputs}
    assert names == {"input_values", "attention_mask"}


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "cls_mean"])
@pytest.mark.parametrize("layer", [-1, 1])
def test_the_head_on_cached_features_gives_the_logits_of_the_checkpoint(
    checkpoint, single_corpus, extractor, pooling, layer
):
    model = build_classifier(checkpoint, TASK, readout=Readout(pooling, layer)).eval()
    embeddings = encode_corpus(CheckpointEncoder(model, extractor, "tiny"), single_corpus)
    with torch.no_grad():
        windows = model.classifier(embeddings.features).sigmoid().numpy()
    scores = aggregate_windows(windows, embeddings.record_index)
    np.testing.assert_allclose(scores, predict_records(model, single_corpus, extractor), atol=1e-6)


def test_selected_embeddings_are_those_of_the_selected_records(model, single_corpus, extractor):
    encoder = CheckpointEncoder(model, extractor, "tiny")
    records = np.arange(60) % 5 == 0
    some = encode_corpus(encoder, single_corpus, tokens=True).select(records)
    alone = encode_corpus(encoder, single_corpus.select(records), tokens=True)
    torch.testing.assert_close(some.features, alone.features)
    torch.testing.assert_close(some.tokens, alone.tokens, atol=1e-2, rtol=1e-2)
    assert (some.record_index == alone.record_index).all()


def test_encoding_leaves_every_tensor_of_the_encoder_as_it_was(model, single_corpus, extractor):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    encode_corpus(CheckpointEncoder(model.train(), extractor, "tiny"), single_corpus)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_foreign_encoder_joins_with_three_members(single_corpus, extractor):
    class MeanOfSignal:
        name = "mean of the signal"

        def __init__(self):
            self.extractor = extractor

        def embed(self, inputs):
            from ecg_transformers.inference.encode import EncoderOutput

            values = inputs["input_values"]
            return EncoderOutput(values.std(dim=2), values.transpose(1, 2), None)

    encoder = MeanOfSignal()
    assert isinstance(encoder, Embedder)
    embeddings = encode_corpus(encoder, single_corpus, tokens=True)
    assert embeddings.features.shape == (75, 12)
    assert embeddings.tokens.shape == (75, 100, 12)


def test_bfloat16_predictions_are_close(model, single_corpus, extractor):
    exact = predict_records(model, single_corpus, extractor)
    rounded = predict_records(model, single_corpus, extractor, bf16=True)
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_a_complete_corpus_is_used_as_it_is(corpus, extractor):
    assert usable_records(corpus, extractor) is corpus
