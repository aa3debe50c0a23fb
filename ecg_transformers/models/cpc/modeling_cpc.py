"""CPC: convolutions over the samples, recurrent layers over the latents, and the classifier.

Source: van den Oord et al. 2018 (arXiv 1807.03748), on electrocardiograms as in Mehari & Strodthoff 2022 (arXiv
2103.12676) and their public code ecg-selfsupervised. See `docs/systems/cpc.md`.
"""

import math

import torch
from torch import nn
from transformers import initialization as init

from ...errors import SignalError
from ...layers.convolution import ConvolutionEncoder
from ...layers.recurrent import RecurrentStack, mean_max_last
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_cpc import CpcConfig

__all__ = ["CpcForSequenceClassification", "CpcModel", "CpcPreTrainedModel"]


class CpcPreTrainedModel(EcgPreTrainedModel):
    """Base of the family: initialization, torch's own (published), but biases of linear layers start at 0."""

    config_class = CpcConfig
    base_model_prefix = "cpc"
    takes_any_window = True
    # A recomputed forward pass would update the BatchNorm statistics twice.
    supports_gradient_checkpointing = False
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^projection\.",
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d | nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 0.0 if isinstance(module, nn.Linear) else 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.RNNBase):
            bound = 1 / math.sqrt(module.hidden_size)
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)


class CpcModel(Encoder, CpcPreTrainedModel):
    """Encoder of CPC: convolutions, then recurrent layers in one direction.

    Tokens are the states of the last recurrent layer, one per latent: `last_hidden_state (batch, steps, hidden_size)`.
    `pooler_output (batch, 3 * hidden_size)` is their mean, their maximum and the last one.
    """

    def __init__(self, config: CpcConfig):
        super().__init__(config)
        self.encoder = ConvolutionEncoder(
            [config.num_leads, *config.encoder_sizes],
            kernel_sizes=config.encoder_kernel_sizes,
            strides=config.encoder_strides,
            batch_norm=config.encoder_batch_norm,
        )
        self.rnn = RecurrentStack(
            config.context, config.encoder_sizes[-1], config.hidden_size, num_layers=config.num_hidden_layers
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the first layer."""
        return self.encoder[0]

    @property
    def num_layers(self) -> int:
        """Number of recurrent layers; layer 0 is the latents."""
        return self.config.num_hidden_layers

    def layer_size(self, layer: int) -> int:
        """Return the width of the latents (layer 0) or of a recurrent layer.

        Args:
            layer: Number of the layer.
        """
        [number] = self.layer_numbers(layer)
        return self.config.hidden_size if number else self.config.encoder_sizes[-1]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: convolutions, recurrent layers.

        With a factor of 0.1 per group these are the published rates of fine-tuning.
        """
        return [("encoder",), tuple(f"rnn.{number}" for number in range(self.num_layers))]

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Concatenate mean, maximum and last token: `(batch, steps, width)` to `(batch, 3 * width)`."""
        return mean_max_last(tokens, token_mask)

    def _drop_layers(self, kept: int) -> None:
        self.config.num_hidden_layers = kept
        del self.rnn[kept:]

    def num_tokens(self, samples: int) -> int:
        """Return the number of tokens of a window; 0 where it is too short for one.

        Args:
            samples: Length of the window.
        """
        return self.encoder.output_length(samples)

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
        """Encode windows of any length.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the latents and the states of each layer that is run, `(batch, steps, width)`.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.
            last_layer: Last recurrent layer to run; all by default.
        """
        if input_values is None:
            raise SignalError(f"{type(self).__name__} got no input_values; expected (batch, leads, samples).")
        signal = self.prepare_input(input_values, lead_mask)
        self.token_mask(attention_mask)
        if not self.num_tokens(signal.shape[-1]):
            raise SignalError(
                f"{type(self).__name__} got windows of {signal.shape[-1]} samples, too few for one token "
                f"(encoder_kernel_sizes {self.config.encoder_kernel_sizes}, encoder_strides "
                f"{self.config.encoder_strides}). Pass longer windows."
            )
        latents = self.encoder(signal).transpose(1, 2)
        states = (latents, *self.rnn(latents, num_layers=last_layer))
        return self.make_output(states[-1], states, output_hidden_states=output_hidden_states, return_dict=return_dict)


class CpcForSequenceClassification(EcgForSequenceClassification, CpcPreTrainedModel):
    """CPC's encoder with the published head on mean, maximum and last token, or on another vector."""

    encoder_class = CpcModel
