"""Band-pass and notch filters, forwards and backwards without shift of time, or forwards alone.

Designs are SciPy's Butterworth and second-order notch, as second-order sections. The zero-phase form runs the sections
in both directions, so its attenuation in dB is twice that of the design; the cut-off frequencies lie at -6 dB instead
of -3.
"""

import numpy as np

from ..errors import SignalError

__all__ = ["apply_sections", "bandpass", "bandpass_sections", "notch", "notch_sections", "settling_samples"]


def bandpass_sections(
    low_hz: float | None, high_hz: float | None, sampling_rate: float, *, order: int = 4
) -> np.ndarray:
    """A Butterworth band-pass as second-order sections; without `low_hz` a low-pass, without `high_hz` a high-pass.

    Args:
        low_hz: lower cut-off, or None.
        high_hz: upper cut-off, or None.
        sampling_rate: Hz.
        order: order of the design (a band-pass has twice as many poles).

    Raises:
        SignalError: no cut-off is given, or one does not lie between 0 and half the sampling rate.
    """
    # Imported at use, here and below: a third of a second that loading a model need not wait for.
    from scipy.signal import butter

    nyquist = sampling_rate / 2
    edges = [edge for edge in (low_hz, high_hz) if edge is not None]
    if not edges or not all(0 < edge < nyquist for edge in edges) or (len(edges) == 2 and edges[0] >= edges[1]):
        raise SignalError(
            f"the band-pass is {low_hz} to {high_hz} Hz at {sampling_rate:g} Hz; expected rising frequencies between 0 "
            f"and {nyquist:g} Hz (half the rate). Set bandpass=[low, high], with None where there is no edge."
        )
    kind = "bandpass" if len(edges) == 2 else "lowpass" if low_hz is None else "highpass"
    return butter(order, edges if len(edges) == 2 else edges[0], kind, fs=sampling_rate, output="sos")


def notch_sections(frequency_hz: float, sampling_rate: float, *, quality: float = 30.0) -> np.ndarray:
    """A second-order notch; the width of the gap at -3 dB is `frequency_hz / quality`.

    Raises:
        SignalError: the frequency does not lie between 0 and half the sampling rate.
    """
    from scipy.signal import iirnotch, tf2sos

    if not 0 < frequency_hz < sampling_rate / 2:
        raise SignalError(
            f"the notch is at {frequency_hz:g} Hz and the rate is {sampling_rate:g} Hz; expected a frequency between 0 "
            f"and {sampling_rate / 2:g} Hz (half the rate). Set notch=None where mains hum is above that."
        )
    return tf2sos(*iirnotch(frequency_hz, quality, fs=sampling_rate))


def settling_samples(sections: np.ndarray, tolerance: float = 1e-6) -> int:
    """After how many samples the slowest part of the impulse response has fallen to `tolerance` of its start.

    From the pole nearest to the unit circle. So much signal on each side makes a piece of a recording filter like the
    whole.
    """
    poles = np.concatenate([np.roots(section[3:]) for section in sections])
    radius = float(np.abs(poles).max())
    return int(np.ceil(np.log(tolerance) / np.log(radius))) if radius > 0 else sections.shape[0] * 2


def apply_sections(signal: np.ndarray, sections: np.ndarray, *, zero_phase: bool = True) -> np.ndarray:
    """Runs second-order sections over the last axis, in float64; the result has the type of `signal`.

    Zero-phase, the ends are continued by their mirror image, as far as the filter needs to settle or the signal
    reaches. SciPy's default (a short, odd mirror image) makes a step wherever a recording ends in the middle of a beat:
    10-s pieces of MIT-BIH records under 0.5-40 Hz then differ from the filtered whole by 15 % of their size, with the
    mirror image by 5 %. Forwards alone, the filter starts settled at the first sample, so that an offset is no step at
    the start.

    Args:
        signal: `(..., samples)`, floating.
        sections: `(sections, 6)`.
        zero_phase: both directions, or forwards alone.
    """
    from scipy.signal import sosfilt, sosfilt_zi, sosfiltfilt

    num_samples = signal.shape[-1]
    exact = signal.astype(np.float64)
    if zero_phase:
        margin = min(settling_samples(sections, 1e-3), num_samples - 1)
        filtered = sosfiltfilt(sections, exact, axis=-1, padtype="even" if margin else None, padlen=margin)
    else:
        state = sosfilt_zi(sections).reshape(-1, *([1] * (signal.ndim - 1)), 2)
        filtered, _ = sosfilt(sections, exact, axis=-1, zi=state * exact[..., :1])
    return filtered.astype(signal.dtype)


def bandpass(
    signal: np.ndarray,
    sampling_rate: float,
    low_hz: float | None,
    high_hz: float | None,
    *,
    order: int = 4,
    zero_phase: bool = True,
) -> np.ndarray:
    """The signal `(..., samples)` after a Butterworth band-pass (low-pass, high-pass where an edge is None).

    Example:
        >>> drift = np.linspace(0.0, 1.0, 5000)[np.newaxis]
        >>> bool(abs(bandpass(drift, 500, 0.5, 40)).max() < 0.05)
        True
    """
    sections = bandpass_sections(low_hz, high_hz, sampling_rate, order=order)
    return apply_sections(signal, sections, zero_phase=zero_phase)


def notch(
    signal: np.ndarray, sampling_rate: float, frequency_hz: float, *, quality: float = 30.0, zero_phase: bool = True
) -> np.ndarray:
    """The signal `(..., samples)` after a notch at the mains frequency."""
    return apply_sections(signal, notch_sections(frequency_hz, sampling_rate, quality=quality), zero_phase=zero_phase)
