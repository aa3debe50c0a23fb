"""What the pretraining of SimCLR, BYOL and SwAV shares: the views of a record, and vectors of their projections."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from ...augmentations.recipes import RecordViews
from ...augmentations.row_generator import RowGenerator
from ...errors import CheckpointError, SignalError
from ...modeling import EcgModelOutput
from .configuration_simclr import RecordViewsConfig
from .modeling_simclr import RecordViewsPreTrainedModel

__all__ = ["RecordViewsForPreTraining", "batch_norm_head"]


def batch_norm_head(inputs: int, hidden: int, outputs: int, *, first_bias: bool = False) -> nn.Sequential:
    """The projection and prediction heads of BYOL and SwAV: Linear, BatchNorm, ReLU, Linear.

    Args:
        inputs: Width of the input.
        hidden: Width of the hidden layer.
        outputs: Width of the output.
        first_bias: Whether the first linear layer has a bias, which the BatchNorm takes away.
    """
    first = nn.Linear(inputs, hidden, bias=first_bias)
    return nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class RecordViewsForPreTraining(RecordViewsPreTrainedModel):
    """Base of a pretraining model whose views are cut out of its input and changed by a recipe.

    Subclasses set `views` to `config.record_views()` before `post_init`.
    """

    config: RecordViewsConfig
    views: RecordViews

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # The public code leaves the heads at torch's own start.
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.in_features)
                init.uniform_(module.bias, -bound, bound)

    @property
    def encoder(self) -> Any:
        """The part that is kept for downstream use."""
        return self.base_model

    def resize_window(self, window_size: int) -> None:
        """Adapt the backbone, every momentum encoder and the views to windows of another length.

        Args:
            window_size: New length in samples.

        Raises:
            CheckpointError: The backbone cannot be adapted.
        """
        super().resize_window(window_size)
        self.views = self.config.record_views()

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw the views of each record.

        Args:
            generator: Source of the numbers, one stream per record.

        Returns:
            Draws, batch first, views second.
        """
        config = self.config
        return self.views.draw(generator, config.num_leads, config.source_window_size or config.window_size)

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into the keyword `views` of `forward`.

        Args:
            inputs: The batch; `input_values` is used.
            draws: From `draw`.

        Raises:
            SignalError: The input has another length than in the config.
        """
        values = inputs["input_values"]
        wanted = self.config.source_window_size or self.config.window_size
        if values.shape[-1] != wanted:
            raise SignalError(
                f"{type(self).__name__} got input_values of shape {tuple(values.shape)}; expected {wanted} samples "
                "(source_window_size, or window_size without one), out of which it cuts its views."
            )
        return {"views": self.views.apply(values, dict(draws))}

    def _given_or_drawn(
        self, input_values: torch.Tensor, views: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The views `(batch, views, leads, samples)`, drawn from torch's global generator where none are given.

        Raises:
            SignalError: The attention mask hides samples: padding would be warped and cut like signal.
        """
        if attention_mask is not None and not bool(attention_mask.all()):
            raise SignalError(
                f"{type(self).__name__} got an attention_mask that hides samples; views are made of whole windows. "
                "Leave recordings out that are shorter than the window, or set a smaller window_size."
            )
        if views is None:
            draws = self.draw(RowGenerator(len(input_values), device=input_values.device))
            views = self.apply_draws({"input_values": input_values}, draws)["views"]
        return views

    def _encode(self, view: torch.Tensor, **inputs: Any) -> EcgModelOutput:
        """Encode one view of each record, in a pass of its own (BatchNorm statistics per view).

        Raises:
            CheckpointError: The backbone has no pooled output.
        """
        encoded = self.encoder(view, return_dict=True, **inputs)
        if encoded.pooler_output is None:
            backbone: Any = self.config.backbone_config
            raise CheckpointError(
                f"The backbone {backbone.model_type!r} returns no pooler_output, which the "
                "projection head takes. Use an encoder that pools its tokens."
            )
        return encoded
