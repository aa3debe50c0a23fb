"""Arrays as the plots need them: float64 numpy, whether they come from numpy, a list or a torch tensor."""

from typing import Any

import numpy as np

from ..errors import SignalError

__all__ = ["as_float_array"]


def as_float_array(values: Any, *, name: str, ndim: int | tuple[int, ...]) -> np.ndarray:
    """A float64 copy on the CPU of `values`, with its rank checked.

    Tensors are recognized by their `detach` method, so that a picture of numpy arrays never imports torch.

    Args:
        values: Array, nested list or tensor of any floating, integer or boolean type.
        name: The word for it in the error.
        ndim: Permitted rank, or ranks.

    Raises:
        SignalError: The rank is another one, or the array is empty.
    """
    if hasattr(values, "detach"):
        # bfloat16 has no numpy twin, float32 holds every bfloat16 exactly
        values = values.detach().cpu().float().numpy()
    array = np.array(values, dtype=np.float64)
    ranks = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in ranks or array.size == 0:
        expected = " or ".join(str(rank) for rank in ranks)
        raise SignalError(f"{name} has shape {array.shape}; expected a non-empty array of {expected} dimensions.")
    return array
