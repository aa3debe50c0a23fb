"""Configuration of the toy autoencoder."""

from huggingface_hub.dataclasses import strict

from ecg_transformers.configuration import EcgConfig


@strict
class ToyAutoencoderConfig(EcgConfig):
    """Convolutional layers of one width.

    Args:
        num_hidden_layers: Number of layers.
        noise: Standard deviation of the noise that is removed.
        adversarial_weight: Weight of a discriminator's verdict on what was rebuilt; 0: none, and no discriminator.
    """

    model_type = "toy_autoencoder"

    sampling_rate: int | float = 50
    window_size: int = 100
    hidden_size: int = 8
    num_hidden_layers: int = 2
    noise: float | int = 0.5
    adversarial_weight: float | int = 0
