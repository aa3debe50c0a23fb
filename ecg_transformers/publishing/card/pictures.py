"""The plots of a card, drawn from `results.json`: scores over the number of training folds and the level of noise."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from ...evaluation.results.entries import label_efficiency_curves, noise_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LABEL_EFFICIENCY", "NOISE_ROBUSTNESS", "copy_pictures", "draw_pictures", "shown_pictures"]

LABEL_EFFICIENCY = "label_efficiency.png"
NOISE_ROBUSTNESS = "noise_robustness.png"
DOTS_PER_INCH = 110


def draw_pictures(folder: str | Path, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws the curves that the results hold.

    Args:
        folder: Folder to write to.
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


def shown_pictures(text: str) -> list[str]:
    """Returns the names of the pictures in the same folder that a Markdown text shows.

    Args:
        text: A card or a template.
    """
    return re.findall(r"!\[[^\]]*\]\(([\w.-]+\.png)\)", text)


def copy_pictures(folder: str | Path, card_folder: str | Path, template: str) -> None:
    """Copies the pictures that a template shows, such as a reconstruction, from the folder of the card.

    Args:
        folder: Folder to write to.
        card_folder: Folder of the template.
        template: Its text.

    Raises:
        CheckpointError: A picture is missing.
    """
    for name in shown_pictures(template):
        source = Path(card_folder) / name
        if not source.is_file():
            raise CheckpointError(f"the card shows {name}, which is not in {card_folder}; put it there.")
        shutil.copyfile(source, Path(folder) / name)


def _save(figure: "Figure", path: Path) -> str:
    # Without the version of the drawing library, so that the same results give the same bytes where they can.
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path.name
