"""Warm-up and cosine of ecg-selfsupervised against its recorded rates, and where ours differ."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import get_cosine_schedule_with_warmup

from ecg_transformers.trainer.published_schedules import published_factor, published_warmup_cosine
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


def test_a_schedule_by_epochs_keeps_its_rate_for_an_epoch():
    by_epoch = [published_factor(step, steps=3, warmup_steps=6, max_steps=13) for step in range(13)]
    assert by_epoch == [published_warmup_cosine(step // 3, 2, 5) for step in range(13)]
    assert by_epoch[:3] == [0, 0, 0]
    assert by_epoch[3] == by_epoch[5] == 1


@pytest.mark.parametrize("counted", ["step", "epoch"])
def test_the_trainer_takes_the_published_schedule(make_trainer, counted):
    trainer = make_trainer(
        published_schedule=counted, warmup_steps=9 if counted == "epoch" else 2, max_steps=27, learning_rate=1e-3,
        logging_steps=1,
    )  # fmt: skip
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    # 72 records in batches of 8: nine steps an epoch.
    steps = 9 if counted == "epoch" else 1
    want = [published_factor(s, steps=steps, warmup_steps=9 if steps == 9 else 2, max_steps=27) for s in range(27)]
    assert rates == pytest.approx([1e-3 * factor for factor in want], abs=1e-12)


def test_adam_has_its_decay_in_the_gradient(make_trainer):
    optimizer = make_trainer(optim="adam", weight_decay=0.1, adam_beta2=0.9).create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    assert optimizer.defaults["betas"] == (0.9, 0.9)
    assert not optimizer.defaults["decoupled_weight_decay"]
    with pytest.raises(ValueError, match="adamm"):
        make_trainer(optim="adamm")
