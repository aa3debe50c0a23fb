"""Randomness that belongs to a step or a record, not to a process: seeds and window starts as hashes."""

import numpy as np

from ..hashing import integer_hash

__all__ = ["step_seed", "window_starts"]

# So that a training step and an evaluation batch of the same number draw different numbers.
_STREAMS = {"train": 1, "evaluate": 2}


def step_seed(seed: int, step: int, micro_step: int = 0, *, stream: str = "train") -> int:
    """Seed of a step, the same for every process and every resumed run.

    Args:
        seed: Seed of the run.
        step: Optimizer step (training) or number of the batch (evaluation), from 0.
        micro_step: Number of the micro-batch within an accumulated step, from 0.
        stream: `"train"` or `"evaluate"`.

    Returns:
        An integer from 0 to 2**64 - 1.
    """
    return int(integer_hash(_STREAMS[stream], seed, step, micro_step))


def window_starts(
    seed: int, epoch: np.ndarray | int, record_index: np.ndarray, length: np.ndarray, window_size: int
) -> np.ndarray:
    """First sample of each record's window in this epoch: a pure function of seed, epoch and record.

    Args:
        seed: Seed of the run.
        epoch: Epoch number of each record, or one for all.
        record_index: Number of each record in its corpus.
        length: Samples of each record.
        window_size: Samples of the window.

    Returns:
        `int64`, one of `0 ... length - window_size`; 0 where the record is not longer than the window.
    """
    places = np.maximum(np.asarray(length, dtype=np.int64) - window_size, 0) + 1
    return (integer_hash(seed, epoch, record_index) % places.astype(np.uint64)).astype(np.int64)
