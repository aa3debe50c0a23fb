"""Two real processes: the recorded tensors of facebookresearch/moco, and contrast within the combined batch."""

import copy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from ecg_transformers.objectives.gather import (
    all_gather,
    gather_with_gradient,
    process_slice,
    shuffled_key_pass,
    world_size,
)
from ecg_transformers.objectives.infonce import info_nce
from ecg_transformers.objectives.queue import KeyQueue

FIXTURE = Path(__file__).parents[1] / "parity" / "data" / "moco_v2_two_process.safetensors"


class TinyEncoder(nn.Module):
    """The encoder that was used to record the fixture."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 24)
        self.bn = nn.BatchNorm1d(24)
        self.fc = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 8))

    def forward(self, x):
        return self.fc(self.bn(self.fc1(x)).relu())


def part(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def assert_near(result, expected):
    torch.testing.assert_close(result.double(), expected.double(), rtol=0, atol=1e-10)


def recorded_moco(rank):
    fixture = load_file(FIXTURE)
    online, twin = TinyEncoder().double(), TinyEncoder().double()
    online.load_state_dict(part(fixture, "init.encoder_q."))
    twin.load_state_dict(part(fixture, "init.encoder_k."))
    queue = KeyQueue(8, 16).double()
    queue.keys.copy_(fixture["init.queue"])
    queue.pointer.copy_(fixture["init.queue_ptr"])
    for step in range(3):
        want = part(fixture, f"rank{rank}.step{step}.")
        queries = nn.functional.normalize(online(want["x_query"]), dim=1)
        keys = shuffled_key_pass(
            lambda x: nn.functional.normalize(twin(x), dim=1), want["x_key"], fixture[f"step{step}.idx_shuffle"]
        )
        loss, logits = info_nce(queries, keys, queue.keys.clone(), 0.2)
        queue.enqueue(all_gather(keys))
        assert_near(logits, want["logits"])
        assert_near(loss, want["loss"])
        assert_near(queue.keys, fixture[f"step{step}.queue_after"])
        assert_near(queue.pointer, fixture[f"step{step}.queue_ptr_after"])
        for name, value in part(want, "key_buffers.").items():
            assert_near(twin.state_dict()[name], value)
        online.zero_grad()
        loss.backward()
        for name, parameter in online.named_parameters():
            assert_near(parameter.grad, want[f"grad.encoder_q.{name}"])


def contrast_of_rows(network, values, rows, gather):
    """Symmetric cross-entropy of the rows of one process against the rows of all."""
    first, second = (nn.functional.normalize(network(view), dim=1) for view in values.unbind(1))
    labels = torch.arange(16)[rows]
    logits = [one @ gather(other).T / 0.2 for one, other in ((first, second), (second, first))]
    return sum(nn.functional.cross_entropy(part, labels) for part in logits) / 2


def contrast_within_the_batch(rank):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    values = torch.randn(16, 2, 6, dtype=torch.float64)
    alone = copy.deepcopy(network)
    whole = contrast_of_rows(alone, values, slice(None), lambda rows: rows)
    whole.backward()

    rows = slice(8 * rank, 8 * rank + 8)
    own = values[rows].clone().requires_grad_()
    parallel = nn.parallel.DistributedDataParallel(network)
    loss = contrast_of_rows(parallel, own, rows, gather_with_gradient)
    loss.backward()
    both = all_gather(loss.detach()[None])
    assert_near(both.mean(), whole.detach())
    for name, parameter in alone.named_parameters():
        assert_near(network.get_parameter(name).grad, parameter.grad)
    # Without the gradient through the gathered rows, half of it would be missing.
    network.zero_grad()
    contrast_of_rows(parallel, values[rows], rows, all_gather).backward()
    assert (network[0].weight.grad - alone[0].weight.grad).norm() > 0.1 * alone[0].weight.grad.norm()


def one_rank(case, rank, port):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    {"recorded": recorded_moco, "contrast": contrast_within_the_batch}[case](rank)
    print("processes:", world_size())
    dist.destroy_process_group()


@pytest.mark.parametrize("case", ["recorded", "contrast"])
def test_two_processes_equal_the_recorded_run_and_one_process(case):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, case, str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        assert out.strip() == "processes: 2"


def test_one_process_gathers_only_itself():
    x = torch.randn(4, 2)
    assert world_size() == 1
    assert all_gather(x) is x
    assert gather_with_gradient(x) is x
    assert process_slice(x) is x
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(shuffled_key_pass(lambda rows: rows * 2, x, order), x * 2)


if __name__ == "__main__":
    one_rank(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
