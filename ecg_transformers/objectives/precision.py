"""Full precision where rounding would change what is compared: similarities, selections, losses."""

import torch

__all__ = ["at_least_float32", "similarities"]


def at_least_float32(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors in float32, or in the float64 of any of them."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def similarities(queries: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Inner products in at least float32, also under autocast.

    bfloat16 has 8 bits of precision: among some thousand similarities of unit vectors most would be equal to another
    one, and the nearest key be chosen by rounding.

    Args:
        queries: `(..., rows, size)`.
        columns: `(..., size, columns)`.

    Returns:
        `(..., rows, columns)`.
    """
    with torch.autocast(device_type=queries.device.type, enabled=False):
        queries, columns = at_least_float32(queries, columns)
        return queries @ columns
