"""BeatGAN: a convolutional autoencoder of single beats; the score of a beat is the error of its reconstruction.

Source: Zhou, Liu, Hooi, Cheng, Ye 2019 ("BeatGAN: Anomalous Rhythm Detection using Adversarially Generated Time
Series", IJCAI) and its public code hi-bingo/BeatGAN. See `docs/systems/beatgan.md`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import CheckpointError, SignalError
from ...layers.token_reductions import masked_mean
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_beatgan import BeatganConfig

__all__ = [
    "BeatganAnomalyOutput",
    "BeatganForAnomalyDetection",
    "BeatganForSequenceClassification",
    "BeatganGenerator",
    "BeatganModel",
    "BeatganPreTrainedModel",
    "Generated",
]

# Published: kernel, stride and padding of all convolutions but those at the latent vector.
_KERNEL, _STRIDE, _PADDING = 4, 2, 1
_NEGATIVE_SLOPE = 0.2

# Name in `score_statistics` to quantile.
_QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "q999": 0.999}

# Beats per pass of `calibrate`: larger batches are slower per beat on a CPU (cache).
_BATCH = 64


class BeatganNorm(nn.BatchNorm1d):
    """BatchNorm of the networks; unlike that of a head it starts with random scales."""


class BeatganStage(nn.Module):
    """Convolution of stride 2, BatchNorm, LeakyReLU: `(batch, inputs, samples)` to `(batch, outputs, samples / 2)`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, _KERNEL, _STRIDE, _PADDING, bias=False)
        self.norm = BeatganNorm(outputs)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Halve the number of samples."""
        return functional.leaky_relu(self.norm(self.conv(signal)), _NEGATIVE_SLOPE)


class BeatganFeatures(nn.Module):
    """Convolutions of stride 2 from a beat to time steps, in encoder and discriminator.

    Args:
        num_leads: Leads of the beat.
        sizes: Channels after the first convolution, which has no BatchNorm, and after each stage.
    """

    def __init__(self, num_leads: int, sizes: list[int]):
        super().__init__()
        self.embed = nn.Conv1d(num_leads, sizes[0], _KERNEL, _STRIDE, _PADDING, bias=False)
        self.stages = nn.ModuleList(map(BeatganStage, sizes[:-1], sizes[1:]))

    def forward(self, signal: torch.Tensor, last_stage: int | None = None) -> tuple[torch.Tensor, ...]:
        """Return the output of the first convolution and of each stage, `(batch, steps, channels)` each.

        Args:
            signal: `(batch, leads, samples)`.
            last_stage: Last stage to run; all by default.
        """
        states = [functional.leaky_relu(self.embed(signal), _NEGATIVE_SLOPE).transpose(1, 2)]
        for stage in islice(self.stages, last_stage):
            states.append(stage(states[-1].transpose(1, 2)).transpose(1, 2))
        return tuple(states)


class BeatganDecoder(nn.Module):
    """Transposed convolutions from the latent vector `(batch, latent_size)` to a beat `(batch, leads, samples)`."""

    def __init__(self, config: BeatganConfig):
        super().__init__()
        sizes = config.stage_sizes[::-1]
        self.convs = nn.ModuleList([nn.ConvTranspose1d(config.latent_size, sizes[0], config.num_tokens, bias=False)])
        self.convs.extend(
            nn.ConvTranspose1d(inputs, outputs, _KERNEL, _STRIDE, _PADDING, bias=False)
            for inputs, outputs in zip(sizes, [*sizes[1:], config.num_leads], strict=True)
        )
        self.norms = nn.ModuleList(map(BeatganNorm, sizes))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Reconstruct beats, with values from -1 to 1."""
        signal = latent[:, :, None]
        for conv, norm in zip(self.convs, self.norms, strict=False):
            signal = functional.relu(norm(conv(signal)))
        return self.convs[-1](signal).tanh()


class BeatganPreTrainedModel(EcgPreTrainedModel):
    """Base of the BeatGAN family: published initialization; beats of one length."""

    config: BeatganConfig
    config_class: type[BeatganConfig] = BeatganConfig
    base_model_prefix = "beatgan"
    # A recomputed forward pass would update the BatchNorm statistics twice.
    supports_gradient_checkpointing = False
    _no_split_modules = ["BeatganStage"]
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(decoder|discriminator|projector|latent_adapter)\.",
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            init.xavier_normal_(module.weight)
        elif isinstance(module, BeatganNorm):
            init.normal_(module.weight, 1.0, 0.02)
        elif isinstance(module, nn.Linear):
            # Of heads: weights as in torch.
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                init.zeros_(module.bias)


class BeatganModel(Encoder, BeatganPreTrainedModel):
    """Encoder of BeatGAN: convolutions of stride 2, and one over all that is left, to the latent vector.

    Tokens are the time steps of the last stage, `last_hidden_state (batch, 10, 512)` for beats of 320 samples;
    `pooler_output (batch, latent_size)` is the latent vector. Layer 0 is the first convolution, layer k stage k; inner
    layers are pooled by the mean over time.

    Args:
        config: The configuration.
    """

    def __init__(self, config: BeatganConfig):
        super().__init__(config)
        self.features = BeatganFeatures(config.num_leads, config.stage_sizes)
        self.latent = None
        if config.latent_size:
            self.latent = nn.Conv1d(config.stage_sizes[-1], config.latent_size, config.num_tokens, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the first convolution."""
        return self.features.embed

    @property
    def num_layers(self) -> int:
        """Number of stages."""
        return self.config.num_hidden_layers

    def layer_size(self, layer: int) -> int:
        """Return the channels of the first convolution (layer 0) or of a stage.

        Args:
            layer: Number of the layer.
        """
        [number] = self.layer_numbers(layer)
        return self.config.stage_sizes[number]

    def pooled_layer_size(self, layer: int) -> int:
        """Return the width of a pooled layer: the latent vector of the last one, the channels of the others.

        Args:
            layer: Number of the layer.
        """
        [number] = self.layer_numbers(layer)
        return self.config.pooled_size if number == self.num_layers else self.layer_size(number)

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: first convolution, each stage, the latent vector."""
        stages = [(f"features.stages.{stage}",) for stage in range(self.num_layers)]
        return [("features.embed",), *stages, *([] if self.latent is None else [("latent",)])]

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the latent vector of the last stage's tokens, and the mean over time of any others.

        Args:
            tokens: `(batch, tokens, width)`.
            token_mask: True = the token holds signal; counts for the mean only.
        """
        if self.latent is None or tokens.shape[1:] != (self.config.num_tokens, self.config.hidden_size):
            return masked_mean(tokens, token_mask)
        return self.latent(tokens.transpose(1, 2)).squeeze(2)

    def _drop_layers(self, kept: int) -> None:
        self.config.hidden_size = self.layer_size(kept)
        self.config.num_hidden_layers, self.config.latent_size = kept, 0
        self.features.stages, self.latent = self.features.stages[:kept], None

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        last_layer: int | None = None,
    ) -> EcgModelOutput | tuple:
        """Encode beats.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the output of the first convolution and of each stage that is run, `(batch,
                steps, channels)` each.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.
            last_layer: Last stage to run; all by default.
        """
        if input_values is None:
            raise SignalError(f"{type(self).__name__} got no input_values; expected (batch, leads, samples).")
        self.token_mask(attention_mask)
        states = self.features(self.prepare_input(input_values, lead_mask), last_layer)
        return self.make_output(states[-1], states, output_hidden_states=output_hidden_states, return_dict=return_dict)


class Generated(NamedTuple):
    """Forward pass of the generator.

    Args:
        signal: The beats as they enter the encoder `(batch, leads, samples)`.
        reconstruction: Of the same shape.
        latent: Latent vectors `(batch, latent_size)`.
        hidden_states: Of the encoder.
    """

    signal: torch.Tensor
    reconstruction: torch.Tensor
    latent: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]

    @property
    def error(self) -> torch.Tensor:
        """Squared difference of beat and reconstruction `(batch, leads, samples)`, in at least float32."""
        dtype = torch.promote_types(self.reconstruction.dtype, torch.float32)
        return (self.signal.to(dtype) - self.reconstruction.to(dtype)).square()


class BeatganGenerator(BeatganPreTrainedModel):
    """Encoder and decoder, which the anomaly detection and the pretraining have in common.

    Args:
        config: The configuration.

    Raises:
        CheckpointError: There is no latent vector to decode.
    """

    encoder_class: type[BeatganModel] = BeatganModel

    def __init__(self, config: BeatganConfig):
        super().__init__(config)
        if not config.latent_size:
            raise CheckpointError("latent_size is 0: there is no latent vector to decode. Set it, published: 50.")
        self.beatgan = self.encoder_class(config)
        self.decoder = BeatganDecoder(config)

    def generate_beats(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
    ) -> Generated:
        """Encode and reconstruct beats.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
        """
        self.beatgan.token_mask(attention_mask)
        signal = self.beatgan.prepare_input(input_values, lead_mask)
        encoded = self.beatgan(signal, output_hidden_states=True, return_dict=True)
        return Generated(signal, self.decoder(encoded.pooler_output), encoded.pooler_output, encoded.hidden_states)

    @torch.no_grad()
    def calibrate(
        self, input_values: torch.Tensor | Iterable[torch.Tensor], *, quantile: float = 0.99
    ) -> dict[str, float]:
        """Set `anomaly_threshold` and `score_statistics` of the config from beats that are known to be normal.

        The threshold of other people's beats does not give its rate of false alarms on a new patient; calibrate on
        normal beats of the patient where these are available.

        Args:
            input_values: Normal beats `(beats, leads, samples)`, prepared by the feature extractor, or batches of them.
            quantile: Share of these beats with a score below the threshold. Default: 0.99.

        Returns:
            The statistics.

        Raises:
            CheckpointError: The quantile is not between 0 and 1, or there are no beats.
        """
        if not 0 < quantile < 1:
            raise CheckpointError(f"quantile is {quantile}; expected a share between 0 and 1, such as 0.99.")
        batches = input_values.split(_BATCH) if isinstance(input_values, torch.Tensor) else input_values
        was_training = self.training
        self.eval()
        errors = [self.generate_beats(batch.to(self.device)).error.mean(dim=(1, 2)) for batch in batches]
        self.train(was_training)
        if not errors or not sum(map(len, errors)):
            raise CheckpointError("There are no beats to calibrate on; pass normal beats (beats, leads, samples).")
        scores = torch.cat(errors).double().cpu()
        points = torch.tensor([*_QUANTILES.values(), quantile], dtype=torch.float64)
        values = scores.quantile(points).tolist()
        self.config.score_statistics = {
            "count": len(scores),
            "min": scores.min().item(),
            "max": scores.max().item(),
            "mean": scores.mean().item(),
            "std": scores.std(correction=0).item(),
            **dict(zip(_QUANTILES, values, strict=False)),
            "quantile": quantile,
        }
        self.config.anomaly_threshold = values[-1]
        return dict(self.config.score_statistics)


@dataclass
class BeatganAnomalyOutput(ModelOutput):
    """Scores of beats.

    Args:
        score: Mean of the error of each beat `(batch,)`; larger = more abnormal.
        error: Squared difference of beat and reconstruction `(batch, leads, samples)`: where a beat is abnormal.
        reconstruction: The beat as the network knows normal ones `(batch, leads, samples)`.
        hidden_states: As in `EcgModelOutput`, if asked for.
        attentions: None: there is no attention.
    """

    score: torch.Tensor | None = None
    error: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class BeatganForAnomalyDetection(BeatganGenerator):
    """Encoder and decoder; the score of a beat is the mean square of what the decoder fails to reconstruct.

    The score of a beat depends on no other beat of the call.

    Args:
        config: The configuration.
    """

    golden_outputs = ("score",)

    def __init__(self, config: BeatganConfig):
        super().__init__(config)
        self.post_init()

    def card_sections(self) -> dict[str, str]:
        """Section of the model card on scores and threshold."""
        text = (
            "The score of a beat is the mean square of what the network fails to reconstruct; larger is more abnormal."
        )
        threshold, statistics = self.config.anomaly_threshold, self.config.score_statistics
        if threshold is not None and statistics is not None:
            text += (
                f" Threshold: {threshold:.4g}, the {statistics['quantile']:g} quantile of {statistics['count']:,} "
                "normal beats of validation patients. On another patient it has another rate of false alarms: call "
                "`model.calibrate` with normal beats of that patient where these are available."
            )
        return {"score": text}

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BeatganAnomalyOutput | tuple:
        """Score beats.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the output of the encoder's first convolution and of its stages.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.
        """
        generated = self.generate_beats(input_values, attention_mask, lead_mask)
        error = generated.error
        result = BeatganAnomalyOutput(
            score=error.mean(dim=(1, 2)),
            error=error,
            reconstruction=generated.reconstruction,
            hidden_states=generated.hidden_states,
        )
        return self.finish_output(result, output_hidden_states=output_hidden_states, return_dict=return_dict)

    def is_anomalous(self, score: torch.Tensor) -> torch.Tensor:
        """Compare scores with the threshold of the config.

        Args:
            score: Of any shape.

        Returns:
            Booleans of the same shape.

        Raises:
            CheckpointError: No threshold was set.
        """
        threshold = self.config.anomaly_threshold
        if threshold is None:
            raise CheckpointError(
                "anomaly_threshold is not set. Call model.calibrate(normal beats), or set config.anomaly_threshold."
            )
        return score >= threshold

    def record_level(self, score: torch.Tensor) -> float:
        """Median score of a recording over that of the normal beats that the model was calibrated on.

        Times the threshold it is one for this recording, most of whose beats are taken to be normal for its patient.

        Args:
            score: Scores of beats of the recording `(beats,)`; NaN for one without a score.

        Raises:
            CheckpointError: The model was not calibrated.
        """
        usual = (self.config.score_statistics or {}).get("q50")
        if not usual:
            raise CheckpointError(
                f"the median score of normal beats (config.score_statistics) is {usual}; expected a calibrated "
                "checkpoint. Call model.calibrate(normal beats) first."
            )
        return score.double().nanquantile(0.5).item() / usual


class BeatganForSequenceClassification(EcgForSequenceClassification, BeatganPreTrainedModel):
    """Encoder of BeatGAN with a linear layer on the latent vector, or on another vector of its tokens."""

    encoder_class = BeatganModel
