"""Resampling: the law of the length, and SciPy's numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.resample import rate_ratio, resample, resampled_length

rates = st.one_of(st.integers(50, 2000), st.decimals(50, 2000, places=1).map(float))


@given(num_samples=st.integers(1, 20_000), source=rates, target=rates)
@settings(max_examples=150, deadline=None)
def test_length_is_the_rounded_ratio_in_exact_arithmetic(num_samples, source, target):
    exact = Fraction(num_samples) * Fraction(str(target)) / Fraction(str(source))
    length = resampled_length(num_samples, source, target)
    assert length - Fraction(1, 2) <= exact < length + Fraction(1, 2)


@given(num_samples=st.integers(20, 400), source=rates, target=rates, method=st.sampled_from(["polyphase", "linear"]))
@settings(max_examples=60, deadline=None)
def test_every_ratio_gives_the_length_that_the_law_says(num_samples, source, target, method):
    signal = np.ones((2, num_samples), dtype=np.float32)
    length = resampled_length(num_samples, source, target)
    if length == 0:
        with pytest.raises(SignalError, match="longer"):
            resample(signal, source, target, method)
        return
    resampled = resample(signal, source, target, method)
    assert resampled.shape == (2, length)
    assert resampled.dtype == np.float32
    # A constant stays one, up to the pass-band ripple of the filter.
    assert np.abs(resampled - 1).max() < 2e-3


@pytest.mark.parametrize(
    ("source", "target", "up", "down"),
    [
        (500, 100, 1, 5),
        (500, 360, 18, 25),
        (100, 500, 5, 1),
        (257.3, 100, 1000, 2573),
        (1000, 360, 9, 25),
        (250, 500, 2, 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_polyphase_is_scipy_with_edge_padding(source, target, up, down, dtype):
    num_samples = round(4 * source) + 3
    signal = np.random.default_rng(0).normal(size=(3, num_samples)).astype(dtype)
    assert rate_ratio(source, target, num_samples) == (up, down)
    expected = resample_poly(signal, up, down, axis=-1, padtype="edge")
    result = resample(signal, source, target)
    assert result.shape[-1] in (expected.shape[-1], expected.shape[-1] - 1)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected[:, : result.shape[-1]])


def test_sine_keeps_its_frequency_phase_and_size():
    for source, target in ((500, 360), (500, 100), (257.3, 100), (128, 360), (1000, 250)):
        time, new_time = np.arange(round(10 * source)) / source, np.arange(round(10 * target)) / target
        result = resample(np.sin(2 * np.pi * 7.3 * time), source, target)
        inner = slice(round(target / 2), -round(target / 2))
        np.testing.assert_allclose(result[inner], np.sin(2 * np.pi * 7.3 * new_time)[inner], atol=2e-3)


def test_frequencies_above_half_the_target_rate_are_removed_only_by_polyphase():
    hum = np.sin(2 * np.pi * 80 * np.arange(5000) / 500)
    assert np.abs(resample(hum, 500, 100)[50:-50]).max() < 0.01
    assert np.abs(resample(hum, 500, 100, "linear")).max() > 0.5


def test_edges_of_an_offset_baseline_stay_level():
    offset = np.full((1, 5000), 1.5, dtype=np.float32)
    assert np.abs(resample(offset, 500, 100) - 1.5).max() < 1e-5


def test_linear_keeps_the_end_points_and_straight_lines():
    line = np.linspace(-1, 3, 400)[np.newaxis]
    result = resample(line, 400, 500, "linear")
    np.testing.assert_allclose(result, np.linspace(-1, 3, 500)[np.newaxis], atol=1e-12)
    assert resample(np.array([[2.0]]), 100, 300, "linear").tolist() == [[2.0, 2.0, 2.0]]


def test_linear_is_the_published_preparation_of_ecg_fm(shared):
    from safetensors.numpy import load_file

    stored = load_file(shared / "parity" / "w2v_cmsc_rlm" / "preprocess.safetensors")
    for name in (name.removesuffix(".input") for name in stored if name.endswith(".input")):
        source = float(name.removeprefix("fs"))
        expected = stored[f"{name}.resampled"]
        result = resample(stored[f"{name}.input"].astype(np.float64), source, 500, "linear")
        # The publication truncates the length where we round it.
        assert result.shape[-1] - expected.shape[-1] in (0, 1)
        if result.shape == expected.shape:
            np.testing.assert_allclose(result, expected, atol=1e-6)


def test_equal_rates_hand_the_signal_through():
    signal = np.ones((1, 10), dtype=np.float32)
    assert resample(signal, 500, 500.0) is signal


def test_a_rate_of_many_digits_drifts_by_less_than_a_twentieth_of_a_sample():
    for source, target, num_samples in ((333.3333333, 100, 5000), (249.98765, 360, 100_000), (100.001, 100, 1000)):
        up, down = rate_ratio(source, target, num_samples)
        assert abs(up / down - target / source) * num_samples <= 0.05 + 1e-9
        assert max(up, down) <= 100_000


@pytest.mark.parametrize("rate", [0, -100, float("nan"), float("inf"), None, "500", True, 1e9])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(SignalError, match="sampling"):
        resample(np.ones((1, 100)), rate, 100)


def test_unknown_method_is_refused():
    with pytest.raises(SignalError, match="linear"):
        resample(np.ones((1, 100)), 500, 100, "cubic")
