"""The regression of BYOL against recordings of ecg-selfsupervised and closed forms."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.objectives.regression import regression_loss, spread

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_recorded_cosine():
    recorded = load_file(FIXTURES / "byol.safetensors")
    pair = [torch.stack([recorded[f"cos/{name}"]] * 2, dim=1) for name in ("h", "z")]
    cosine = recorded["cos/mean_cosine"].item()
    assert regression_loss(*pair).item() == pytest.approx(4 - 4 * cosine, abs=1e-6)
    assert regression_loss(*pair, constants=False).item() == pytest.approx(-4 * cosine, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3])
def test_equals_the_written_out_sum(count):
    predictions, targets = drawn(5, count, 6), drawn(5, count, 6, seed=1)
    cosine = torch.nn.functional.cosine_similarity
    pairs = [
        2 - 2 * cosine(predictions[:, view], targets[:, other], dim=1).mean()
        for view in range(count)
        for other in range(count)
        if view != other
    ]
    expected = 2 * torch.stack(pairs).mean()
    assert regression_loss(predictions, targets).item() == pytest.approx(expected.item(), abs=1e-12)


def test_equal_and_opposite_vectors():
    vectors = drawn(4, 1, 6).expand(4, 2, 6)
    assert regression_loss(vectors, 3 * vectors).item() == pytest.approx(0, abs=1e-12)
    assert regression_loss(vectors, -vectors).item() == pytest.approx(8, abs=1e-12)
    assert regression_loss(vectors[:1], vectors[:1]).item() == pytest.approx(0, abs=1e-12)


def test_the_target_gets_no_gradient_and_the_prediction_the_right_one():
    predictions, targets = drawn(3, 2, 4).requires_grad_(), drawn(3, 2, 4, seed=1).requires_grad_()
    regression_loss(predictions, targets).backward()
    assert targets.grad is None
    assert torch.autograd.gradcheck(lambda rows: regression_loss(rows, targets), (predictions,))


def test_half_precision_is_computed_in_float32():
    predictions, targets = drawn(64, 2, 16).bfloat16(), drawn(64, 2, 16, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = regression_loss(predictions, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(regression_loss(predictions.double(), targets.double()).item(), abs=1e-5)


def test_spread_is_one_for_all_directions_and_zero_for_a_collapse():
    assert spread(drawn(4000, 16)).item() == pytest.approx(1, abs=0.02)
    assert spread(5 * drawn(1, 16).expand(100, 16)).item() == pytest.approx(0, abs=1e-6)
    assert spread(drawn(1, 16)).item() == 0
    assert not spread(drawn(10, 16).requires_grad_()).requires_grad
