"""Reconstructions over the recorded signal."""

import numpy as np
import pytest
import torch

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.viz import plot_reconstruction
from ecg_transformers.viz.page import MARGIN_MM, PULSE_MM


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    return EcgRecord(rng.normal(0, 0.3, (2, 1000)), 100, leads=["II", "V1"], name="r1")


def curves(figure):
    return {line.get_gid(): line.get_xydata() for line in figure.axes[0].lines if line.get_gid()}


def test_removed_patches_are_shaded_and_only_they_show_the_reconstruction(record):
    mask = np.array([0, 1, 1, 0, 1])
    figure = plot_reconstruction(record, record.signal, record.signal + 0.25, mask)
    shades = [patch for patch in figure.axes[0].patches if patch.get_alpha()]
    edges = [(patch.get_x() - MARGIN_MM - PULSE_MM, patch.get_width()) for patch in shades]
    np.testing.assert_allclose(edges, [(2 * 25, 4 * 25), (8 * 25, 2 * 25)])
    drawn = curves(figure)["reconstruction II"][:, 1]
    np.testing.assert_array_equal(np.isfinite(drawn), np.repeat(mask, 200) == 1)
    difference = drawn - curves(figure)["original II"][:, 1]
    np.testing.assert_allclose(difference[np.isfinite(drawn)], 2.5, atol=1e-6)  # 0.25 mV at 10 mm/mV
    printed = [text.get_text() for text in figure.axes[0].texts]
    assert any("3 of 5 patches masked; RMS error 0.250 mV" in text for text in printed)


def test_visible_patches_can_be_shown_too(record):
    figure = plot_reconstruction(record, record.signal, record.signal, np.array([0, 1]), show_visible=True)
    assert np.isfinite(curves(figure)["reconstruction V1"]).all()


def test_takes_tensors_at_the_models_rate_and_other_leads(record):
    original = torch.zeros(3, 500, dtype=torch.bfloat16, requires_grad=True)
    figure = plot_reconstruction(
        record,
        original,
        original + 1,
        torch.tensor([True, False]),
        sampling_rate=50,
        lead_names=["I", "II", "III"],
        leads=["III"],
    )
    assert set(curves(figure)) == {"calibration", "original III", "reconstruction III"}
    assert np.ptp(curves(figure)["original III"][:, 0]) == pytest.approx(499 / 50 * 25)


def test_a_legend_names_the_curves(record):
    figure = plot_reconstruction(record, record.signal, record.signal, np.array([1, 0]))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["recorded", "reconstructed", "masked"]


def test_shapes_and_names_that_do_not_fit_are_errors(record):
    signal = record.signal
    with pytest.raises(SignalError, match="999"):
        plot_reconstruction(record, signal, signal[:, :999], np.ones(10))
    with pytest.raises(SignalError, match="7 patches"):
        plot_reconstruction(record, signal, signal, np.ones(7))
    with pytest.raises(SignalError, match="dimensions"):
        plot_reconstruction(record, signal[0], signal[0], np.ones(10))
    with pytest.raises(LeadError, match="V6"):
        plot_reconstruction(record, signal, signal, np.ones(10), leads=["V6"])
