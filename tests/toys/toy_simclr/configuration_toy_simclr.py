"""Configuration of the toy SimCLR."""

from huggingface_hub.dataclasses import strict

from ecg_transformers.backbone import EcgBackboneConfig


@strict
class ToySimclrConfig(EcgBackboneConfig):
    """SimCLR over any registered encoder.

    Args:
        projection_size: Output width of the projection head.
        temperature: Temperature of the contrastive loss.
        noise: Standard deviation of the noise of a view.
    """

    model_type = "toy_simclr"

    projection_size: int = 8
    temperature: float | int = 0.5
    noise: float | int = 0.3
