"""What fine-tuning is fed: labels beside their windows, shifts in time, whole held-out records."""

import numpy as np
import torch

from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.evaluation.fine_tune import fine_tune, training_arguments
from ecg_transformers.trainer.fine_tuning import FineTuneTrainer, HeldOutWindows, LabeledWindows
from ecg_transformers.trainer.settings import FineTuneSettings


def test_every_window_has_the_labels_of_its_record(single_corpus, extractor):
    part = Protocol().split(single_corpus, extractor).train
    data = LabeledWindows(part, extractor, seed=0)
    order = np.random.default_rng(0).permutation(len(data))
    batch = data.__getitems__(order + 3 * len(data))
    assert (batch["labels"].numpy() == part.targets[order]).all()
    assert set(batch) == {"input_values", "labels"}
    held_out = HeldOutWindows(part, extractor)
    rows = held_out.__getitems__(range(len(held_out)))
    assert (rows["labels"].numpy() == part.targets[rows["record_index"]]).all()
    assert len(held_out) > len(part)


def make_trainer(checkpoint, splits, extractor, folder, **settings):
    model = build_classifier(checkpoint, splits.task)
    arguments = training_arguments(folder, per_device_train_batch_size=8, disable_tqdm=True, seed=4)
    return FineTuneTrainer(
        model,
        settings=FineTuneSettings(**settings),
        max_shift=7,
        args=arguments,
        train_dataset=LabeledWindows(splits.train, extractor, seed=0),
        eval_dataset=HeldOutWindows(splits.evaluate, extractor),
    )


def test_a_window_is_shifted_by_its_own_draw_with_zeros_in_the_gap(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    trainer = make_trainer(checkpoint, splits, extractor, tmp_path)
    values = torch.arange(1.0, 101.0).expand(8, 12, 100).contiguous()
    mask = torch.ones(8, 100, dtype=torch.int64)
    mask[:, 60:] = 0
    moved = trainer._shifted({"input_values": values * mask[:, None], "attention_mask": mask})
    shifts = []
    for row in range(8):
        window, present = moved["input_values"][row], moved["attention_mask"][row]
        first = int(present.nonzero()[0])
        shift = first if first else 1 - int(window[0, 0])
        shifts.append(shift)
        expected = torch.zeros(100)
        for place in range(100):
            if 0 <= place - shift < 60:
                expected[place] = place - shift + 1
        assert torch.equal(window, expected.expand(12, 100))
        assert torch.equal(present, (expected > 0).long())
    assert len(set(shifts)) > 2
    assert max(map(abs, shifts)) <= 7
    trainer._drawn_step = -1
    again = trainer._shifted({"input_values": values * mask[:, None], "attention_mask": mask})
    assert torch.equal(again["input_values"], moved["input_values"])


def test_a_shift_leaves_a_short_window_some_signal(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    trainer = make_trainer(checkpoint, splits, extractor, tmp_path)
    mask = torch.zeros(8, 100, dtype=torch.int64)
    mask[:, :2] = 1
    values = torch.arange(1.0, 101.0).expand(8, 12, 100) * mask[:, None]
    kept = 0
    for step in range(4):
        trainer.state.global_step = step
        moved = trainer._shifted({"input_values": values, "attention_mask": mask})
        assert moved["attention_mask"].any(dim=1).all()
        assert (moved["input_values"] != 0).any(dim=2).all()
        kept += int((moved["attention_mask"] == mask).all(dim=1).sum())
    # A draw of 0 is rare: most of these windows would have lost both samples.
    assert kept > 8


def test_rates_fall_from_the_head_to_the_input(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    trainer = make_trainer(checkpoint, splits, extractor, tmp_path, layer_decay=0.5)
    optimizer = trainer.create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    named = dict(trainer.classifier.named_parameters())
    top = trainer.args.learning_rate
    assert rates[id(named["classifier.weight"])] == top
    assert rates[id(named["mae_moco.encoder.layer.1.attention.query.weight"])] == top / 2
    assert rates[id(named["mae_moco.encoder.layer.0.attention.query.weight"])] == top / 4
    assert rates[id(named["mae_moco.embeddings.cls_token"])] == top / 8
    assert decays[id(named["mae_moco.embeddings.cls_token"])] == decays[id(named["classifier.bias"])] == 0
    assert decays[id(named["classifier.weight"])] == trainer.args.weight_decay
    assert len(rates) == len(named)


def test_an_interrupted_fine_tuning_goes_on_bit_for_bit(checkpoint, corpus, extractor, tmp_path):
    splits = Protocol().split(corpus, extractor)
    states = []
    for folder, parts in (("whole", [{}]), ("parts", [{"max_seconds": 0.0}, {"resume": True}])):
        for settings in parts:
            torch.manual_seed(0)
            model = build_classifier(checkpoint, splits.task)
            arguments = training_arguments(
                tmp_path / folder, per_device_train_batch_size=16, num_train_epochs=2, disable_tqdm=True
            )
            fine_tune(model, extractor, splits, arguments=arguments, settings=FineTuneSettings(**settings))
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
