"""What a model may offer to `PretrainingTrainer`: hooks, logged values, segments, phases of adversarial training."""

import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainingArguments

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import ArgumentsError, CheckpointError
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.trainer import EcgTrainingArguments, LossCallback, PretrainingTrainer, ScheduleCallback
from ecg_transformers.trainer.draws import step_seed

from .toy_models import ToyAdversaries, ToySegments, toy_config


class Rows(torch.utils.data.Dataset):
    """Random windows, with segments where asked for."""

    def __init__(self, shape, dtype=torch.float32, rows=20):
        generator = torch.Generator().manual_seed(0)
        self.values = torch.randn(rows, *shape, generator=generator, dtype=dtype)
        self.kept = torch.linspace(0, 1, rows) if len(shape) == 3 else None

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        row = {"input_values": self.values[index]}
        return row if self.kept is None else {**row, "kept": self.kept[index]}


@pytest.fixture
def make_toy(tmp_path):
    """Make a Trainer of a toy; keywords change its arguments."""

    def make(kind, *, folder="run", dtype=torch.float32, callbacks=None, eval_dataset=None, **changes):
        torch.manual_seed(0)
        arguments = {
            "output_dir": str(tmp_path / folder),
            "per_device_train_batch_size": 4,
            "max_steps": 8,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "optim": "adamw_torch",
            "weight_decay": 0.0,
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "report_to": "none",
        }
        shape = (2, 2, 10) if kind is ToySegments else (2, 10)
        return PretrainingTrainer(
            kind(toy_config()).to(dtype),
            EcgTrainingArguments(**{**arguments, **changes}),
            train_dataset=Rows(shape, dtype),
            eval_dataset=Rows(shape, dtype) if eval_dataset else None,
            callbacks=callbacks,
        )

    return make


def logs_of(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


class Watch(LossCallback):
    """Keeps the inputs of every forward pass."""

    def __init__(self):
        self.inputs = []

    def on_compute_loss(self, args, state, control, model, inputs, outputs):
        self.inputs.append(inputs)


class StopAfter(TrainerCallback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


# ---- hooks, logged values, draws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 2])
def test_hooks_are_called_once_per_optimizer_step_with_the_position_in_the_run(make_toy, accumulation):
    batch = 4 // accumulation
    trainer = make_toy(
        ToySegments, gradient_accumulation_steps=accumulation, per_device_train_batch_size=batch, max_steps=7
    )
    trainer.train()
    calls = trainer.core_model.calls
    assert [name for name, *_ in calls] == ["before_step", "before_optimizer_step", "after_step"] * 7
    # 5 steps an epoch.
    assert [progress for _, progress, *_ in calls[::3]] == [Progress(step, 7, step / 5) for step in range(7)]
    assert all(progress == calls[3 * (n // 3)][1] for n, (_, progress, *_) in enumerate(calls))
    assert [gradient for _, _, gradient, _ in calls] == [False, True, True] * 7
    for before, pre, after in zip(calls[::3], calls[1::3], calls[2::3], strict=True):
        assert torch.equal(before[3], pre[3])
        assert not torch.equal(pre[3], after[3])


def test_a_gradient_taken_away_before_the_step_leaves_the_parameter(make_toy):
    trainer = make_toy(ToySegments, max_steps=7)
    start = trainer.core_model.prototypes.weight.detach().clone()
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(trainer.core_model.prototypes.weight.detach().clone())

    trainer.add_callback(Look())
    trainer.train()
    assert all(torch.equal(weight, start) for weight in seen[:5])
    assert not any(torch.equal(weight, start) for weight in seen[5:])


def test_hooks_continue_after_a_resume(make_toy):
    settings = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    straight = make_toy(ToySegments, folder="a", **settings)
    straight.train()
    make_toy(ToySegments, folder="b", callbacks=[StopAfter(4)], **settings).train()
    resumed = make_toy(ToySegments, folder="b", **settings)
    resumed.train(resume_from_checkpoint=True)
    assert [call[1] for call in resumed.core_model.calls] == [call[1] for call in straight.core_model.calls[12:]]
    for name, value in straight.core_model.state_dict().items():
        assert torch.equal(resumed.core_model.state_dict()[name], value), name


def test_values_that_are_no_loss_are_logged_like_the_terms(make_toy):
    trainer = make_toy(ToySegments, eval_dataset=True, gradient_accumulation_steps=2, per_device_train_batch_size=2)
    trainer.train()
    shares = logs_of(trainer, "share_positive")
    assert len(shares) == 8
    assert all(0 <= share <= 1 for share in shares)
    assert 0 <= trainer.evaluate()["eval_share_positive"] <= 1
    losses, distances = logs_of(trainer, "loss"), logs_of(trainer, "distance_loss")
    assert losses == pytest.approx([2 * distance for distance in distances], rel=1e-5)


def test_draws_are_applied_with_the_whole_batch_and_a_segment_axis(make_toy):
    watch = Watch()
    trainer = make_toy(ToySegments, callbacks=[watch], max_steps=2)
    trainer.train()
    for step, inputs in enumerate(watch.inputs):
        keep = RowGenerator(4, seed=step_seed(42, step)).uniform(2, 2) < inputs["kept"][:, None, None]
        assert inputs["input_values"].shape == (4, 2, 2, 10)
        assert torch.equal(inputs["input_values"].abs().sum(-1) > 0, keep)


def test_a_process_draws_no_more_than_its_own_rows(make_toy, monkeypatch):
    trainer = make_toy(ToySegments)
    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda self: 64))
    monkeypatch.setattr(TrainingArguments, "process_index", property(lambda self: 3))
    generator = trainer.row_generator(torch.zeros(4, 1))
    assert generator.total_rows == 256
    expected = RowGenerator(256, seed=step_seed(42, 0), total_rows=256).uniform(5)[12:16]
    assert torch.equal(generator.uniform(5), expected)


# ---- adversarial phases ------------------------------------------------------------------------------------------


def test_one_optimizer_stepped_once_a_phase_is_two_adams(make_toy):
    watch = Watch()
    trainer = make_toy(
        ToyAdversaries, dtype=torch.float64, callbacks=[watch], adam_beta1=0.5, adam_beta2=0.999, max_steps=12
    )
    trainer.train()

    torch.manual_seed(0)
    model = ToyAdversaries(toy_config()).double().train()
    learning = {
        "discriminate": list(model.discriminator.parameters()),
        "generate": [*model.encoder_network.parameters(), *model.decoder.parameters()],
    }
    adams = {phase: torch.optim.Adam(own, lr=1e-2, betas=(0.5, 0.999)) for phase, own in learning.items()}
    losses = []
    for inputs in watch.inputs[::2]:
        values, noise = inputs["input_values"], inputs["noise"]
        first = model(values, noise=noise, phase="discriminate")
        model.zero_grad()
        first.loss.backward()
        adams["discriminate"].step()
        second = model(values, phase="generate", **first.handed)
        model.zero_grad()
        second.loss.backward()
        adams["generate"].step()
        losses.append((first.loss.item(), second.loss.item()))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trainer.core_model.state_dict()[name], value, rtol=1e-12, atol=1e-12)
    steps = {state["step"].item() for state in trainer.optimizer.optimizer.state.values()}
    assert steps == {12.0}
    for name, column in (("discriminator_loss", 0), ("generator_loss", 1), ("loss", 1)):
        assert logs_of(trainer, name) == pytest.approx([pair[column] for pair in losses], rel=1e-5)
    assert [inputs["phase"] for inputs in watch.inputs] == ["discriminate", "generate"] * 12
    assert "rebuilt" in watch.inputs[1]


def test_adversaries_resume_bit_for_bit(make_toy, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 3, "max_steps": 9, "save_total_limit": 9}
    straight = make_toy(ToyAdversaries, folder="a", **settings)
    straight.train()
    make_toy(ToyAdversaries, folder="b", callbacks=[StopAfter(6)], **settings).train()
    (tmp_path / "b" / "checkpoint-6" / "complete.json").unlink()
    resumed = make_toy(ToyAdversaries, folder="b", **settings)
    resumed.train(resume_from_checkpoint=True)
    for name in ("checkpoint-9/model.safetensors",):
        one, two = (load_file(tmp_path / folder / name) for folder in "ab")
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    states = [
        torch.load(tmp_path / folder / "checkpoint-9" / "optimizer.pt", weights_only=True)["state"] for folder in "ab"
    ]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    for name in ("discriminator_loss", "generator_loss"):
        assert logs_of(resumed, name) == logs_of(straight, name)


def test_wrappers_of_the_model_are_looked_for_once_not_in_every_step(make_toy, monkeypatch):
    trainer = make_toy(ToyAdversaries)
    core, unwrap, calls = trainer.core_model, trainer.accelerator.unwrap_model, []
    monkeypatch.setattr(
        trainer.accelerator, "unwrap_model", lambda *args, **options: calls.append(1) or unwrap(*args, **options)
    )
    trainer.train()
    # The library's own, once a run.
    assert len(calls) < trainer.state.global_step
    assert trainer.core_model is core
    other = torch.nn.DataParallel(core)
    trainer.model = other
    assert trainer.core_model is core


def test_adversaries_are_evaluated_without_a_phase(make_toy):
    metrics = make_toy(ToyAdversaries, eval_dataset=True).evaluate()
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_generator_loss"], rel=1e-5)
    assert "eval_discriminator_loss" not in metrics


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps is 2"),
        ({"max_grad_norm": 1.0}, "max_grad_norm is 1.0"),
    ],
)
def test_what_phases_do_not_allow_is_refused_with_the_reason(make_toy, changes, words):
    with pytest.raises(ArgumentsError, match=f"phases \\(discriminate, generate\\), but {words}.*Set it to"):
        make_toy(ToyAdversaries, **changes)


def test_phases_in_several_processes_are_refused(make_toy, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda self: 2))
    with pytest.raises(ArgumentsError, match="2 processes"):
        make_toy(ToyAdversaries)


def test_a_parameter_that_no_phase_trains_is_named(make_toy):
    class Forgetful(ToyAdversaries):
        phases = {"discriminate": ("discriminator",), "generate": ("decoder",)}

    with pytest.raises(CheckpointError, match=r"trains encoder_network\.1\.weight \(4 parameters\)"):
        make_toy(Forgetful)


# ---- schedules of the model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
def test_a_models_own_schedules_run_unless_the_run_has_one_of_that_name(make_trainer, make_model, replaced):
    class Scheduled(type(make_model())):
        default_schedules: ClassVar = {"temperature": {"kind": "exponential", "start": 0.8, "end": 0.1, "decay": 0.5}}

    model = Scheduled(make_model().config)
    callbacks = [ScheduleCallback({"temperature": {"kind": "constant", "start": 0.3}})] if replaced else []
    trainer = make_trainer(model=model, callbacks=callbacks, max_steps=5)
    trainer.train()
    values = [0.3] * 5 if replaced else [0.8, 0.4, 0.2, 0.1, 0.1]
    assert logs_of(trainer, "temperature") == pytest.approx(values)


# ---- the momentum encoder of MAE-MoCo ----------------------------------------------------------------------------


def test_after_an_accumulated_run_the_saved_model_still_moves_its_momentum_encoder(make_trainer, tmp_path):
    from ecg_transformers import MaeMocoForPreTraining

    trainer = make_trainer(gradient_accumulation_steps=2, per_device_train_batch_size=4, max_steps=2)
    trainer.train()
    trainer.save_model()
    assert "momentum_update_in_forward" not in json.loads((tmp_path / "run" / "config.json").read_text())
    for model in (trainer.core_model, MaeMocoForPreTraining.from_pretrained(tmp_path / "run")):
        model.train()
        with torch.no_grad():
            model.mae_moco.embeddings.cls_token.add_(1.0)
            before = model.momentum_encoder.embeddings.cls_token.clone()
            model(torch.randn(4, 12, 100, generator=torch.Generator().manual_seed(0)), record_ids=torch.arange(4))
        assert not torch.equal(model.momentum_encoder.embeddings.cls_token, before)


def test_the_momentum_encoder_moves_before_the_first_micro_batch_by_the_scheduled_momentum(make_trainer):
    schedule = ScheduleCallback({"momentum": {"kind": "linear", "start": 0.5, "end": 0.9, "to_step": 2}})
    trainer = make_trainer(
        gradient_accumulation_steps=2, per_device_train_batch_size=4, max_steps=3, callbacks=[schedule]
    )
    model, moved = trainer.core_model, []
    update = model.momentum_update

    def watched():
        online = model.mae_moco.embeddings.cls_token.detach().clone()
        old = model.momentum_encoder.embeddings.cls_token.clone()
        update()
        moved.append((trainer.micro_step, model.momentum))
        torch.testing.assert_close(model.momentum_encoder.embeddings.cls_token, old.lerp(online, 1 - model.momentum))

    model.momentum_update = watched
    trainer.train()
    assert moved == [(0, pytest.approx(0.5)), (0, pytest.approx(0.7)), (0, pytest.approx(0.9))]


def test_the_stock_trainer_moves_the_momentum_encoder_too(make_trainer, make_model):
    from transformers import Trainer

    ours = make_trainer(max_steps=2)
    model = make_model()
    calls = []
    update = model.momentum_update
    model.momentum_update = lambda: (calls.append(1), update())
    Trainer(model, ours.args, train_dataset=ours.train_dataset, data_collator=ours.data_collator).train()
    assert len(calls) == 2


def test_a_weight_for_a_term_that_was_not_built_is_refused(make_trainer, make_model):
    class Weigh(LossCallback):
        def on_compute_loss(self, args, state, control, model, inputs, outputs):
            model.loss_weights["reconstruction_loss"] = 4.0

    words = "reconstruction_weight is 0 in its config"
    schedule = ScheduleCallback({"reconstruction_loss": {"kind": "linear", "start": 0, "end": 4}})
    for callback in (Weigh(), schedule):
        model = make_model(reconstruction_weight=0.0)
        with pytest.raises(CheckpointError, match=words):
            make_trainer(model=model, callbacks=[callback], max_steps=1).train()
    momentum = ScheduleCallback({"momentum": {"kind": "constant", "start": 0.9}})
    with pytest.raises(CheckpointError, match="nothing called 'momentum'"):
        make_trainer(model=make_model(contrastive_weight=0.0), callbacks=[momentum], max_steps=1).train()


@pytest.mark.parametrize("absent", ["contrastive", "reconstruction"])
def test_one_task_alone_is_trained_and_logged(make_trainer, make_model, absent):
    trainer = make_trainer(model=make_model(**{f"{absent}_weight": 0}), evaluate=True, max_steps=2)
    trainer.train()
    present = {"contrastive": "reconstruction", "reconstruction": "contrastive"}[absent]
    weight = trainer.core_model.loss_weights[f"{present}_loss"]
    expected = [weight * value for value in logs_of(trainer, f"{present}_loss")]
    assert logs_of(trainer, "loss") == pytest.approx(expected, rel=1e-5)
    assert not logs_of(trainer, f"{absent}_loss")
    assert f"eval_{present}_loss" in trainer.evaluate()
