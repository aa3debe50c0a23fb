"""Random numbers for a batch in which every row has a stream of its own, whichever process holds the row."""

import math

import numpy as np
import torch

from ..hashing import GOLDEN_GAMMA, integer_hash

__all__ = ["RowGenerator"]


class RowGenerator:
    """Random numbers for the rows of a batch, drawn in one batched operation on the device.

    Row `r` reads a SplitMix64 stream (Steele, Lea, Flood 2014) that starts at a hash of (seed, number of the row in the
    combined batch of all processes). A row therefore gets the same numbers alone, in its process or in the whole
    batch, and a process computes only the numbers of its own rows. Successive calls continue the streams.

    Args:
        rows: Number of rows of this process.
        seed: Seed of the step, an integer from 0 to 2**64 - 1. Default: drawn from torch's global generator.
        first_row: Number of the first row in the combined batch.
        total_rows: Rows of the combined batch. Default: `first_row + rows`.
        device: Where the numbers are made.

    Attributes:
        rows: Number of rows of this process.
        total_rows: Rows of the combined batch.
        device: Where the numbers are made.
        shared: A `torch.Generator` that is the same in every process, for what the rows have in common (a permutation
            of the combined batch, one random rounding).

    Example:
        >>> whole, half = RowGenerator(4, seed=1).uniform(3), RowGenerator(2, seed=1, first_row=2).uniform(3)
        >>> torch.equal(whole[2:], half)
        True
    """

    def __init__(
        self,
        rows: int,
        *,
        seed: int | None = None,
        first_row: int = 0,
        total_rows: int | None = None,
        device: torch.device | str = "cpu",
    ):
        if seed is None:
            seed = int(torch.randint(2**63 - 1, ()))
        self.rows = rows
        self.total_rows = first_row + rows if total_rows is None else total_rows
        self.device = torch.device(device)
        self.shared = torch.Generator(device=self.device).manual_seed(seed)
        starts = integer_hash(seed, np.arange(first_row, first_row + rows)).view(np.int64)
        self._state = torch.from_numpy(starts).to(self.device)[:, None]  # (rows, 1)
        self._taken = 0

    def uniform(self, *shape: int) -> torch.Tensor:
        """Uniform numbers in [0, 1), float32 `(rows, *shape)`."""
        bits = self._bits(math.prod(shape))
        return (_shift_right(bits, 40).float() * 2.0**-24).view(self.rows, *shape)

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers, float32 `(rows, *shape)` (Box and Muller 1958, two from one 64-bit integer)."""
        count = math.prod(shape)
        pairs = -(-count // 2)
        bits = self._bits(pairs)
        # Half a unit keeps the logarithm finite; the largest number is 6.8.
        radius = _shift_right(bits, 32).float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = bits.bitwise_and_(0xFFFFFFFF).float().mul_(2 * math.pi * 2.0**-32)
        numbers = torch.empty(self.rows, 2, pairs, device=self.device)
        torch.cos(angle, out=numbers[:, 0])
        torch.sin(angle, out=numbers[:, 1])
        numbers.mul_(radius[:, None])
        return numbers.view(self.rows, -1)[:, :count].reshape(self.rows, *shape)

    def gumbel(self, *shape: int) -> torch.Tensor:
        """Standard Gumbel numbers, float32 `(rows, *shape)`: `-log(-log(u))`, two from one 64-bit integer."""
        count = math.prod(shape)
        bits = self._bits(-(-count // 2))
        # 23 bits and a half are exact in float32, so that u is neither 0 nor 1.
        numbers = torch.stack([_shift_right(bits, 41), (bits >> 9) & 0x7FFFFF], dim=1).float()
        numbers.add_(0.5).mul_(2.0**-23).log_().neg_().log_().neg_()
        return numbers.view(self.rows, -1)[:, :count].reshape(self.rows, *shape)

    def _bits(self, count: int) -> torch.Tensor:
        """The next `count` 64-bit integers of every row, int64 `(rows, count)`."""
        places = torch.arange(self._taken + 1, self._taken + count + 1, device=self.device)
        self._taken += count
        return _mix(self._state + places * _signed(GOLDEN_GAMMA))


def _signed(number: int) -> int:
    """The int64 with the bits of a uint64: torch computes modulo 2**64 with int64 only."""
    return number - 2**64 if number >= 2**63 else number


def _shift_right(bits: torch.Tensor, places: int) -> torch.Tensor:
    """Shift without copies of the sign bit."""
    return (bits >> places).bitwise_and_(2 ** (64 - places) - 1)


def _mix(state: torch.Tensor) -> torch.Tensor:
    """`hashing.splitmix64` of a tensor, in place."""
    for places, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= _shift_right(state, places)
        state *= _signed(factor)
    state ^= _shift_right(state, 31)
    return state
