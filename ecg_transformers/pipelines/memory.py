"""How many windows a pass of a pipeline may hold within a given memory.

The memory of a pass is counted on passes of noise: the tensors that live at the same time. The process takes more than
that, for the workspaces of convolutions and the blocks of the allocator: 2.4 times as much per window was measured of
xresnet1d50-ecg, 1.4 times of mae-moco-ecg, 1.2 times of moco-v3-ecg (growth of the process from 8 to 256 windows).
"""

import weakref
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..corpora.memory import memory_bytes
from ..errors import ArgumentsError
from ..features.extractor import EcgFeatureExtractor

__all__ = ["fit_batch"]

_MEGABYTE = 10**6
# Process over tensors, see above.
_WORKSPACES = 2.5
# Readers, filters and table writers that are imported later, the current recording, results that wait for their part.
_RESERVE = 150 * _MEGABYTE
# A window as it waits for its pass, and in the type of the model; in the batch it is counted.
_COPIES = 2


# Bytes of the process before the first bounded pass of a pipeline: what a pass leaves to the allocator serves the next.
_held_before: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()


def fit_batch(
    pipeline: Any,
    extractor: EcgFeatureExtractor,
    run: Callable[[dict[str, torch.Tensor]], Any],
    max_memory: str | int | None,
    *,
    at_most: int,
) -> int:
    """Choose the number of windows per pass such that the process stays within a given memory.

    Args:
        pipeline: Whose passes they are.
        extractor: Its feature extractor.
        run: One pass over `input_values` and `lead_mask`. The memory of another device than the processor counts too.
        max_memory: Bound for the process, libraries and model included, as in `memory_bytes`; None = no bound.
        at_most: Windows per pass that were asked for.

    Raises:
        ArgumentsError: A pass of one window needs more.
        CorpusError: `max_memory` is no amount of memory.
    """
    if max_memory is None:
        return at_most
    limit = memory_bytes(max_memory)
    window = _window_bytes(extractor, run)
    held = _held_before.setdefault(pipeline, psutil.Process().memory_info().rss) + _RESERVE
    if held + window > limit:
        raise ArgumentsError(
            f"max_memory is {max_memory}; libraries, model and a pass of one window need about "
            f"{(held + window) / _MEGABYTE:,.0f} MB. Set it to that or more."
        )
    return min(at_most, int((limit - held) // window))


def _window_bytes(extractor: EcgFeatureExtractor, run: Callable[[dict[str, torch.Tensor]], Any]) -> float:
    """What each further window of a pass takes."""
    leads, samples = extractor.num_leads, extractor.window_size

    def held(windows: int) -> int:
        noise = torch.randn(windows, leads, samples, generator=torch.Generator().manual_seed(0))
        with _LivingTensors() as tensors:
            run({"input_values": noise, "lead_mask": torch.ones(windows, leads, dtype=torch.long)})
        return tensors.peak

    held(1)  # what is computed once and kept
    return _WORKSPACES * (held(8) - held(4)) / 4 + _COPIES * leads * samples * torch.finfo(torch.float32).bits / 8


class _LivingTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it returns."""
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self._known:
                storage = tensor.untyped_storage()
                self._known[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata)
        return output

    def _freed(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)
