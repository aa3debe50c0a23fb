"""Noise robustness: scores over the level of noise, from the entries of `results.json`."""

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
    """Plot the score of each system over the level of noise; level 0 is the original recordings.

    A band shows the 95 % interval over the evaluated records. Label sets, corpora and evaluated folds have separate
    panels. Each training run is a system; those without scores under noise are omitted, those without pretraining are
    dashed.

    Args:
        entries: Entries of `results.json`; those under noise have `noise_level`.
        min_positives: Minimum number of positives of the labels in the score. Default: 1 (all labels).
        title: Title. Default: "Noise robustness".

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: If no entry was evaluated under noise.

    Example:
        >>> scores = {"low": 0.8, "high": 0.9, "metric": "macro_auroc", "checkpoint": "mae-moco-ecg"}
        >>> entries = [scores | {"value": 0.86}, scores | {"value": 0.84, "noise_level": 1}]
        >>> plot_noise_robustness(entries).axes[0].get_xlabel()
        'noise level'
    """
    curves = noise_curves([entry for entry in entries if (entry.get("min_positives") or 1) == min_positives])
    if not curves:
        raise SignalError(
            "no entry was evaluated under noise; expected entries with noise_level. Score with --noise_levels 1-6."
        )
    figure = draw_curves(curves, amount=noise_level, title=title or "Noise robustness (band: 95 % interval)")
    for axes, systems in zip(figure.axes, curves, strict=True):
        levels = [noise_level(entry) for system in systems.values() for entry in system]
        ticks = list(range(min(levels), max(levels) + 1))
        axes.set_xticks(ticks, [str(level) if level else "clean" for level in ticks])
        axes.set_xlabel("noise level")
    return figure
