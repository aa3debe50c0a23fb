"""L-BFGS on many independent problems at once, each with its own history, curvature and step.

The labels of a multi-label probe are separate problems. One L-BFGS over all of them shares ten pairs of history and one
step length among seventy curvatures and needs several times the passes over the data; here each problem takes its own
steps and a pass serves all.
"""

from collections.abc import Callable

import torch

__all__ = ["minimize_many"]

_ARMIJO = 1e-4
_MAX_HALVINGS = 12


@torch.no_grad()
def minimize_many(
    function: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    start: torch.Tensor,
    *,
    max_iterations: int = 100,
    history: int = 8,
    tolerance: float = 1e-5,
) -> torch.Tensor:
    """The minimum of each of several smooth convex functions.

    Args:
        function: `(problems, size)` -> values `(problems,)` and gradients `(problems, size)`.
        start: `(problems, size)`, not changed.
        max_iterations: Steps at most.
        history: Pairs of steps and gradient changes that are kept.
        tolerance: A problem is done when a step lowers its value by less than this, relative to the value.

    Returns:
        `(problems, size)`.
    """
    point = start.clone()
    value, gradient = function(point)
    steps: list[torch.Tensor] = []
    changes: list[torch.Tensor] = []
    running = torch.ones_like(value, dtype=torch.bool)
    for _ in range(max_iterations):
        direction = _direction(gradient, steps, changes) * running[:, None]
        slope = (direction * gradient).sum(dim=1)
        if not steps:
            # Without history the length of the gradient is no guide to a good step.
            direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1.0)
            slope = (direction * gradient).sum(dim=1)
        length = torch.ones_like(value)
        for _ in range(_MAX_HALVINGS):
            trial = point + length[:, None] * direction
            new_value, new_gradient = function(trial)
            failed = ~(new_value <= value + _ARMIJO * length * slope) & running
            if not failed.any():
                break
            length = torch.where(failed, length / 2, length)
        accepted = ~failed & running
        step = torch.where(accepted[:, None], trial - point, 0.0)
        change = torch.where(accepted[:, None], new_gradient - gradient, 0.0)
        point = point + step
        gain = torch.where(accepted, value - new_value, 0.0)
        running = accepted & (gain > tolerance * value.abs())
        value = torch.where(accepted, new_value, value)
        gradient = torch.where(accepted[:, None], new_gradient, gradient)
        steps, changes = [*steps, step][-history:], [*changes, change][-history:]
        if not running.any():
            break
    return point


def _direction(gradient: torch.Tensor, steps: list[torch.Tensor], changes: list[torch.Tensor]) -> torch.Tensor:
    """Minus the inverse Hessian, as the history knows it, times the gradient (two-loop recursion)."""
    direction = -gradient
    used = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (step * change).sum(dim=1)
        # A problem whose pair has no positive curvature (it stood still) skips the pair.
        inverse = torch.where(curvature > 0, 1 / curvature, 0.0)
        share = inverse * (step * direction).sum(dim=1)
        direction = direction - share[:, None] * change
        used.append((step, change, inverse, share))
    if used:
        step, change, inverse, _ = used[0]
        energy = change.square().sum(dim=1)
        scale = torch.where((inverse > 0) & (energy > 0), 1 / (inverse * energy), 1.0)
        direction = direction * scale[:, None]
    for step, change, inverse, share in reversed(used):
        correction = share - inverse * (change * direction).sum(dim=1)
        direction = direction + correction[:, None] * step
    return direction
