"""BYOL, beyond the recorded step: loss, momentum, collapse, checkpoints."""

import pytest
import torch

from ecg_transformers import ByolConfig, ByolForPreTraining
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.objectives.progress import Progress

from ..conftest import count, drawn

BACKBONE = {"model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 2], "width": 4}
SMALL = {
    "sampling_rate": 100, "window_size": 100, "projector_hidden_size": 12, "predictor_hidden_size": 12,
    "projection_size": 6,
}  # fmt: skip
STEP = Progress(0, 10, 0.0)


def tiny(**changes):
    torch.manual_seed(0)
    return ByolForPreTraining(ByolConfig(backbone_config=BACKBONE, **{**SMALL, **changes}))


def records(batch=8):
    return torch.randn(batch, 12, 100, generator=torch.Generator().manual_seed(1))


def test_published_sizes():
    with torch.device("meta"):
        model = ByolForPreTraining(ByolConfig())
    assert count(model.byol) == count(model.momentum_encoder) == 886_432
    assert count(model.projector) == count(model.momentum_projector) == 271_376
    assert count(model.predictor) == 17_424


def test_a_few_steps_lower_the_loss_and_vectors_stay_apart():
    model, x = tiny(views=["time_out"], momentum=0.9).train(), records(16)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(30):
        model.before_step(Progress(step, 30, 0.0))
        output = model(x, **drawn(model, x, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.after_step(Progress(step, 30, 0.0))
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert output.spread > 0.2


def test_the_loss_is_symmetric_and_lies_between_0_and_8():
    model, x = tiny().eval(), records()
    views = drawn(model, x)["views"]
    with torch.no_grad():
        one, other = model(x, views=views), model(x, views=views.flip(1))
    assert 0 <= one.loss <= 8
    torch.testing.assert_close(one.loss, other.loss)
    assert not one.targets.requires_grad


def test_the_momentum_encoder_moves_after_the_optimizer_and_keeps_its_own_statistics():
    model, x = tiny(momentum=0.5).train(), records()
    model.before_step(STEP)
    model(x, **drawn(model, x)).loss.backward()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    start = {name: value.clone() for name, value in model.momentum_encoder.named_parameters()}
    statistics = {name: value.clone() for name, value in model.momentum_encoder.named_buffers()}
    optimizer.step()
    assert all(torch.equal(value, start[name]) for name, value in model.momentum_encoder.named_parameters())
    model.after_step(STEP)
    online = dict(model.byol.named_parameters())
    for name, value in model.momentum_encoder.named_parameters():
        torch.testing.assert_close(value, 0.5 * start[name] + 0.5 * online[name])
    for name, value in model.momentum_encoder.named_buffers():
        assert torch.equal(value, statistics[name])
    # Views come in another order, so statistics of the two networks differ.
    name = "backbone.stem.0.norm.running_mean"
    assert not torch.equal(statistics[name], dict(model.byol.named_buffers())[name])


def test_a_batch_of_one_and_a_wrong_momentum_are_refused_and_nan_is_not_hidden():
    model, x = tiny().train(), records(1)
    with pytest.raises(SignalError, match="batch of one record"):
        model(x, **drawn(model, x))
    assert model.eval()(x, **drawn(model, x)).loss.isfinite()
    x = records()
    x[0, 0, 50] = float("nan")
    assert model(x, **drawn(model, x)).loss.isnan()
    with pytest.raises(CheckpointError, match=r"momentum is 1\.5"):
        tiny(momentum=1.5)
