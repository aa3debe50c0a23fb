"""Learning rates as public code computes them, where ours differ (quirks)."""

import math

__all__ = ["published_factor", "published_warmup_cosine"]


def published_warmup_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Factor of the rate in ecg-selfsupervised: linear from 0 to 1 over the warm-up, then half a cosine to 0.

    The first factor is 0, and 1 is reached twice, at the last step of the warm-up and at the one after it (quirk Q6).
    Ours (`start_above_zero`) begins at `1 / warmup_steps` and is the same after the warm-up. BYOL counts epochs instead
    of steps, so that its first epoch trains nothing but the statistics of BatchNorm.

    Args:
        step: From 0; the number of the epoch where epochs are counted.
        warmup_steps: Of the warm-up.
        max_steps: Of the run.
    """
    if step < warmup_steps:
        return step / max(warmup_steps - 1, 1)
    return (1 + math.cos(math.pi * (step - warmup_steps) / max(max_steps - warmup_steps, 1))) / 2


def published_factor(step: int, *, steps: int, warmup_steps: int, max_steps: int) -> float:
    """Factor of the rate at an optimizer step, where so many steps are counted as one.

    Args:
        step: Optimizer step, from 0.
        steps: Steps of an epoch where the rate changes by epochs, else 1.
        warmup_steps: Optimizer steps of the warm-up.
        max_steps: Optimizer steps of the run.
    """
    return published_warmup_cosine(step // steps, round(warmup_steps / steps), math.ceil(max_steps / steps))
