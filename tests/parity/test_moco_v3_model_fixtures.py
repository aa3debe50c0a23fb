"""`MocoV3ForPreTraining` against what facebookresearch/moco-v3 computed: four steps, and two real processes."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

from ..two_processes import run_in_two_processes
from .moco_v3_backbone import model_of, recorded, views_of
from .recorded import DATA, assert_near


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_four_steps(dtype, tolerance):
    fixture = load_file(DATA / "moco_v3_single.safetensors")
    model = model_of(fixture, dtype)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    for step in range(4):
        prefix = f"step{step}"
        model.momentum = float(fixture[f"{prefix}.momentum"])
        views = views_of(fixture, prefix, dtype)
        output = model(views[:, 0], views=views)
        assert_near(output.queries, normalize(fixture[f"{prefix}.q1"], dim=1), tolerance)
        assert_near(output.positive_keys, normalize(fixture[f"{prefix}.k2"], dim=1), tolerance)
        assert_near(output.contrastive_loss_1, fixture[f"{prefix}.loss_q1_k2"], min(tolerance, 1e-5))
        assert_near(output.contrastive_loss_2, fixture[f"{prefix}.loss_q2_k1"], min(tolerance, 1e-5))
        assert_near(output.loss, fixture[f"{prefix}.loss"], min(tolerance, 1e-5))
        optimizer.zero_grad()
        output.loss.backward()
        gradients = recorded(fixture, f"{prefix}.grad.")
        parameters = dict(model.named_parameters())
        assert set(gradients) == {name for name, value in parameters.items() if value.grad is not None}
        for name, gradient in gradients.items():
            assert_near(parameters[name].grad, gradient, tolerance)
        optimizer.step()
        after = recorded(
            fixture,
            f"{prefix}.momentum_encoder_after.|momentum_encoder",
            f"{prefix}.base_encoder_after_adamw.|base_encoder",
            f"{prefix}.predictor_after_adamw.|predictor",
        )
        state = model.state_dict()
        assert set(after) == set(state)
        for name, value in after.items():
            assert_near(state[name], value.to(state[name].dtype), tolerance)
    model.eval()
    with torch.no_grad():
        z = model.projector(model.moco_v3(fixture["eval.x"][:, None].to(dtype)).pooler_output)
        assert_near(z, fixture["eval.z"], tolerance)
        assert_near(model.predictor(z), fixture["eval.q"], tolerance)


def loss_and_gradients_of_one_rank(rank):
    fixture = load_file(DATA / "moco_v3_two_process.safetensors")
    model, views = model_of(fixture), views_of(fixture, f"rank{rank}")
    output = model(views[:, 0], views=views)
    assert_near(output.loss, fixture[f"rank{rank}.loss"])
    output.loss.backward()
    want = recorded(fixture, f"rank{rank}.grad.")
    parameters = dict(model.named_parameters())
    assert want.keys() == {name for name, value in parameters.items() if value.grad is not None}
    for name, gradient in want.items():
        assert_near(parameters[name].grad, gradient)


def test_two_real_processes():
    run_in_two_processes(loss_and_gradients_of_one_rank)
