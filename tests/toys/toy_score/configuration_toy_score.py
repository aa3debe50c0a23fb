"""Configuration of the toy score."""

from huggingface_hub.dataclasses import strict

from ecg_transformers.configuration import EcgConfig


@strict
class ToyScoreConfig(EcgConfig):
    """Windows of one second at 100 Hz."""

    model_type = "toy_score"

    sampling_rate: int | float = 100
    window_size: int = 100
    hidden_size: int = 4
