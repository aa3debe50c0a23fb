"""The pieces of MoCo v3 against what facebookresearch/moco-v3 computed, in float64 (and float32 copies)."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import get_scheduler

from ecg_transformers import MaeMocoConfig, MaeMocoModel
from ecg_transformers.layers.positions import sincos_positions
from ecg_transformers.trainer.schedules import Schedule, start_above_zero

from .recorded import DATA, assert_near

TEMPERATURE = 0.2


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
