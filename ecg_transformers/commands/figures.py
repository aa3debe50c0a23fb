"""Figures that a pretraining run leaves in its folder: the loss terms over the steps, and one reconstruction."""

from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ..augmentations.row_generator import RowGenerator
from ..trainer.data import WindowDataset
from ..trainer.draws import step_seed
from ..trainer.protocol import PretrainingModel

__all__ = ["draw_figures", "reconstruct_millivolts"]

logger = logging.get_logger(__name__)


def draw_figures(
    folder: str | Path,
    model: PretrainingModel,
    extractor,
    data: WindowDataset,
    log_history: list[dict[str, Any]],
    *,
    seed: int = 0,
) -> list[Path]:
    """Draw `loss.png` and, for a model that reconstructs, `reconstruction.png`.

    Args:
        folder: Output folder of the run.
        model: The unwrapped pretraining model.
        extractor: Its feature extractor.
        data: Where the reconstructed record is taken from (its first one).
        log_history: `trainer.state.log_history`.
        seed: Seed of the mask.

    Returns:
        The files that were written.
    """
    from ..viz import plot_history, plot_reconstruction

    written = []
    if any("loss" in entry for entry in log_history):
        written.append(_save(plot_history(log_history), Path(folder) / "loss.png"))
    window = reconstruct_millivolts(model, extractor, data, 0, seed=seed)
    if window is not None:
        figure = plot_reconstruction(
            data.corpus[0], *window, sampling_rate=extractor.sampling_rate, lead_names=extractor.lead_names
        )
        written.append(_save(figure, Path(folder) / "reconstruction.png"))
    return written


def _save(figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    import matplotlib.pyplot

    matplotlib.pyplot.close(figure)
    return path


@torch.no_grad()
def reconstruct_millivolts(
    model: PretrainingModel, extractor, data: WindowDataset, index: int, *, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Let the model fill in the removed patches of one record.

    Returns:
        Window and reconstruction in mV `(leads, samples)` and `patch_mask (patches,)`, 1 = removed; None for a model
        that does not reconstruct patches.
    """
    batch = {name: value.to(model.device) for name, value in data.__getitems__([index]).items()}
    values = batch[model.main_input_name]
    generator = RowGenerator(len(values), seed=step_seed(seed, 0, stream="evaluate"), device=values.device)
    was_training = model.training
    model.train(False)
    outputs = model(**{**batch, **model.apply_draws(batch, model.draw(generator))})
    model.train(was_training)
    if outputs.get("reconstruction") is None:
        return None
    rebuilt = extractor.unpatchify(outputs["reconstruction"].float().cpu())[0]
    original = data.millivolts([index])[0].float().cpu()
    return original, _undo_normalization(rebuilt, values[0].float().cpu(), original), outputs["patch_mask"][0].cpu()


def _undo_normalization(rebuilt: torch.Tensor, normalized: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Map normalized values back to mV, lead by lead, by the line that the normalization was."""
    center, middle = normalized.mean(dim=-1, keepdim=True), original.mean(dim=-1, keepdim=True)
    spread = (normalized - center).square().sum(dim=-1, keepdim=True)
    together = ((normalized - center) * (original - middle)).sum(dim=-1, keepdim=True)
    # A flat lead has no spread: its reconstruction is drawn at its level.
    slope = torch.where(spread > 0, together / spread.clamp_min(torch.finfo(spread.dtype).tiny), 0.0)
    return middle + (rebuilt - center) * slope
