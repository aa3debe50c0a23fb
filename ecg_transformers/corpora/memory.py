"""How many processes and how large shards fit into a given memory when a corpus is prepared.

The constants bound what was measured on PTB-XL at 100 Hz (the sum over all processes of what each holds for itself):
115 MB for one process with shards of 1 or 4 MiB and 172 MB with 24 MiB; 266 MB for two workers with 4 MiB and 371 MB
with 24 MiB.
"""

import re
from collections.abc import Sequence

from ..errors import CorpusError

__all__ = ["fit_build", "memory_bytes"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MEGABYTE = 10**6
# The command itself, torch where a checkpoint's contract is applied, plan and report of a record, a process that reads.
_COMMAND, _TORCH, _RECORD, _PROCESS = 250 * _MEGABYTE, 400 * _MEGABYTE, 1000, 80 * _MEGABYTE
# Memory over the bytes of the signal files of a shard: records as read, as stored, the table, the buffer of the file.
_COPIES = 4
# Few steps, so that a command that is run again cuts the same shards and resumes.
_SHARDS = tuple(size * 2**20 for size in (24, 12, 6, 3))


def memory_bytes(text: str | int) -> int:
    """Convert an amount of memory to bytes.

    Args:
        text: Bytes, or a number with a unit: `"500MB"`, `"2GB"` (decimal), `"2GiB"` (binary).

    Raises:
        CorpusError: It is no amount of memory.

    Example:
        >>> memory_bytes("2GB"), memory_bytes("1.5 GiB"), memory_bytes(1000)
        (2000000000, 1610612736, 1000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", str(text).strip(), re.IGNORECASE)
    if found is None:
        raise CorpusError(f"the memory is {text!r}; expected a number with a unit, such as 500MB or 2GB.")
    number, unit, binary = found.groups()
    scale = _UNITS[unit.upper()]
    return int(float(number) * (2 ** (10 * list(_UNITS).index(unit.upper())) if binary else scale))


def fit_build(
    max_memory: str | int, sizes: Sequence[int], *, num_proc: int, growth: float = 1.0, with_torch: bool = False
) -> tuple[int, int]:
    """Choose the number of processes, at most `num_proc`, and the size of shards; processes come first.

    Args:
        max_memory: Bound for all processes of the build together, as in `memory_bytes`.
        sizes: Bytes of the signal files of each record.
        num_proc: Processes that were asked for.
        growth: Stored bytes per byte of a file: 2 for float32 made of 16-bit samples, more at a higher rate.
        with_torch: Whether a checkpoint's contract is applied.

    Returns:
        The number of processes, and bytes of signal files per shard.

    Raises:
        CorpusError: One process with the smallest shards, or with the largest record, needs more.

    Example:
        >>> fit_build("2GB", [24_000] * 20_000, num_proc=4), fit_build("500MB", [24_000] * 20_000, num_proc=4)
        ((4, 25165824), (2, 6291456))
    """
    limit, largest = memory_bytes(max_memory), max(sizes, default=0)
    command = _COMMAND + _RECORD * len(sizes) + (_TORCH if with_torch else 0)

    def needed(processes: int, shard: int) -> int:
        # A shard is closed by the record that fills it.
        return int(command + processes * (_PROCESS + _COPIES * growth * (shard + largest)))

    for processes in range(num_proc, 0, -1):
        for shard in _SHARDS:
            if needed(processes, shard) <= limit:
                return processes, shard
    raise CorpusError(
        f"max_memory is {max_memory}; one process needs about {needed(1, _SHARDS[-1]) / _MEGABYTE:,.0f} MB for "
        f"{len(sizes):,} records of at most {largest / _MEGABYTE:,.1f} MB. Set it to that or more."
    )
