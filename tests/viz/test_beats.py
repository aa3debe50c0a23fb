"""Plots of beats: what is shaded, how much, and where."""

import numpy as np
import pytest

from ecg_transformers import viz
from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals.record import EcgRecord


@pytest.fixture
def record():
    return EcgRecord(np.random.default_rng(0).normal(size=(2, 7200)) * 0.2, 360, ["MLII", "V1"], name="200")


def beat(peak, score):
    row = {"start": peak - 0.4, "end": peak + 0.5, "peak": peak, "score": score, "threshold": 0.1}
    return row | {"anomalous": None if np.isnan(score) else score >= 0.1}


def shades(figure):
    return [patch for patch in figure.axes[0].patches if patch.get_alpha() is not None]


def test_abnormal_beats_are_shaded_by_their_score(record):
    beats = [beat(1.0, 0.02), beat(2.0, 0.1), beat(3.0, 0.3), beat(4.0, 9.0), beat(5.0, np.nan), beat(15.0, 1.0)]
    figure = viz.plot_beats(record, beats)
    alphas = [patch.get_alpha() for patch in shades(figure)]
    assert alphas == sorted(alphas)
    assert (len(alphas), alphas[0], alphas[-1]) == (3, pytest.approx(0.12), pytest.approx(0.5))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "3 of 5 beats anomalous; numbers: score of each beat" in texts
    assert "200" in texts
    assert shades(figure)[0].get_width() == pytest.approx(0.9 * 25)


def test_a_later_strip_shows_its_own_beats(record):
    figure = viz.plot_beats(record, [beat(1.0, 1.0), beat(15.0, 1.0)], start=14.0, seconds=5.0, leads=["V1"])
    [shade] = shades(figure)
    assert shade.get_x() == pytest.approx(6.0 + 15.0 + (15.0 - 0.4 - 14.0) * 25)
    ids = [line.get_gid() for line in figure.axes[0].lines]
    assert "lead V1" in ids
    assert "lead MLII" not in ids
    with pytest.raises(SignalError, match="not inside"):
        viz.plot_beats(record, [], start=30.0)
    with pytest.raises(LeadError):
        viz.plot_beats(record, [], leads=["aVR"])


def test_the_heat_band_lies_below_its_beat():
    values = np.sin(np.arange(320) / 20)
    error = (np.arange(320) == 140) * 1.0
    figure = viz.plot_heat(values, values * 0.5, error, sampling_rate=360, samples_before=140, lead_name="MLII")
    upper, lower = figure.axes[:2]
    np.testing.assert_allclose(upper.lines[0].get_ydata(), values)
    assert upper.lines[0].get_xdata()[140] == 0.0
    band = lower.images[0]
    assert band.get_array().shape == (1, 320)
    assert band.get_array().argmax() == 140
    assert upper.get_title() == "score 0.00313"
    with pytest.raises(SignalError, match="reconstruction 319"):
        viz.plot_heat(values, values[1:], error, sampling_rate=360, samples_before=140)
