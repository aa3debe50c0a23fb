"""Filters: what they pass, what they stop, and that they do not shift."""

import numpy as np
import pytest
from scipy.signal import butter, filtfilt, firwin, sosfiltfilt

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.filters import (
    bandpass,
    bandpass_sections,
    fir_bandpass,
    fir_taps,
    notch,
    notch_sections,
    settling_samples,
)
from ecg_transformers.signals.formats.readers import read_record

RATE = 500
TIME = np.arange(10 * RATE) / RATE
INNER = slice(2 * RATE, -2 * RATE)


def sine(frequency):
    return np.sin(2 * np.pi * frequency * TIME)[np.newaxis]


def gain(filtered, frequency):
    return np.abs(filtered[:, INNER]).max() / np.abs(sine(frequency)[:, INNER]).max()


@pytest.mark.parametrize(
    ("frequency", "least", "most"), [(10, 0.99, 1.01), (0.05, 0, 0.01), (120, 0, 0.05), (40, 0.45, 0.55)]
)
def test_band_pass_passes_its_band(frequency, least, most):
    assert least <= gain(bandpass(sine(frequency), RATE, 0.5, 40), frequency) <= most


def test_one_edge_gives_a_high_pass_or_a_low_pass():
    assert gain(bandpass(sine(120), RATE, 0.5, None), 120) > 0.99
    assert gain(bandpass(sine(0.05), RATE, None, 40), 0.05) > 0.99


def test_notch_removes_the_mains_and_little_else():
    assert gain(notch(sine(50), RATE, 50), 50) < 0.02
    assert gain(notch(sine(45), RATE, 50), 45) > 0.95


def test_zero_phase_does_not_shift_and_causal_does():
    pulse = np.exp(-0.5 * ((TIME - 5) / 0.02) ** 2)[np.newaxis]
    assert bandpass(pulse, RATE, 0.5, 40).argmax() == pulse.argmax()
    assert bandpass(pulse, RATE, 0.5, 40, zero_phase=False).argmax() > pulse.argmax()


def test_zero_phase_is_scipy_with_a_long_mirror_image():
    signal = np.random.default_rng(0).normal(size=(2, 5000))
    sections = butter(4, [0.5, 40], "bandpass", fs=RATE, output="sos")
    margin = settling_samples(sections, 1e-3)
    expected = sosfiltfilt(sections, signal, axis=-1, padtype="even", padlen=margin)
    np.testing.assert_array_equal(bandpass(signal, RATE, 0.5, 40), expected)


def test_the_end_of_a_piece_is_filtered_nearly_like_the_whole(data_dir):
    signal = read_record(data_dir / "ptbxl" / "00001_hr.hea").signal.astype(np.float64)
    whole = bandpass(signal, RATE, 0.5, 40)
    piece = bandpass(signal[:, 1200:3900], RATE, 0.5, 40)
    error = np.sqrt(np.mean((piece - whole[:, 1200:3900]) ** 2) / np.mean(whole**2))
    assert error < 0.15


def test_an_offset_makes_no_step_at_the_start():
    for zero_phase in (True, False):
        assert np.abs(bandpass(np.full((1, 5000), 3.0), RATE, 0.5, 40, zero_phase=zero_phase)).max() < 1e-6


def test_type_and_short_signals_are_kept():
    assert bandpass(sine(10).astype(np.float32), RATE, 0.5, 40).dtype == np.float32
    for num_samples in (1, 2, 30):
        assert np.isfinite(bandpass(np.ones((2, num_samples)), RATE, 0.5, 40)).all()


def test_a_piece_with_the_settling_margin_filters_like_the_whole():
    signal = np.random.default_rng(1).normal(size=(1, 8000))
    margin = settling_samples(bandpass_sections(2, 40, RATE))
    start, stop = 3500, 4500
    piece = bandpass(signal[:, start - margin : stop + margin], RATE, 2, 40)[:, margin:-margin]
    np.testing.assert_allclose(piece, bandpass(signal, RATE, 2, 40)[:, start:stop], atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(None, None), (40, 0.5), (0, 40), (0.5, 250), (-1, None), (None, 300)])
def test_impossible_edges_are_refused(low, high):
    with pytest.raises(SignalError, match="half the rate"):
        bandpass_sections(low, high, RATE)


def test_notch_above_half_the_rate_is_refused():
    with pytest.raises(SignalError, match="half the rate"):
        notch_sections(60, 100)


def test_fir_band_pass_is_scipys_in_both_directions():
    signal = np.random.default_rng(0).normal(size=(2, 3000))
    taps = firwin(109, [3, 45], pass_zero=False, fs=360)
    np.testing.assert_allclose(fir_taps(3, 45, 360, taps=109), taps, rtol=0, atol=0)
    np.testing.assert_allclose(fir_bandpass(signal, 360, 3, 45, taps=109), filtfilt(taps, 1, signal), atol=1e-13)


def test_fir_band_pass_reaches_as_far_as_its_taps():
    signal = np.random.default_rng(0).normal(size=(1, 3000))
    whole, piece = (fir_bandpass(part, 360, 3, 45, taps=109) for part in (signal, signal[:, 1000:2000]))
    np.testing.assert_allclose(piece[:, 108:-108], whole[:, 1108:1892], atol=1e-14)
    assert np.abs(piece[:, 107] - whole[:, 1107]).max() > 1e-12


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_fir_band_pass_takes_signals_shorter_than_the_filter(samples):
    filtered = fir_bandpass(np.ones((1, samples), np.float32), 360, 3, 45, taps=109)
    assert filtered.shape == (1, samples)
    assert filtered.dtype == np.float32
    assert np.abs(filtered).max() < 0.05
