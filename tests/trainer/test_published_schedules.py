"""Warm-up and cosine of ecg-selfsupervised against its recorded rates, and where ours differ."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import get_cosine_schedule_with_warmup

from ecg_transformers.trainer.published_schedules import published_warmup_cosine
from ecg_transformers.trainer.schedules import start_above_zero

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
BASE = 0.00229
SETTINGS = ("simclr_like", "byol_like", "one_step")


def recorded(name):
    fixture = load_file(FIXTURES / "schedules.safetensors")
    return fixture[f"{name}/lr"].tolist(), fixture[f"{name}/warmup"].item(), fixture[f"{name}/max"].item()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_published_rates(name):
    rates, warmup, most = recorded(name)
    assert [BASE * published_warmup_cosine(step, warmup, most) for step in range(len(rates))] == pytest.approx(
        rates, abs=1e-12
    )


def test_the_published_rates_of_swav():
    fixture = load_file(FIXTURES / "swav.safetensors")
    steps = fixture["lr_schedule/iters_per_epoch"].item()
    warmup, most = (steps * fixture[f"lr_schedule/{name}_epochs"].item() for name in ("warmup", "max"))
    rates = [1e-3 * published_warmup_cosine(step, warmup, most) for step in range(most)]
    assert rates == pytest.approx(fixture["lr_schedule/values"].tolist(), abs=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_ours_starts_above_zero_and_is_the_published_one_after_the_warm_up(name):
    rates, warmup, most = recorded(name)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = start_above_zero(get_cosine_schedule_with_warmup(optimizer, warmup, most), warmup)
    ours = []
    for _ in rates:
        ours.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert ours[:warmup] == pytest.approx([BASE * (step + 1) / warmup for step in range(warmup)], abs=1e-12)
    assert ours[warmup:] == pytest.approx(rates[warmup:], abs=1e-12)


def test_a_warm_up_of_one_step_has_no_rate_of_zero_to_rise_from():
    assert published_warmup_cosine(0, 1, 10) == 0
    assert published_warmup_cosine(1, 1, 10) == 1
    assert published_warmup_cosine(0, 0, 10) == 1
