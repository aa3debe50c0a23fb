import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, CorpusError
from ecg_transformers.trainer import (
    EcgTrainer,
    FineTuneSettings,
    FineTuneTrainer,
    LossCallback,
    PretrainingTrainer,
    ScheduleCallback,
    WindowDataset,
)
from ecg_transformers.trainer.callbacks import ClockCallback, ResumedEarlyStopping
from ecg_transformers.trainer.draws import step_seed


def train_logs(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def losses_of(trainer):
    return [entry["loss"] for entry in train_logs(trainer)]


def test_every_term_is_logged_and_their_weighted_sum_is_the_loss(make_trainer):
    trainer = make_trainer()
    trainer.train()
    logs = train_logs(trainer)
    assert len(logs) == 6
    for entry in logs:
        assert entry["loss"] == pytest.approx(entry["contrastive_loss"] + 4.0 * entry["reconstruction_loss"], rel=1e-5)


def test_terms_are_means_over_accumulated_micro_batches(make_trainer):
    trainer = make_trainer(per_device_train_batch_size=4, gradient_accumulation_steps=2, logging_steps=3)
    trainer.train()
    for entry in train_logs(trainer):
        assert entry["loss"] == pytest.approx(entry["contrastive_loss"] + 4.0 * entry["reconstruction_loss"], rel=1e-5)


class ExtraTerm(LossCallback):
    """Adds a term and, from step 2, takes the reconstruction out."""

    def __init__(self):
        self.calls = []

    def on_compute_loss(self, args, state, control, model, inputs, outputs):
        self.calls.append((state.global_step, model.training, "views" in inputs))
        if state.global_step >= 2:
            model.loss_weights["reconstruction_loss"] = 0.0
        return {"norm_loss": outputs.last_hidden_state.square().mean()}


def test_a_callback_adds_terms_and_reweights_without_subclassing(make_trainer):
    callback = ExtraTerm()
    trainer = make_trainer(callbacks=[callback], max_steps=4)
    trainer.model.loss_weights["norm_loss"] = 0.5
    trainer.train()
    for step, entry in enumerate(train_logs(trainer)):
        weight = 4.0 if step < 2 else 0.0
        total = entry["contrastive_loss"] + weight * entry["reconstruction_loss"] + 0.5 * entry["norm_loss"]
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
    assert callback.calls == [(step, True, True) for step in range(4)]


def test_a_reweighted_term_changes_the_gradient(make_trainer):
    class NoReconstruction(LossCallback):
        def on_compute_loss(self, args, state, control, model, inputs, outputs):
            model.loss_weights["reconstruction_loss"] = 0.0

    trainer = make_trainer(callbacks=[NoReconstruction()], max_steps=1, weight_decay=0.0)
    before = trainer.model.decoder.head.weight.clone()
    trainer.train()
    assert torch.equal(trainer.model.decoder.head.weight, before)


def test_a_term_of_the_models_own_name_is_refused(make_trainer):
    class Clash(LossCallback):
        def on_compute_loss(self, args, state, control, model, inputs, outputs):
            return {"contrastive_loss": outputs.loss}

    with pytest.raises(CheckpointError, match="contrastive_loss"):
        make_trainer(callbacks=[Clash()], max_steps=1).train()


def test_scheduled_values_are_used_and_logged(make_trainer):
    schedules = {"reconstruction_loss": {"kind": "linear", "start": 10, "end": 0, "to_step": 5}}
    trainer = make_trainer(callbacks=[ScheduleCallback(schedules)])
    trainer.train()
    weights = [entry["reconstruction_loss_weight"] for entry in train_logs(trainer)]
    assert weights == [10.0, 8.0, 6.0, 4.0, 2.0, 0.0]
    for weight, entry in zip(weights, train_logs(trainer), strict=True):
        total = entry["contrastive_loss"] + weight * entry["reconstruction_loss"]
        assert entry["loss"] == pytest.approx(total, rel=1e-5)


def test_the_twin_moves_once_per_optimizer_step(make_trainer):
    for steps in (1, 2):
        trainer = make_trainer(gradient_accumulation_steps=steps, per_device_train_batch_size=8 // steps, max_steps=3)
        calls = []
        update = trainer.model.momentum_update
        trainer.model.momentum_update = lambda *args, update=update, calls=calls: (calls.append(1), update(*args))
        trainer.train()
        assert len(calls) == 3


def test_draws_depend_on_step_and_micro_step_and_not_on_the_global_generator(make_trainer):
    seen = []

    class Watch(LossCallback):
        def on_compute_loss(self, args, state, control, model, inputs, outputs):
            seen.append(inputs["patch_noise"].clone())

    for noise in range(2):
        trainer = make_trainer(callbacks=[Watch()], gradient_accumulation_steps=2, max_steps=2)
        torch.manual_seed(noise)
        trainer.train()
    assert len(seen) == 8
    assert all(torch.equal(first, second) for first, second in zip(seen[:4], seen[4:], strict=True))
    assert not any(torch.equal(seen[0], other) for other in seen[1:4])
    expected = trainer.model.draw(RowGenerator(8, seed=step_seed(42, 1, 1)))["patch_noise"]
    assert torch.equal(seen[3], expected)


def test_two_processes_draw_the_halves_of_the_whole(make_trainer):
    model = make_trainer().model
    values = torch.randn(8, 12, 100)
    parts = [
        model.apply_draws(
            {"input_values": values[start : start + rows]},
            model.draw(RowGenerator(rows, seed=3, first_row=start, total_rows=8)),
        )
        for start, rows in ((0, 8), (0, 4), (4, 4))
    ]
    whole, *halves = parts
    for name in ("views", "patch_noise"):
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), whole[name], rtol=1e-6, atol=1e-6)
    assert all(torch.equal(half["shuffle_indices"], whole["shuffle_indices"]) for half in halves)


def test_every_validation_record_counts_however_large_the_batch(make_trainer):
    trainer = make_trainer(evaluate=True, per_device_eval_batch_size=1000)
    assert trainer.evaluate()["eval_loss"] > 0
    uneven = make_trainer(folder="b", evaluate=True, per_device_eval_batch_size=7).get_eval_dataloader()
    assert sum(len(batch["input_values"]) for batch in uneven) == len(trainer.eval_dataset)
    assert trainer.args.dataloader_drop_last


def test_evaluation_repeats_itself_and_does_not_disturb_training(make_trainer):
    trainer = make_trainer(evaluate=True)
    first = trainer.evaluate()
    second = trainer.evaluate()
    for name in ("eval_loss", "eval_contrastive_loss", "eval_reconstruction_loss"):
        assert first[name] == pytest.approx(second[name], rel=1e-5)
    total = first["eval_contrastive_loss"] + 4.0 * first["eval_reconstruction_loss"]
    assert first["eval_loss"] == pytest.approx(total, rel=1e-5)
    assert trainer.model.queue.pointer.item() == 0

    plain = make_trainer(folder="a")
    plain.train()
    with_evaluation = make_trainer(folder="b", evaluate=True, eval_strategy="steps", eval_steps=2)
    with_evaluation.train()
    assert losses_of(plain) == pytest.approx(losses_of(with_evaluation), rel=1e-4)


def test_norms_biases_positions_and_tokens_are_not_decayed(make_trainer):
    trainer = make_trainer(weight_decay=0.1)
    decayed = set(trainer.get_decay_parameter_names(trainer.model))
    names = {name: parameter.ndim for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    exempt = {name for name in names if name not in decayed}
    assert {name for name, axes in names.items() if axes == 1} <= exempt
    assert {name.rsplit(".", 1)[-1] for name in exempt if names[name] > 1} == {
        "position_embeddings",
        "cls_token",
        "mask_token",
    }
    assert "mae_moco.encoder.layer.0.attention.query.weight" in decayed
    trainer = make_trainer(no_decay=[])
    assert any("position_embeddings" in name for name in trainer.get_decay_parameter_names(trainer.model))


def test_warmup_in_epochs_and_plateau(make_trainer):
    trainer = make_trainer(
        evaluate=True,
        eval_strategy="epoch",
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"patience": 0, "factor": 0.5, "threshold": 0.99},
        warmup_epochs=1,
        max_steps=27,
        learning_rate=9e-3,
    )
    trainer.train()
    rates = [entry["learning_rate"] for entry in train_logs(trainer)]
    # 9 steps an epoch: warm-up in the first, its evaluation is the first that counts, the next one halves.
    assert rates[:9] == pytest.approx([1e-3 * step for step in range(1, 10)])
    assert rates[9:18] == pytest.approx([9e-3] * 9)
    assert rates[18:] == pytest.approx([4.5e-3] * 9)


def test_the_clock_stops_the_run_with_a_checkpoint(make_trainer):
    trainer = make_trainer(callbacks=[ClockCallback(0.0)], max_steps=50)
    trainer.train()
    assert trainer.state.global_step == 1
    assert (trainer.args.output_dir and len(list(trainer_folder(trainer).glob("checkpoint-1/complete.json")))) == 1


def trainer_folder(trainer):
    from pathlib import Path

    return Path(trainer.args.output_dir)


def test_early_stopping_goes_on_counting_after_a_resume(make_trainer):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= 6

    settings = {
        "evaluate": True,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "metric_for_best_model": "loss",
        "learning_rate": 0.0,
        "max_steps": 40,
        "save_total_limit": 10,
    }
    # Nothing is learned, so that after the first evaluation the metric never gets better by 10.
    straight = make_trainer(folder="a", callbacks=[ResumedEarlyStopping(4, 10.0)], **settings)
    straight.train()
    cut = make_trainer(folder="b", callbacks=[ResumedEarlyStopping(4, 10.0), Stop()], **settings)
    cut.train()
    assert cut.state.global_step == 6
    resumed = make_trainer(folder="b", callbacks=[ResumedEarlyStopping(4, 10.0)], **settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == straight.state.global_step < 40


def test_a_run_that_early_stopping_ended_stays_ended_when_resumed(make_trainer):
    settings = {"evaluate": True, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    settings |= {"metric_for_best_model": "loss", "learning_rate": 0.0, "max_steps": 40}
    ended = make_trainer(folder="a", callbacks=[ResumedEarlyStopping(2, 10.0)], **settings)
    ended.train()
    assert ended.state.global_step == 6
    again = make_trainer(folder="a", callbacks=[ResumedEarlyStopping(2, 10.0)], **settings)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 6
    # With more patience it goes on.
    patient = make_trainer(folder="a", callbacks=[ResumedEarlyStopping(4, 10.0)], **settings)
    patient.train(resume_from_checkpoint=True)
    assert patient.state.global_step == 10


def test_a_checkpoint_holds_no_pickled_arguments_and_loads_with_the_auto_classes(make_trainer):
    from transformers import AutoFeatureExtractor, AutoModel

    trainer = make_trainer(max_steps=2, save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.save_model()
    folder = trainer_folder(trainer)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert not (folder / "checkpoint-2" / "training_args.bin").exists()
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert torch.equal(
        model.state_dict()["layernorm.weight"], load_file(folder / "model.safetensors")["mae_moco.layernorm.weight"]
    )
    assert AutoFeatureExtractor.from_pretrained(folder).window_size == 100


@pytest.mark.parametrize("settings", [{"bf16": True}, {"gradient_checkpointing": True}])
def test_other_ways_to_compute_give_the_same_run_to_their_precision(make_trainer, settings):
    plain = make_trainer(folder="a")
    plain.train()
    other = make_trainer(folder="b", **settings)
    other.train()
    assert losses_of(plain) == pytest.approx(losses_of(other), rel=5e-2 if "bf16" in settings else 1e-5)
    assert other.model.queue.keys.dtype == torch.float32
    norms = other.model.queue.keys.norm(dim=0)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)


def test_a_compiled_run_is_the_same_run_and_saves_clean_names(make_trainer):
    plain = make_trainer(folder="a", max_steps=3)
    plain.train()
    # The tracer alone: what it hands on is run as it is, which takes seconds instead of minutes.
    compiled = make_trainer(folder="b", max_steps=3, torch_compile_backend="eager")
    compiled.train()
    assert losses_of(plain) == pytest.approx(losses_of(compiled), rel=1e-4)
    compiled.save_model()
    names = load_file(trainer_folder(compiled) / "model.safetensors").keys()
    assert names == plain.model.state_dict().keys()


def test_several_gpus_under_one_process_are_refused(make_trainer, monkeypatch):
    from transformers import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 2))
    with pytest.raises(CheckpointError, match="accelerate launch"):
        make_trainer()


def test_resuming_without_a_checkpoint_is_explained(make_trainer):
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        make_trainer().train(resume_from_checkpoint=True)


def test_any_dataset_of_dictionaries_will_do(make_trainer, make_model, tmp_path):
    class Windows(torch.utils.data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            return {"input_values": torch.full((12, 100), float(index)), "record_ids": torch.tensor(index)}

    args = make_trainer(folder="plain").args
    trainer = PretrainingTrainer(make_model(), args, train_dataset=Windows())
    trainer.train()
    assert trainer.state.global_step == 6


@pytest.mark.parametrize("kind", [EcgTrainer, PretrainingTrainer, FineTuneTrainer])
def test_recordings_instead_of_windows_are_refused_with_the_way_to_windows(make_trainer, make_model, kind):
    good = make_trainer(folder="windows")
    corpus = good.train_dataset.corpus
    settings = {"settings": FineTuneSettings()} if kind is FineTuneTrainer else {}
    for given, made in ((corpus, "corpus"), (corpus.dataset, r"load_corpus\(dataset\)"), ([corpus[0]], "load_corpus")):
        for name in ("train_dataset", "eval_dataset"):
            with pytest.raises(CorpusError, match=rf"{name} is a .*{name}=WindowDataset\({made}.*, extractor\)"):
                kind(make_model(), args=good.args, **{name: given}, **settings)
    # The way works as it is written.
    from ecg_transformers.corpora.prepared import load_corpus

    windows = WindowDataset(load_corpus(corpus.dataset), good.train_dataset.extractor)
    PretrainingTrainer(make_model(), args=good.args, train_dataset=windows).train()
