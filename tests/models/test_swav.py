"""SwAV, beyond the recorded steps: codes, queue, prototypes, checkpoints."""

import math

import pytest
import torch

from ecg_transformers import SwavConfig, SwavForPreTraining
from ecg_transformers.errors import CheckpointError
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.objectives.sinkhorn import assignment_codes

from ..conftest import count, drawn

BACKBONE = {"model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 2], "width": 4}
SMALL = {
    "sampling_rate": 100, "window_size": 100, "projector_hidden_size": 12, "projection_size": 6, "num_prototypes": 10,
    "num_crops": 3, "queue_size": 12,
}  # fmt: skip


def tiny(**changes):
    torch.manual_seed(0)
    return SwavForPreTraining(SwavConfig(backbone_config=BACKBONE, **{**SMALL, **changes}))


@pytest.fixture
def codes(monkeypatch):
    """The codes of every pass, which depend on the whole batch and are no output."""
    made = []

    def recorded(*args, **options):
        made.append(assignment_codes(*args, **options))
        return made[-1]

    monkeypatch.setattr("ecg_transformers.models.swav.pretraining_swav.assignment_codes", recorded)
    return made


def records(batch=8):
    return torch.randn(batch, 12, 100, generator=torch.Generator().manual_seed(1))


def test_published_sizes():
    with torch.device("meta"):
        model = SwavForPreTraining(SwavConfig())
    assert count(model.swav) == 886_432
    assert count(model.projector) == 1_316_992
    assert count(model.prototypes) == 384_000
    assert model.queue.embeddings.shape == (32_768, 2, 128)


def test_a_few_steps_lower_the_loss(codes):
    model, x = tiny(views=["time_out"], queue_size=0).train(), records(16)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        output = model(x, **drawn(model, x, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert 0 <= output.code_entropy <= math.log(10)
    assert output.spread > 0.2
    torch.testing.assert_close(codes[-1].sum(dim=2), torch.ones(16, 2))


def test_all_crops_share_their_statistics_and_the_first_states_are_returned():
    model, x = tiny().train(), records()
    crops = drawn(model, x)["views"]
    before = model.swav.backbone.stem[0].norm.num_batches_tracked.item()
    output = model(x, views=crops, output_hidden_states=True)
    assert model.swav.backbone.stem[0].norm.num_batches_tracked == before + 1
    assert crops.shape == (8, 3, 12, 100)
    model.eval()
    with torch.no_grad():
        output = model(x, views=crops, output_hidden_states=True)
        alone = model.swav(crops[:, 0], output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, alone.last_hidden_state)
    for state, want in zip(output.hidden_states, alone.hidden_states, strict=True):
        torch.testing.assert_close(state, want)


def test_prototypes_are_unit_vectors_in_a_pass_and_still_in_the_first_epochs(codes):
    model, x = tiny(freeze_prototypes_epochs=1).train(), records()
    want = torch.nn.functional.normalize(model.prototypes.weight.detach(), dim=1)
    for factor in (3.0, 0.5):
        # Evaluation changes nothing, and the length of the prototypes does not matter.
        with torch.no_grad():
            model.prototypes.weight.copy_(factor * want)
            model.eval()(x, **drawn(model, x))
        assert torch.equal(model.prototypes.weight, factor * want)
    torch.testing.assert_close(*codes)
    model.train()(x, **drawn(model, x)).loss.backward()
    torch.testing.assert_close(model.prototypes.weight.detach(), want)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    for epoch, moves in ((0.9, False), (1.0, True)):
        model.train()(x, **drawn(model, x)).loss.backward()
        before = model.prototypes.weight.detach().clone()
        model.before_optimizer_step(Progress(3, 10, epoch))
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(model.prototypes.weight, before) != moves


@torch.no_grad()
def test_the_queue_starts_at_its_epoch_is_used_when_full_and_not_filled_in_evaluation(codes):
    x = records()
    model, plain = tiny(queue_start_epoch=2).train(), tiny(queue_size=0).train()
    model.before_step(Progress(0, 10, 1.9))
    model(x, **drawn(model, x))
    assert model.queue.filled == 0
    model.before_step(Progress(5, 10, 2.0))
    for filled in (8, 12):
        # 12 rows are no multiple of the batch of 8.
        output = model(x, **drawn(model, x))
        assert model.queue.filled == filled
        torch.testing.assert_close(model.queue.embeddings[:8], output.embeddings[:, :2])
    views = drawn(model, x, seed=7)["views"]
    plain.load_state_dict({name: v for name, v in model.state_dict().items() if not name.startswith("queue.")})
    balanced, alone = model.eval()(x, views=views), plain.eval()(x, views=views)
    torch.testing.assert_close(balanced.embeddings, alone.embeddings)
    assert not torch.allclose(codes[-2], codes[-1])
    kept = model.queue.embeddings.clone()
    model(x, views=views)
    assert torch.equal(model.queue.embeddings, kept)
    quirky = tiny(official_quirks=["Q8"]).eval()
    quirky(x, views=views)
    assert quirky.queue.filled == 8


def test_scores_of_half_precision_do_not_overflow(codes):
    model, x = tiny(sinkhorn_epsilon=0.01).train(), records()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x, **drawn(model, x))
    assert output.loss.dtype == codes[0].dtype == torch.float32
    assert output.loss.isfinite()
    assert codes[0].isfinite().all()


def test_one_record_has_crops_enough_and_nan_is_not_hidden():
    model, x = tiny().train(), records(1)
    assert model(x, **drawn(model, x)).loss.isfinite()
    x = records()
    x[0, 0, 50] = float("nan")
    assert model(x, **drawn(model, x)).loss.isnan()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_crops": 1}, "num_crops is 1; expected at least 2"),
        ({"temperature": 0}, "temperature is 0"),
        ({"sinkhorn_epsilon": -1.0}, "sinkhorn_epsilon"),
        ({"sinkhorn_iterations": 0}, "sinkhorn_iterations is 0"),
        ({"queue_size": -1}, "queue_size"),
        ({"num_prototypes": 0}, "num_prototypes"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        tiny(**changes)
