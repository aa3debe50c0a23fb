"""Encoder of the toy autoencoder."""

from itertools import islice

import torch
from torch import nn
from transformers import initialization as init

from ecg_transformers.layers.token_reductions import masked_mean
from ecg_transformers.modeling import EcgPreTrainedModel, Encoder

from .configuration_toy_autoencoder import ToyAutoencoderConfig


class ToyAutoencoderPreTrainedModel(EcgPreTrainedModel):
    """Base of the family."""

    config_class = ToyAutoencoderConfig
    base_model_prefix = "toy_autoencoder"
    takes_any_window = True
    supports_gradient_checkpointing = False
    _keys_to_ignore_on_load_unexpected = [
        *EcgPreTrainedModel._keys_to_ignore_on_load_unexpected, r"^decoder\.", r"^discriminator\.",
    ]  # fmt: skip

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)
            init.zeros_(module.bias)


class ToyAutoencoderModel(Encoder, ToyAutoencoderPreTrainedModel):
    """Convolutions with ReLU; tokens are samples."""

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Conv1d(config.num_leads, config.hidden_size, 5, padding=2)
        self.layers = nn.ModuleList(
            nn.Conv1d(config.hidden_size, config.hidden_size, 5, padding=2) for _ in range(config.num_hidden_layers)
        )
        self.post_init()

    @property
    def num_layers(self):
        return self.config.num_hidden_layers

    def get_input_embeddings(self):
        return self.embed

    def pool(self, tokens, token_mask=None):
        return masked_mean(tokens, token_mask)

    def layer_groups(self):
        return [("embed",), *((f"layers.{number}",) for number in range(self.num_layers))]

    def _drop_layers(self, kept):
        self.config.num_hidden_layers = kept
        self.layers = self.layers[:kept]

    def forward(
        self, input_values, attention_mask=None, lead_mask=None, record_index=None, output_hidden_states=None,
        output_attentions=None, return_dict=None, last_layer=None,
    ):  # fmt: skip
        self.token_mask(attention_mask)
        states = [self.embed(self.prepare_input(input_values, lead_mask)).transpose(1, 2)]
        for layer in islice(self.layers, last_layer):
            states.append(layer(states[-1].relu().transpose(1, 2)).transpose(1, 2))
        return self.make_output(
            states[-1], tuple(states), output_hidden_states=output_hidden_states, return_dict=return_dict
        )
