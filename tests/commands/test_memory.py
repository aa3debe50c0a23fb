"""Memory of the scripts that train."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Without huge pages, which NumPy asks for; the settings of whoever starts the tests do not count.
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in SETTINGS} | {
    "NUMPY_MADVISE_HUGEPAGE": "0"
}
STEP = "[numpy.ones(2**20) for _ in range(20)]"  # 160 MB, 40,960 pages
FAULTS = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"


def pages_of_two_steps(start, **environment):
    """Pages that the system hands out in the second and third of three steps."""
    code = f"import numpy, resource; {start}; {STEP}; before = {FAULTS}; {STEP}; {STEP}; print({FAULTS} - before)"
    command = [sys.executable, "-c", code]
    return int(
        subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT | environment).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc has no such setting")
def test_memory_that_a_step_frees_is_kept_for_the_next_one():
    keep = "from ecg_transformers.commands.memory import keep_freed_memory; kept = keep_freed_memory()"
    assert pages_of_two_steps("pass") > 40_000
    assert pages_of_two_steps(f"{keep}; assert kept") < 1_000
    assert pages_of_two_steps(f"{keep}; assert not kept", MALLOC_TRIM_THRESHOLD_="100000") > 40_000


def test_the_scripts_that_train_keep_memory():
    training = Path(__file__).parents[2] / "training"
    calling = {path.stem for path in training.glob("*.py") if "    keep_freed_memory()\n" in path.read_text()}
    assert calling == {"pretrain", "finetune", "benchmark"}
