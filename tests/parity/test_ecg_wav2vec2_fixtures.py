"""Wav2Vec 2.0 with CMSC and random lead masking against values recorded from fairseq-signals (float32, one thread)."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import binary_cross_entropy_with_logits

from ecg_transformers import (
    EcgWav2vec2Config,
    EcgWav2vec2FeatureExtractor,
    EcgWav2vec2ForPreTraining,
    EcgWav2vec2ForSequenceClassification,
    EcgWav2vec2Model,
)
from ecg_transformers.objectives.infonce import matrix_info_nce, unit_of_constant_norm
from ecg_transformers.objectives.quantizer import GumbelQuantizer
from ecg_transformers.objectives.span_masking import equal_counts, span_counts, span_mask
from ecg_transformers.trainer import Schedule

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


# ---- pretraining ---------------------------------------------------------------------------------------------------

CASES = ["train", "rlm_eval", "padding_eval", "all_leads_masked_eval", "multi_positive_eval", "one_pair_eval"]


@pytest.fixture
def pretraining():
    model = EcgWav2vec2ForPreTraining(EcgWav2vec2Config(**SMALL))
    model.load_state_dict(official_weights())
    return model


def keywords_of(name, recorded, source):
    """The recorded inputs and draws as keywords: three recordings (or one) of two segments."""
    mask = recorded["input.mask_indices"].bool().unflatten(0, (-1, 2))
    pairs, masked = len(mask), int(mask[0, 0].sum())
    keywords = {
        "input_values": source[: 2 * pairs].unflatten(0, (pairs, 2)),
        "time_mask": mask,
        "negative_indices": (recorded["negatives.index"] % masked).view(pairs, 2, masked, -1),
        "record_ids": recorded["input.patient_id"].view(pairs, 2)[:, 0].long(),
    }
    if "quantizer.gumbel_noise" in recorded:
        keywords["gumbel_noise"] = recorded["quantizer.gumbel_noise"].view(pairs, 2, masked, 2, 8)
    if name == "rlm_eval":
        keywords["lead_mask"] = load("rlm_lead_mask")["survivors"].view(pairs, 2, 12)
    if name == "all_leads_masked_eval":
        keywords["lead_mask"] = torch.ones(pairs, 2, 12).index_put((torch.tensor(1), torch.tensor(1)), torch.zeros(12))
    if name == "padding_eval":
        keywords["attention_mask"] = sample_mask(recorded["input.padding_mask"]).view(pairs, 2, -1)
    return keywords


def run_case(model, name, source, recorded=None):
    recorded = recorded or load(name)
    model.train(name.startswith("train"))
    return model(**keywords_of(name, recorded, source)), recorded


@pytest.mark.parametrize("name", CASES)
def test_terms_and_states_of_a_step(pretraining, source, name):
    output, want = run_case(pretraining, name, source)
    facts = {**read_json("cases")[name]}
    size = want["loss.sample_size"]
    for term, recorded in (("diversity", "diversity"), ("feature_penalty", "features_pen"), ("cmsc", "cmsc")):
        near(output[f"{term}_loss"], want[f"loss.{recorded}"], atol=1e-6, rtol=1e-5, name=term)
    near(output.contrastive_loss * size, want["loss.contrastive_sum"], rtol=1e-5)
    near(output.loss, want["loss.total_over_sample_size"], rtol=1e-5)
    assert output.prob_perplexity.item() == pytest.approx(facts["prob_perplexity"], rel=1e-5)
    assert output.code_perplexity.item() == pytest.approx(facts["code_perplexity"], rel=1e-5)
    assert output.contrastive_accuracy.item() == pytest.approx(facts["correct"] / facts["count"], abs=1e-6)
    near(output.pooler_output, want["global.features"])
    masked = want["input.mask_indices"].bool()
    for key, value in (("final_states", output.last_hidden_state), ("final_proj", output.projected_states),
                       ("project_q", output.projected_quantized_states)):  # fmt: skip
        if key in want and name == "padding_eval" and key == "final_states":
            frames = load("inference_eval")["pad.padding_mask"] == 0
            near(value[frames], want[key][frames], name=key)
        elif key in want:
            near(value, want[key], name=key)
    if "quantizer.code_index" in want:
        assert torch.equal(output.codes.flatten(), want["quantizer.code_index"])
    assert output.codes.shape == (len(masked), int(masked[0].sum()), 2)


GRADIENTS = ["train", "rlm_eval", "padding_eval", "all_leads_masked_eval"]


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_a_step(pretraining, source, name):
    output, _ = run_case(pretraining, name, source)
    output.loss.backward()
    want = load(f"{name}.grads")
    assert len(want) == 55
    for official, gradient in want.items():
        ours = pretraining.get_parameter(our_name(official)).grad
        if official.endswith("k_proj.bias"):
            assert ours.abs().max() < 1e-6
        else:
            near(ours, gradient, atol=2e-6, rtol=1e-3, name=official)


@pytest.mark.parametrize("term", ["contrastive", "diversity", "feature_penalty", "cmsc"])
def test_gradient_norms_of_each_term(pretraining, source, term):
    output, _ = run_case(pretraining, "train", source)
    (pretraining.loss_weights[f"{term}_loss"] * output[f"{term}_loss"]).backward()
    official = {"contrastive": "ce", "diversity": "div", "feature_penalty": "pen", "cmsc": "cmsc"}[term]
    for name, norm in read_json("cases")["train"]["term_grad_norms"][official].items():
        gradient = pretraining.get_parameter(our_name(name)).grad
        if norm is None:
            assert gradient is None or gradient.abs().max() == 0, name
        elif not name.endswith("k_proj.bias"):
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-3, abs=2e-6), name


def test_the_gradient_of_the_convolutions_is_scaled_the_penalty_included(source):
    norms = []
    for factor in (0.1, 1.0):
        model = EcgWav2vec2ForPreTraining(EcgWav2vec2Config(**SMALL, feature_grad_mult=factor))
        model.load_state_dict(official_weights())
        output, _ = run_case(model, "train", source)
        output.feature_penalty_loss.backward()
        norms.append(model.ecg_wav2vec2.feature_extractor.conv_layers[2].conv.weight.grad.norm().item())
    assert norms[1] == pytest.approx(10 * norms[0], rel=1e-5)


def test_a_step_of_the_published_optimizer(pretraining, source):
    """Its epsilon is added before the bias correction; `torch.optim.AdamW` differs by up to 2.3e-5."""
    output, _ = run_case(pretraining, "train", source)
    output.loss.backward()
    want = load("train.after_step")
    rate, decay, betas, epsilon = 5e-5, 0.01, (0.9, 0.98), 1e-6
    corrected = rate * (1 - betas[1]) ** 0.5 / (1 - betas[0])
    for name, after in want.items():
        parameter = pretraining.get_parameter(our_name(name)).detach()
        gradient = pretraining.get_parameter(our_name(name)).grad
        first, second = (1 - betas[0]) * gradient, (1 - betas[1]) * gradient.square()
        stepped = parameter * (1 - rate * decay) - corrected * first / (second.sqrt() + epsilon)
        if not name.endswith("k_proj.bias"):
            near(stepped, after, atol=1e-6, rtol=0, name=name)


def test_the_temperature_changes_gradients_of_the_quantizer_alone(pretraining, source):
    recorded, want = load("train"), load("train_temp.grads")
    pretraining.gumbel_temperature = read_json("schedules")["gumbel_temperature"]["200000"]
    output, _ = run_case(pretraining, "train", source, recorded)
    near(output.loss, recorded["loss.total_over_sample_size"], rtol=1e-5)
    output.loss.backward()
    assert len(want) > 5
    for name, gradient in want.items():
        near(pretraining.get_parameter(our_name(name)).grad, gradient, atol=2e-6, rtol=1e-3, name=name)


def test_temperatures_of_the_published_schedule(pretraining):
    schedule = Schedule(**pretraining.default_schedules["gumbel_temperature"])
    for step, value in read_json("schedules")["gumbel_temperature"].items():
        assert schedule(int(step), max_steps=1) == pytest.approx(value, rel=1e-12)


@torch.no_grad()
def test_codes_without_noise(pretraining, source):
    want = load("inference_eval")
    quantizer = pretraining.quantizer
    quantized = quantizer(want["nopad.features"], 2.0)
    assert torch.equal(quantized.codes, want["quantize.codes"])
    near(quantized.vectors, want["quantize.x"])


def test_the_soft_choice(pretraining):
    recorded = load("train")
    quantizer: GumbelQuantizer = pretraining.quantizer
    noise = recorded["quantizer.gumbel_noise"].view(6, 24, 2, 8)
    logits = recorded["quantizer.logits"].view(6, 24, 2, 8)
    near(((logits + noise) / 2.0).softmax(-1).flatten(0, 2), recorded["quantizer.y_soft"])
    quantized = quantizer(recorded["quantizer.input"], 2.0, noise)
    near(quantized.vectors, recorded["quantizer.x"])


@pytest.mark.parametrize("case", ["plain", "same_patient", "unordered", "one_pair", "zero_vector"])
def test_cmsc_with_and_without_gradient_of_the_norm(case):
    want = part(load("cmsc_unit"), f"{case}.")
    patients, roles = want["patient_id"], want["segment"]
    for unit, name in (
        (unit_of_constant_norm, "grad"),
        (lambda vectors: torch.nn.functional.normalize(vectors, dim=-1, eps=1e-8), "grad_if_norm_not_detached"),
    ):
        features = want["features"].clone().requires_grad_()
        units = unit(features)
        logits = units[roles == 0] @ units[roles == 1].T / 0.1
        near(logits, want["logits"])
        contrast = matrix_info_nce(logits, patients[roles == 0][:, None] == patients[roles == 1])
        near(contrast.loss, want["loss"], rtol=1e-5, atol=1e-6)
        contrast.loss.backward()
        near(features.grad, want[name], rtol=1e-3, atol=2e-6, name=name)


@pytest.mark.parametrize("facts", read_json("units")["masks"], ids=lambda facts: facts["name"])
def test_masks_of_the_published_random_numbers(facts):
    """NumPy's numbers in the published order of draws; where they choose, the noise is 0."""
    random = np.random.RandomState(facts["seed"])
    rows, width = facts["shape"]
    probability, length = facts["mask_prob"], facts["mask_length"]
    settings = {"probability": probability, "length": length, "least": 2}
    valid = torch.tensor(facts["valid"] or [width] * rows)
    rounding = torch.tensor([random.rand()] * rows)
    starts, keep = torch.ones(rows, width), torch.ones(rows, width)
    spans = span_counts(valid, rounding, **settings)
    for row, frames in enumerate(valid.tolist()):
        if facts["valid"] is not None:
            spans[row] = span_counts(valid[row : row + 1], torch.tensor([random.rand()]), **settings)[0]
        count = int(spans[row])
        last = count + 1 if frames - length <= count else frames - length
        starts[row, random.choice(last, count, replace=False)] = 0
    mask = span_mask(starts, valid, spans, length=length)
    fewest = mask.sum(1).min()
    for row in range(rows):
        masked = np.flatnonzero(mask[row].numpy())
        if len(masked) > fewest:
            keep[row, random.choice(masked, int(fewest), replace=False)] = 0
    got = equal_counts(mask, keep, fewest)
    assert got.sum(1).tolist() == facts["masked_per_row"]
    assert torch.equal(got, load("masks")[facts["name"]].bool())


# ---- full size -----------------------------------------------------------------------------------------------------


def rule_value(name, count, place):
    """The number by which a tensor of `rule_weights_checks.json` is filled."""
    state = (np.arange(1, count + 1, dtype=np.uint64) * 2654435761 + (place + 1) * 2246822507) & 0xFFFFFFFF
    for _ in range(2):
        state ^= state >> np.uint64(16)
        state = (state * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    return (state ^ (state >> np.uint64(16))) / 2.0**32


def rule_tensor(name, shape, place):
    """A tensor of `rule_weights_checks.json`: the values of its official name, which is at this place of all names."""
    count = int(np.prod(shape))
    uniform = rule_value(name, count, place)
    centered = 2 * uniform - 1
    if name.endswith(("layer_norm.weight", "feature_extractor.conv_layers.0.2.weight", "original0")):
        values = 1 + 0.2 * centered
    elif name.endswith("bias"):
        values = 0.05 * centered
    elif name in ("mask_emb", "quantizer.vars"):
        values = uniform
    elif name == "quantizer.weight_proj.weight":
        values = 0.5 * centered
    else:
        values = centered * np.sqrt(3 / (count / shape[0]))
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def fill_by_official_rule(model, official_names):
    for place, name in enumerate(sorted(official_names)):
        parameter = model.get_parameter(our_name(name))
        parameter.data.copy_(rule_tensor(name, parameter.shape, place))


def rule_inputs(samples, frames, negatives):
    time = np.arange(samples) / 500
    signal = np.stack([[(1 + 0.05 * lead) * (np.sin(2 * np.pi * (1 + 0.1 * lead) * time + 0.5 * row)
                        + 0.1 * np.cos(2 * np.pi * 13 * time)) for lead in range(12)] for row in range(2)])  # fmt: skip
    mask = (torch.arange(frames) // 10) % 2 == 1
    masked = int(mask.sum())
    step, number = torch.arange(masked)[:, None], torch.arange(negatives)
    places = (step + 1 + (7 * number + 3 * step) % (masked - 1)) % masked
    return {
        "input_values": torch.from_numpy(signal.astype(np.float32))[None],
        "time_mask": mask.expand(1, 2, -1),
        "negative_indices": places.expand(1, 2, -1, -1),
    }


@torch.no_grad()
@pytest.mark.parametrize(("size", "config", "samples"), [("small", SMALL, 1000), ("base", {}, 2500)])
def test_outputs_under_the_weight_rule(size, config, samples):
    want = read_json("rule_weights_checks")[size]
    model = EcgWav2vec2ForPreTraining(EcgWav2vec2Config(**config)).eval()
    names = {re.sub(r"^encoder\.layers\.\d+", f"encoder.layers.{layer}", name)
             for name in load("weights") for layer in range(model.config.num_hidden_layers)}  # fmt: skip
    assert sum(parameter.numel() for parameter in model.parameters()) == want["params"]
    fill_by_official_rule(model, names)
    for name, (total, first) in want["weight_checksum"].items():
        values = model.get_parameter(our_name(name)).flatten()
        assert values.double().sum().item() == pytest.approx(total, rel=1e-6)
        assert values[0].item() == pytest.approx(first, rel=1e-6)
    inputs = rule_inputs(samples, want["frames"], model.config.num_negatives)
    states = model.encoder(inputs["input_values"][0]).last_hidden_state
    middle = states[1, want["frames"] // 2]
    for place, values in (("first", states[0, 0, :6]), ("mid", middle[:6]), ("last", states[1, -1, -6:])):
        near(values, torch.tensor(want["states_no_mask"][place]), atol=1e-3, rtol=1e-3, name=place)
    output = model(**inputs)
    masked = 2 * want["masked_per_row"]
    assert (output.contrastive_loss * masked).item() == pytest.approx(want["contrastive_sum"], rel=1e-3)
    for ours, theirs in (("diversity_loss", "diversity"), ("feature_penalty_loss", "features_pen"),
                         ("prob_perplexity", "prob_perplexity"), ("code_perplexity", "code_perplexity")):  # fmt: skip
        assert output[ours].item() == pytest.approx(want[theirs], rel=1e-3), ours
    for row in range(2):
        near(output.pooler_output[row, :6], torch.tensor(want["masked_pass"][f"pooled{row}"]), atol=1e-3, rtol=1e-3)
