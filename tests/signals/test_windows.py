"""Where windows lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.windows import cut_windows, window_starts

sizes = st.integers(1, 50).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@given(num_samples=st.integers(1, 300), size_and_stride=sizes)
@settings(max_examples=150, deadline=None)
def test_padded_and_aligned_windows_cover_every_sample(num_samples, size_and_stride):
    size, stride = size_and_stride
    for incomplete in ("pad", "align"):
        starts = window_starts(num_samples, size, stride, incomplete=incomplete)
        covered = np.zeros(num_samples, dtype=bool)
        for start in starts:
            covered[start : start + size] = True
        assert covered.all()
        assert (np.diff(starts) > 0).all()
        assert (np.diff(starts)[:-1] == stride).all()
        assert starts[0] == 0
        if incomplete == "align" and num_samples >= size:
            assert starts[-1] + size <= num_samples
    assert len(window_starts(num_samples, size, size)) == -(-num_samples // size)


@given(num_samples=st.integers(1, 300), size_and_stride=sizes)
@settings(max_examples=50, deadline=None)
def test_dropped_rest_leaves_only_complete_windows(num_samples, size_and_stride):
    size, stride = size_and_stride
    starts = window_starts(num_samples, size, stride, incomplete="drop")
    assert len(starts) == max(0, (num_samples - size) // stride + 1)
    assert all(start + size <= num_samples for start in starts)


@given(num_samples=st.integers(1, 300), size=st.integers(1, 50), least=st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_a_rest_that_is_too_short_is_aligned_to_the_end(num_samples, size, least):
    starts = window_starts(num_samples, size, min_samples=least)
    assert len(starts) == -(-num_samples // size)
    held = min(num_samples - starts[-1], size)
    assert held >= min(least, size, num_samples)


def test_the_end_of_a_recording_by_example():
    assert window_starts(3600, 3600).tolist() == [0]
    assert window_starts(3601, 3600).tolist() == [0, 3600]
    assert window_starts(3601, 3600, min_samples=360).tolist() == [0, 1]
    assert window_starts(9000, 3600).tolist() == [0, 3600, 7200]
    assert window_starts(9000, 3600, incomplete="align").tolist() == [0, 3600, 5400]
    assert window_starts(9000, 3600, 1800).tolist() == [0, 1800, 3600, 5400]
    assert window_starts(100, 3600, incomplete="align").tolist() == [0]


@pytest.mark.parametrize(("num_samples", "size", "stride"), [(0, 10, 5), (10, 0, None), (10, 5, 6), (10, 5, 0)])
def test_sizes_that_cannot_be_are_refused(num_samples, size, stride):
    with pytest.raises(SignalError, match="stride"):
        window_starts(num_samples, size, stride)
    with pytest.raises(SignalError, match="incomplete"):
        window_starts(10, 5, incomplete="wrap")


@given(num_samples=st.integers(1, 60), size=st.integers(1, 40), num_leads=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_cut_windows_hold_the_signal_and_zeros_behind_it(num_samples, size, num_leads):
    signal = np.arange(1, num_leads * num_samples + 1, dtype=np.float32).reshape(num_leads, num_samples)
    starts = window_starts(num_samples, size)
    windows, lengths = cut_windows(signal, starts, size)
    assert windows.dtype == np.float32
    assert windows.shape == (len(starts), num_leads, size)
    for window, start, length in zip(windows, starts, lengths, strict=True):
        assert np.array_equal(window[:, :length], signal[:, start : start + size])
        assert not window[:, length:].any()


def test_a_window_without_a_sample_is_refused():
    with pytest.raises(SignalError, match="starts from 0 to 9"):
        cut_windows(np.zeros((1, 10)), np.array([10]), 5)
