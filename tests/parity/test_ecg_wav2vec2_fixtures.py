"""Wav2Vec 2.0 with CMSC and random lead masking against values recorded from fairseq-signals (float32, one thread)."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import binary_cross_entropy_with_logits

from ecg_transformers import (
    EcgWav2vec2Config,
    EcgWav2vec2FeatureExtractor,
    EcgWav2vec2ForSequenceClassification,
    EcgWav2vec2Model,
)

from .recorded import DATA, part

FIXTURES = DATA / "w2v_cmsc_rlm"
SMALL = {
    "window_size": 1000,
    "conv_dim": [16] * 4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_codevectors_per_group": 8,
    "codevector_size": 16,
    "projection_size": 16,
    "num_negatives": 20,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "feat_proj_dropout": 0.0,
    "feat_quantizer_dropout": 0.0,
}
# Official names to ours, in order.
RENAMED = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"ecg_wav2vec2.feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.0\.2\.", "ecg_wav2vec2.feature_extractor.conv_layers.0.layer_norm."),
    (r"^layer_norm\.", "ecg_wav2vec2.feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "ecg_wav2vec2.feature_projection.projection."),
    (r"^conv_pos\.pos_conv\.0\.", "ecg_wav2vec2.position_embedding.conv."),
    (r"^encoder\.layer_norm\.", "ecg_wav2vec2.layernorm."),
    (r"^encoder\.layers\.", "ecg_wav2vec2.encoder.layer."),
    (r"\.self_attn\.q_proj\.", ".attention.query."),
    (r"\.self_attn\.k_proj\.", ".attention.key."),
    (r"\.self_attn\.v_proj\.", ".attention.value."),
    (r"\.self_attn\.out_proj\.", ".attention.output."),
    (r"\.self_attn_layer_norm\.", ".layernorm_before."),
    (r"\.final_layer_norm\.", ".layernorm_after."),
    (r"\.fc1\.", ".intermediate.dense."),
    (r"\.fc2\.", ".output.dense."),
    (r"^mask_emb$", "mask_embedding"),
    (r"^quantizer\.vars$", "quantizer.codevectors"),
    (r"^final_proj\.", "project_hid."),
)


def our_name(name):
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def load(name):
    return load_file(FIXTURES / f"{name}.safetensors")


def read_json(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


def official_weights(names=""):
    """The recorded weights under our names; with `names="encoder"` those of the encoder alone."""
    weights = {our_name(name): value for name, value in load("weights").items()}
    return part({n: v for n, v in weights.items() if "ecg_wav2vec2." in n}, "ecg_wav2vec2.") if names else weights


def near(result, expected, atol=2e-5, rtol=1e-4, name=""):
    torch.testing.assert_close(result, expected.to(result.dtype), atol=atol, rtol=rtol, msg=lambda m: f"{name}: {m}")


@pytest.fixture(scope="module")
def source():
    return load("input")["source"]


@pytest.fixture(scope="module")
def encoder():
    model = EcgWav2vec2Model(EcgWav2vec2Config(**SMALL)).eval()
    model.load_state_dict(official_weights("encoder"))
    return model


def sample_mask(padding_mask):
    return 1 - padding_mask.long()


@torch.no_grad()
def test_states_and_pooled_output_without_time_mask(encoder, source):
    want = load("inference_eval")
    output = encoder(source)
    near(output.last_hidden_state, want["nopad.x"])
    near(output.pooler_output, want["nopad.pooled"])
    _, normalized = encoder.feature_projection(encoder.features(source).transpose(1, 2))
    near(normalized, want["nopad.features"])


@torch.no_grad()
def test_padding(encoder, source):
    want, recorded = load("inference_eval"), load("padding_eval")
    mask = sample_mask(recorded["input.padding_mask"])
    frames = want["pad.padding_mask"] == 0
    assert torch.equal(encoder.token_mask(mask), frames)
    output = encoder(source, attention_mask=mask)
    near(output.last_hidden_state[frames], want["pad.x"][frames])
    near(output.pooler_output, want["pad.pooled"])
    # What stands in the padding does not matter: zeros enter the norm over time.
    other = source.masked_fill(mask[:, None] == 0, 3.0)
    torch.testing.assert_close(encoder(other, attention_mask=mask).pooler_output, output.pooler_output)
    per_lead = mask[:, None].expand(-1, 12, -1)
    assert torch.equal(encoder(source, attention_mask=per_lead).pooler_output, output.pooler_output)


@torch.no_grad()
def test_frames_set_to_zero_before_the_position_convolution_differ(encoder, source):
    """The state of the code in 2022, and Transformers' own model."""
    mask = sample_mask(load("padding_eval")["input.padding_mask"])
    frames = load("inference_eval")["pad.padding_mask"] == 0
    other = EcgWav2vec2Model(EcgWav2vec2Config(**SMALL, zero_padding_before_pos_conv=True)).eval()
    other.load_state_dict(encoder.state_dict())
    states = [model(source, attention_mask=mask).last_hidden_state[frames] for model in (encoder, other)]
    assert (states[0] - states[1]).abs().max() > 0.5


@pytest.fixture
def classifier(encoder):
    want = load("finetune")
    config = EcgWav2vec2Config(**SMALL, num_labels=26, pooling="cls", problem_type="multi_label_classification")
    model = EcgWav2vec2ForSequenceClassification(config).eval()
    model.ecg_wav2vec2.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        model.classifier.weight.copy_(want["classifier.proj.weight"])
        model.classifier.bias.copy_(want["classifier.proj.bias"])
    return model


def test_classifier_with_frozen_convolutions(classifier, source):
    want = load("finetune")
    labels = want["classifier.label"]
    output = classifier(source, labels=labels)
    near(output.logits, want["classifier.logits"])
    near(output.loss * labels.numel(), want["classifier.bce_sum"], rtol=1e-5)
    # Recorded are the gradients of the weighted loss.
    weighted = binary_cross_entropy_with_logits(output.logits, labels, pos_weight=want["classifier.pos_weight"])
    near(weighted * labels.numel(), want["classifier.bce_pos_weight_sum"], rtol=1e-5)
    weighted.backward()
    gradients = part(want, "classifier.grad.")
    assert len(gradients) == 4
    for name, gradient in gradients.items():
        ours = "classifier.weight" if name == "proj.weight" else our_name(name)
        near(classifier.get_parameter(ours).grad, gradient, atol=2e-6, rtol=1e-3, name=name)
    assert all(parameter.grad is None for parameter in classifier.ecg_wav2vec2.feature_extractor.parameters())


@torch.no_grad()
def test_classifier_with_padding(classifier, source):
    mask = sample_mask(load("padding_eval")["input.padding_mask"])
    near(classifier(source, attention_mask=mask).logits, load("finetune")["classifier.logits_padded"])


@pytest.mark.parametrize("rate", [250, 257, 400, 500, 1000])
def test_preparation_of_ecg_fm(rate):
    """Each lead of the whole record is standardized before windows are cut; a constant lead is zeros, but present."""
    recorded = load("preprocess")
    signal, want = (recorded[f"fs{rate}.{name}"] for name in ("input", "standardised"))
    extractor = EcgWav2vec2FeatureExtractor(
        resampling="linear",
        normalization="record_lead",
        order=["leads", "units", "resample", "filter", "normalize", "window", "pad"],
        flat_lead="keep",
        window_size=want.shape[1],
    )
    batch = extractor(signal.double().numpy(), sampling_rate=rate, return_tensors="pt")
    near(batch["input_values"][0], want, atol=1e-5)
    assert batch["lead_mask"].all()


@pytest.mark.parametrize(("size", "parameters"), [("base", 90_373_248), ("small", 62_021_760), ("large", 311_364_736)])
def test_sizes_of_the_published_encoders(size, parameters):
    with torch.device("meta"):
        model = EcgWav2vec2Model(EcgWav2vec2Config.of_size(size))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
