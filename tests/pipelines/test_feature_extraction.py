"""The embedding pipeline: poolings, layers, windows."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from ecg_transformers.errors import CheckpointError, SignalError


def test_one_vector_for_a_record_equal_to_the_models_pooler_output(embed, encoder_folder, make_record):
    record = make_record(10, 500)
    extractor, model = AutoFeatureExtractor.from_pretrained(encoder_folder), AutoModel.from_pretrained(encoder_folder)
    with torch.no_grad():
        expected = model(**extractor(record, return_tensors="pt")).pooler_output[0]
    vector = embed(record)
    assert (vector.shape, vector.dtype) == ((16,), np.float32)
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(vector, embed(record), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_batch_size_changes_no_vector(embed, unequal_records, batch_size):
    alone = [embed(record, windows=True) for record in unequal_records]
    together = embed(unequal_records, windows=True, batch_size=batch_size)
    assert [len(vectors) for vectors in together] == [1, 1, 3, 4]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_record_is_the_mean_of_its_windows(embed, unequal_records):
    windows = embed(unequal_records[3], windows=True)
    np.testing.assert_allclose(embed(unequal_records[3]), windows.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [-1, -2, 0, 1])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "cls_mean"])
def test_poolings_and_layers_leave_padding_out(embed, encoder_folder, make_record, pooling, layer):
    record = make_record(4, 500)
    extractor, model = AutoFeatureExtractor.from_pretrained(encoder_folder), AutoModel.from_pretrained(encoder_folder)
    with torch.no_grad():
        outputs = model(**extractor(record, return_tensors="pt"), output_hidden_states=True)
    tokens = outputs.last_hidden_state[0]
    if layer != -1:
        # Inner layers go through a LayerNorm without parameters.
        tokens = torch.nn.functional.layer_norm(outputs.hidden_states[layer][0], (16,), eps=1e-6)
    patches = tokens[1 : 1 + 4 * 100 // 25]  # 4 s of 10 are signal
    expected = {
        "cls": tokens[0],
        "mean": patches.mean(dim=0),
        "max": patches.amax(dim=0),
        "cls_mean": torch.cat([tokens[0], patches.mean(dim=0)]),
    }[pooling]
    np.testing.assert_allclose(embed(record, pooling=pooling, layer=layer), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_without_a_pooling_is_read_from_cls(embed, make_record):
    record = make_record(10, 100)
    np.testing.assert_allclose(embed(record, layer=-2), embed(record, layer=-2, pooling="cls"), atol=1e-5)


def test_options_may_be_given_to_the_constructor(embed, encoder_folder, make_record):
    record = make_record(30, 100)
    whole = pipeline("ecg-feature-extraction", model=encoder_folder, device="cpu", pooling="mean", windows=True)
    np.testing.assert_allclose(whole(record), embed(record, pooling="mean", windows=True), atol=1e-5)


def test_a_classifiers_encoder_can_be_embedded_with(classifier_folder, make_record):
    embed = pipeline("ecg-feature-extraction", model=classifier_folder, device="cpu")
    assert embed(make_record(10, 100)).shape == (16,)


def test_bfloat16_weights_give_float32_vectors(encoder_folder, embed, make_record):
    half = pipeline("ecg-feature-extraction", model=encoder_folder, device="cpu", dtype=torch.bfloat16)
    vector = half(make_record(10, 100))
    assert vector.dtype == np.float32
    assert np.corrcoef(vector, embed(make_record(10, 100)))[0, 1] > 0.99


def test_unknown_poolings_and_layers_are_errors(embed, make_record):
    with pytest.raises(SignalError, match="attention"):
        embed(make_record(10, 100), pooling="attention")
    with pytest.raises(CheckpointError, match="-3 to 2"):
        embed(make_record(10, 100), layer=7)
    with pytest.raises(SignalError, match="poling"):
        embed(make_record(10, 100), poling="mean")
