"""Configuration of CPC."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["CpcConfig"]

# Kernel sizes and strides of the published encoders.
_ENCODERS = {
    "fully_connected": ((1, 1, 1, 1), (1, 1, 1, 1)),
    "convolutional": ((10, 4, 4, 4), (2, 2, 2, 2)),
}


@strict
class CpcConfig(EcgConfig):
    """Configuration of CPC; the defaults are the published network with four fully connected layers and its head.

    Shared fields (leads, rate, window, labels, head) are described in `EcgConfig` and `EcgBaseConfig`. "Published" is
    ecg-selfsupervised (Mehari & Strodthoff 2022).

    Args:
        encoder_sizes (`list[int]`, default `[512, 512, 512, 512]`, published): Channels of the encoder's layers.
        encoder_kernel_sizes (`list[int]`, default `[1, 1, 1, 1]`, published): Kernel sizes of the convolutions in
            samples; 1 maps each sample for itself.
        encoder_strides (`list[int]`, default `[1, 1, 1, 1]`, published): Strides of the convolutions; their product
            is the number of samples per token.
        encoder_batch_norm (`bool`, default `True`, published): BatchNorm after each convolution, which then has no
            bias.
        context (`str`, default `"lstm"`, published): Recurrent layers over the latents: `"lstm"` or `"gru"`.
        hidden_size (`int`, default 512, published): Width of the recurrent layers and of the tokens.
        num_hidden_layers (`int`, default 2, published): Number of recurrent layers.
        projection (`str`, default `"linear"`, published): Map from a state to the prediction of a latent: `"linear"`
            without bias, or `"mlp"` with one hidden layer.
        offsets (`list[int]`, default `[12]`, published): Steps ahead that are predicted, each with a projection of its
            own.
        num_negatives (`int`, default 128, published): Latents among which the predicted one is to be identified.
        negatives (`str`, default `"record"`, published): Where they are from: the same `"record"`, or any record of the
            `"batch"`.
        loss_reduction (`str`, default `"mean"`, ours): Over the positions of a record; published: `"sum"` (quirk Q11).

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "cpc"

    sampling_rate: int | float = 100
    window_size: int = 1000
    head_hidden_sizes: list[int] | tuple[int, ...] = (512,)
    head_dropout: float | int = 0.5
    head_batch_norm: bool = True
    encoder_sizes: list[int] | tuple[int, ...] = (512, 512, 512, 512)
    encoder_kernel_sizes: list[int] | tuple[int, ...] = (1, 1, 1, 1)
    encoder_strides: list[int] | tuple[int, ...] = (1, 1, 1, 1)
    encoder_batch_norm: bool = True
    context: Literal["lstm", "gru"] = "lstm"
    hidden_size: int = 512
    num_hidden_layers: int = 2
    projection: Literal["linear", "mlp"] = "linear"
    offsets: list[int] | tuple[int, ...] = (12,)
    num_negatives: int = 128
    negatives: Literal["record", "batch"] = "record"
    loss_reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        names = ("encoder_sizes", "encoder_kernel_sizes", "encoder_strides")
        for name in (*names, "offsets"):
            values = list(getattr(self, name))
            setattr(self, name, values)
            if not values or not all(0 < value <= 100_000 for value in values):
                raise CheckpointError(f"{name} is {values}; expected one or more positive numbers up to 100,000.")
        if len({len(getattr(self, name)) for name in names}) > 1:
            raise CheckpointError(
                f"{', '.join(f'{name} has {len(getattr(self, name))}' for name in names)} entries; expected one of "
                "each per layer."
            )
        if len(set(self.offsets)) < len(self.offsets):
            raise CheckpointError(f"offsets is {self.offsets}; expected each number once.")

    @classmethod
    def of_encoder(cls, kind: str, **fields: Any) -> "CpcConfig":
        """Return the configuration of a published encoder.

        Args:
            kind: `"fully_connected"` (one token per sample) or `"convolutional"` (one per 16 samples).
            **fields: Further config fields.

        Raises:
            CheckpointError: Another kind.

        Example:
            >>> CpcConfig.of_encoder("convolutional").encoder_kernel_sizes
            [10, 4, 4, 4]
        """
        if kind not in _ENCODERS:
            raise CheckpointError(f"encoder is {kind!r}; expected one of {', '.join(_ENCODERS)}.")
        kernel_sizes, strides = _ENCODERS[kind]
        return cls(encoder_kernel_sizes=kernel_sizes, encoder_strides=strides, **fields)

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: mean, maximum and last token, concatenated."""
        return 3 * self.hidden_size
