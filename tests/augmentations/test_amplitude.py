"""Changes of amplitude against recordings of ecg-selfsupervised, and what holds for any draw."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.augmentations.amplitude import scale_leads, smooth
from ecg_transformers.augmentations.noise import electromyographic_noise

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"


@pytest.fixture(scope="module")
def recorded():
    return load_file(FIXTURES / "augmentations.safetensors")


def same(result, expected):
    """Float32 of the largest value of the recording, 1e-6."""
    assert result.shape == expected.shape
    assert float((result - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def test_the_published_gaussian_noise_is_white_noise_of_a_fixed_strength(recorded):
    scale, noise = recorded["gaussian_noise/scale"][None], recorded["gaussian_noise/standard_normal"][None]
    same(electromyographic_noise(recorded["input"][None], scale, noise)[0], recorded["gaussian_noise/output"])


def test_the_published_gaussian_blur(recorded):
    same(smooth(recorded["input"][None])[0], recorded["gaussian_blur/output"])
    impulse = torch.zeros(1, 1, 9)
    impulse[0, 0, 4] = 1
    same(smooth(impulse)[0, 0, 2:7], recorded["gaussian_blur/kernel"])


def test_the_published_channel_resize_scales_each_lead(recorded):
    result = scale_leads(recorded["input"][None], recorded["channel_resize/log_factors"][None])
    same(result[0], recorded["channel_resize/output"])


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_type_and_input_stay(kind):
    signal = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0)).to(kind)
    before = signal.clone()
    for result in (smooth(signal), scale_leads(signal, torch.zeros(4, 3))):
        assert result.dtype == kind
        assert result.shape == signal.shape
    assert torch.equal(scale_leads(signal, torch.zeros(4, 3)), signal)
    assert torch.equal(signal, before)


def test_a_constant_stays_constant_but_for_the_two_samples_at_each_end():
    result = smooth(torch.ones(2, 3, 20))
    torch.testing.assert_close(result[..., 2:-2], torch.ones(2, 3, 16), rtol=0, atol=1e-6)
    torch.testing.assert_close(result[0, 0, :2], torch.tensor([0.7, 0.9]), rtol=0, atol=1e-6)
