"""The plots of a card, drawn from `results.json`: scores over the number of training folds and the level of noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evaluation.results.entries import label_efficiency_curves, noise_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LABEL_EFFICIENCY", "NOISE_ROBUSTNESS", "draw_pictures"]

LABEL_EFFICIENCY = "label_efficiency.png"
NOISE_ROBUSTNESS = "noise_robustness.png"
DOTS_PER_INCH = 110


def draw_pictures(folder: str | Path, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws the curves that the results hold.

    Args:
        folder: Where to.
        results: Entries of `results.json`.

    Returns:
        Names of the written files.
    """
    written = []
    if label_efficiency_curves(results):
        from ...viz import plot_label_efficiency

        written.append(_save(plot_label_efficiency(results), Path(folder) / LABEL_EFFICIENCY))
    if noise_curves(results):
        from ...viz import plot_noise_robustness

        written.append(_save(plot_noise_robustness(results), Path(folder) / NOISE_ROBUSTNESS))
    return written


def _save(figure: "Figure", path: Path) -> str:
    # Without the version of the drawing library, so that the same results give the same bytes where they can.
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path.name
