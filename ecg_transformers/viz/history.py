"""Loss terms, learning rates and scores over the steps of a training run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SignalError
from .page import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_history"]

TRAINING, VALIDATION = "#1f5fa8", "#d9480f"
# entries of the Trainer about time and size
_BOOKKEEPING = ("runtime", "samples_per_second", "steps_per_second", "total_flos", "epoch", "step", "num_tokens")


def plot_history(
    log_history: Sequence[Mapping[str, Any]],
    *,
    names: Iterable[str] | None = None,
    smooth: int = 1,
    log_scale: bool = False,
    title: str | None = None,
) -> "Figure":
    """Plot each logged quantity over the training steps in its own panel, with training and validation values.

    The loss comes first, then its terms (names that end in `_loss`), then everything else.

    Args:
        log_history: `trainer.state.log_history`, or the same list from `trainer_state.json`.
        names: Quantities to draw, without `eval_`. Default: all.
        smooth: Number of logged training values in a moving mean, drawn over the raw values. Default: 1.
        log_scale: Whether losses have logarithmic axes. Default: False.
        title: Title. Default: "Training history".

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: If the history has nothing to draw, or a name is not in it.

    Example:
        >>> figure = plot_history([{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5, "contrastive_loss": 1.0}])
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'contrastive loss']
    """
    if smooth < 1:
        raise SignalError(f"smooth is {smooth}; expected at least 1 value.")
    curves = _curves(log_history)
    known = {name.removeprefix("eval_") for name in curves}
    wanted = sorted(known, key=_place) if names is None else list(names)
    if absent := [name for name in wanted if name not in known]:
        raise SignalError(f"the history has no {', '.join(absent)}; it has {', '.join(sorted(known, key=_place))}.")
    if not wanted:
        raise SignalError(
            "the history holds no numbers over steps; pass trainer.state.log_history of a run that logged."
        )
    columns = min(3, len(wanted))
    rows = -(-len(wanted) // columns)
    figure = new_figure(figsize=(4.2 * columns + 0.4, 2.7 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for index, (axes, name) in enumerate(zip(panels, wanted, strict=False)):
        _draw_panel(axes, curves, name, smooth=smooth, log_scale=log_scale and name.endswith("loss"))
        # without a panel below, this one has the tick labels of the shared axis
        if index + columns >= len(wanted):
            axes.set_xlabel("training step")
            axes.tick_params(labelbottom=True)
    for axes in panels[len(wanted) :]:
        axes.remove()
    figure.suptitle(title or "Training history", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _curves(log_history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values of each logged number that belongs to a step."""
    points: dict[str, dict[float, float]] = {}
    for entry in log_history:
        # the last entry of a run is the mean loss over all steps, not a point of a curve
        if "step" not in entry or "train_runtime" in entry:
            continue
        for name, value in entry.items():
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if number and not name.removeprefix("eval_").endswith(_BOOKKEEPING):
                # a resumed run may have logged a step twice: the later value counts
                points.setdefault(name, {})[float(entry["step"])] = float(value)
    return {
        name: (np.array(sorted(values)), np.array([values[step] for step in sorted(values)]))
        for name, values in points.items()
    }


def _draw_panel(
    axes: "Axes", curves: dict[str, tuple[np.ndarray, np.ndarray]], name: str, *, smooth: int, log_scale: bool
) -> None:
    if name in curves:
        steps, values = curves[name]
        style: dict[str, Any] = {"color": TRAINING, "marker": "o" if values.size < 3 else None, "markersize": 3}
        # a schedule has no noise
        if smooth > 1 and values.size > smooth and name.endswith(("loss", "grad_norm")):
            axes.plot(steps, values, color=TRAINING, linewidth=0.8, alpha=0.3)
            mean = np.convolve(values, np.full(smooth, 1.0 / smooth), mode="valid")
            axes.plot(steps[smooth - 1 :], mean, label=f"training (mean of {smooth})", linewidth=1.4, **style)
        else:
            axes.plot(steps, values, label="training", linewidth=1.2, **style)
    if f"eval_{name}" in curves:
        steps, values = curves[f"eval_{name}"]
        axes.plot(steps, values, label="validation", color=VALIDATION, linewidth=1.4, marker="o", markersize=3)
        best = np.nanargmin(values) if name.endswith("loss") and np.isfinite(values).any() else None
        if best is not None:
            axes.annotate(
                f"{values[best]:.4g}",
                (steps[best], values[best]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=VALIDATION,
            )
    axes.set_ylabel(name.replace("_", " "))
    if log_scale:
        axes.set_yscale("log")
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _place(name: str) -> tuple[int, str]:
    """Sorting key: the loss, its terms, scores, then rates."""
    if name == "loss":
        return 0, name
    if name.endswith("_loss"):
        return 1, name
    return (3, name) if name in ("learning_rate", "grad_norm") else (2, name)
