"""Wav2Vec 2.0 on electrocardiograms: initialization, frozen convolutions, random masks, terms, input it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2PositionalConvEmbedding

from ecg_transformers import (
    EcgWav2vec2Config,
    EcgWav2vec2FeatureExtractor,
    EcgWav2vec2ForPreTraining,
    EcgWav2vec2ForSequenceClassification,
    EcgWav2vec2Model,
    SimclrConfig,
    Xresnet1dConfig,
)
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.models.ecg_wav2vec2 import position_embedding as positions
from ecg_transformers.models.ecg_wav2vec2.position_embedding import short_convolution

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


def test_a_training_from_random_weights_trains_the_convolutions():
    config = small_config()
    assert config.freeze_stem
    config.start_from_random()
    assert not config.freeze_stem
    backbone = SimclrConfig(backbone_config=small_config())
    backbone.start_from_random()
    assert not backbone.backbone_config.freeze_stem
    others = Xresnet1dConfig()
    before = others.to_dict()
    others.start_from_random()
    assert others.to_dict() == before


def test_zeroed_leads_are_absent_leads(encoder):
    x = torch.randn(3, 12, 64)
    mask = torch.ones(3, 12)
    mask[0, 3:] = 0
    mask[1] = 0
    output = encoder(x, lead_mask=mask).pooler_output
    torch.testing.assert_close(output, encoder(x * mask[:, :, None]).pooler_output)
    assert output.isfinite().all()


def test_leads_that_are_left_out_of_a_recording_are_leads_set_to_zero(encoder):
    extractor = EcgWav2vec2FeatureExtractor(sampling_rate=100, window_size=64)
    signal = np.random.default_rng(0).normal(size=(12, 64)) * 0.2
    whole = extractor(signal, sampling_rate=100, return_tensors="pt")
    two = extractor(signal[:2], sampling_rate=100, leads=["I", "II"], return_tensors="pt")
    assert two["lead_mask"].tolist() == [[1, 1] + [0] * 10]
    with torch.no_grad():
        want = encoder(whole["input_values"], lead_mask=two["lead_mask"]).pooler_output
        torch.testing.assert_close(encoder(**two).pooler_output, want)
        assert not torch.allclose(encoder(**whole).pooler_output, want, atol=1e-3)


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


# ---- positions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "frames", "width", "groups", "kernel"),
    [(3, 6, 8, 2, 8), (2, 7, 6, 1, 9), (2, 3, 4, 4, 64), (1, 5, 4, 2, 5)],
)
def test_the_product_form_of_a_convolution_has_its_values_and_gradients(windows, frames, width, groups, kernel):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(windows, frames, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(width, width // groups, kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    whole = nn.functional.conv1d(tokens.transpose(1, 2), weight, padding=kernel // 2, groups=groups)
    results = [whole[:, :, :frames].transpose(1, 2), short_convolution(tokens, weight)]
    torch.testing.assert_close(results[1], results[0])
    direction = torch.randn(results[0].shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((result * direction).sum(), (tokens, weight)) for result in results]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_positions_are_those_of_the_library_in_either_form(monkeypatch):
    position = EcgWav2vec2Model(small_config(num_conv_pos_embeddings=16)).position_embedding
    tokens = torch.randn(40, 15, 16)
    calls = []
    monkeypatch.setattr(positions, "short_convolution", lambda *x: calls.append(x) or short_convolution(*x))
    library = Wav2Vec2PositionalConvEmbedding.forward
    torch.testing.assert_close(position(tokens), library(position, tokens), rtol=1e-5, atol=1e-6)
    assert len(calls) == 1
    # Few windows do not repay the matrix; a longer window than the kernel would cost more operations.
    position(tokens[:2])
    position(torch.randn(40, 17, 16))
    assert len(calls) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert position(tokens).dtype == torch.bfloat16


# ---- pretraining ---------------------------------------------------------------------------------------------------

PAIRS = {"cmsc_weight": 1.0, "num_segments": 2}


def tiny(**changes):
    torch.manual_seed(0)
    return EcgWav2vec2ForPreTraining(small_config(**{**PAIRS, **changes}))


def pairs(batch=6, samples=64):
    return torch.randn(batch, 2, 12, samples, generator=torch.Generator().manual_seed(1))


def drawn(model, x, seed=2, **inputs):
    return model.apply_draws({"input_values": x, **inputs}, model.draw(RowGenerator(len(x), seed=seed)))


def test_published_size():
    with torch.device("meta"):
        model = EcgWav2vec2ForPreTraining(EcgWav2vec2Config())
    assert sum(parameter.numel() for parameter in model.parameters()) == 90_883_072
    assert sum(parameter.numel() for parameter in model.quantizer.parameters()) == 246_400


def test_the_parts_of_pretraining_start_as_published():
    torch.manual_seed(0)
    model = EcgWav2vec2ForPreTraining(small_config(conv_dim=[6, 64], num_codevectors_per_group=100))
    for tensor in (model.quantizer.codevectors, model.mask_embedding):
        assert 0 <= tensor.min() < 0.3 < 0.7 < tensor.max() <= 1
    assert model.quantizer.weight_proj.weight.std().item() == pytest.approx(1, rel=0.03)
    assert model.quantizer.weight_proj.bias.abs().max() == 0
    assert 0.15 < model.project_hid.weight.abs().max() <= 1 / 4


def test_leads_are_masked_for_each_window_alone_on_top_of_absent_ones_and_never_in_evaluation():
    model, x = tiny(), torch.zeros(400, 2, 12, 64)
    present = torch.ones(400, 12)
    present[:, 3] = 0
    kept = drawn(model, x, lead_mask=present)["lead_mask"]
    assert kept.shape == (400, 2, 12)
    assert not kept[:, :, 3].any()
    assert kept[:, :, [0, 1, 2, *range(4, 12)]].float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (kept[:, 0] != kept[:, 1]).any(dim=1).float().mean() > 0.99
    assert "lead_mask" not in drawn(model.eval(), x, lead_mask=present)
    assert "lead_mask" not in drawn(tiny(lead_mask_prob=0.0), x)


@pytest.mark.parametrize(
    ("fields", "share", "fewest"),
    [
        ({"lead_mask_prob": 0.9}, 0.1, 0),
        ({"lead_mask_prob": 0.9, "min_leads_kept": 3}, 0.26, 3),
        ({"lead_mask_apply_prob": 0.5}, 0.75, 0),
    ],
)
def test_how_many_leads_are_masked(fields, share, fewest):
    kept = drawn(tiny(**fields), torch.zeros(500, 2, 12, 64))["lead_mask"].float().sum(2)
    assert kept.mean().item() / 12 == pytest.approx(share, abs=0.02)
    assert kept.min() >= fewest


def test_time_masks_have_equal_counts_and_leave_the_last_valid_frame():
    model, x = tiny(mask_time_length=3), pairs(50)
    mask = drawn(model, x)["time_mask"]
    assert mask.shape == (50, 2, 15)
    counts = mask.sum(2)
    assert counts.min() == counts.max() >= 2
    assert not mask[:, :, -1].any()
    assert mask[:, :, 0].any()
    padded = torch.ones(50, 2, 64, dtype=torch.long)
    padded[7, 1, 40:] = 0
    mask = drawn(model, x, attention_mask=padded)["time_mask"]
    valid = int(model.encoder.token_mask(padded[7, 1:])[0].sum())
    assert valid == 9
    assert not mask[7, 1, valid - 1 :].any()
    assert (mask.sum(2) == mask[0, 0].sum()).all()


def test_the_share_of_masked_frames_falls_with_the_batch():
    """Recorded: 65.7 of 156 frames in batches of 8 windows, 56.2 in batches of 128."""
    model = EcgWav2vec2ForPreTraining(EcgWav2vec2Config(
        **{**SMALL, **PAIRS, "conv_kernel": [4, 4], "conv_stride": [4, 4], "window_size": 2500,
           "mask_time_length": 10, "num_negatives": 1, "num_codevectors_per_group": 1}
    ))  # fmt: skip
    for batch, runs, mean in ((4, 60, 65.7), (64, 20, 56.2)):
        x = torch.zeros(batch, 2, 12, 2500)
        counts = [int(drawn(model, x, seed)["time_mask"][0, 0].sum()) for seed in range(runs)]
        assert sum(counts) / runs == pytest.approx(mean, abs=2.5)


def test_negatives_are_other_masked_frames_of_the_same_window():
    keywords = drawn(tiny(), pairs(40))
    negatives, masked = keywords["negative_indices"], int(keywords["time_mask"][0, 0].sum())
    assert negatives.shape == (40, 2, masked, 7)
    assert (negatives != torch.arange(masked)[:, None]).all()
    assert negatives.min() == 0
    assert negatives.max() == masked - 1


def test_draws_of_a_part_are_those_of_the_whole_batch():
    model = tiny()
    whole = model.draw(RowGenerator(6, seed=3))
    half = model.draw(RowGenerator(3, seed=3, first_row=3, total_rows=6))
    for name, value in half.items():
        assert torch.equal(value, whole[name] if name == "span_rounding" else whole[name][3:]), name


@pytest.mark.parametrize(
    ("fields", "terms", "parts"),
    [
        ({}, {"contrastive_loss", "diversity_loss", "feature_penalty_loss", "cmsc_loss"}, True),
        ({"cmsc_weight": 0.0}, {"contrastive_loss", "diversity_loss", "feature_penalty_loss"}, True),
        ({"contrastive_weight": 0.0}, {"cmsc_loss"}, False),
        ({"diversity_weight": 0.0}, {"contrastive_loss", "feature_penalty_loss", "cmsc_loss"}, True),
    ],
)
def test_parts_of_weight_0_are_neither_built_nor_computed(fields, terms, parts):
    model = tiny(**fields)
    output = model(pairs())
    assert {name for name in output if name.endswith("_loss")} == terms == set(model.loss_weights)
    assert hasattr(model, "quantizer") == parts
    total = sum(model.loss_weights[name] * output[name] for name in terms)
    torch.testing.assert_close(output.loss, total)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_may_be_set_also_for_terms_of_a_callback():
    model, x = tiny().eval(), pairs()
    keywords = drawn(model, x)
    first = model(x, **keywords)
    model.loss_weights |= {"cmsc_loss": 3.0, "token_norm_loss": 1.0}
    torch.testing.assert_close(model(x, **keywords).loss, first.loss + 2 * first.cmsc_loss)


def test_cmsc_alone_masks_no_frames():
    model = tiny(contrastive_weight=0.0, lead_mask_prob=0.0)
    x = pairs()
    torch.testing.assert_close(model(x).pooler_output, model.encoder(x.flatten(0, 1)).pooler_output)


def test_the_order_of_the_recordings_does_not_matter():
    model, x, ids = tiny(), pairs(), torch.tensor([1, 1, 2, 3, 4, 5])
    keywords, order = drawn(model, x), torch.tensor([3, 0, 5, 1, 4, 2])
    first = model(x, **keywords, record_ids=ids)
    second = model(x[order], **{name: value[order] for name, value in keywords.items()}, record_ids=ids[order])
    for name in first:
        if name.endswith(("_loss", "_accuracy", "_perplexity")):
            torch.testing.assert_close(first[name], second[name], msg=name)


def test_positives_are_of_the_record_or_of_the_patient():
    x, records = pairs(), torch.arange(6)
    patients = torch.tensor([7, 7, 8, 9, -1, -1])
    losses = {}
    for positives in ("record", "patient"):
        model = tiny(cmsc_positives=positives).eval()
        keywords = drawn(model, x)
        losses[positives] = model(x, **keywords, record_ids=records, patient_ids=patients).cmsc_loss
        alone = model(x, **keywords, record_ids=records).cmsc_loss
        torch.testing.assert_close(alone, model(x, **keywords).cmsc_loss)
        assert torch.equal(alone, losses[positives]) == (positives == "record")
    same = tiny().eval()
    known = torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(losses["patient"], same(x, **drawn(same, x), record_ids=known).cmsc_loss)


def test_one_recording_has_nothing_to_be_contrasted_with(caplog):
    with caplog.at_level("WARNING", logger="transformers"):
        output = tiny()(pairs(1))
    assert output.cmsc_loss == 0
    assert "one recording" in caplog.text


@pytest.mark.parametrize("shape", [(6, 12, 64), (6, 1, 12, 64), (6, 3, 12, 64)])
def test_windows_without_partner_are_refused_in_training(shape):
    with pytest.raises(SignalError, match=r"pass \(batch, 2, leads, samples\)"):
        tiny()(torch.randn(shape))
    model = tiny().eval()
    if len(shape) == 3:
        assert model(torch.randn(shape)).cmsc_loss == 0


def test_masks_that_cannot_be_contrasted_are_refused():
    model, x = tiny(), pairs()
    keywords = drawn(model, x)
    for change in ((slice(None), slice(None), slice(1, None)), (0, 0)):
        mask = keywords["time_mask"].clone()
        mask[change] = False
        with pytest.raises(SignalError, match="equally many, at least 2"):
            model(x, **{**keywords, "time_mask": mask})
    for missing in ("negative_indices", "gumbel_noise"):
        with pytest.raises(SignalError, match="without negative_indices or"):
            model(x, **{name: value for name, value in keywords.items() if name != missing})
    with pytest.raises(SignalError, match="window_size"):
        model(pairs(samples=80))


def test_a_few_recordings_are_learned_by_heart():
    model = tiny(hidden_size=32, lead_mask_prob=0.0, mask_time_length=2, cmsc_temperature=0.2)
    x = pairs(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    keywords = drawn(model, x)
    for _ in range(150):
        output = model(x, **keywords)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    first = tiny(hidden_size=32, mask_time_length=2)(x, **keywords)
    assert output.contrastive_loss < first.contrastive_loss / 2
    assert output.cmsc_accuracy == 1


def test_in_half_precision_the_terms_are_those_of_full_precision():
    model, x = tiny().eval(), pairs()
    keywords = drawn(model, x)
    exact = model(x, **keywords)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(x, **keywords)
    for name in (*model.loss_weights, *model.logged_values):
        assert rounded[name].dtype == torch.float32, name
        assert rounded[name].item() == pytest.approx(exact[name].item(), rel=0.1, abs=0.05), name
