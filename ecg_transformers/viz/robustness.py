"""Figures of a checkpoint against the level of noise, from the entries of `results.json`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SignalError
from ..evaluation.results.entries import noise_curves, noise_level
from .curves import draw_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_noise_robustness"]


def plot_noise_robustness(
    entries: Sequence[Mapping[str, Any]], *, min_positives: int = 1, title: str | None = None
) -> "Figure":
    """One line for each system over the levels of noise, level 0 being the recordings as they are.

    A band shows the 95 % interval over the reported records. Label sets, corpora and reported folds have panels of
    their own. Every training is a system; one that was never scored under noise is left out, one without pretraining is
    dashed.

    Args:
        entries: Of `results.json`; those under noise carry `noise_level`.
        min_positives: Which of the two figures of a system: over all labels (1), or those with so many positives.
        title: Above the panels.

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: No entry was made under noise.

    Example:
        >>> figures = {"low": 0.8, "high": 0.9, "metric": "macro_auroc", "checkpoint": "mae-moco-ecg"}
        >>> entries = [figures | {"value": 0.86}, figures | {"value": 0.84, "noise_level": 1}]
        >>> plot_noise_robustness(entries).axes[0].get_xlabel()
        'level of noise'
    """
    curves = noise_curves([entry for entry in entries if (entry.get("min_positives") or 1) == min_positives])
    if not curves:
        raise SignalError(
            "no entry was made under noise; expected entries with noise_level. Score with --noise_levels 1-6."
        )
    figure = draw_curves(curves, amount=noise_level, title=title or "Noise robustness (band: 95 % interval)")
    for axes, systems in zip(figure.axes, curves, strict=True):
        levels = [noise_level(entry) for system in systems.values() for entry in system]
        ticks = list(range(min(levels), max(levels) + 1))
        axes.set_xticks(ticks, [str(level) if level else "clean" for level in ticks])
        axes.set_xlabel("level of noise")
    return figure
