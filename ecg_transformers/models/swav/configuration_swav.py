"""Configuration of SwAV."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from ...errors import CheckpointError
from ..simclr.configuration_simclr import RecordViewsConfig

__all__ = ["SwavConfig"]


@strict
class SwavConfig(RecordViewsConfig):
    """Configuration of SwAV on any registered encoder; the default backbone is the published xresnet1d50.

    The fields that it shares with SimCLR and BYOL are described in `RecordViewsConfig`; a crop is a view.

    Args:
        projector_hidden_size (`int`, default 2048, published): Hidden width of the projection head.
        projection_size (`int`, default 128, published): Output width of the projection head.
        temperature (`float`, default 0.1, published): Temperature of the predicted assignments.
        num_prototypes (`int`, default 3000, published): Number of prototypes.
        num_crops (`int`, default 6, published): Views of a record, all of one length; the first two assign codes.
        sinkhorn_epsilon (`float`, default 0.05, published): Smoothness of the codes.
        sinkhorn_iterations (`int`, default 3, published): Iterations of Sinkhorn.
        queue_size (`int`, default 32768, published as 8 batches of 4,096): Embeddings of earlier steps with which the
            codes are balanced, once there are so many; 0 = none.
        queue_start_epoch (`float`, default 15, published): Epoch from which embeddings enter the queue.
        freeze_prototypes_epochs (`float`, default 1, published): Epochs in which the prototypes are not trained.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
        SignalError: A view is unknown.
    """

    model_type = "swav"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"queue_size"})

    projector_hidden_size: int = 2048
    projection_size: int = 128
    temperature: float | int = 0.1
    num_prototypes: int = 3000
    num_crops: int = 6
    sinkhorn_epsilon: float | int = 0.05
    sinkhorn_iterations: int = 3
    queue_size: int = 32768
    queue_start_epoch: float | int = 15
    freeze_prototypes_epochs: float | int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("temperature", "sinkhorn_epsilon"):
            if not getattr(self, name) > 0:
                raise CheckpointError(f"{name} is {getattr(self, name)}; expected a positive number.")
        for name, least in (("num_crops", 2), ("sinkhorn_iterations", 1)):
            if getattr(self, name) < least:
                raise CheckpointError(f"{name} is {getattr(self, name)}; expected at least {least}.")

    @property
    def num_views(self) -> int:  # type: ignore[override]
        """Number of views of a record."""
        return self.num_crops
