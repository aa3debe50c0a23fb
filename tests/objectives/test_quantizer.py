"""The Gumbel quantizer against the published form, which multiplies one-hot codes with all code vectors."""

import pytest
import torch
from torch.nn import functional

from ecg_transformers.objectives.quantizer import GumbelQuantizer, perplexity


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    model = GumbelQuantizer(6, num_groups=2, num_codes=5, output_size=8).double()
    torch.nn.init.uniform_(model.codevectors)
    return model


def gumbel(*shape):
    return -torch.empty(shape, dtype=torch.float64).exponential_().log()


def straight_through(quantizer, frames, noise, temperature):
    """The published form: `(rows, frames, codes, size)` products, the one-hot code with the soft choice's gradient."""
    logits = quantizer.weight_proj(frames).unflatten(-1, (2, 5))
    soft = ((logits + noise) / temperature).softmax(-1)
    hard = functional.one_hot(soft.argmax(-1), 5).to(soft.dtype)
    choice = hard - soft.detach() + soft
    return (choice[..., None] * quantizer.codevectors.view(2, 5, 4)).sum(-2).flatten(-2)


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_values_and_gradients_are_those_of_the_big_product(quantizer, temperature):
    frames, noise = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True), gumbel(3, 7, 2, 5)
    weights = torch.randn(3, 7, 8, dtype=torch.float64)
    gradients = []
    for vectors in (
        quantizer(frames, temperature, noise).vectors,
        straight_through(quantizer, frames, noise, temperature),
    ):
        gradients.append(torch.autograd.grad((vectors * weights).sum(), [frames, *quantizer.parameters()]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_vectors_are_exactly_those_of_the_table(quantizer):
    quantized = quantizer.float()(torch.randn(2, 50, 6), 0.7, gumbel(2, 50, 2, 5).float())
    table = quantizer.codevectors.view(2, 5, 4)
    for group in range(2):
        assert torch.equal(quantized.vectors[..., 4 * group : 4 * group + 4], table[group, quantized.codes[..., group]])


def test_without_noise_the_most_probable_code_is_taken_without_gradient(quantizer):
    frames = torch.randn(2, 9, 6, dtype=torch.float64)
    quantized = quantizer(frames, 2.0)
    logits = quantizer.weight_proj(frames).unflatten(-1, (2, 5))
    assert torch.equal(quantized.codes, logits.argmax(-1))
    gradient = torch.autograd.grad(quantized.vectors.sum(), quantizer.weight_proj.weight, allow_unused=True)
    assert gradient == (None,)
    torch.testing.assert_close(quantized.probabilities, logits.softmax(-1).mean((0, 1)))


def test_usage_counts_the_most_probable_codes_also_with_noise(quantizer):
    frames = torch.randn(2, 9, 6, dtype=torch.float64)
    plain, noisy = quantizer(frames, 2.0), quantizer(frames, 2.0, gumbel(2, 9, 2, 5))
    assert not torch.equal(plain.codes, noisy.codes)
    assert torch.equal(plain.usage, noisy.usage)
    counts = functional.one_hot(plain.codes, 5).double().mean((0, 1))
    torch.testing.assert_close(plain.usage, counts)


def test_perplexity_of_equal_and_single_codes():
    assert perplexity(torch.full((2, 5), 0.2)).item() == pytest.approx(10, rel=1e-5)
    assert perplexity(functional.one_hot(torch.tensor([1, 3]), 5).float()).item() == pytest.approx(2, rel=1e-5)
