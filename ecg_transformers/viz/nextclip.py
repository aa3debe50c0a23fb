"""Prediction of the half cardiac cycle that follows a window, over the recorded signal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SignalError
from ..signals.record import EcgRecord
from .arrays import as_float_array
from .paper import lead_names as names_of
from .paper import lead_rows
from .reconstruction import Overlay, plot_overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_nextclip"]


def plot_nextclip(
    record: EcgRecord,
    original: Any,
    prediction: Any,
    *,
    sampling_rate: float | None = None,
    lead_names: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    start: float = 0.0,
    speed: float = 25.0,
    gain: float = 10.0,
    title: str | None = None,
) -> "Figure":
    """Plot the past of a window and its last samples, true and predicted, on ECG paper in mV.

    Args:
        record: Record of the window; provides name, patient and the defaults of rate and lead names.
        original: Past and true continuation in mV (leads, samples).
        prediction: Prediction of the last samples in mV (leads, predicted samples).
        sampling_rate: Sampling rate of both arrays in Hz. Default: that of the record.
        lead_names: Lead names of both arrays. Default: those of the record.
        leads: Leads to draw. Default: all.
        start: Start of the window in the record in seconds. Default: 0.
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, true to scale.

    Raises:
        SignalError: If the shapes are inconsistent.
        LeadError: If a lead is not in `lead_names`.
    """
    names = names_of(record) if lead_names is None else tuple(lead_names)
    original = as_float_array(original, name="original", ndim=2)
    prediction = as_float_array(prediction, name="prediction", ndim=2)
    samples, size = original.shape[1], prediction.shape[1]
    if not len(names) == len(original) == len(prediction) or not 0 < size <= samples:
        raise SignalError(
            f"original has shape {original.shape}, prediction {prediction.shape}, {len(names)} lead names; expected "
            "two arrays of (leads, samples) in mV, the second no longer than the first. Pass lead_names=... if they "
            "are not the record's."
        )
    rate = record.sampling_rate if sampling_rate is None else sampling_rate
    drawn = np.full(original.shape, np.nan)
    drawn[:, samples - size :] = prediction
    error = float(np.sqrt(np.nanmean((original - drawn)[lead_rows(names, leads)][:, samples - size :] ** 2)))
    drawing = Overlay(
        drawn=drawn,
        shaded=[(samples - size, samples)],
        note=f"{size / rate:.2f} s hidden; RMS {error:.3f} mV",
        legend=("predicted", "hidden"),
        name="prediction",
    )
    scale = {"sampling_rate": rate, "start": start, "speed": speed, "gain": gain}
    return plot_overlay(record, original, drawing, names, leads=leads, title=title, **scale)
