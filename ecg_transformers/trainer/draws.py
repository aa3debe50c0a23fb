"""Randomness that belongs to a step, not to a process: seeds from (seed, step), slices of one combined draw, hashes."""

import numpy as np
import torch

from ..hashing import integer_hash

__all__ = ["slice_draws", "step_generator", "window_starts"]

# Names of the streams, so that a training step and an evaluation batch of the same number draw different numbers.
_STREAMS = {"train": 1, "evaluate": 2}


def step_generator(
    seed: int, step: int, micro_step: int = 0, *, stream: str = "train", device: torch.device | str = "cpu"
) -> torch.Generator:
    """Generator on `device` that is the same for every process and every resumed run at this step.

    Args:
        seed: Seed of the run.
        step: Optimizer step (training) or number of the batch (evaluation), from 0.
        micro_step: Number of the micro-batch within an accumulated step.
        stream: `"train"` or `"evaluate"`.
        device: Where the draws are made.
    """
    mixed = int(integer_hash(_STREAMS[stream], seed, step, micro_step))
    return torch.Generator(device=device).manual_seed(mixed)


def slice_draws(
    draws: dict[str, torch.Tensor], shared: tuple[str, ...], *, start: int, rows: int
) -> dict[str, torch.Tensor]:
    """Take this process's rows of the draws that were made for the combined batch of all processes.

    Args:
        draws: Tensors with the combined batch first.
        shared: Names that every process gets whole.
        start: First row of this process.
        rows: Its number of rows.
    """
    return {name: value if name in shared else value[start : start + rows] for name, value in draws.items()}


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
