"""The keys that the queries of a batch are contrasted with: the batch itself, a queue, or both."""

from typing import NamedTuple

import torch

from .queue import KeyQueue
from .sources import UNKNOWN_SOURCE

__all__ = ["KeyDictionary", "batch_dictionary", "queue_dictionary"]


class KeyDictionary(NamedTuple):
    """Candidates of a contrastive loss.

    Args:
        candidates: Unit vectors as columns `(size, candidates)`.
        left_out: Booleans `(batch or 1, candidates)`, True = no candidate: the query's own key, or an unfilled column
            of a queue. None = all are candidates.
        sources: Number of the source of each candidate, int64 `(candidates,)`, -1 = unknown.
    """

    candidates: torch.Tensor
    left_out: torch.Tensor | None
    sources: torch.Tensor


def batch_dictionary(
    keys: torch.Tensor, own_rows: torch.Tensor, sources: torch.Tensor | None = None, queue: KeyQueue | None = None
) -> KeyDictionary:
    """The keys of a step, as MoCo v3 has it (Chen et al. 2021, algorithm 1), and then those of a queue.

    With several processes, gather first: `keys = all_gather(own)`, `own_rows = process_slice(torch.arange(len(keys)))`.

    Args:
        keys: The keys of all records of the step, of all processes in rank order, unit vectors `(records, size)`.
        own_rows: Which of them belongs to each query of this process, int64 `(batch,)`.
        sources: Source of each key, int64 `(records,)`; unknown if not given.
        queue: Keys of earlier steps; they are copied, so that they may be overwritten before the backward pass.
    """
    columns = torch.arange(len(keys), device=keys.device)
    left_out = columns == own_rows[:, None]
    if sources is None:
        sources = torch.full_like(columns, UNKNOWN_SOURCE)
    if queue is None:
        return KeyDictionary(keys.T, left_out, sources)
    older = torch.zeros(len(own_rows), queue.keys.shape[1], dtype=torch.bool, device=keys.device)
    return KeyDictionary(
        torch.cat([keys.T, queue.keys.to(keys.dtype)], dim=1),
        torch.cat([left_out, older], dim=1),
        torch.cat([sources, queue.sources]),
    )


def queue_dictionary(queue: KeyQueue, ignore_unfilled: bool = False) -> KeyDictionary:
    """The keys of earlier steps alone, as in momentum contrast (He et al. 2020, algorithm 1).

    Args:
        queue: Keys of earlier steps; they are copied, so that they may be overwritten before the backward pass.
        ignore_unfilled: Leave out the random columns that no key has replaced yet. Default: no, as the public code.
    """
    return KeyDictionary(queue.keys.clone(), queue.unfilled()[None] if ignore_unfilled else None, queue.sources.clone())
