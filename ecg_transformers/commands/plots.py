"""Plots in the folder of a pretraining run: the losses over the steps, and what the model itself offers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils import logging

from ..augmentations.row_generator import RowGenerator
from ..files import replace_file
from ..trainer.data import WindowDataset
from ..trainer.draws import step_seed
from ..trainer.protocol import Example, PretrainingModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_plots"]

logger = logging.get_logger(__name__)


def draw_plots(
    folder: str | Path,
    model: PretrainingModel,
    data: WindowDataset,
    log_history: list[dict[str, Any]],
    *,
    seed: int = 0,
) -> list[Path]:
    """Draw `loss.png` and the `figures` of the model; a plot that fails is reported and ends nothing.

    Args:
        folder: Output folder of the run.
        model: The unwrapped pretraining model.
        data: Where the example of the model's plots is taken from (its first record).
        log_history: `trainer.state.log_history`.
        seed: Seed of the example's masks and views.

    Returns:
        The files that were written.
    """
    from .. import viz

    def history() -> dict[str, "Figure"]:
        logged = any("loss" in entry for entry in log_history)
        return {"loss": viz.plot_history(log_history)} if logged else {}

    def of_model() -> dict[str, "Figure"]:
        figures = getattr(model, "figures", None)
        return {} if figures is None else figures(*_example(model, data, seed), viz)

    return [path for draw in (history, of_model) for path in _written(Path(folder), draw)]


def _written(folder: Path, draw: Callable[[], dict[str, "Figure"]]) -> list[Path]:
    import matplotlib.pyplot

    written = []
    try:
        for name, figure in draw().items():
            with replace_file(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=110)
            matplotlib.pyplot.close(figure)
            written.append(folder / f"{name}.png")
    except Exception as error:
        # Whatever a plot stumbles over, the trained model and its record are worth more.
        logger.warning(f"a plot of the run could not be drawn: {type(error).__name__}: {error}")
    return written


@torch.no_grad()
def _example(model: PretrainingModel, data: WindowDataset, seed: int) -> tuple[Any, Example]:
    """Outputs of the model in evaluation mode for the first record, and the record."""
    batch = {name: value.to(model.device) for name, value in data.__getitems__([0]).items()}
    generator = RowGenerator(1, seed=step_seed(seed, 0, stream="evaluate"), device=model.device)
    was_training = model.training
    model.train(False)
    outputs = model(**{**batch, **model.apply_draws(batch, model.draw(generator))})
    model.train(was_training)
    signal = data.millivolts([0])[0].float().cpu()
    return outputs, Example(data.corpus[0], batch, signal, data.extractor)
