"""Position in a training run, the argument of everything that an objective changes over time."""

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """Position in a training run; the same during one optimizer step, also with gradient accumulation.

    Args:
        global_step: Optimizer steps completed before this one.
        max_steps: Optimizer steps of the whole run.
        epoch: Epochs completed before this step, with fraction.
    """

    global_step: int
    max_steps: int
    epoch: float
