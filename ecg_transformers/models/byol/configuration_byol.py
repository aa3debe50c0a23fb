"""Configuration of BYOL."""

from typing import Any

from huggingface_hub.dataclasses import strict

from ...errors import CheckpointError
from ..simclr.configuration_simclr import RecordViewsConfig

__all__ = ["ByolConfig"]


@strict
class ByolConfig(RecordViewsConfig):
    """Configuration of BYOL on any registered encoder; the default backbone is the published xresnet1d50.

    The fields that it shares with SimCLR and SwAV are described in `RecordViewsConfig`.

    Args:
        predictor_hidden_size (`int`, default 512, published): Hidden width of the predictor.
        momentum (`float`, default 0.996, published): EMA rate of the momentum encoder; its cosine schedule to 1 is set
            with `schedules`.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
        SignalError: A view is unknown.
    """

    model_type = "byol"

    predictor_hidden_size: int = 512
    momentum: float | int = 0.996

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if not 0 <= self.momentum <= 1:
            raise CheckpointError(f"momentum is {self.momentum}; expected a number from 0 to 1.")
