"""SplitMix64 (Steele, Lea, Flood 2014): numbers that look random but follow from what they belong to."""

import numpy as np

__all__ = ["GOLDEN_GAMMA", "integer_hash", "splitmix64"]

GOLDEN_GAMMA = 0x9E3779B97F4A7C15


def splitmix64(state: np.ndarray) -> np.ndarray:
    """Mix the bits of each number, the finalizer of SplitMix64.

    Args:
        state: `uint64` array of any shape.

    Returns:
        `uint64` array of the same shape.
    """
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def integer_hash(*values: int | np.ndarray) -> np.ndarray:
    """Mix integers into one well-spread 64-bit number.

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
            mixed = splitmix64((mixed ^ np.asarray(value).astype(np.uint64)) + np.uint64(GOLDEN_GAMMA))
    return np.asarray(mixed)
