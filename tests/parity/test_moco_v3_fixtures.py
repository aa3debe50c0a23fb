"""The pieces of MoCo v3 against what facebookresearch/moco-v3 computed, in float64 (and float32 copies)."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize
from transformers import get_scheduler

from ecg_transformers import MaeMocoConfig, MaeMocoModel
from ecg_transformers.layers.heads import ProjectionHead
from ecg_transformers.layers.positions import sincos_positions
from ecg_transformers.objectives.dictionary import batch_dictionary
from ecg_transformers.objectives.momentum import ema_update
from ecg_transformers.objectives.selection import SelectionRule, selective_info_nce
from ecg_transformers.trainer.schedules import Schedule, start_above_zero

DATA = Path(__file__).parent / "data"
TEMPERATURE = 0.2


def assert_near(result, expected, tolerance=1e-10):
    torch.testing.assert_close(result, expected.to(result.dtype), rtol=0, atol=tolerance)


def part(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class TinyEncoder(nn.Module):
    """The base encoder that was used to record the fixtures, with our projection head."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 12)
        self.head = ProjectionHead([12, 16, 16, 6])

    def forward(self, x):
        return self.head(self.fc1(x).tanh())


def our_names(state, prefix=""):
    """Official names of a head, `0` Linear, `1` BatchNorm, `2` ReLU and so on, as ours."""
    ours = {}
    for name, value in state.items():
        if name.startswith(prefix) and name[len(prefix)].isdigit():
            number, _, kind = name.removeprefix(prefix).partition(".")
            layer, place = divmod(int(number), 3)
            name = f"{prefix}layers.{layer}.{'norm' if place else 'linear'}.{kind}"
        ours[name] = value
    return ours


def build(fixture, prefix, dtype=torch.float64):
    models = [TinyEncoder(), TinyEncoder(), ProjectionHead([6, 16, 6])]
    # The type first: float64 tensors that were copied into float32 are no longer the recorded ones.
    base, twin, predictor = (model.to(dtype).train() for model in models)
    base.load_state_dict(our_names(part(fixture, f"{prefix}base_encoder."), "head."))
    twin.load_state_dict(our_names(part(fixture, f"{prefix}momentum_encoder."), "head."))
    predictor.load_state_dict(our_names(part(fixture, f"{prefix}predictor.")))
    twin.requires_grad_(False)
    return base, twin, predictor


def contrast(queries, keys, own_rows):
    dictionary = batch_dictionary(keys, own_rows)
    result = selective_info_nce(
        queries, keys[own_rows], dictionary.candidates, TEMPERATURE, SelectionRule(), left_out=dictionary.left_out
    )
    return 2 * TEMPERATURE * result.losses.mean()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_four_steps_of_moco_v3(dtype, tolerance):
    fixture = load_file(DATA / "moco_v3_single.safetensors")
    base, twin, predictor = build(fixture, "init.", dtype)
    momentum = Schedule("cosine", 0.99, 1.0)
    optimizer = torch.optim.AdamW([*base.parameters(), *predictor.parameters()], lr=0.01, weight_decay=0.1)
    rows = torch.arange(5)
    for step in range(4):
        want = part(fixture, f"step{step}.")
        views = [want["x1"].to(dtype), want["x2"].to(dtype)]
        projected = [base(view) for view in views]
        predicted = [predictor(z) for z in projected]
        assert momentum(step, 8) == pytest.approx(float(want["momentum"]), abs=1e-15)
        ema_update(twin, base, momentum(step, 8))
        with torch.no_grad():
            keys = [twin(view) for view in views]
        queries, unit_keys = ([normalize(x, dim=1) for x in side] for side in (predicted, keys))
        losses = {
            "loss_q1_k2": contrast(queries[0], unit_keys[1], rows),
            "loss_q2_k1": contrast(queries[1], unit_keys[0], rows),
        }
        loss = sum(losses.values())
        recorded = {"z": projected, "q": predicted, "k": keys}
        for name, pair in recorded.items():
            for number, value in enumerate(pair, 1):
                assert_near(value, want[f"{name}{number}"], tolerance)
        for name, value in {**losses, "loss": loss}.items():
            assert_near(value, want[name], min(tolerance, 1e-5))
        optimizer.zero_grad()
        loss.backward()
        gradients = our_names(our_names(part(want, "grad.base_encoder."), "head."))
        for name, parameter in base.named_parameters():
            assert_near(parameter.grad, gradients[name], tolerance)
        for name, parameter in predictor.named_parameters():
            assert_near(parameter.grad, our_names(part(want, "grad.predictor."))[name], tolerance)
        optimizer.step()
        for model, prefix in ((base, "base_encoder_after_adamw."), (twin, "momentum_encoder_after.")):
            after = our_names(part(want, prefix), "head.")
            for name, value in model.state_dict().items():
                assert_near(value, after[name], tolerance)
        after = our_names(part(want, "predictor_after_adamw."))
        for name, value in predictor.state_dict().items():
            assert_near(value, after[name], tolerance)
    z = base.eval()(fixture["eval.x"].to(dtype))
    assert_near(z, fixture["eval.z"], tolerance)
    assert_near(predictor.eval()(z), fixture["eval.q"], tolerance)


def test_two_processes_of_moco_v3_replayed_in_one():
    """The arithmetic of the two-process fixture: gathered keys without gradient, labels offset by the rank."""
    fixture = load_file(DATA / "moco_v3_two_process.safetensors")
    ranks = [build(fixture, "init.") for _ in range(2)]
    sides = []
    for base, twin, _ in ranks:
        ema_update(twin, base, 0.99)
    for rank, (base, twin, predictor) in enumerate(ranks):
        views = [fixture[f"rank{rank}.x1"], fixture[f"rank{rank}.x2"]]
        queries = [normalize(predictor(base(view)), dim=1) for view in views]
        with torch.no_grad():
            sides.append((queries, [normalize(twin(view), dim=1) for view in views]))
    gathered = [torch.cat([keys[view] for _, keys in sides]) for view in range(2)]
    for rank, (base, _, predictor) in enumerate(ranks):
        rows = torch.arange(5) + 5 * rank
        queries = sides[rank][0]
        loss = contrast(queries[0], gathered[1], rows) + contrast(queries[1], gathered[0], rows)
        assert_near(loss, fixture[f"rank{rank}.loss"])
        loss.backward()
        for name, parameter in base.named_parameters():
            assert_near(parameter.grad, our_names(part(fixture, f"rank{rank}.grad.base_encoder."), "head.")[name])
        for name, parameter in predictor.named_parameters():
            assert_near(parameter.grad, our_names(part(fixture, f"rank{rank}.grad.predictor."))[name])


@pytest.fixture(scope="module")
def schedules():
    return json.loads((DATA / "moco_v3_schedules.json").read_text())


STEPS_PER_EPOCH = 2


def test_the_cosine_schedule_is_the_official_momentum(schedules):
    momentum = Schedule("cosine", schedules["config"]["moco_m"], 1.0)
    steps = [round(epoch * STEPS_PER_EPOCH) for epoch in schedules["epoch"]]
    max_steps = schedules["config"]["epochs"] * STEPS_PER_EPOCH
    values = [momentum(step, max_steps) for step in steps]
    assert values == pytest.approx(schedules["momentum"], rel=0, abs=1e-12)
    assert (momentum(0, 600), momentum(300, 600), momentum(600, 600)) == pytest.approx((0.99, 0.995, 1.0), abs=1e-15)


def test_the_cosine_rate_is_the_official_one_and_one_step_ahead_in_the_warmup(schedules):
    config = schedules["config"]
    warmup, total = config["warmup_epochs"] * STEPS_PER_EPOCH, config["epochs"] * STEPS_PER_EPOCH
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config["base_lr"])
    scheduler = start_above_zero(get_scheduler("cosine", optimizer, warmup, total), warmup)
    rates = []
    for _ in range(total + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(config["base_lr"] / warmup)
    for epoch, rate in zip(schedules["epoch"], schedules["learning_rate"], strict=True):
        step = round(epoch * STEPS_PER_EPOCH)
        if step > warmup:
            assert rates[step] == pytest.approx(rate, rel=1e-12, abs=1e-16)
        elif step:
            assert rates[step - 1] == pytest.approx(rate, rel=1e-12)
    # The warm-up is over one step early and the base rate stands for two steps.
    assert rates[warmup] == pytest.approx(config["base_lr"], rel=1e-12)


def test_the_official_table_in_two_dimensions_is_two_of_ours():
    """Half a row for each axis: the frequencies and the order of sines and cosines are the official ones."""
    table = load_file(DATA / "moco_v3_positions.safetensors")["pos_embed_2d_4x4_dim16"]
    axis = sincos_positions(4, 8)
    first, second = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    ours = torch.cat([axis[first.flatten()], axis[second.flatten()]], dim=1)
    assert_near(ours, table[0, 1:], 1e-6)
    assert not table[0, 0].any()


def test_starts_of_the_official_vision_transformer():
    """Largest value and deviation of a uniform start are its bound and bound / sqrt(3); ours has the same bounds."""
    recorded = json.loads((DATA / "moco_v3_vit_init.json").read_text())["abs_max_and_std_at_init"]
    width, patch, mlp = 16, 3 * 8 * 8, 64
    bounds = {
        "patch_embed.proj.weight": (math.sqrt(6 / (patch + width)), "embeddings.patch_embeddings"),
        "blocks.0.attn.proj.weight": (math.sqrt(6 / (width + width)), "encoder.layer.0.attention.output"),
        "blocks.0.mlp.fc1.weight": (math.sqrt(6 / (width + mlp)), "encoder.layer.0.intermediate.dense"),
        "blocks.0.mlp.fc2.weight": (math.sqrt(6 / (width + mlp)), "encoder.layer.0.output.dense"),
        **{
            f"blocks.0.attn.qkv.weight {name}": (math.sqrt(6 / (width + width)), f"encoder.layer.0.attention.{name}")
            for name in ("query", "key", "value")
        },
    }
    config = MaeMocoConfig(
        num_leads=3, patch_size=64, window_size=1024, hidden_size=width, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=mlp, position_initialization="sincos", initializer_range=1e-6,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MaeMocoModel(config)
    for name, (bound, ours) in bounds.items():
        largest, deviation = recorded[name.split()[0]]
        module = model.get_submodule(ours)
        for values in (largest, module.weight.abs().max().item()):
            assert 0.95 * bound < values <= bound, name
        for values in (deviation, module.weight.std().item()):
            assert values == pytest.approx(bound / math.sqrt(3), rel=0.12), name
        assert not module.bias.any()
    assert recorded["blocks.0.attn.qkv.bias"] == [0, 0]
    # Sixteen draws of a normal distribution with deviation 1e-6.
    for values in (recorded["cls_token"][0], model.embeddings.cls_token.abs().max().item()):
        assert 0 < values < 5e-6
    assert_near(model.embeddings.position_embeddings[0], sincos_positions(16, width, cls_token=True), 0)
