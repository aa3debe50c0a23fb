"""The queue of keys of momentum contrast (He et al. 2020): state of a model, not of a loss."""

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from .sources import UNKNOWN_SOURCE, same_source

__all__ = ["KeyQueue"]


class KeyQueue(nn.Module):
    """A ring of the latest keys, with where they came from.

    Buffers (persistent, so that a resumed run goes on with the same negatives):
        keys: `(size, length)`, unit columns; random unit columns at the start, as in the public code.
        pointer: `(1,)`, the column that is written next.
        filled: `(1,)`, columns written so far, at most `length`.
        sources: `(length,)`, number of the source of each key (see `source_numbers`), -1 = unknown.

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
        """Set the starting values of what was not loaded from a checkpoint (called by `_init_weights`)."""
        init.copy_(self.keys, self._initial_keys(self.keys.shape[0], self.keys.shape[1]))
        init.zeros_(self.pointer)
        init.zeros_(self.filled)
        init.constant_(self.sources, UNKNOWN_SOURCE)

    def negative_mask(self, sources: torch.Tensor | None = None, ignore_unfilled: bool = False) -> torch.Tensor | None:
        """Booleans `(batch or 1, length)`: True = this key is no negative for this query, None = all count.

        Args:
            sources: Source of each query `(batch,)`; keys of an equal, known source are left out.
            ignore_unfilled: Leave out the random columns that no key has replaced yet.
        """
        mask = None
        if sources is not None:
            mask = same_source(sources, self.sources)
        if ignore_unfilled:
            unfilled = torch.arange(self.keys.shape[1], device=self.keys.device) >= self.filled
            mask = unfilled[None, :] if mask is None else mask | unfilled[None, :]
        return mask

    @torch.no_grad()
    def enqueue(self, keys: torch.Tensor, sources: torch.Tensor | None = None) -> None:
        """Write `keys (batch, size)` at the pointer and move it; the oldest keys go.

        In place: a loss must have taken a copy of `keys` before.
        """
        length = self.keys.shape[1]
        columns = (self.pointer + torch.arange(len(keys), device=keys.device)) % length
        self.keys[:, columns] = keys.T.to(self.keys.dtype)
        self.sources[columns] = UNKNOWN_SOURCE if sources is None else sources
        self.pointer.copy_((self.pointer + len(keys)) % length)
        self.filled.copy_((self.filled + len(keys)).clamp_max(length))
