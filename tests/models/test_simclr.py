"""SimCLR on several backbones, beyond the recorded step."""

import math

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from ecg_transformers import (
    SimclrConfig,
    SimclrFeatureExtractor,
    SimclrForPreTraining,
    Xresnet1dConfig,
    Xresnet1dModel,
)
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.publishing import publish

from ..conftest import count, drawn

BACKBONES = {
    "xresnet1d": {"model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 2], "width": 4},
    "mae_moco": {
        "model_type": "mae_moco", "patch_size": 10, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32,
    },
}  # fmt: skip
SIGNAL = {"sampling_rate": 100, "window_size": 100}
HEADS = {"projector_hidden_size": 12, "projection_size": 6}


def tiny(backbone="xresnet1d", **changes):
    torch.manual_seed(0)
    return SimclrForPreTraining(SimclrConfig(backbone_config=BACKBONES[backbone], **{**SIGNAL, **HEADS, **changes}))


def records(batch=6, samples=100):
    return torch.randn(batch, 12, samples, generator=torch.Generator().manual_seed(1))


def test_published_sizes_and_starts():
    with torch.device("meta"):
        model = SimclrForPreTraining(SimclrConfig())
    assert count(model.simclr) == 886_432
    assert count(model.projector) == 270_864
    torch.manual_seed(0)
    model = SimclrForPreTraining(SimclrConfig())
    # torch's own start of the first convolution and of the heads.
    first = model.simclr.backbone.stem[0].conv
    for tensor, fan_in in ((first.weight, 60), (first.bias, 60), (model.projector[2].weight, 512)):
        bound = 1 / math.sqrt(fan_in)
        assert 0.8 * bound < tensor.abs().max() <= bound
    scales = [m.weight for m in model.simclr.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert sum(bool((scale == 0).all()) for scale in scales) == 16


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_few_steps_lower_the_loss(backbone):
    model, x = tiny(backbone, projection_size=8, views=["time_out"]).train(), records(16)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        output = model(x, **drawn(model, x, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert output.spread > 0.2


def test_views_are_made_of_the_same_crop_of_other_times_or_of_two_recordings():
    x = records(4, samples=300)
    same = tiny(views="times", source_window_size=300, positives="patient")
    views = drawn(same, torch.stack([x, -x], dim=1))["views"]
    assert views.shape == (4, 2, 12, 100)
    places = [(x.unfold(2, 100, 1) == sign * views[:, view, :, None]).all(dim=(1, 3)) for view, sign in
              ((0, 1), (1, -1))]  # fmt: skip
    assert all(place.sum(dim=1).eq(1).all() for place in places)
    record = tiny(views="times", source_window_size=300, positives="record")
    views = drawn(record, x)["views"]
    assert not torch.equal(views[:, 0], views[:, 1])
    for view in range(2):
        assert (x.unfold(2, 100, 1) == views[:, view, :, None]).all(dim=(1, 3)).sum(dim=1).eq(1).all()
    crop = tiny(views=["negation"], source_window_size=300)
    views = drawn(crop, x)["views"]
    assert torch.equal(views[:, 0], views[:, 1])
    # Nothing is changed in place, and a batch is its records one by one.
    assert torch.equal(x, records(4, samples=300))
    alone = RowGenerator(1, seed=2, first_row=3)
    torch.testing.assert_close(record.apply_draws({"input_values": x[3:]}, record.draw(alone))["views"],
                               drawn(record, x)["views"][3:])  # fmt: skip


def test_the_published_model_is_the_backbone(data_dir, tmp_path):
    tiny().save_pretrained(tmp_path / "run")
    SimclrFeatureExtractor(**SIGNAL).save_pretrained(tmp_path / "run")
    publish(
        tmp_path / "run", output_dir=tmp_path / "out", golden_record=data_dir / "ptbxl" / "00001_lr",
        clean_process=False,
    )  # fmt: skip
    published = AutoModel.from_pretrained(tmp_path / "out")
    assert type(published) is Xresnet1dModel
    assert published.config.pretrained_by == "simclr"
    assert not list((tmp_path / "out").glob("*simclr*.py"))
    assert not list((tmp_path / "out").glob("objectives*.py")) + list((tmp_path / "out").glob("augmentations*.py"))


def test_a_new_classifier_starts_as_that_of_the_backbone():
    head = {"num_labels": 200, "head_hidden_sizes": [], "head_dropout": 0.0, "head_batch_norm": False}
    config = SimclrConfig(backbone_config=BACKBONES["xresnet1d"], **SIGNAL, **head)
    model = AutoModelForSequenceClassification.from_config(config)
    own = AutoModelForSequenceClassification.from_config(Xresnet1dConfig(**config.backbone_config.to_dict()))
    assert not model.classifier.bias.any()
    assert model.classifier.weight.std().item() == pytest.approx(own.classifier.weight.std().item(), rel=0.1)


def test_records_of_the_same_patient_can_be_left_out_or_joined():
    x, patients = records(), torch.tensor([0, 0, 1, 2, 3, -1])
    losses = {}
    for same_source in ("ignore", "exclude", "positive"):
        model = tiny(same_source=same_source).eval()
        with torch.no_grad():
            losses[same_source] = model(x, **drawn(model, x), patient_ids=patients).loss.item()
    assert losses["exclude"] < losses["ignore"]
    assert losses["positive"] != losses["ignore"]
    model = tiny(same_source="exclude").train()
    output = model(x, **drawn(model, x), patient_ids=torch.zeros(6, dtype=torch.long))
    output.loss.backward()
    assert output.loss == 0
    assert not any(parameter.grad.any() for parameter in model.parameters())
    with pytest.raises(CheckpointError, match="neither patient_ids nor record_ids"):
        model(x, **drawn(model, x))


def test_positives_are_chosen_after_the_warmup():
    x, model = records(), tiny(sampling="srcl", num_extra_positives=2).eval()
    draws = drawn(model, x)
    with torch.no_grad():
        plain = tiny().eval()(x, **draws)
        model.before_step(Progress(0, 10, 0.0))
        early = model(x, **draws)
        model.before_step(Progress(1, 10, 0.0))
        late = model(x, **draws)
    torch.testing.assert_close(early.loss, plain.loss)
    assert late.loss < early.loss
    values = [early.num_positives, early.sampling_active, late.num_positives, late.sampling_active]
    assert values == [0, 0, 2, 1]


def test_a_batch_of_one_has_no_negatives_and_nan_is_not_hidden():
    model = tiny().train()
    x = records(1)
    output = model(x, **drawn(model, x))
    assert output.loss == 0
    assert output.projections.shape == (1, 2, 6)
    x = records()
    x[2, 3, 50] = float("nan")
    assert model(x, **drawn(model, x)).loss.isnan()


def test_padded_windows_are_refused():
    model, x = tiny("mae_moco"), records()
    mask = torch.ones(6, 100, dtype=torch.long)
    assert model(x, attention_mask=mask, **drawn(model, x)).loss.isfinite()
    mask[1, 50:] = 0
    with pytest.raises(SignalError, match="attention_mask that hides samples"):
        model(x, attention_mask=mask, **drawn(model, x))


def test_another_window_changes_the_views():
    model = tiny()
    model.resize_window(150)
    x = records(samples=150)
    assert drawn(model, x)["views"].shape == (6, 2, 12, 150)
    with pytest.raises(SignalError, match=r"\(6, 12, 100\); expected 150 samples"):
        drawn(model, records())


def test_an_encoder_without_pooled_output_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ecg_transformers.backbone.MODEL_MAPPING", {})
        with pytest.raises(CheckpointError, match="'xresnet1d' has no encoder"):
            tiny()
    model, x = tiny(), records()
    forward = Xresnet1dModel.forward

    def without(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        output.pooler_output = None
        return output

    monkeypatch.setattr(Xresnet1dModel, "forward", without)
    with pytest.raises(CheckpointError, match="'xresnet1d' returns no pooler_output"):
        model(x, **drawn(model, x))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"views": "rrc_too"}, SignalError, "did you mean 'rrc_to'"),
        ({"views": ["time_out", "blur"]}, SignalError, "blur"),
        ({"official_quirks": ["Q99"]}, CheckpointError, "Q99; expected true, false or some of Q1"),
        ({"official_quirks": ["Q11"]}, CheckpointError, "Q11"),
        ({"source_window_size": 99}, CheckpointError, "99, but a view has 100 samples"),
        ({"positives": "record"}, CheckpointError, "longer than a view"),
        ({"positives": "record", "source_window_size": 100}, CheckpointError, "source_window_size is 100"),
        ({"views": "times"}, CheckpointError, "longer than a view"),
        ({"temperature": 0}, CheckpointError, "positive"),
        ({"official_quirks": True, "same_source": "exclude"}, CheckpointError, "knows neither"),
        ({"official_quirks": ["Q1"], "sampling": "ds"}, CheckpointError, "knows neither"),
        ({"projection_size": 0}, CheckpointError, "projection_size"),
        ({"positives": "records"}, Exception, "positives"),
    ],
)
def test_values_that_contradict_each_other_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        SimclrConfig(backbone_config=BACKBONES["xresnet1d"], **{**SIGNAL, **fields})


def test_quirks_are_all_or_some_and_those_of_the_run_are_logged(caplog):
    config = SimclrConfig(official_quirks=("Q1", "Q17"), views=["time_out", "down_sample"])
    assert config.has_quirk("Q1")
    assert not config.has_quirk("Q7")
    time_out, down_sample = config.record_views().recipe.operations
    assert not time_out.all_starts
    assert not down_sample.ratio_by_slice
    assert not config.record_views().all_starts
    everything = SimclrConfig(official_quirks=True, views=["down_sample"])
    assert everything.record_views().recipe.operations[0].ratio_by_slice
    assert config.to_dict()["official_quirks"] == ["Q1", "Q17"]
    SimclrConfig(official_quirks=["Q2"])
    assert "decay_norms_and_biases: true and no_decay: [bias]" in caplog.text


def test_the_published_loss_is_an_option():
    x = records()
    losses = []
    for quirks in (False, ["Q1"]):
        model = tiny(official_quirks=quirks, temperature=0.1).eval()
        with torch.no_grad():
            losses.append(model(x, **drawn(model, x)).loss.item())
    assert losses[1] > losses[0] + 1e-3
