"""Band-pass and notch filters, zero-phase or causal.

Designs are SciPy's Butterworth and second-order notch, as second-order sections, and a windowed FIR band-pass. The
zero-phase form applies a filter in both directions: its attenuation in dB is twice that of the design, at the cut-off
frequencies of a Butterworth filter -6 dB instead of -3.
"""

import numpy as np

from ..errors import SignalError

__all__ = [
    "apply_sections",
    "bandpass",
    "bandpass_sections",
    "fir_bandpass",
    "fir_taps",
    "notch",
    "notch_sections",
    "settling_samples",
]


def bandpass_sections(
    low_hz: float | None, high_hz: float | None, sampling_rate: float, *, order: int = 4
) -> np.ndarray:
    """Butterworth band-pass as second-order sections; a low-pass without `low_hz`, a high-pass without `high_hz`.

    Args:
        low_hz: Lower cut-off frequency in Hz, or None.
        high_hz: Upper cut-off frequency in Hz, or None.
        sampling_rate: Sampling rate in Hz.
        order: Filter order (a band-pass has twice as many poles). Default: 4.

    Raises:
        SignalError: If no cut-off is given, or one is not between 0 and half the sampling rate.
    """
    # Imported on use, here and below: it takes a third of a second, which loading a model does not need.
    from scipy.signal import butter

    edges, kind = _edges(low_hz, high_hz, sampling_rate)
    return butter(order, edges if len(edges) == 2 else edges[0], kind, fs=sampling_rate, output="sos")


def fir_taps(low_hz: float | None, high_hz: float | None, sampling_rate: float, *, taps: int) -> np.ndarray:
    """Coefficients of a linear-phase FIR band-pass, designed with a Hamming window; float64 `(taps,)`.

    Args:
        low_hz: Lower cut-off frequency in Hz, or None for a low-pass.
        high_hz: Upper cut-off frequency in Hz, or None for a high-pass.
        sampling_rate: Sampling rate in Hz.
        taps: Number of coefficients, odd.

    Raises:
        SignalError: If no cut-off is given, one is not between 0 and half the sampling rate, or `taps` is even.
    """
    from scipy.signal import firwin

    edges, kind = _edges(low_hz, high_hz, sampling_rate)
    if taps < 3 or taps % 2 == 0:
        raise SignalError(f"the FIR filter has {taps} taps; expected an odd number of at least 3. Set fir_taps=.")
    return firwin(taps, edges, pass_zero=kind, fs=sampling_rate)


def _edges(low_hz: float | None, high_hz: float | None, sampling_rate: float) -> tuple[list[float], str]:
    """The cut-off frequencies that are given, and the kind of filter."""
    nyquist = sampling_rate / 2
    edges = [edge for edge in (low_hz, high_hz) if edge is not None]
    if not edges or not all(0 < edge < nyquist for edge in edges) or (len(edges) == 2 and edges[0] >= edges[1]):
        raise SignalError(
            f"the band-pass is {low_hz} to {high_hz} Hz at {sampling_rate:g} Hz; expected rising frequencies between 0 "
            f"and {nyquist:g} Hz (half the rate). Set bandpass=[low, high], with None to omit an edge."
        )
    return edges, "bandpass" if len(edges) == 2 else "lowpass" if low_hz is None else "highpass"


def notch_sections(frequency_hz: float, sampling_rate: float, *, quality: float = 30.0) -> np.ndarray:
    """Second-order notch filter with a -3 dB bandwidth of `frequency_hz / quality`.

    Args:
        frequency_hz: Center frequency in Hz.
        sampling_rate: Sampling rate in Hz.
        quality: Quality factor. Default: 30.

    Raises:
        SignalError: If the frequency is not between 0 and half the sampling rate.
    """
    from scipy.signal import iirnotch, tf2sos

    if not 0 < frequency_hz < sampling_rate / 2:
        raise SignalError(
            f"the notch is at {frequency_hz:g} Hz and the rate is {sampling_rate:g} Hz; expected a frequency between 0 "
            f"and {sampling_rate / 2:g} Hz (half the rate). Set notch=None if the power-line frequency is above that."
        )
    return tf2sos(*iirnotch(frequency_hz, quality, fs=sampling_rate))


def settling_samples(sections: np.ndarray, tolerance: float = 1e-6) -> int:
    """Number of samples in which the slowest part of the impulse response decays to `tolerance`.

    Computed from the pole closest to the unit circle. With this much signal on each side, a piece of a recording is
    filtered like the whole.
    """
    poles = np.concatenate([np.roots(section[3:]) for section in sections])
    radius = float(np.abs(poles).max())
    return int(np.ceil(np.log(tolerance) / np.log(radius))) if radius > 0 else sections.shape[0] * 2


def apply_sections(signal: np.ndarray, sections: np.ndarray, *, zero_phase: bool = True) -> np.ndarray:
    """Apply second-order sections along the last axis, in float64; the result has the type of `signal`.

    For zero phase, both ends are extended by even reflection, as far as the filter needs to settle or the signal
    reaches. SciPy's default (a short, odd extension) creates a step where a recording ends within a beat: 10-s pieces
    of MIT-BIH records filtered to 0.5-40 Hz then differ from the filtered whole recording by 15 % of their amplitude,
    with even reflection by 5 %. A causal filter starts in the steady state of the first sample, so that an offset
    causes no step.

    Args:
        signal: Floating point `(..., samples)`.
        sections: Second-order sections `(sections, 6)`.
        zero_phase: Filter in both directions (default), or causally.
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
    """Apply a Butterworth band-pass to `(..., samples)`; a low-pass or high-pass where an edge is None.

    Args:
        signal: Floating point `(..., samples)`.
        sampling_rate: Sampling rate in Hz.
        low_hz: Lower cut-off frequency in Hz, or None.
        high_hz: Upper cut-off frequency in Hz, or None.
        order: Filter order. Default: 4.
        zero_phase: Filter in both directions (default), or causally.

    Example:
        >>> drift = np.linspace(0.0, 1.0, 5000)[np.newaxis]
        >>> bool(abs(bandpass(drift, 500, 0.5, 40)).max() < 0.05)
        True
    """
    sections = bandpass_sections(low_hz, high_hz, sampling_rate, order=order)
    return apply_sections(signal, sections, zero_phase=zero_phase)


def fir_bandpass(
    signal: np.ndarray, sampling_rate: float, low_hz: float | None, high_hz: float | None, *, taps: int
) -> np.ndarray:
    """Apply an FIR band-pass to `(..., samples)` in both directions, in float64; the result has the type of `signal`.

    Both directions together are one convolution, which reaches `taps - 1` samples to either side. Beyond its ends the
    signal is extended by odd reflection. The result is that of SciPy's `filtfilt`, which the published preparation of
    BeatGAN uses and which takes signals of more than three times the taps only.

    Args:
        signal: Floating point `(..., samples)`.
        sampling_rate: Sampling rate in Hz.
        low_hz: Lower cut-off frequency in Hz, or None.
        high_hz: Upper cut-off frequency in Hz, or None.
        taps: Number of coefficients, odd.
    """
    from scipy.signal import oaconvolve

    coefficients = fir_taps(low_hz, high_hz, sampling_rate, taps=taps)
    margins = [(0, 0)] * (signal.ndim - 1) + [(taps - 1, taps - 1)]
    extended = np.pad(signal.astype(np.float64), margins, mode="reflect", reflect_type="odd")
    both = np.convolve(coefficients, coefficients).reshape(*[1] * (signal.ndim - 1), -1)
    return oaconvolve(extended, both, mode="valid", axes=-1).astype(signal.dtype)


def notch(
    signal: np.ndarray, sampling_rate: float, frequency_hz: float, *, quality: float = 30.0, zero_phase: bool = True
) -> np.ndarray:
    """Apply a notch filter at the power-line frequency; arguments as for `notch_sections` and `bandpass`."""
    return apply_sections(signal, notch_sections(frequency_hz, sampling_rate, quality=quality), zero_phase=zero_phase)
