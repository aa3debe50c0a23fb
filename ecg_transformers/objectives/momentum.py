"""Momentum encoders: the exponential moving average of a network's weights (He et al. 2020, equation 2)."""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from .progress import Progress

__all__ = ["MomentumEncoderMixin", "copy_and_freeze", "ema_update"]


@torch.no_grad()
def ema_update(average: nn.Module, online: nn.Module, momentum: float, *, names: str = "") -> None:
    """`average = momentum * average + (1 - momentum) * online`, over parameters only.

    Running statistics of BatchNorm are not averaged: the momentum encoder collects its own in its own forward passes.

    Args:
        average: The momentum encoder, changed in place.
        online: The trained network, of the same structure.
        momentum: Share of the old weights, 0 to 1.
        names: Only parameters whose names contain this text.
    """
    for (name, mean), parameter in zip(average.named_parameters(), online.parameters(), strict=True):
        if names in name:
            mean.lerp_(parameter.to(mean.dtype), 1.0 - momentum)


def copy_and_freeze(average: nn.Module, online: nn.Module) -> None:
    """Copy the online network into a momentum encoder and freeze it; tensors that came from a checkpoint stay.

    To be called from `_init_weights` of the model that owns both, after its children are initialized.

    Args:
        average: The momentum encoder.
        online: The trained network, of the same structure.
    """
    for mean, parameter in zip(average.parameters(), online.parameters(), strict=True):
        init.copy_(mean, parameter)
        mean.requires_grad_(False)
    for own, buffer in zip(average.buffers(), online.buffers(), strict=True):
        init.copy_(own, buffer)


class MomentumEncoderMixin(nn.Module):
    """Start and movement of the momentum encoder of a pretraining model; precedes its `PreTrainedModel` base.

    Such a model sets `momentum`, holds the submodule `momentum_encoder`, and names in `momentum_parts` which submodule
    follows which (none: a model that was built without its contrastive task). A follower is a network of the same
    structure; the encoder's is a trivial subclass of its class, so that it is never taken for the base model.

    The momentum encoder moves once per optimizer step, also with gradient accumulation: N accumulated moves would act
    as `momentum**N`. `PretrainingTrainer` sees to that by the hooks `before_step` and `after_step`; in any other loop
    `encode_momentum` moves it in training mode, which is right as long as every forward pass is followed by an
    optimizer step.

    Args:
        config: Configuration of the model.

    Attributes:
        momentum: EMA rate; may be set at any time, e.g. by a schedule.
        momentum_parts: Name of each follower to the name of what it follows.
        momentum_names: Text that the names of the parameters that move contain; empty: all move.
        moves_after_step: Whether the momentum encoder moves right after the optimizer (BYOL) instead of before the next
            step's first micro-batch (MoCo).
    """

    momentum: float
    momentum_encoder: nn.Module
    momentum_parts: dict[str, str]
    momentum_names: str = ""
    moves_after_step: bool = False
    start_marker: torch.Tensor

    def __init__(self, config: Any):
        super().__init__(config)
        # Never in a checkpoint: makes sure that _init_weights runs for this module, whatever was loaded.
        self.register_buffer("start_marker", torch.zeros(()), persistent=False)
        self.momentum_parts = {}
        self._moves_in_forward = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]  # of PreTrainedModel
        if module is self:
            init.zeros_(self.start_marker)
            for average, online in self.momentum_parts.items():
                copy_and_freeze(self.get_submodule(average), self.get_submodule(online))

    def before_step(self, progress: Progress) -> None:
        """Move the momentum encoder before the first micro-batch, unless it moves after the step.

        Args:
            progress: Position in the run; not used.
        """
        self._moves_in_forward = False
        if not self.moves_after_step:
            self.momentum_update()

    def after_step(self, progress: Progress) -> None:
        """Move the momentum encoder if it moves after the step; leave the next move to whoever runs the next step.

        Args:
            progress: Position in the run; not used.
        """
        self._moves_in_forward = True
        if self.moves_after_step:
            self.momentum_update()

    def momentum_update(self, momentum: float | None = None) -> None:
        """Move every follower towards its online network.

        Args:
            momentum: Share of the old weights. Default: the attribute `momentum`.
        """
        for average, online in self.momentum_parts.items():
            rate = self.momentum if momentum is None else momentum
            followed = self.get_submodule(online)
            ema_update(self.get_submodule(average), followed, rate, names=self.momentum_names)

    @torch.no_grad()
    def encode_momentum(self, *views: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
        """Pooled output of the momentum encoder for each view, in a pass of its own (BatchNorm statistics per view).

        Args:
            *views: `(batch, leads, samples)` each.
            **inputs: Masks of the encoder's `forward`.

        Returns:
            `(batch, pooled_size)` for each view.
        """
        if self.training and self._moves_in_forward:
            self.momentum_update()
        return [self.momentum_encoder(view, **inputs, return_dict=True).pooler_output for view in views]
