"""Distances and divergences of student and teacher, and losses of adversaries: closed forms and degenerate batches."""

import math

import pytest
import torch
from torch.nn import functional

from ecg_transformers.objectives.adversarial import discriminator_loss, mean_squared_error
from ecg_transformers.objectives.distillation import (
    attention_distillation,
    published_distillation,
    relative_error,
    score_distillation,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_discriminator_loss_is_the_sum_of_two_cross_entropies():
    real, fake = drawn(6), drawn(6, seed=1)
    loss = discriminator_loss(real, fake)
    expected = [
        functional.binary_cross_entropy(real.sigmoid(), torch.ones_like(real)),
        functional.binary_cross_entropy(fake.sigmoid(), torch.zeros_like(fake)),
    ]
    torch.testing.assert_close(loss, sum(expected))
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(2 * math.log(2))


def test_a_sure_discriminator_has_finite_losses_and_gradients():
    # As a probability in float32, 1 - sigmoid(40) is 0.
    logits = torch.full((4,), 40.0, requires_grad=True)
    loss = discriminator_loss(-logits, logits)
    assert loss.item() == pytest.approx(80)
    loss.backward()
    assert logits.grad.tolist() == pytest.approx([0.5] * 4)


def test_losses_are_float32_for_half_precision():
    one, other = drawn(4, 3).bfloat16(), drawn(4, 3, seed=1).bfloat16()
    assert mean_squared_error(one, other).dtype == torch.float32
    assert discriminator_loss(one[:, 0], other[:, 0]).dtype == torch.float32
    assert relative_error(one, other).dtype == torch.float32


def test_a_student_that_gives_the_mean_has_the_relative_error_1():
    teacher = 5 * drawn(50, 4)
    assert relative_error(teacher.mean(dim=0, keepdim=True).expand(50, 4), teacher).item() == pytest.approx(1)
    assert relative_error(teacher, teacher).item() == 0
    # Whatever the scale.
    student = drawn(50, 4, seed=1)
    assert relative_error(9 * student, 9 * teacher).item() == pytest.approx(relative_error(student, teacher).item())


def test_attention_ignores_scale_and_number_of_channels():
    states = [drawn(3, 7, 4), drawn(3, 5, 2, seed=1)]
    assert attention_distillation(states, [2 * state for state in states]).item() == pytest.approx(0, abs=1e-15)
    wide = [torch.cat([state, state], dim=2) for state in states]
    assert attention_distillation(states, wide).item() == pytest.approx(0, abs=1e-15)
    energy = [functional.normalize(state.square().mean(dim=2), dim=1) for state in states]
    other = [torch.ones_like(one) / math.sqrt(one.shape[1]) for one in energy]
    flat = [torch.ones_like(state) for state in states]
    expected = sum((one - two).square().mean() for one, two in zip(energy, other, strict=True))
    torch.testing.assert_close(attention_distillation(states, flat), expected)


@pytest.mark.parametrize("over", ["beats", "samples"])
def test_the_divergence_equals_the_written_out_sum(over):
    student, teacher = drawn(5, 2, 8).square(), drawn(5, 2, 8, seed=1).square()
    rows = [(student.mean(dim=(1, 2)), teacher.mean(dim=(1, 2)))]
    if over == "samples":
        rows = [(student[beat].flatten(), teacher[beat].flatten()) for beat in range(5)]
    total = 0.0
    for ours, theirs in rows:
        center, spread = theirs.mean(), theirs.std(correction=0)
        p, q = (((one - center) / spread / 3).softmax(0) for one in (theirs, ours))
        total += 9 * (p * (p.log() - q.log())).sum() / len(rows)
    torch.testing.assert_close(score_distillation(student, teacher, 3.0, over), total)
    assert score_distillation(teacher, teacher, 3.0, over).item() == pytest.approx(0, abs=1e-12)


def test_gradients():
    teacher = drawn(4, 1, 6, seed=1).square()
    for over in ("beats", "samples"):
        student = drawn(4, 1, 6).square().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, over=over: score_distillation(x, teacher, 2.0, over), student)
    states = drawn(3, 5, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_distillation([x], [drawn(3, 5, 4, seed=2)]), states)


def test_the_published_term_has_no_gradient():
    student = drawn(6).requires_grad_()
    assert not published_distillation(student, drawn(6, seed=1), 4.0).requires_grad
