"""The pictures of a card, drawn from the same entries as its tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .curves import label_efficiency_section, noise_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LABEL_EFFICIENCY", "NOISE_ROBUSTNESS", "draw_pictures"]

LABEL_EFFICIENCY = "label_efficiency.png"
NOISE_ROBUSTNESS = "noise_robustness.png"
DOTS_PER_INCH = 110


def draw_pictures(folder: str | Path, results: Sequence[Mapping]) -> list[str]:
    """Draws what the results hold: systems over the number of training folds, and over the level of noise.

    Args:
        folder: Where to.
        results: Entries of `results.json`.

    Returns:
        Names of the files that were written.
    """
    written = []
    if label_efficiency_section(results):
        from ...viz import plot_label_efficiency

        written.append(_save(plot_label_efficiency(results), Path(folder) / LABEL_EFFICIENCY))
    if noise_section(results):
        from ...viz import plot_noise_robustness

        written.append(_save(plot_noise_robustness(results), Path(folder) / NOISE_ROBUSTNESS))
    return written


def _save(figure: "Figure", path: Path) -> str:
    # Without the version of the drawing library, so that the same results give the same bytes where they can.
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path.name
