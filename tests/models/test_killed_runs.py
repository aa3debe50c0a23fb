"""Runs of BeatGAN, SI-BeatGAN and V2 that were killed in either phase or while saving end like those that were not."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from .. import fresh
from .killed_runs import PLACES, STEPS, SYSTEMS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = fresh.run([sys.executable, "-m", f"{__package__}.killed_runs", folder], cwd=fresh.ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def trainer_state(folder):
    """Weights, buffers, and moments of the last checkpoint."""
    last = folder / f"checkpoint-{STEPS}"
    moments = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    flat = {f"{number}.{name}": value for number, one in moments.items() for name, value in one.items()}
    return load_file(last / "model.safetensors") | flat


def logs(folder):
    """Losses of each step; not the times."""
    entries = json.loads((folder / "logs.json").read_text())
    return [{name: value for name, value in entry.items() if "second" not in name} for entry in entries]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_killed_run_resumes_bit_for_bit(runs, system, place):
    want, got = trainer_state(runs / system / "straight"), trainer_state(runs / system / place)
    assert want.keys() == got.keys()
    assert [name for name in want if not torch.equal(want[name], got[name])] == []
    assert logs(runs / system / "straight") == logs(runs / system / place)
    counters = {int(v) for name, v in want.items() if name.startswith("beatgan") and name.endswith("batches_tracked")}
    assert counters == {2 * STEPS}


@pytest.mark.parametrize("system", SYSTEMS)
def test_some_of_the_steps_were_won_by_the_discriminator(runs, system):
    assert 0 < sum(entry["reinitialized"] for entry in logs(runs / system / "straight")) < STEPS
