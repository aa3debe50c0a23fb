"""Windows to records against the recorded values of the public code."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from ecg_transformers.errors import EcgError
from ecg_transformers.inference.aggregation import aggregate_windows


def test_mean_and_max_equal_the_recorded_values(recorded_metrics):
    data = load_file(recorded_metrics / "windows.safetensors")
    index = data["aggregate/idmap"]
    for aggregate in ("mean", "max"):
        result = aggregate_windows(data["aggregate/window_probabilities"], index, aggregate=aggregate)
        np.testing.assert_allclose(result, data[f"aggregate/{aggregate}"], atol=1e-7)


def test_windows_may_come_in_any_order():
    values, index = np.arange(12.0).reshape(6, 2), np.array([2, 0, 1, 0, 2, 2])
    mean = aggregate_windows(values, index)
    np.testing.assert_allclose(mean, [values[[1, 3]].mean(0), values[2], values[[0, 4, 5]].mean(0)])


def test_wrong_index_is_refused():
    with pytest.raises(EcgError, match="record 1"):
        aggregate_windows(np.ones((2, 1)), np.array([0, 2]))
    with pytest.raises(EcgError, match="3 record numbers"):
        aggregate_windows(np.ones((2, 1)), np.array([0, 1, 2]))
    with pytest.raises(EcgError, match="median"):
        aggregate_windows(np.ones((1, 1)), np.array([0]), aggregate="median")
