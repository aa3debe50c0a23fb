"""The predicted half cycle over the recorded signal."""

import numpy as np
import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.viz import plot_nextclip
from ecg_transformers.viz.page import MARGIN_MM, PULSE_MM


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    return EcgRecord(rng.normal(0, 0.3, (2, 1000)), 100, leads=["II", "V1"], name="r1")


def test_past_true_and_predicted_half_cycle_are_drawn(record):
    past = np.asarray(record.signal)[:, :400]
    figure = plot_nextclip(record, past, past[:, 350:] + 0.25)
    (shade,) = [patch for patch in figure.axes[0].patches if patch.get_alpha()]
    assert (shade.get_x() - MARGIN_MM - PULSE_MM, shade.get_width()) == pytest.approx((3.5 * 25, 0.5 * 25))
    drawn = {line.get_gid(): line.get_xydata()[:, 1] for line in figure.axes[0].lines if line.get_gid()}
    assert np.isfinite(drawn["original II"]).sum() == 400
    np.testing.assert_array_equal(np.isfinite(drawn["prediction II"]), np.arange(400) >= 350)
    np.testing.assert_allclose((drawn["prediction V1"] - drawn["original V1"])[350:], 2.5, atol=1e-6)
    assert any("0.50 s hidden; RMS 0.250 mV" in text.get_text() for text in figure.axes[0].texts)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["recorded", "predicted", "hidden"]


def test_shapes_that_do_not_fit_are_named(record):
    with pytest.raises(SignalError, match=r"\(2, 10\), prediction \(2, 11\)"):
        plot_nextclip(record, np.zeros((2, 10)), np.zeros((2, 11)))
