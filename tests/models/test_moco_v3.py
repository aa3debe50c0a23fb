"""MoCo v3 over a transformer and over a convolutional network, beyond the recorded steps."""

import copy
import math

import pytest
import torch
from transformers import AutoModel

from ecg_transformers import EcgVitModel, MocoV3Config, MocoV3ForPreTraining, MocoV3ForSequenceClassification
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.objectives.progress import Progress

from ..conftest import count

BACKBONES = {
    "ecg_vit": {
        "model_type": "ecg_vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "sampling_rate": 100, "window_size": 200,
    },
    "xresnet1d": {
        "model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 2], "width": 4, "sampling_rate": 100,
        "window_size": 200,
    },
    "swin1d": {
        "model_type": "swin1d", "embedding_size": 8, "depths": [2, 2], "num_attention_heads": [2, 4],
        "attention_window_size": 5, "patch_size": 5, "sampling_rate": 100, "window_size": 200,
    },
}  # fmt: skip
HEADS = {"projector_hidden_size": 16, "projection_size": 8}


def tiny(backbone="ecg_vit", **changes):
    torch.manual_seed(0)
    return MocoV3ForPreTraining(MocoV3Config(backbone_config=BACKBONES[backbone], **{**HEADS, **changes}))


def records(batch=6):
    return torch.randn(batch, 12, 200, generator=torch.Generator().manual_seed(1))


def with_draws(model, x, seed=2):
    return model.apply_draws({"input_values": x}, model.draw(RowGenerator(len(x), seed=seed)))


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return request.param


def test_official_widths_have_the_official_counts():
    with torch.device("meta"):
        model = MocoV3ForPreTraining(MocoV3Config(projector_hidden_size=4096, projection_size=256))
    assert count(model.projector) == 19_415_040
    assert count(model.predictor) == 2_105_344
    assert not [name for name, _ in model.projector.named_parameters() if "linear.bias" in name]
    last = model.projector.layers[-1].norm
    assert last.weight is None
    assert not any(name.startswith("queue") for name in model.state_dict())
    with torch.device("meta"):
        for backbone, projector in (({"model_type": "mae_moco"}, 19_939_328), ({"model_type": "swin1d"}, 20_987_904)):
            fields = {"projector_hidden_size": 4096, "projection_size": 256}
            model = MocoV3ForPreTraining(MocoV3Config(backbone_config=backbone, **fields))
            assert count(model.projector) == projector


def test_a_step_trains_all_but_the_fixed_parts(backbone, tmp_path):
    model = tiny(backbone, queue_size=8, momentum=0.9).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
    x = records()
    for step in range(5):
        model.before_step(Progress(step, 5, 0.0))
        output = model(x, **with_draws(model, x, seed=step))
        assert output.loss.isfinite()
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.after_step(Progress(step, 5, 0.0))
    fixed = {name for name, value in model.moco_v3.named_parameters() if not value.requires_grad}
    patches = {"backbone.embeddings.patch_embeddings.weight", "backbone.embeddings.patch_embeddings.bias"}
    positions = {"backbone.embeddings.position_embeddings"}
    assert fixed == {"ecg_vit": patches | positions, "swin1d": patches, "xresnet1d": set()}[backbone]
    for name, value in model.moco_v3.named_parameters():
        moved = not torch.equal(value, before[f"moco_v3.{name}"])
        assert moved == (name not in fixed), name
        twin = model.momentum_encoder.state_dict()[name]
        assert torch.equal(twin, before[f"moco_v3.{name}"]) == (name in fixed), name
    # The same after every way of loading, and never downstream.
    model.save_pretrained(tmp_path)
    again = MocoV3ForPreTraining.from_pretrained(tmp_path)
    assert {n: p.requires_grad for n, p in again.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }
    assert all(p.requires_grad for p in MocoV3ForSequenceClassification.from_pretrained(tmp_path).parameters())
    assert all(p.requires_grad for p in AutoModel.from_pretrained(tmp_path).parameters())


def test_the_published_model_is_the_backbone(tmp_path):
    model = tiny()
    published = model.encoder.published_model()
    published.save_pretrained(tmp_path)
    assert published.config.pretrained_by == "moco_v3"
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is EcgVitModel
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_the_momentum_encoder_moves_before_the_keys(backbone):
    model = tiny(backbone, momentum=0.0).train()
    with torch.no_grad():
        for parameter in model.momentum_encoder.parameters():
            parameter.add_(0.1)
    online = [parameter.clone() for parameter in model.moco_v3.parameters()]
    x = records()
    model(x, **with_draws(model, x)).loss.backward()
    for parameter, want in zip(model.momentum_encoder.parameters(), online, strict=True):
        torch.testing.assert_close(parameter, want)
        assert parameter.grad is None


@torch.no_grad()
def test_the_loss_of_equal_vectors_is_the_logarithm_of_the_batch():
    model = tiny().eval()
    with torch.no_grad():
        for head in (model.projector, model.predictor, model.momentum_projector):
            head.layers[-1].linear.weight.zero_()
            head.layers[-1].norm.running_mean.fill_(-1.0)
    x = records(8)
    assert model(x, **with_draws(model, x)).loss.item() == pytest.approx(2 * 2 * 0.2 * math.log(8), abs=1e-5)


def test_one_key_per_record_and_step_enters_the_queue():
    model = tiny(queue_size=20).train()
    x = records()
    output = model(x, **with_draws(model, x), patient_ids=torch.arange(6))
    assert torch.equal(model.queue.keys[:, :6], output.positive_keys.T)
    assert model.queue.sources[:7].tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert model.queue.pointer.item() == 6


def test_keys_of_the_same_patient_can_be_left_out():
    x = records()
    one_patient = torch.zeros(6, dtype=torch.long)
    model = tiny(same_source="exclude").train()
    output = model(x, **with_draws(model, x), patient_ids=one_patient)
    output.loss.backward()
    assert output.loss == 0
    assert not any(p.grad.any() for p in model.predictor.parameters())
    with pytest.raises(CheckpointError, match="patient_ids nor record_ids"):
        model(x, **with_draws(model, x))


def test_sampling_starts_after_its_warmup():
    x = records()
    plain, model = tiny().eval(), tiny(sampling="srcl", num_extra_positives=2).eval()
    draws = with_draws(plain, x)
    with torch.no_grad():
        want = plain(x, **draws)
        model.before_step(Progress(9, 100, 0.0))
        early = model(x, **draws)
        model.before_step(Progress(10, 100, 0.0))
        late = model(x, **draws)
    assert early.sampling_active == 0
    assert early.num_positives == 0
    assert late.sampling_active == 1
    assert late.num_positives == 2
    torch.testing.assert_close(late.contrastive_loss_1 < early.contrastive_loss_1, torch.tensor(True))
    assert want.num_positives == 0


@torch.no_grad()
def test_a_last_batch_of_one_is_evaluated():
    model, x = tiny(sampling="srcl").eval(), records(1)
    output = model(x, **with_draws(model, x))
    assert output.loss == 0
    assert output.num_positives == 0
    with pytest.raises(SignalError, match="one record, of which BatchNorm has no statistics"):
        model.train()(x, **with_draws(model, x))


@torch.no_grad()
def test_exchanging_the_views_changes_nothing():
    model, x = tiny(sampling="srcl", num_extra_positives=2).double().eval(), records().double()
    views = with_draws(model, x)["views"]
    first, second = model(x, views=views), model(x, views=views.flip(1))
    torch.testing.assert_close(first.loss, second.loss, rtol=0, atol=1e-10)
    torch.testing.assert_close(first.contrastive_loss_1, second.contrastive_loss_2, rtol=0, atol=1e-10)


def class_records(number=64, samples=300, classes=4):
    """Beats at rates of their own; the amplitudes of the leads are those of the record's class, within 15 %."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(number) % classes
    rate = 0.8 + torch.rand(number, 1, generator=generator)
    phase = (torch.arange(samples) / 360 * rate + torch.rand(number, 1, generator=generator)) % 1
    beat = torch.exp(-(((phase - 0.5) / 0.03) ** 2))
    amplitudes = torch.randn(classes, 12, generator=generator)[kind]
    amplitudes = amplitudes * (0.85 + 0.3 * torch.rand(number, 12, generator=generator))
    x = beat[:, None] * amplitudes[:, :, None] + 0.02 * torch.randn(number, 12, samples, generator=generator)
    return (x - x.mean(-1, keepdim=True)) / x.std((1, 2), keepdim=True), kind


@pytest.mark.parametrize("sampling", ["none", "srcl", "n_sam", "ds"])
def test_classes_are_learned_and_the_chosen_keys_are_of_the_same_class(sampling):
    torch.manual_seed(0)
    backbone = {"model_type": "ecg_vit", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    backbone |= {"intermediate_size": 256, "window_size": 300}
    heads = {"projector_hidden_size": 64, "projection_size": 32}
    config = MocoV3Config(backbone_config=backbone, **heads, sampling=sampling, sampling_warmup=0.2)
    model = MocoV3ForPreTraining(config).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    x, kind = class_records()
    losses = []
    for step in range(80):
        chosen = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:32]
        model.before_step(Progress(step, 80, 0.0))
        output = model(x[chosen], **with_draws(model, x[chosen], seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert sum(losses[-10:]) <= 0.8 * sum(losses[:10])
    cosines = (output.queries @ output.positive_keys.T).detach().fill_diagonal_(-2)
    same = kind[chosen][cosines.topk(5).indices] == kind[chosen][:, None]
    # By chance .23: seven of the other 31 records are of the class.
    assert same.float().mean() >= 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": "nearest"}, "sampling"),
        ({"ds_threshold": 2.0}, "ds_threshold is 2.0"),
        ({"temperature": 0.0}, "temperature"),
        ({"queue_size": -1}, "at least 0"),
        ({"sampling": "ds", "ds_mode": "schedule", "ds_end": 0.1}, "ds_end"),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny(**changes)
    assert tiny(queue_size=0, num_extra_positives=0, sampling="srcl").queue is None


def test_another_window_keeps_the_positions_fixed():
    model = tiny()
    model.resize_window(250)
    assert model.moco_v3.backbone.embeddings.position_embeddings.shape[1] == 11
    assert not model.moco_v3.backbone.embeddings.position_embeddings.requires_grad
    x = torch.randn(4, 12, 250)
    assert model(x, **with_draws(model, x)).loss.isfinite()


def test_a_convolutional_backbone_may_have_a_predictor_without_last_norm():
    model = tiny("xresnet1d", predictor_last_norm=False, projector_num_layers=2)
    assert not [name for name in model.predictor.state_dict() if name.startswith("layers.1.norm")]
    x = records()
    assert model(x, **with_draws(model, x)).loss.isfinite()
