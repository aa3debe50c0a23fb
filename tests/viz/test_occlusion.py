"""Effects of hidden parts, as shading of leads and times."""

import numpy as np
import pytest

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.viz import plot_occlusion


@pytest.fixture
def record():
    return EcgRecord(np.zeros((3, 4000)), 500, leads=["I", "II", "V2"], name="r1")


def cells(figure):
    """Colors `(rows, segments, RGBA)` of the leads and of the band below."""
    meshes = [artist for artist in figure.axes[0].collections if artist.get_gid() == "effects"]
    return [mesh.to_rgba(mesh.get_array()) for mesh in meshes]


def texts(figure):
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def test_the_part_that_decides_has_the_strongest_shade_and_nothing_has_none(record):
    effects = np.zeros((3, 8))
    effects[2, 5], effects[0, 1] = 0.4, -0.2
    figure = plot_occlusion(record, effects, np.arange(9.0), segments=effects.sum(axis=0), label="AFIB")
    leads, band = cells(figure)
    assert leads.shape == (3, 8, 4)
    assert band.shape == (1, 8, 4)
    alpha = leads[..., 3]
    assert np.unravel_index(alpha.argmax(), alpha.shape) == (2, 5)
    assert (alpha > 0.01).sum() == 2
    red, _, blue = leads[2, 5, :3]
    assert red > blue
    red, _, blue = leads[0, 1, :3]
    assert blue > red
    assert "AFIB" in texts(figure)
    assert "one lead: +0.400" in texts(figure)
    assert "all leads" in texts(figure)


def test_leads_of_the_model_are_matched_by_name_and_may_be_fewer(record):
    effects = np.zeros((2, 4))
    effects[0, 0] = 1.0
    figure = plot_occlusion(record, effects, np.arange(0.0, 9.0, 2.0), effect_leads=["V2", "I"])
    (leads,) = cells(figure)
    assert leads.shape[:2] == (2, 4)  # I, V2: the order of the record
    assert np.unravel_index(leads[..., 3].argmax(), (2, 4)) == (1, 0)
    assert "all leads" not in texts(figure)


def test_effects_that_do_not_fit_are_errors(record):
    with pytest.raises(SignalError, match="leads, segments"):
        plot_occlusion(record, np.zeros((3, 8)), np.arange(8.0))
    with pytest.raises(SignalError, match="ascending"):
        plot_occlusion(record, np.zeros((3, 2)), [0.0, 2.0, 1.0])
    with pytest.raises(LeadError, match="V6"):
        plot_occlusion(record, np.zeros((3, 2)), np.arange(3.0), leads=["V6"])
    with pytest.raises(LeadError, match="expected common ones"):
        plot_occlusion(record, np.zeros((3, 2)), np.arange(3.0), effect_leads=["III", "aVR", "V6"])
