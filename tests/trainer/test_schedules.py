import pytest
import torch
from transformers import TrainerState, get_scheduler

from ecg_transformers.errors import CheckpointError
from ecg_transformers.trainer import PlateauAfterWarmup, Schedule, ScheduleCallback
from ecg_transformers.trainer.schedules import start_above_zero


def optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups)


def rates_of(scheduler, steps):
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant_with_warmup"])
def test_the_first_step_of_the_warmup_has_a_rate(kind):
    scheduler = get_scheduler(kind, optimizer(1.0), num_warmup_steps=4, num_training_steps=12)
    rates = rates_of(start_above_zero(scheduler, 4), 12)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[-1] > 0
    assert scheduler.get_last_lr()[0] == scheduler.optimizer.param_groups[0]["lr"]


def test_plateau_begins_to_count_after_the_warmup():
    opt = optimizer(0.2, 0.4)
    plateau = PlateauAfterWarmup(opt, 4, factor=0.5, patience=1)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in opt.param_groups])
        plateau.finish_train_step()
        plateau.step(1.0) if plateau.train_steps < 4 else None
    assert seen == [[0.05, 0.1], [0.1, 0.2], [pytest.approx(0.15), pytest.approx(0.3)], [0.2, 0.4]]
    assert plateau.num_bad_epochs == 0
    for loss, rate in ((1.0, 0.2), (1.0, 0.2), (1.0, 0.1), (0.5, 0.1), (0.6, 0.1), (0.6, 0.05)):
        plateau.step(loss)
        assert opt.param_groups[0]["lr"] == pytest.approx(rate)


def test_plateau_reduces_at_the_16th_evaluation_without_improvement_as_published():
    opt = optimizer(2e-4)
    plateau = PlateauAfterWarmup(opt)
    rates = []
    for _ in range(18):
        plateau.step(1.0)
        rates.append(opt.param_groups[0]["lr"])
    assert rates.index(pytest.approx(1.8e-4)) == 16  # evaluation 0 sets the best value


def test_plateau_state_is_plain_and_goes_on(tmp_path):
    first, second = optimizer(0.2), optimizer(0.2)
    plateau = PlateauAfterWarmup(first, 3, patience=0, factor=0.5)
    plateau.finish_train_step()
    torch.save(plateau.state_dict(), tmp_path / "state.pt")
    resumed = PlateauAfterWarmup(second, 3, patience=0, factor=0.5)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    second.load_state_dict(first.state_dict())
    for scheduler in (plateau, resumed):
        scheduler.finish_train_step()
        scheduler.finish_train_step()
        scheduler.step(1.0)
        scheduler.step(2.0)
    assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Schedule("constant", 3.0), {0: 3.0, 100: 3.0}),
        (Schedule("linear", 40.0, 4.0, to_step=10), {0: 40.0, 5: 22.0, 10: 4.0, 50: 4.0}),
        (Schedule("linear", 0.0, 1.0, from_step=10, to_step=20), {0: 0.0, 10: 0.0, 15: 0.5, 20: 1.0}),
        (Schedule("cosine", 0.99, 1.0), {0: 0.99, 50: 0.995, 100: 1.0}),
    ],
)
def test_values_of_a_schedule(schedule, values):
    assert {step: schedule(step, 100) for step in values} == pytest.approx(values)


@pytest.mark.parametrize("fields", [{"kind": "step", "start": 1.0}, {"kind": "linear", "start": 1.0}, {"begin": 1}])
def test_a_schedule_that_cannot_be_is_refused(fields):
    with pytest.raises(CheckpointError, match=r"(linear|cosine|kind)"):
        ScheduleCallback({"momentum": fields})


def test_callback_sets_weights_and_attributes_from_the_step(make_model):
    model = make_model()
    callback = ScheduleCallback(
        {
            "reconstruction_loss": {"kind": "linear", "start": 40, "end": 4},
            "momentum": {"kind": "cosine", "start": 0.99, "end": 1.0},
        }
    )
    state = TrainerState(global_step=50, max_steps=100)
    callback.on_train_begin(None, state, None, model=model)
    callback.on_step_begin(None, state, None, model=model)
    assert model.loss_weights == {"contrastive_loss": 1.0, "reconstruction_loss": 22.0}
    assert model.momentum == pytest.approx(0.995)
    assert callback.values == pytest.approx({"reconstruction_loss_weight": 22.0, "momentum": 0.995})


def test_a_name_the_model_does_not_have_is_refused_with_the_nearest(make_model):
    callback = ScheduleCallback({"reconstruction_los": Schedule("constant", 1.0)})
    with pytest.raises(CheckpointError, match="'reconstruction_loss'"):
        callback.on_train_begin(None, TrainerState(), None, model=make_model())


def test_an_exponential_schedule_falls_by_a_factor_to_its_floor():
    published = Schedule("exponential", 2.0, 0.5, decay=0.999995)
    recorded = {0: 2.0, 1: 1.99999, 1000: 1.9900249335099047, 100_000: 1.2130598030905373, 277_258: 0.5000004476873285}
    for step, value in {**recorded, 277_259: 0.5, 400_000: 0.5}.items():
        assert published(step, max_steps=10) == pytest.approx(value, rel=1e-12)
    fitted = Schedule("exponential", 2.0, 0.5, to_step=80)
    assert [fitted(step, 100) for step in (0, 40, 80, 99)] == pytest.approx([2.0, 1.0, 0.5, 0.5])
    assert Schedule("exponential", 1.0, 8.0, decay=2.0)(5, 10) == 8.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "exponential", "start": 2.0}, "needs `end`"),
        ({"kind": "exponential", "start": 2.0, "end": 0.0}, "positive"),
        ({"kind": "exponential", "start": 2.0, "end": 0.5, "decay": 1.1}, "between 0 and 1"),
        ({"kind": "exponential", "start": 0.5, "end": 2.0, "decay": 0.9}, "above 1"),
        ({"kind": "exponential", "start": 2.0, "end": 0.5, "decay": 0.9, "to_step": 9}, "not both"),
        ({"kind": "cosine", "start": 0.5, "end": 2.0, "decay": 0.9}, "has no `decay`"),
        ({"kind": "exponentail", "start": 0.5}, "exponential"),
    ],
)
def test_schedules_that_lead_nowhere_are_refused(values, message):
    with pytest.raises(CheckpointError, match=message):
        Schedule(**values)
