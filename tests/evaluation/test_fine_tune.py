"""The protocols of the supervised benchmark and of ecg-selfsupervised, on a tiny network with BatchNorm."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from ecg_transformers.commands.recipe import write_architecture
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.evaluation.classifier import build_classifier, load_extractor
from ecg_transformers.evaluation.fine_tune import fine_tune, training_arguments
from ecg_transformers.evaluation.outcomes import run_mode
from ecg_transformers.evaluation.settings import LearningSettings
from ecg_transformers.metrics.selection import selection_score
from ecg_transformers.trainer.fine_tuning import FineTuneTrainer, HeldOutWindows, LabeledWindows
from ecg_transformers.trainer.settings import FineTuneSettings

# Records of 2 s at 50 Hz: windows of 1 s, three of them in a record.
TINY = {
    "sampling_rate": 50, "window_size": 50, "block": "basic", "depths": [1, 1, 1, 1], "width": 8,
    "stem_sizes": [8, 8, 8], "head_hidden_sizes": [8],
}  # fmt: skip
RECIPE = {"learning_rate": 1e-2, "weight_decay": 1e-2, "adam_beta2": 0.99, "decay_norms_and_biases": True}
RECIPE |= {"max_grad_norm": 0.0, "dataloader_drop_last": True, "per_device_train_batch_size": 16, "disable_tqdm": True}


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """A checkpoint without weights."""
    return write_architecture("xresnet1d", TINY, tmp_path_factory.mktemp("architecture"))


@pytest.fixture
def splits(corpus, architecture):
    return Protocol().split(corpus, load_extractor(architecture))


@pytest.fixture
def trained(monkeypatch) -> list:
    """The parts that windows were made of for training."""
    parts, make = [], LabeledWindows.__init__

    def watched(self, part, *args, **options):
        parts.append(part)
        make(self, part, *args, **options)

    monkeypatch.setattr(LabeledWindows, "__init__", watched)
    return parts


def make_trainer(architecture, splits, folder, *, settings=None, **arguments):
    extractor = load_extractor(architecture)
    return FineTuneTrainer(
        build_classifier(architecture, splits.task, initialization="random"),
        settings=settings or FineTuneSettings(one_cycle=True, layer_decay=1.0),
        args=training_arguments(folder, **(RECIPE | arguments)),
        train_dataset=LabeledWindows(splits.train, extractor, seed=0),
        eval_dataset=HeldOutWindows(splits.evaluate, extractor),
    )


def test_one_cycle_of_rate_and_momentum_is_that_of_the_benchmark(architecture, splits, tmp_path):
    trainer = make_trainer(architecture, splits, tmp_path)
    optimizer = trainer.create_optimizer()
    steps = 100
    scheduler = trainer.create_scheduler(steps, optimizer)
    rates, momenta = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        scheduler.step()
    # From a 25th up to the maximum over 30 % of the steps, then down to a 250,000th.
    rise = 0.3 * steps - 1
    for step, (rate, momentum) in enumerate(zip(rates, momenta, strict=True)):
        if step <= rise:
            part = (1 - math.cos(math.pi * step / rise)) / 2
            expected = (4e-4 + part * (1e-2 - 4e-4), 0.95 - 0.1 * part)
        else:
            part = (1 - math.cos(math.pi * (step - rise) / (steps - 1 - rise))) / 2
            expected = (1e-2 + part * (4e-8 - 1e-2), 0.85 + 0.1 * part)
        assert (rate, momentum) == pytest.approx(expected, rel=1e-9), step
    assert {group["betas"][1] for group in optimizer.param_groups} == {0.99}


def test_weight_decay_of_norms_and_biases_is_the_recipes_choice(architecture, splits, tmp_path):
    for everything in (True, False):
        trainer = make_trainer(architecture, splits, tmp_path, decay_norms_and_biases=everything)
        decayed = trainer.get_decay_parameter_names(trainer.classifier)
        one_axis = {name for name, parameter in trainer.classifier.named_parameters() if parameter.ndim == 1}
        assert bool(one_axis & set(decayed)) == everything
        assert one_axis <= set(decayed) or not everything


def test_discriminative_rates_are_a_quarter_per_group(architecture, splits, tmp_path):
    trainer = make_trainer(architecture, splits, tmp_path, settings=FineTuneSettings(layer_decay=0.25))
    optimizer = trainer.create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    found = {}
    for name, parameter in trainer.classifier.named_parameters():
        part = ".".join(name.split(".")[1:3]) if name.startswith("xresnet1d") else "head"
        found.setdefault(part, set()).add(round(rates[id(parameter)], 12))
    # ecg-selfsupervised: head, (stages 4, 3), (stages 2, 1), (stem 2, 1), stem 0.
    assert found == {
        "head": {1e-2}, "stages.3": {2.5e-3}, "stages.2": {2.5e-3}, "stages.1": {6.25e-4}, "stages.0": {6.25e-4},
        "stem.2": {1.5625e-4}, "stem.1": {1.5625e-4}, "stem.0": {3.90625e-5},
    }  # fmt: skip


def test_the_last_epoch_is_kept_and_every_training_record_trains(architecture, splits, tmp_path, trained):
    outcome = run_mode(
        "from_scratch",
        architecture,
        load_extractor(architecture),
        splits,
        LearningSettings(
            choose_epoch="last", one_cycle=True, max_shift_seconds=0.0, training=RECIPE | {"num_train_epochs": 3}
        ),
        output_dir=tmp_path,
    )
    assert [len(part) for part in trained] == [len(splits.train)]
    assert outcome.chosen["epoch"] == 3
    assert outcome.thresholds is not None
    assert outcome.model.config.head_hidden_sizes == [8]


def test_last_epoch_with_validation_folds_never_trains_on_them(corpus, architecture, tmp_path, trained):
    extractor = load_extractor(architecture)
    splits = Protocol(train_folds=range(1, 8), validation_folds=[8], evaluate_folds=[9]).split(corpus, extractor)
    model = build_classifier(architecture, splits.task, initialization="random")
    arguments = training_arguments(tmp_path, **RECIPE, num_train_epochs=1, load_best_model_at_end=False)
    held_out = fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings(choose_epoch="last"))
    assert set(trained[0].corpus.folds) == set(range(1, 8))
    assert len(held_out.labels) == int((splits.train.corpus.folds == 8).sum())


def test_head_epochs_leave_the_encoder_and_its_statistics_alone(architecture, splits, tmp_path, monkeypatch):
    import ecg_transformers.evaluation.fine_tune as module

    extractor = load_extractor(architecture)
    model = build_classifier(architecture, splits.task, initialization="random")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after_head = {}
    train = module.trained

    def watch(model, data, **options):
        trainer = train(model, data, **options)
        after_head.setdefault("state", {name: tensor.clone() for name, tensor in model.state_dict().items()})
        return trainer

    monkeypatch.setattr(module, "trained", watch)
    arguments = training_arguments(tmp_path, **RECIPE, num_train_epochs=1)
    fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings(head_epochs=2))
    state = after_head["state"]
    for name, tensor in before.items():
        moved = not torch.equal(tensor, state[name])
        assert moved == name.startswith("classifier."), name
    final = model.state_dict()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not torch.equal(final["xresnet1d.stem.0.conv.weight"], before["xresnet1d.stem.0.conv.weight"])


def test_an_interrupted_one_cycle_goes_on_bit_for_bit(architecture, splits, tmp_path):
    extractor = load_extractor(architecture)
    states = []
    settings = {"choose_epoch": "last", "one_cycle": True, "max_shift_seconds": 0.0}
    for folder, parts in (("whole", [{}]), ("parts", [{"max_seconds": 0.0}, {"resume": True}])):
        for part in parts:
            torch.manual_seed(0)
            model = build_classifier(architecture, splits.task, initialization="random")
            arguments = training_arguments(
                tmp_path / folder, **RECIPE, num_train_epochs=2, load_best_model_at_end=False
            )
            fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings(**settings, **part))
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("choose_epoch", ["best", "last"])
def test_a_training_resumed_at_its_last_step_is_the_same(architecture, splits, tmp_path, choose_epoch):
    """A kill after the last checkpoint, whose step is inside an epoch."""
    extractor, found = load_extractor(architecture), []
    settings = {"choose_epoch": choose_epoch, "max_shift_seconds": 0.0}
    for resume in (False, True):
        torch.manual_seed(0)
        model = build_classifier(architecture, splits.task, initialization="random")
        # The first epoch is the best one: the rate is far too high.
        arguments = training_arguments(
            tmp_path, **RECIPE | {"learning_rate": 0.5}, max_steps=9, load_best_model_at_end=choose_epoch == "best"
        )
        held_out = fine_tune(
            model, extractor, splits, arguments=arguments, settings=FineTuneSettings(**settings, resume=resume)
        )
        found.append((model.state_dict(), held_out.chosen, held_out.scores))
        assert [path.name for path in tmp_path.glob("checkpoint-9")]
    (state, *choice), (again, *choice_again) = found
    assert choice == choice_again
    assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())
    assert choose_epoch == "last" or choice[0] < max(choice[1])


def test_a_time_limit_in_the_epochs_of_the_head_is_resumed_there(architecture, splits, tmp_path):
    extractor, states = load_extractor(architecture), []
    settings = {"choose_epoch": "last", "head_epochs": 2.0, "max_shift_seconds": 0.0}
    for folder, parts in (("whole", [{}]), ("parts", [{"max_seconds": 0.0}, {"resume": True}])):
        for part in parts:
            torch.manual_seed(0)
            model = build_classifier(architecture, splits.task, initialization="random")
            arguments = training_arguments(
                tmp_path / folder, **RECIPE, num_train_epochs=1, load_best_model_at_end=False
            )
            held_out = fine_tune(
                model, extractor, splits, arguments=arguments, settings=FineTuneSettings(**settings, **part)
            )
            if part.get("max_seconds") == 0.0:
                assert held_out.unfinished == {"steps": 1, "max_steps": 10}
                assert [path.name for path in (tmp_path / folder).iterdir()] == ["head"]
            else:
                assert not held_out.unfinished
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_batch_of_one_record_is_left_to_another_epoch(architecture, splits, tmp_path):
    extractor = load_extractor(architecture)
    model = build_classifier(architecture, splits.task, initialization="random")
    size = len(splits.train) - 1
    arguments = training_arguments(
        tmp_path, disable_tqdm=True, num_train_epochs=1, per_device_train_batch_size=size, load_best_model_at_end=False
    )
    fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings(choose_epoch="last"))
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_a_probe_of_a_network_with_a_deep_head_is_linear(architecture, splits, tmp_path):
    extractor = load_extractor(architecture)
    build_classifier(architecture, splits.task, initialization="random").save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    outcome = run_mode("linear_probe", tmp_path, extractor, splits)
    assert isinstance(outcome.model.classifier, torch.nn.Linear)
    assert outcome.model.config.pooling == "cls"
    assert outcome.model.classifier.in_features == outcome.model.config.pooled_size


def test_labels_of_pure_chance_leave_the_held_out_score_at_chance(checkpoint, corpus, extractor, tmp_path):
    """The head that fine-tuning starts from has not seen the records that choose the epoch."""
    splits = Protocol().split(corpus, extractor)
    still = {"learning_rate": 0.0, "max_steps": 1, "disable_tqdm": True, "eval_strategy": "steps", "eval_steps": 1}
    scores = []
    for number in range(8):
        drawn = np.random.default_rng(number).random(splits.train.labels.shape) < 0.5
        chance = replace(splits, train=replace(splits.train, labels=drawn.astype(np.uint8)))
        settings = LearningSettings(training={**still, "save_strategy": "no", "load_best_model_at_end": False})
        outcome = run_mode("fine_tune", checkpoint, extractor, chance, settings, output_dir=tmp_path / str(number))
        scores += outcome.history.values()
    # 24 labels of about 26 held-out records each: a standard error of .025.
    assert np.mean(scores) == pytest.approx(0.5, abs=0.075)


@pytest.mark.parametrize("settings", [{}, {"choose_epoch": "last"}, {"pooling": "attention"}])
@pytest.mark.parametrize("validation_folds", [None, [8]])
def test_the_probe_of_the_head_sees_no_record_that_chooses(
    settings, validation_folds, checkpoint, corpus, extractor, tmp_path, monkeypatch
):
    from ecg_transformers.evaluation import fine_tune as module

    seen, fit_head = [], module.fit_head

    def watched(fitting, splits):
        seen.append(splits)
        return fit_head(fitting, splits)

    monkeypatch.setattr(module, "fit_head", watched)
    train = range(1, 8) if validation_folds else range(1, 9)
    splits = Protocol(train_folds=train, validation_folds=validation_folds).split(corpus, extractor)
    learning = LearningSettings(**settings, training={"num_train_epochs": 1, "disable_tqdm": True})
    run_mode("fine_tune", checkpoint, extractor, splits, learning, output_dir=tmp_path)
    choosing = set(splits.train.corpus.record_ids[splits.held_out[0]].tolist())
    records = set(seen[0].train.corpus.record_ids.tolist())
    if settings == {"choose_epoch": "last"} and not validation_folds:
        # Nothing is held out from what trains, so the head has all of it too.
        assert records == set(splits.train.corpus.record_ids.tolist())
    else:
        assert records == set(splits.train.corpus.record_ids.tolist()) - choosing
        assert all(len(mask) == len(records) and 0 < mask.sum() < len(records) for mask in seen[0].held_out)


def test_the_epoch_that_is_reported_is_the_best_and_its_weights_are_kept(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    part = splits.train.select(splits.held_out[0])
    model = build_classifier(checkpoint, splits.task)
    arguments = training_arguments(
        tmp_path, num_train_epochs=4, learning_rate=0.02, per_device_train_batch_size=16, disable_tqdm=True
    )
    held_out = fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings())
    assert len(set(held_out.scores.values())) > 1
    assert held_out.scores[held_out.chosen] == max(held_out.scores.values())
    assert held_out.chosen == min(
        epoch for epoch, score in held_out.scores.items() if score == max(held_out.scores.values())
    )
    kept = selection_score(part.targets, held_out.probabilities, splits.task.problem_type)
    assert kept == pytest.approx(held_out.scores[held_out.chosen], abs=1e-6)


def test_what_a_small_training_set_chooses_on_is_said(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    linear = run_mode("linear_probe", checkpoint, extractor, splits)
    assert linear.selection == "5 parts in turn of the training records, by patient"
    learning = LearningSettings(training={"num_train_epochs": 1, "disable_tqdm": True})
    tuned = run_mode("fine_tune", checkpoint, extractor, splits, learning, output_dir=tmp_path)
    assert tuned.selection == "the first of 5 parts of the training records, by patient"
    last = replace(learning, choose_epoch="last")
    outcome = run_mode("fine_tune", checkpoint, extractor, splits, last, output_dir=tmp_path)
    assert outcome.selection.startswith("nothing is chosen (last epoch)")


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [({}, []), ({"head_first": False}, [8]), ({"head_hidden_sizes": [4]}, [4]), ({"head_epochs": 1.0}, [8])],
)
def test_a_fine_tuning_has_the_linear_head_of_a_probe_unless_another_is_asked_for(
    asked, sizes, architecture, splits, tmp_path
):
    """A random head of several layers does not learn in the few steps that few recordings make."""
    folder = tmp_path / "pretrained"
    AutoModel.from_config(AutoConfig.from_pretrained(architecture)).save_pretrained(folder)
    extractor = load_extractor(architecture)
    extractor.save_pretrained(folder)
    settings = LearningSettings(**asked, training=RECIPE | {"learning_rate": 1e-4, "num_train_epochs": 1})
    outcome = run_mode("fine_tune", folder, extractor, splits, settings, output_dir=tmp_path / "out")
    assert list(outcome.model.config.head_hidden_sizes) == sizes
    assert (0.0 in outcome.history) == (sizes == [])
