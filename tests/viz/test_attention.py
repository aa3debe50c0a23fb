"""Attention under the signal."""

import numpy as np
import pytest
import torch

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.viz import plot_attention
from ecg_transformers.viz.page import MARGIN_MM, PULSE_MM


@pytest.fixture
def record():
    return EcgRecord(np.zeros((2, 2000)), 200, leads=["II", "V1"], name="r1")


def attention(heads=2, tokens=11):
    """[CLS] looks at patch 3 alone, every other token at itself."""
    weights = np.tile(np.eye(tokens), (heads, 1, 1))
    weights[:, 0] = 0.0
    weights[:, 0, 4] = 0.8
    weights[:, 0, 0] = 0.2
    return weights


def shades(figure):
    patches = [patch for patch in figure.axes[0].patches if patch.get_alpha()]
    return [((patch.get_x() - MARGIN_MM - PULSE_MM) / 25, patch.get_width() / 25) for patch in patches]


def test_the_patch_that_cls_looks_at_is_shaded(record):
    figure = plot_attention(record, attention(), patch_size=100, sampling_rate=100)
    np.testing.assert_allclose(shades(figure), [(3.0, 1.0)])
    printed = [text.get_text() for text in figure.axes[0].texts]
    assert {"head 1", "head 2"} <= set(printed)
    assert any("[CLS]" in text and "80 %" in text for text in printed)


def test_any_token_and_models_without_cls(record):
    figure = plot_attention(record, torch.tensor(attention()), patch_size=100, sampling_rate=100, query=6)
    np.testing.assert_allclose(shades(figure), [(5.0, 1.0)])
    figure = plot_attention(record, attention(tokens=10), patch_size=100, sampling_rate=100, cls_token=False)
    assert len(shades(figure)) > 1


def test_patches_beyond_the_record_are_left_out(record):
    padded = plot_attention(record.crop(0, 5.5), attention(), patch_size=100, sampling_rate=100)
    bands = next(artist for artist in padded.axes[0].collections if artist.get_gid() == "heads")
    assert bands.get_array().size == 2 * 6


def test_shapes_and_names_that_do_not_fit_are_errors(record):
    with pytest.raises(SignalError, match="heads, tokens, tokens"):
        plot_attention(record, np.ones((2, 3, 4)), patch_size=100, sampling_rate=100)
    with pytest.raises(SignalError, match="token 11"):
        plot_attention(record, attention(), patch_size=100, sampling_rate=100, query=11)
    with pytest.raises(LeadError, match="V6"):
        plot_attention(record, attention(), patch_size=100, sampling_rate=100, leads=["V6"])
