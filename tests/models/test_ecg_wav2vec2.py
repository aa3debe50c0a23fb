"""Wav2Vec 2.0 on electrocardiograms: initialization, frozen convolutions, input that it refuses."""

import math

import pytest
import torch
from torch import nn

from ecg_transformers import EcgWav2vec2Config, EcgWav2vec2ForSequenceClassification, EcgWav2vec2Model
from ecg_transformers.errors import CheckpointError, SignalError

from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester

SMALL = {**EcgWav2vec2Tester.config_fields, "sampling_rate": 100}


def small_config(**changes):
    return EcgWav2vec2Config(**{**SMALL, **changes})


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return EcgWav2vec2Model(small_config()).eval()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conv_kernel": [2]}, "one of each per convolution"),
        ({"conv_dim": []}, "positive numbers"),
        ({"hidden_size": 18}, "not divisible by num_attention_heads"),
        ({"num_conv_pos_embedding_groups": 3}, "not divisible by num_conv_pos_embedding_groups"),
        ({"lead_mask_prob": 1.5}, "from 0 to 1"),
        ({"temperature": 0.0}, "positive"),
        ({"gumbel_temperature_decay": 1.5}, "factor"),
        ({"contrastive_weight": 0.0}, "nothing would be learned"),
        ({"cmsc_weight": 1.0}, "num_segments"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, message):
    with pytest.raises(CheckpointError, match=message):
        small_config(**fields)


def test_sizes_by_name():
    assert EcgWav2vec2Config.of_size("large").num_hidden_layers == 24
    with pytest.raises(CheckpointError, match="base, small, large"):
        EcgWav2vec2Config.of_size("huge")


def test_initialization_is_the_published_one():
    """The library's start of the position convolution acts on a temporary tensor."""
    torch.manual_seed(0)
    fields = {"conv_dim": [256, 64], "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512}
    config = small_config(**fields, num_conv_pos_embeddings=64, num_conv_pos_embedding_groups=4)
    model = EcgWav2vec2ForSequenceClassification(config)
    encoder = model.ecg_wav2vec2
    conv = encoder.position_embedding.conv
    direction = conv.parametrizations.weight.original1
    assert direction.std().item() == pytest.approx(math.sqrt(4 / (64 * 256)), rel=0.01)
    torch.testing.assert_close(conv.weight, direction)
    assert conv.bias.abs().max() == 0
    assert encoder.encoder.layer[0].attention.key.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert encoder.encoder.layer[0].attention.key.bias.abs().max() == 0
    assert encoder.feature_projection.projection.weight.abs().max().item() == pytest.approx(1 / 8, rel=0.01)
    stem = encoder.feature_extractor.conv_layers[0].conv.weight
    assert stem.std().item() == pytest.approx(math.sqrt(2 / stem[0].numel()), rel=0.02)
    bound = math.sqrt(6 / (256 + config.num_labels))
    assert bound * 0.95 < model.classifier.weight.abs().max() <= bound


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_stem_has_norms_over_time_or_over_channels(norm):
    model = EcgWav2vec2Model(small_config(feat_extract_norm=norm, conv_bias=True)).eval()
    layers = [layer.layer_norm for layer in model.feature_extractor.conv_layers]
    expected = [nn.GroupNorm, type(None)] if norm == "group" else [nn.LayerNorm, nn.LayerNorm]
    assert [type(layer) for layer in layers] == expected
    # A common gain of all leads all but vanishes in a norm over time.
    x = torch.randn(2, 12, 64)
    torch.testing.assert_close(model(3 * x).pooler_output, model(x).pooler_output, atol=0.3, rtol=0)


def test_norms_first_end_with_the_norm_of_the_encoder():
    model = EcgWav2vec2Model(small_config(norm_first=True)).eval()
    output = model(torch.randn(2, 12, 64), output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, model.layernorm(output.hidden_states[-1]))
    small = model.truncate(1)
    states = small(torch.randn(2, 12, 64)).last_hidden_state
    torch.testing.assert_close(states.mean(-1), torch.zeros(2, 15), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frozen", [True, False])
def test_heads_leave_the_convolutions_as_they_are_if_the_config_says_so(frozen, tmp_path):
    fresh = EcgWav2vec2ForSequenceClassification(small_config(freeze_stem=frozen))
    fresh.save_pretrained(tmp_path)
    for model in (fresh, EcgWav2vec2ForSequenceClassification.from_pretrained(tmp_path)):
        stem = model.ecg_wav2vec2.feature_extractor
        assert all(parameter.requires_grad != frozen for parameter in stem.parameters())
        assert model.ecg_wav2vec2.feature_projection.projection.weight.requires_grad
    assert all(parameter.requires_grad for parameter in EcgWav2vec2Model(small_config()).parameters())


def test_zeroed_leads_are_absent_leads(encoder):
    x = torch.randn(3, 12, 64)
    mask = torch.ones(3, 12)
    mask[0, 3:] = 0
    mask[1] = 0
    output = encoder(x, lead_mask=mask).pooler_output
    torch.testing.assert_close(output, encoder(x * mask[:, :, None]).pooler_output)
    assert output.isfinite().all()


def test_frames_count_only_if_they_see_signal_alone(encoder):
    """Kernels 3 and 2 with strides 2 and 2: a frame sees five samples, and the next begins four later."""
    mask = (torch.arange(64) < torch.tensor([64, 21, 20, 5])[:, None]).long()
    assert encoder.token_mask(mask).sum(1).tolist() == [15, 5, 4, 1]


@pytest.mark.parametrize(
    ("attention_mask", "message"),
    [
        ((torch.arange(64) >= 10).long().expand(2, -1), "right only"),
        ((torch.arange(64) < 4).long().expand(2, -1), "4 samples of signal"),
        (torch.ones(2, 12, 64).index_fill(1, torch.tensor(3), 0), "differs between leads"),
        (torch.ones(2, 60), "expected .batch, samples., here .2, 64."),
    ],
)
def test_masks_that_are_refused(encoder, attention_mask, message):
    with pytest.raises(SignalError, match=message):
        encoder(torch.randn(2, 12, 64), attention_mask=attention_mask)


def test_windows_shorter_than_a_frame_are_refused(encoder):
    assert encoder(torch.randn(2, 12, 5)).last_hidden_state.shape == (2, 1, 16)
    with pytest.raises(SignalError, match="windows of 4 samples, too few for one frame of 5 samples"):
        encoder(torch.randn(2, 12, 4))
    with pytest.raises(SignalError, match="no input_values"):
        encoder()


def test_equal_widths_need_no_projection():
    model = EcgWav2vec2Model(small_config(conv_dim=[6, 16]))
    assert not any(".projection." in name for name in model.state_dict())
    assert model(torch.randn(1, 12, 64)).pooler_output.shape == (1, 16)
