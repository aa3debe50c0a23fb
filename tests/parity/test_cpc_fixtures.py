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

from ecg_transformers.layers.convolution import ConvolutionEncoder
from ecg_transformers.layers.heads import classification_layers
from ecg_transformers.layers.recurrent import RecurrentStack, mean_max_last
from ecg_transformers.objectives.cpc import cpc_loss, skip_target

from .recorded import ECG_SELFSUPERVISED, assert_near_largest, fill_by_rule, part, two_sines

FACTS = json.loads((ECG_SELFSUPERVISED / "full_size_facts.json").read_text())
FORWARD = 2e-6
STEP = 1e-6


def our_name(official):
    """Name of the official network to ours."""
    room, _, rest = official.partition(".")
    if room == "encoder":
        layer, kind, tensor = rest.split(".")
        return f"encoder.{layer}.{ {'0': 'conv', '1': 'norm'}[kind] }.{tensor}"
    if room == "rnn":
        tensor, _, layer = rest.rpartition("_l")
        return f"rnn.{layer}.{tensor}_l0"
    if room == "proj":
        return f"projection.{rest}"
    return official


def ours(tensors):
    return {our_name(name): value for name, value in tensors.items()}


class Network(nn.Module):
    """Encoder, context and projection, as the family will compose them."""

    def __init__(self, settings, size=8, hidden=10, leads=12):
        super().__init__()
        kernels, strides = (json.loads(settings.get(name, "[1, 1, 1, 1]")) for name in ("kernels", "strides"))
        batch_norm = settings.get("bn_encoder", "True") == "True"
        self.encoder = ConvolutionEncoder(
            [leads] + [size] * len(kernels), kernel_sizes=kernels, strides=strides, batch_norm=batch_norm
        )
        kind = "lstm" if settings.get("lstm", "True") == "True" else "gru"
        self.rnn = RecurrentStack(kind, size, hidden, num_layers=2)
        if settings.get("mlp") == "True":
            self.projection = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, size))
        else:
            self.projection = nn.Linear(hidden, size, bias=False)

    def forward(self, signal):
        latents = self.encoder(signal).transpose(1, 2)
        context = self.rnn(latents)[-1]
        return latents, context, self.projection(context)

    def load(self, tensors):
        missing, unexpected = self.load_state_dict(tensors, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        return self


@pytest.fixture(params=["cpc_fc", "cpc_conv", "cpc_gru_mlp"])
def small(request):
    """A fixture and a function that makes its network, float64."""
    path = ECG_SELFSUPERVISED / f"{request.param}.safetensors"
    with safe_open(path, "pt") as file:
        settings = file.metadata()
    fixture = load_file(path)
    return fixture, lambda: Network(settings).load(ours(part(fixture, "state/"))).double()


def test_encoder_context_and_projection(small):
    fixture, make = small
    with torch.no_grad():
        outputs = make().float().eval()(fixture["input"])
    for name, output in zip(("encoded", "context", "projected"), outputs, strict=True):
        assert_near_largest(output, fixture[f"eval/{name}"], FORWARD, name=name)


@pytest.mark.parametrize(
    ("case", "offset"), [("eval_same", 4), ("train_same", 4), ("train_any", 4), ("eval_any_k1", 1)]
)
def test_losses_and_gradients_with_given_negatives(small, case, offset):
    fixture, make = small
    recorded, network = part(fixture, f"{case}/"), make().train(case.startswith("train"))
    latents, _, predictions = network(fixture["input"].double())
    raw = recorded["raw_draws"].transpose(0, 1).long()
    times, records = recorded["neg_time"].transpose(0, 1).long(), recorded["neg_batch"].transpose(0, 1).long()
    assert latents.shape[1] - offset == recorded["positions"]
    steps = latents.shape[1]
    own = torch.arange(len(records))[:, None, None].expand_as(records)
    if case.endswith("same"):
        assert torch.equal(skip_target(raw, offset), times)
        assert torch.equal(own, records)
        given = None
    else:
        # The published draw numbers all times but the target's, record by record.
        assert torch.equal(skip_target(raw % (steps - 1), offset), times)
        assert torch.equal(raw // (steps - 1), records)
        given = records
    mean = cpc_loss(predictions, latents, offset, times, given)
    assert_near_largest(mean.loss, recorded["loss_mean"], STEP)
    # Almost all latents of the network without BatchNorm are equal: a tie is a hit in the public code, not in ours.
    expected = recorded["accuracy"].item() if network.encoder[0].norm else 0.0
    assert mean.accuracy.item() == pytest.approx(expected, abs=1e-6)
    # The same record's negatives by either way.
    everywhere = cpc_loss(predictions, latents, offset, times, records, reduction="sum").loss
    loss = cpc_loss(predictions, latents, offset, times, given, reduction="sum").loss
    assert_near_largest(loss, recorded["loss_sum_official"], STEP)
    assert everywhere.item() == pytest.approx(loss.item(), rel=1e-12)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=1e-3)
    loss.backward()
    gradients, parameters = ours(part(recorded, "grad_sum_official/")), dict(network.named_parameters())
    assert set(gradients) == set(parameters)
    floor = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert_near_largest(parameters[name].grad, gradient, STEP, floor, name)
    state = network.state_dict()
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
    projections = {offset: state.pop(f"proj.{offset}.weight").double() for offset in (1, 2, 3)}
    network = Network({})
    network.projection = nn.Identity()
    network.load(ours(state)).double().eval()
    latents, context, _ = network(fixture["input"].double())
    losses = []
    for offset, weight in projections.items():
        times = fixture[f"offset{offset}/neg_time"].transpose(0, 1).long()
        losses.append(cpc_loss(context @ weight.T, latents, offset, times).loss)
        assert_near_largest(losses[-1], fixture[f"offset{offset}/loss_mean"], STEP)
    assert_near_largest(torch.stack(losses).mean(), fixture["loss_mean_over_offsets"], STEP)


HEADS = {
    "linear": {},
    "hidden": {"hidden_sizes": (7,), "dropout": 0.5, "batch_norm": True},
    "hidden_plain": {"hidden_sizes": (7,)},
    "last_only": {"batch_norm": True},
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_with_a_rate_for_each_part(name):
    fixture = part(load_file(ECG_SELFSUPERVISED / "cpc_heads.safetensors"), f"{name}/")
    state = part(fixture, "state/")
    network = Network({})
    network.projection = nn.Identity()
    inputs = 10 if name == "last_only" else 30
    network.head = nn.Sequential(nn.Identity(), classification_layers(inputs, 5, **HEADS[name]))
    first = 0 if name == "last_only" else 1

    def named(tensors):
        """Layers of the official head stand behind its pooling, where there is one."""
        result = {}
        for official, value in tensors.items():
            if official.startswith("head."):
                _, layer, tensor = official.split(".")
                single = isinstance(network.head[1], nn.Linear)
                official = f"head.1.{tensor}" if single else f"head.1.{int(layer) - first}.{tensor}"
            result[our_name(official)] = value
        return result

    network.load(named(state)).double().eval()
    _, context, _ = network(fixture["input"].double())
    pooled = context[:, -1] if name == "last_only" else mean_max_last(context)
    if "pooled" in fixture:
        assert_near_largest(pooled, fixture["pooled"], FORWARD)
    logits = network.head(pooled)
    assert_near_largest(logits, fixture["logits"], FORWARD)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, fixture["target"].double())
    assert_near_largest(loss, fixture["loss"], STEP)
    loss.backward()
    parameters = dict(network.named_parameters())
    norms = named(part(fixture, "grad_norm/"))
    assert set(norms) == set(parameters)
    floor = max(norm.item() for norm in norms.values())
    for key, norm in norms.items():
        assert_near_largest(parameters[key].grad.norm(), norm, STEP, floor, key)
    rates = {"encoder": 1e-6, "rnn": 1e-5, "head": 1e-4}
    groups = [{"params": list(getattr(network, room).parameters()), "lr": rate} for room, rate in rates.items()]
    torch.optim.AdamW(groups, weight_decay=1e-3).step()
    for key, value in named(part(fixture, "param_after/")).items():
        assert_near_largest(parameters[key], value, STEP, name=key)


def test_full_size_outputs_under_the_weight_rule():
    facts = FACTS["cpc_fc"]
    network = Network({}, size=512, hidden=512).double().eval()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert sizes == {"encoder": facts["encoder"], "rnn": facts["rnn"], "projection": facts["proj"]}
    fill_by_rule(network)
    signal = two_sines()
    with torch.no_grad():
        latents, _, projected = network(signal)
    assert latents.norm().item() == pytest.approx(facts["encoded_norm"], rel=1e-9)
    assert projected.norm().item() == pytest.approx(facts["projected_norm"], rel=1e-9)
    first = torch.tensor(facts["projected_last_first5"], dtype=torch.float64)
    assert_near_largest(projected[:, -1, :5], first, 1e-9)
