"""Queue of the keys of momentum contrast (He et al. 2020, section 3.1); state of a model, not of a loss."""

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from .sources import UNKNOWN_SOURCE

__all__ = ["KeyQueue"]


class KeyQueue(nn.Module):
    """Ring buffer of the latest keys and their sources.

    Buffers (persistent, so that a resumed run has the same negatives):
        keys: `(size, length)`, unit columns; random unit columns at the start, as in the public code.
        pointer: int64 `(1,)`, the column to write next.
        filled: int64 `(1,)`, number of columns written so far, at most `length`.
        sources: int64 `(length,)`, source of each key (see `source_numbers`), -1 = unknown.

    Args:
        size: Width of a key.
        length: Number of keys; need not be a multiple of the batch (writing is modular).
    """

    keys: torch.Tensor
    pointer: torch.Tensor
    filled: torch.Tensor
    sources: torch.Tensor

    def __init__(self, size: int, length: int):
        super().__init__()
        self.register_buffer("keys", self._initial_keys(size, length))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))
        self.register_buffer("filled", torch.zeros(1, dtype=torch.long))
        self.register_buffer("sources", torch.full((length,), UNKNOWN_SOURCE, dtype=torch.long))

    @staticmethod
    def _initial_keys(size: int, length: int) -> torch.Tensor:
        # A generator of its own: the constructor and reset_state must give the same columns.
        generator = torch.Generator().manual_seed(0)
        return functional.normalize(torch.randn(size, length, generator=generator, device="cpu"), dim=0)

    def reset_state(self) -> None:
        """Set the initial values of buffers that were not loaded from a checkpoint (called by `_init_weights`)."""
        init.copy_(self.keys, self._initial_keys(self.keys.shape[0], self.keys.shape[1]))
        init.zeros_(self.pointer)
        init.zeros_(self.filled)
        init.constant_(self.sources, UNKNOWN_SOURCE)

    def unfilled(self) -> torch.Tensor:
        """Booleans `(length,)`, True = a random column that no key has replaced yet."""
        return torch.arange(self.keys.shape[1], device=self.keys.device) >= self.filled

    @torch.no_grad()
    def enqueue(self, keys: torch.Tensor, sources: torch.Tensor | None = None) -> None:
        """Replace the oldest keys, in place: a loss must have taken a copy of the buffer `keys` before.

        Args:
            keys: Unit vectors `(batch, size)`.
            sources: int64 source of each key `(batch,)`. Default: unknown.
        """
        length = self.keys.shape[1]
        columns = (self.pointer + torch.arange(len(keys), device=keys.device)) % length
        self.keys[:, columns] = keys.T.to(self.keys.dtype)
        self.sources[columns] = UNKNOWN_SOURCE if sources is None else sources
        self.pointer.copy_((self.pointer + len(keys)) % length)
        self.filled.copy_((self.filled + len(keys)).clamp_max(length))
