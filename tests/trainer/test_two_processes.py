import json
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .. import fresh
from ..conftest import TINY
from .two_process_run import PER_PROCESS, run

SCRIPT = Path(__file__).parent / "two_process_run.py"


@pytest.fixture(scope="module")
def both(corpus_folder, tmp_path_factory):
    """The same run in two processes and in one; where the first left its files, and the second's Trainer."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, SCRIPT, corpus_folder, folder / "both", json.dumps(TINY)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # What `accelerate launch` sets for each process.
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2]), **group}
    processes = [
        fresh.start(command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, err=folder / f"errors{rank}")
        for rank in "01"
    ]
    for rank, process in enumerate(processes):
        process.join(300)
        assert process.exitcode == 0, (folder / f"errors{rank}").read_text()[-9000:]
    return folder / "both", run(str(corpus_folder), str(folder / "one"), 2 * PER_PROCESS, TINY)


def curve(history, name):
    return [entry[name] for entry in history if name in entry]


def test_two_processes_really_ran(both):
    facts = [json.loads((both[0] / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [part["world_size"] for part in facts] == [2, 2]
    assert sorted(path.name for path in (both[0] / "checkpoint-8").glob("rng_state*")) == [
        "rng_state_0.pth",
        "rng_state_1.pth",
    ]


def test_the_processes_hold_the_same_weights_and_queue(both):
    first, second = (load_file(both[0] / f"rank{rank}.safetensors") for rank in (0, 1))
    for name in first:
        # Statistics of BatchNorm belong to each process; the first one's are kept.
        if "running_" not in name:
            torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=1e-7, msg=name)


def test_two_processes_train_the_same_as_one_with_the_combined_batch(both):
    folder, one = both
    two = load_file(folder / "rank0.safetensors")
    for name, value in one.core_model.state_dict().items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-5, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    history = json.loads((folder / "rank0.json").read_text())["history"]
    for name in (
        "loss",
        "contrastive_loss",
        "reconstruction_loss",
        "learning_rate",
        "eval_loss",
        "eval_contrastive_loss",
    ):
        values = curve(one.state.log_history, name)
        assert len(values) == (2 if name.startswith("eval") else 4)
        assert curve(history, name) == pytest.approx(values, rel=1e-5), name
