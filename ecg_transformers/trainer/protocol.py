"""What the Trainer asks of a pretraining model: the seam between an architecture and everything in this folder."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn
from transformers.utils import ModelOutput

__all__ = ["PretrainingModel"]


class PretrainingModel(Protocol):
    """Every `XForPreTraining` of the package, beyond what a `PreTrainedModel` has.

    Attributes:
        loss_weights: Name of a loss term to its weight; may be changed at any time. The output has a field for each.
        shared_draws: Names in the result of `draw` that every process gets whole; the others have the batch first.
        encoder: The part that is kept for downstream use.
    """

    config: Any
    main_input_name: str
    training: bool
    loss_weights: dict[str, float]
    shared_draws: tuple[str, ...]

    @property
    def encoder(self) -> Any:
        """The part that is kept for downstream use."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def draw(
        self, batch_size: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw everything random of one step, for the combined batch of all processes."""

    def apply_draws(
        self, input_values: torch.Tensor, draws: dict[str, torch.Tensor], attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Turn a process's share of the draws into keywords of `forward`."""

    def momentum_update(self, momentum: float | None = None) -> None:
        """Move the momentum twin, if there is one."""

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write weights and config."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters."""

    def buffers(self) -> Iterator[torch.Tensor]:
        """All buffers."""

    def train(self, mode: bool = True) -> Any:
        """Set the training mode."""

    def __call__(self, **inputs: Any) -> ModelOutput:
        """Compute the loss and its terms."""
