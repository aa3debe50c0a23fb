"""Two real processes that form one group, for objectives that look across the batch."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from ecg_transformers.objectives.gather import world_size

from .fresh import without_main


def one_rank(rank: int, check: Callable[[int], None], meeting_point: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=2)
    assert world_size() == 2
    check(rank)
    dist.destroy_process_group()


def run_in_two_processes(check: Callable[[int], None]) -> None:
    """Call a function of a test module with the rank in each of two processes; what one raises is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (check, (Path(folder) / "group").as_uri())
        with without_main():
            torch.multiprocessing.start_processes(one_rank, arguments, nprocs=2, start_method="forkserver")
