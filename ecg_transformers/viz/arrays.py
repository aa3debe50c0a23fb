"""Conversion of arrays, lists and torch tensors to float64 arrays for plotting."""

from typing import Any

import numpy as np

from ..errors import SignalError

__all__ = ["as_float_array"]


def as_float_array(values: Any, *, name: str, ndim: int | tuple[int, ...]) -> np.ndarray:
    """A float64 copy of `values` on the CPU, with a check of its rank.

    Tensors are detected by their `detach` method, so that plotting numpy arrays does not import torch.

    Args:
        values: Array, nested list or tensor of any floating, integer or boolean type.
        name: Name for error messages.
        ndim: Permitted rank or ranks.

    Raises:
        SignalError: If the rank differs, or the array is empty.
    """
    if hasattr(values, "detach"):
        # numpy has no bfloat16; float32 represents every bfloat16 exactly
        values = values.detach().cpu().float().numpy()
    array = np.array(values, dtype=np.float64)
    ranks = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in ranks or array.size == 0:
        expected = " or ".join(str(rank) for rank in ranks)
        raise SignalError(f"{name} has shape {array.shape}; expected a non-empty array of {expected} dimensions.")
    return array
