"""Wav2Vec 2.0 on electrocardiograms: convolutions over the samples, transformer over the frames, and the classifier.

Source: Oh et al. 2022 (arXiv 2203.06889) and its public code fairseq-signals; Baevski et al. 2020 (arXiv 2006.11477).
See `docs/systems/ecg_wav2vec2.md`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.utils import ModelOutput

from ...errors import SignalError
from ...layers.arcface import ArcFaceHead
from ...layers.token_reductions import masked_mean
from ...layers.transformer import TransformerStack, final_layer_norm, plain_layer_norm
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_ecg_wav2vec2 import EcgWav2vec2Config
from .position_embedding import EcgWav2vec2PositionEmbedding

__all__ = [
    "EcgIdentificationOutput",
    "EcgWav2vec2ForPatientIdentification",
    "EcgWav2vec2ForSequenceClassification",
    "EcgWav2vec2HeadModel",
    "EcgWav2vec2Model",
    "EcgWav2vec2PreTrainedModel",
]


class EcgWav2vec2ConvLayer(nn.Module):
    """Convolution, norm if there is one, activation.

    Args:
        config: Configuration of the model.
        number: Number of the layer, from 0.
    """

    def __init__(self, config: EcgWav2vec2Config, number: int):
        super().__init__()
        channels = config.conv_dim[number]
        self.conv = nn.Conv1d(
            config.conv_dim[number - 1] if number else config.num_leads,
            channels,
            config.conv_kernel[number],
            config.conv_stride[number],
            bias=config.conv_bias,
        )
        self.layer_norm: nn.Module | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        elif number == 0:
            # One group per channel: the mean and deviation over time, padding included.
            self.layer_norm = nn.GroupNorm(channels, channels)
        self.activation = ACT2FN[config.feat_extract_activation]

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map `(batch, channels, samples)` to fewer samples."""
        signal = self.conv(signal)
        if isinstance(self.layer_norm, nn.LayerNorm):
            signal = self.layer_norm(signal.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            signal = self.layer_norm(signal)
        return self.activation(signal)


class EcgWav2vec2FeatureEncoder(nn.Module):
    """The stem: strided convolutions from samples to frames.

    Args:
        config: Configuration of the model.
    """

    def __init__(self, config: EcgWav2vec2Config):
        super().__init__()
        self.conv_layers = nn.ModuleList(EcgWav2vec2ConvLayer(config, number) for number in range(len(config.conv_dim)))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map `(batch, leads, samples)` to `(batch, channels, frames)`."""
        for layer in self.conv_layers:
            signal = layer(signal)
        return signal


class EcgWav2vec2FeatureProjection(nn.Module):
    """LayerNorm of the features and projection to the width of the transformer.

    Args:
        config: Configuration of the model.
    """

    def __init__(self, config: EcgWav2vec2Config):
        super().__init__()
        features = config.conv_dim[-1]
        self.layer_norm = nn.LayerNorm(features, eps=config.layer_norm_eps)
        # Published: there is no projection between equal widths.
        same = features == config.hidden_size
        self.projection = nn.Identity() if same else nn.Linear(features, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map `(batch, frames, channels)` to tokens `(batch, frames, hidden)`; also return the normalized features."""
        normalized = self.layer_norm(features)
        return self.dropout(self.projection(normalized)), normalized


class EcgWav2vec2PreTrainedModel(EcgPreTrainedModel):
    """Base of the family: initialization (published)."""

    config_class = EcgWav2vec2Config
    base_model_prefix = "ecg_wav2vec2"
    takes_any_window = True
    _supports_sdpa = True
    _no_split_modules = ["TransformerLayer"]
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(mask_embedding$|quantizer\.|project_q\.|project_hid\.|arcface\.)",
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if parametrize.is_parametrized(module, "weight"):
            self._init_position_convolution(module)
        elif isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            if module.weight is not None:
                init.ones_(module.weight)
                init.zeros_(module.bias)

    def _init_position_convolution(self, conv: Any) -> None:
        """Start the direction at random and the gain of each tap at its norm, so that the weight is the direction."""
        gain, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
        init.normal_(direction, std=math.sqrt(4 / (self.config.num_conv_pos_embeddings * self.config.hidden_size)))
        init.copy_(gain, direction.norm(dim=(0, 1), keepdim=True))
        init.zeros_(conv.bias)


class EcgWav2vec2Model(Encoder, EcgWav2vec2PreTrainedModel):
    """Encoder: convolutions to frames, convolutional positions, transformer.

    `pooler_output` is the mean of the frames whose whole receptive field is signal.

    Args:
        config: The configuration.
    """

    config: EcgWav2vec2Config

    def __init__(self, config: EcgWav2vec2Config):
        super().__init__(config)
        self.feature_extractor = EcgWav2vec2FeatureEncoder(config)
        self.feature_projection = EcgWav2vec2FeatureProjection(config)
        self.position_embedding = EcgWav2vec2PositionEmbedding(config)
        # Before the first layer, or after the last one if norms come first.
        self.layernorm = self._encoder_norm()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.encoder = TransformerStack(
            config,
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            norm_first=config.norm_first,
            activation_dropout=config.activation_dropout_prob,
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The projection starts as in torch.
        if isinstance(module, nn.Linear) and module is not self.feature_projection.projection:
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)

    def _encoder_norm(self) -> nn.LayerNorm:
        config = self.config
        if config.norm_first:
            return final_layer_norm(config)
        return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def get_input_embeddings(self) -> nn.Module:
        """Return the first layer."""
        return self.feature_extractor.conv_layers[0]

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return self.config.num_hidden_layers

    def num_tokens(self, samples: Any) -> Any:
        """Return the number of frames of windows; at most 0 where they are too short for one.

        Args:
            samples: Length of a window, or an integer tensor of lengths.
        """
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def token_mask(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Compute which frames see signal only.

        Args:
            attention_mask: `(batch, samples)`, 1 = signal, padded at the right; also `(batch, leads, samples)` if equal
                in all leads.

        Returns:
            Bool `(batch, frames)`; `None` without a mask.

        Raises:
            SignalError: Padding at the left or between signal, differs between leads, or leaves no frame.
        """
        if attention_mask is None:
            return None
        mask = self._sample_mask(attention_mask)
        frames = self.num_tokens(mask.sum(dim=1))
        # An exported graph cannot look at values; its caller has prepared windows.
        if not torch.compiler.is_compiling() and bool((frames < 1).any()):
            raise SignalError(
                f"A window has {int(mask.sum(dim=1).min())} samples of signal, too few for one frame of "
                f"{self._receptive_field()} samples. Leave it out, or pass longer recordings."
            )
        positions = torch.arange(self.num_tokens(mask.shape[1]), device=mask.device)
        return positions < frames[:, None]

    @staticmethod
    def _sample_mask(attention_mask: torch.Tensor) -> torch.Tensor:
        """The mask as booleans `(batch, samples)`, checked."""
        mask = attention_mask.bool()
        checked = not torch.compiler.is_compiling()
        if mask.ndim == 3:
            if checked and not bool((mask == mask[:, :1]).all()):
                raise SignalError(
                    "attention_mask differs between leads; expected one for all. Mask leads by lead_mask."
                )
            mask = mask[:, 0]
        if checked and not bool((mask[:, 1:] <= mask[:, :-1]).all()):
            raise SignalError("attention_mask has signal after padding; expected padding at the right only.")
        return mask

    def _receptive_field(self) -> int:
        """Samples that one frame sees."""
        samples = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Average the frames that see signal only: `(batch, frames, width)` to `(batch, width)`."""
        return masked_mean(tokens, token_mask)

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: convolutions, input of the transformer, each layer."""
        start = ("feature_projection", "position_embedding", "layernorm")
        return [("feature_extractor",), start, *((f"encoder.layer.{number}",) for number in range(self.num_layers))]

    def normalize_layer(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a parameter-free LayerNorm to the output of an inner layer."""
        return plain_layer_norm(tokens)

    def _drop_layers(self, kept: int) -> None:
        self.config.num_hidden_layers, self.config.final_norm = kept, False
        self.encoder.layer = self.encoder.layer[:kept]
        if self.config.norm_first:
            self.layernorm = self._encoder_norm()

    def features(
        self,
        input_values: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the convolutions.

        Args:
            input_values: `(batch, leads, samples)`.
            attention_mask: `(batch, samples)`, 1 = signal; padding is set to 0, as zeros enter the norm over time.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.

        Returns:
            `(batch, channels, frames)`.

        Raises:
            SignalError: No input, another shape, or windows too short for one frame.
        """
        if input_values is None:
            raise SignalError(f"{type(self).__name__} got no input_values; expected (batch, leads, samples).")
        signal = self.prepare_input(input_values, lead_mask)
        if self.num_tokens(signal.shape[-1]) < 1:
            raise SignalError(
                f"{type(self).__name__} got windows of {signal.shape[-1]} samples, too few for one frame of "
                f"{self._receptive_field()} samples (conv_kernel {self.config.conv_kernel}, conv_stride "
                f"{self.config.conv_stride}). Pass longer windows."
            )
        if attention_mask is not None:
            mask = self._sample_mask(attention_mask)
            # An exported graph is for any batch; comparing sizes would fix it.
            if not torch.compiler.is_compiling() and mask.shape != signal[:, 0].shape:
                raise SignalError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}; expected (batch, samples), here "
                    f"{tuple(signal[:, 0].shape)}."
                )
            signal = signal.masked_fill(~mask[:, None], 0.0)
        return self.feature_extractor(signal)

    def transform(
        self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None, last_layer: int | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor | None, ...]]:
        """Add the positions and run the transformer.

        Args:
            tokens: Projected frames `(batch, frames, hidden_size)`.
            token_mask: As returned by `token_mask`.
            last_layer: Last layer to run; all by default.

        Returns:
            Output, hidden states and attention weights, see `TransformerStack`.
        """
        absent = None if token_mask is None else ~token_mask[:, :, None]
        if absent is not None and self.config.zero_padding_before_pos_conv:
            tokens = tokens.masked_fill(absent, 0.0)
        tokens = tokens + self.position_embedding(tokens)
        if absent is not None:
            tokens = tokens.masked_fill(absent, 0.0)
        if not self.config.norm_first:
            tokens = self.layernorm(tokens)
        last, states, attentions = self.encoder(self.dropout(tokens), token_mask, last_layer)
        if last_layer not in (None, self.num_layers):
            last = self.normalize_layer(last)
        elif self.config.norm_first:
            last = self.layernorm(last)
        elif not self.config.final_norm:
            last = self.normalize_layer(last)
        return last, states, attentions

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
        """Encode windows of any length, without time masks.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal, padded at the right; a frame that sees padding is no
                attention key and is not pooled.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the hidden states of the layers that are run.
            output_attentions: Return their attention weights; needs `attn_implementation="eager"`.
            return_dict: Return a tuple if False.
            last_layer: Last layer to run; all by default.

        Raises:
            SignalError: A shape or mask that is not accepted, or a window without a frame.
        """
        features = self.features(input_values, attention_mask, lead_mask)
        tokens, _ = self.feature_projection(features.transpose(1, 2))
        mask = self.token_mask(attention_mask)
        last, states, attentions = self.transform(tokens, mask, last_layer)
        return self.make_output(
            last,
            states,
            attentions,
            token_mask=mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )


class EcgWav2vec2HeadModel(EcgWav2vec2PreTrainedModel):
    """Base of the heads: their initialization (published), and convolutions that stay as they are (`freeze_stem`)."""

    ecg_wav2vec2: EcgWav2vec2Model
    start_marker: torch.Tensor

    def post_init(self) -> None:
        """As in Transformers; makes sure that `_init_weights` is called for this module, whatever is loaded."""
        self.register_buffer("start_marker", torch.zeros(()), persistent=False)
        super().post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ArcFaceHead):
            # Published: uniform, then the values of all patients along one axis of the embedding have length 1.
            init.uniform_(module.kernel, -1.0, 1.0)
            init.copy_(module.kernel, functional.normalize(module.kernel, dim=0))
        elif module is self:
            init.zeros_(self.start_marker)
            if self.config.freeze_stem:
                self.ecg_wav2vec2.feature_extractor.requires_grad_(False)


class EcgWav2vec2ForSequenceClassification(EcgForSequenceClassification, EcgWav2vec2HeadModel):
    """Wav2Vec 2.0 with a linear layer on the mean of the frames, or on another vector of them.

    The convolutions are not trained if `config.freeze_stem` is set (published).
    """

    encoder_class = EcgWav2vec2Model


@dataclass
class EcgIdentificationOutput(ModelOutput):
    """Output of a model for the identification of patients.

    Args:
        loss: Mean ArcFace loss over the batch, if labels were given.
        logits: Scaled cosines to the training patients `(batch, num_patients)`, with the margin if labels were given.
        embeddings: Vectors of length 1 `(batch, pooled_size)`, to be compared by their cosine.
        hidden_states: As in `EcgModelOutput`.
        attentions: As in `EcgModelOutput`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class EcgWav2vec2ForPatientIdentification(EcgWav2vec2HeadModel):
    """Wav2Vec 2.0 whose pooled frames identify patients: ArcFace on the patients of the training records.

    New patients are compared by the cosine of their `embeddings` (Oh et al. 2022, section 4.2). Frames that see padding
    are not pooled; the published code pools them. The convolutions are not trained if `config.freeze_stem` is set
    (published).

    Args:
        config: The configuration.
    """

    golden_outputs = ("embeddings",)

    def __init__(self, config: EcgWav2vec2Config):
        super().__init__(config)
        self.ecg_wav2vec2 = EcgWav2vec2Model(config)
        self.arcface = ArcFaceHead(
            config.pooled_size, config.num_patients, scale=config.arcface_scale, margin=config.arcface_margin
        )
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EcgIdentificationOutput | tuple:
        """Embed windows.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: As for the encoder.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            labels: Number of the training patient of each window, int64 `(batch,)`.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the hidden states.
            output_attentions: Return the attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        outputs: Any = self.ecg_wav2vec2(
            input_values=input_values,
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        pooled = outputs.pooler_output
        # In float32 also for weights in half precision.
        embeddings = functional.normalize(pooled.to(torch.promote_types(pooled.dtype, torch.float32)), dim=1)
        logits = self.arcface(embeddings, labels)
        result = EcgIdentificationOutput(
            loss=None if labels is None else functional.cross_entropy(logits, labels),
            logits=logits,
            embeddings=embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return self.finish_output(
            result,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )
