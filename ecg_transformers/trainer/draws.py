"""Randomness that belongs to a step, not to a process: seeds from (seed, step), slices of one combined draw, hashes."""

import numpy as np
import torch

__all__ = ["integer_hash", "slice_draws", "step_generator", "window_starts"]

# Names of the streams, so that a training step and an evaluation batch of the same number draw different numbers.
_STREAMS = {"train": 1, "evaluate": 2}


def integer_hash(*values: int | np.ndarray) -> np.ndarray:
    """Mix integers into one well-spread 64-bit number (the finaliser of SplitMix64, once per value).

    Args:
        values: Integers or integer arrays that broadcast; their order matters.

    Returns:
        `uint64` array of the broadcast shape (0-d for plain integers).

    Example:
        >>> int(integer_hash(0, 1)) == int(integer_hash(1, 0))
        False
    """
    mixed = np.zeros((), dtype=np.uint64)
    # Wrapping around at 2**64 is the point of the hash; numpy warns of it for 0-d operands.
    with np.errstate(over="ignore"):
        for value in values:
            mixed = mixed ^ np.asarray(value).astype(np.uint64)
            mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(mixed)


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
