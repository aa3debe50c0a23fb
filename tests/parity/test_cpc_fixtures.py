"""CPC against numbers recorded from ecg-selfsupervised: encoder, context, losses with given negatives, one step, heads.

Fixtures in `data/ecg_selfsupervised/`. Forward passes agree to 2e-6 of a tensor's largest value in float32; everything
that was trained was computed in float64 and rounded to float32 once, and agrees to 1e-6. The sums over positions were
accumulated in float32 by the public code, hence 1e-6 there too.
"""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ecg_transformers import CpcConfig, CpcForPreTraining, CpcForSequenceClassification
from ecg_transformers.layers.heads import classification_layers
from ecg_transformers.objectives.cpc import skip_target
from ecg_transformers.trainer import EcgTrainingArguments
from ecg_transformers.trainer.fine_tuning import FineTuneTrainer
from ecg_transformers.trainer.settings import FineTuneSettings

from .recorded import ECG_SELFSUPERVISED, assert_near_largest, fill_by_rule, part, two_sines

FACTS = json.loads((ECG_SELFSUPERVISED / "full_size_facts.json").read_text())
FORWARD = 2e-6
STEP = 1e-6


def our_name(official):
    """Name of the official network to ours."""
    room, _, rest = official.partition(".")
    if room == "encoder":
        layer, kind, tensor = rest.split(".")
        return f"cpc.encoder.{layer}.{ {'0': 'conv', '1': 'norm'}[kind] }.{tensor}"
    if room == "rnn":
        tensor, _, layer = rest.rpartition("_l")
        return f"cpc.rnn.{layer}.{tensor}_l0"
    if room == "proj":
        return f"projection.0.{rest}"
    return official


def ours(tensors):
    return {our_name(name): value for name, value in tensors.items()}


def config_of(settings, samples, **fields):
    """The configuration of a recorded network: 8 features, 10 hidden units, 2 recurrent layers, 6 negatives."""
    kernels, strides = (json.loads(settings.get(name, "[1, 1, 1, 1]")) for name in ("kernels", "strides"))
    return CpcConfig(
        encoder_sizes=[8] * len(kernels),
        encoder_kernel_sizes=kernels,
        encoder_strides=strides,
        encoder_batch_norm=settings.get("bn_encoder", "True") == "True",
        context="lstm" if settings.get("lstm", "True") == "True" else "gru",
        hidden_size=10,
        projection="mlp" if settings.get("mlp") == "True" else "linear",
        num_negatives=6,
        window_size=samples,
        **fields,
    )


def load_recorded(model, tensors):
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model


@pytest.fixture(params=["cpc_fc", "cpc_conv", "cpc_gru_mlp"])
def small(request):
    """A fixture and a function that makes its model, float64."""
    path = ECG_SELFSUPERVISED / f"{request.param}.safetensors"
    with safe_open(path, "pt") as file:
        settings = file.metadata()
    fixture = load_file(path)

    def make(**fields):
        config = config_of(settings, fixture["input"].shape[-1], **fields)
        return load_recorded(CpcForPreTraining(config), ours(part(fixture, "state/"))).double()

    return fixture, make


def test_encoder_context_and_projection(small):
    fixture, make = small
    model = make(offsets=[4]).float().eval()
    with torch.no_grad():
        states = model.cpc(fixture["input"], output_hidden_states=True).hidden_states
        projected = model.projection[0](states[-1])
    for name, output in (("encoded", states[0]), ("context", states[-1]), ("projected", projected)):
        assert_near_largest(output, fixture[f"eval/{name}"], FORWARD, name=name)


@pytest.mark.parametrize(
    ("case", "offset"), [("eval_same", 4), ("train_same", 4), ("train_any", 4), ("eval_any_k1", 1)]
)
def test_losses_gradients_and_a_step_with_given_negatives(small, case, offset):
    fixture, make = small
    recorded = part(fixture, f"{case}/")
    raw = recorded["raw_draws"].transpose(0, 1).long()
    times, records = (recorded[f"neg_{name}"].transpose(0, 1).long() for name in ("time", "batch"))
    signal = fixture["input"].double()
    same = case.endswith("same")
    negatives = {"negative_times": times[:, None]} | ({} if same else {"negative_records": records[:, None]})
    mean = make(offsets=[offset], negatives="record" if same else "batch").train(case.startswith("train"))
    steps = mean.cpc.num_tokens(signal.shape[-1])
    assert steps - offset == recorded["positions"]
    # The published draw numbers all times but the target's, record by record.
    assert torch.equal(skip_target(raw if same else raw % (steps - 1), offset), times)
    own = torch.arange(len(records))[:, None, None].expand_as(records)
    assert torch.equal(own if same else raw // (steps - 1), records)
    output = mean(signal, **negatives)
    assert_near_largest(output.loss, recorded["loss_mean"], STEP)
    # Almost all latents of the network without BatchNorm are equal: a tie is a hit in the public code, not in ours.
    expected = recorded["accuracy"].item() if mean.cpc.encoder[0].norm else 0.0
    assert output.accuracy.item() == pytest.approx(expected, abs=1e-6)
    model = make(offsets=[offset], loss_reduction="sum").train(case.startswith("train"))
    loss = model(signal, **negatives).loss
    assert_near_largest(loss, recorded["loss_sum_official"], STEP)
    # The same record's negatives by either way.
    everywhere = make(offsets=[offset], loss_reduction="sum").train(case.startswith("train"))
    listed = everywhere(signal, negative_times=times[:, None], negative_records=records[:, None]).loss
    assert listed.item() == pytest.approx(loss.item(), rel=1e-12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-3)
    loss.backward()
    gradients, parameters = ours(part(recorded, "grad_sum_official/")), dict(model.named_parameters())
    assert set(gradients) == set(parameters)
    floor = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert_near_largest(parameters[name].grad, gradient, STEP, floor, name)
    state = model.state_dict()
    for name, value in ours(part(recorded, "buffer_after/")).items():
        assert_near_largest(state[name], value, STEP, name=name)
    optimizer.step()
    after = ours(part(recorded, "param_after/"))
    assert set(after) == (set(parameters) if case == "train_same" else set())
    for name, value in after.items():
        assert_near_largest(parameters[name], value, STEP, name=name)


def test_several_offsets_each_with_its_projection():
    fixture = load_file(ECG_SELFSUPERVISED / "cpc_many_offsets.safetensors")
    state = part(fixture, "state/")
    projections = {f"projection.{k - 1}.weight": state.pop(f"proj.{k}.weight") for k in (1, 2, 3)}
    config = config_of({}, fixture["input"].shape[-1], offsets=[1, 2, 3])
    model = load_recorded(CpcForPreTraining(config), ours(state) | projections).double().eval()
    times = [fixture[f"offset{k}/neg_time"].transpose(0, 1).long() for k in (1, 2, 3)]
    # A larger offset has fewer positions.
    padded = torch.stack([nn.functional.pad(one, (0, 0, 0, times[0].shape[1] - one.shape[1])) for one in times], dim=1)
    output = model(fixture["input"].double(), negative_times=padded)
    assert_near_largest(output.loss, fixture["loss_mean_over_offsets"], STEP)
    for number, offset in enumerate((1, 2, 3)):
        single = CpcForPreTraining(config_of({}, fixture["input"].shape[-1], offsets=[offset]))
        tensors = {**ours(state), "projection.0.weight": projections[f"projection.{number}.weight"]}
        single = load_recorded(single, tensors).double().eval()
        alone = single(fixture["input"].double(), negative_times=times[number][:, None])
        assert_near_largest(alone.loss, fixture[f"offset{offset}/loss_mean"], STEP)


HEADS = {
    "linear": {"head_hidden_sizes": [], "head_dropout": 0.0, "head_batch_norm": False},
    "hidden": {"head_hidden_sizes": [7], "head_dropout": 0.5, "head_batch_norm": True},
    "hidden_plain": {"head_hidden_sizes": [7], "head_dropout": 0.0, "head_batch_norm": False},
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_with_a_rate_for_each_part(name, tmp_path):
    fixture = part(load_file(ECG_SELFSUPERVISED / "cpc_heads.safetensors"), f"{name}/")

    def named(tensors):
        """Layers of the official head stand behind its pooling."""
        result = {}
        for official, value in tensors.items():
            if official.startswith("head."):
                _, layer, tensor = official.split(".")
                single = name == "linear"
                result[f"classifier.{tensor}" if single else f"classifier.{int(layer) - 1}.{tensor}"] = value
            else:
                result[our_name(official)] = value
        return result

    config = config_of({}, fixture["input"].shape[-1], num_labels=5, **HEADS[name])
    config.problem_type = "multi_label_classification"
    model = load_recorded(CpcForSequenceClassification(config), named(part(fixture, "state/"))).double().eval()
    signal = fixture["input"].double()
    if "pooled" in fixture:
        assert_near_largest(model.cpc(signal).pooler_output, fixture["pooled"], FORWARD)
    output = model(signal, labels=fixture["target"])
    assert_near_largest(output.logits, fixture["logits"], FORWARD)
    assert_near_largest(output.loss, fixture["loss"], STEP)
    output.loss.backward()
    parameters = dict(model.named_parameters())
    norms = named(part(fixture, "grad_norm/"))
    assert set(norms) == set(parameters)
    floor = max(norm.item() for norm in norms.values())
    for key, norm in norms.items():
        assert_near_largest(parameters[key].grad.norm(), norm, STEP, floor, key)
    arguments = EcgTrainingArguments(
        output_dir=str(tmp_path), learning_rate=1e-4, weight_decay=1e-3, decay_norms_and_biases=True, no_decay=[],
        optim="adamw_torch", report_to="none", use_cpu=True,
    )  # fmt: skip
    trainer = FineTuneTrainer(model, settings=FineTuneSettings(layer_decay=0.1), args=arguments)
    optimizer = trainer.create_optimizer()
    # Published: encoder 1e-6, recurrent layers 1e-5, head 1e-4.
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([1e-6, 1e-5, 1e-4])
    optimizer.step()
    for key, value in named(part(fixture, "param_after/")).items():
        assert_near_largest(parameters[key], value, STEP, name=key)


def test_a_head_on_the_last_token_alone():
    fixture = part(load_file(ECG_SELFSUPERVISED / "cpc_heads.safetensors"), "last_only/")
    config = config_of({}, fixture["input"].shape[-1], offsets=[4])
    tensors = {name: value for name, value in part(fixture, "state/").items() if not name.startswith("head.")}
    model = CpcForPreTraining(config)
    model.load_state_dict(ours(tensors), strict=False)
    head = classification_layers(10, 5, batch_norm=True)
    head.load_state_dict(part(part(fixture, "state/"), "head."), strict=False)
    with torch.no_grad():
        context = model.double().eval().cpc(fixture["input"].double()).last_hidden_state
        assert_near_largest(head.double().eval()(context[:, -1]), fixture["logits"], FORWARD)


def test_full_size_outputs_under_the_weight_rule():
    facts = FACTS["cpc_fc"]
    model = CpcForPreTraining(CpcConfig(window_size=250)).double().eval()
    parts = {"encoder": model.cpc.encoder, "rnn": model.cpc.rnn, "projection": model.projection}
    sizes = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    assert sizes == {"encoder": facts["encoder"], "rnn": facts["rnn"], "projection": facts["proj"]}
    fill_by_rule(model)
    with torch.no_grad():
        states = model.cpc(two_sines(), output_hidden_states=True).hidden_states
        projected = model.projection[0](states[-1])
    assert states[0].norm().item() == pytest.approx(facts["encoded_norm"], rel=1e-9)
    assert projected.norm().item() == pytest.approx(facts["projected_norm"], rel=1e-9)
    first = torch.tensor(facts["projected_last_first5"], dtype=torch.float64)
    assert_near_largest(projected[:, -1, :5], first, 1e-9)
