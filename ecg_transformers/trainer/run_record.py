"""Record of a run: `run.json` with settings, data, speed, memory, hardware and versions."""

import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..files import write_text

__all__ = ["RunRecord", "SpeedCallback", "describe_hardware", "find_commit", "peak_memory", "portable_path"]

logger = logging.get_logger(__name__)

_PACKAGES = ("ecg_transformers", "torch", "transformers", "accelerate", "safetensors", "numpy")


def find_commit() -> str | None:
    """Commit of the source tree of this package, with `+changes` if files differ; None outside a repository."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    return result.stdout.strip()


def portable_path(path: str | Path | None) -> str | None:
    """How records name a file: from the source tree or the working directory if it is there, else its name alone.

    Records are published with a checkpoint and hold no paths of a machine.
    """
    if path is None:
        return None
    resolved = Path(path).resolve()
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if resolved.is_relative_to(root):
            return resolved.relative_to(root).as_posix()
    return resolved.name


def describe_hardware(world_size: int = 1) -> str:
    """Name and number of the processors or accelerators of a run.

    Args:
        world_size: Processes of the run.
    """
    if torch.cuda.is_available():
        return f"{world_size} x {torch.cuda.get_device_name()}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{world_size} x {torch.get_num_threads()} CPU threads, {model}"


def peak_memory() -> int:
    """Peak memory so far in bytes: of the accelerator if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a run."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name.replace("_", "-"))
        except PackageNotFoundError:
            continue
    return found


class SpeedCallback(TrainerCallback):
    """Measures the time of training steps without the first one, evaluations, checkpoints and probes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self._since: float | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the step that ended."""
        if torch.cuda.is_available() and (control.should_evaluate or control.should_save):
            # Pending work belongs to the steps, not to what comes next.
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._since is not None:
            self.seconds += now - self._since
            self.steps += 1
        self._since = now

    def pause(self, *args: Any, **kwargs: Any) -> None:
        """Leave out the time since the last step."""
        if self._since is not None:
            self._since = time.perf_counter()

    on_evaluate = on_save = pause

    @property
    def step_seconds(self) -> float | None:
        """Mean duration of a step (s); None before the second step."""
        return self.seconds / self.steps if self.steps else None


@dataclass
class RunRecord(TrainerCallback):
    """Keeps `run.json` up to date: at the start, at each checkpoint, at the end.

    Args:
        folder: Output folder of the run.
        facts: Settings, corpus, folds, records.
        speed: Callback that measures the speed.
        resumed: Take hours, speed and peak memory of the interrupted run into account.
    """

    folder: Path
    facts: dict[str, Any]
    speed: SpeedCallback
    resumed: bool = False

    def __post_init__(self) -> None:
        self.path = Path(self.folder) / "run.json"
        self._earlier: dict[str, Any] = {}
        if self.resumed and self.path.is_file():
            self._earlier = json.loads(self.path.read_text(encoding="utf-8"))
        self._started = time.monotonic()

    @property
    def hours(self) -> float:
        """Duration of the run (h), interrupted parts up to their last checkpoint included."""
        return self._earlier.get("hours", 0.0) + (time.monotonic() - self._started) / 3600

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the facts."""
        self._started = time.monotonic()
        self._write(args, state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the state of this checkpoint."""
        self._write(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the final state."""
        self._write(args, state)

    def _write(self, args: TrainingArguments, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        seconds = self.speed.step_seconds
        # Records of an optimizer step, over all processes and micro-batches.
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        record = {
            **self.facts,
            "steps": state.global_step,
            "max_steps": state.max_steps,
            "epochs": state.epoch,
            "records_seen": state.global_step * batch_size,
            "batch_size": batch_size,
            "hours": round(self.hours, 5),
            # A run that was resumed at its end has no step to measure.
            "records_per_second": self._earlier.get("records_per_second")
            if seconds is None
            else round(batch_size / seconds, 2),
            "step_seconds": self._earlier.get("step_seconds") if seconds is None else round(seconds, 5),
            "peak_memory_bytes": max(peak_memory(), self._earlier.get("peak_memory_bytes", 0)),
            "hardware": describe_hardware(args.world_size),
            "world_size": args.world_size,
            "versions": versions(),
        }
        write_text(self.path, json.dumps(record, indent=1, default=str))
