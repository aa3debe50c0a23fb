"""Pretraining of the toy autoencoder: remove noise, alone or against a discriminator."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ecg_transformers.objectives.reconstruction import masked_reconstruction_loss

from .modeling_toy_autoencoder import ToyAutoencoderModel, ToyAutoencoderPreTrainedModel


@dataclass
class ToyAutoencoderForPreTrainingOutput(ModelOutput):
    """Loss, its terms, the signal without noise, and the hidden states."""

    loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    denoised: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    adversarial_loss: torch.Tensor | None = None
    discriminator_loss: torch.Tensor | None = None


class ToyAutoencoderForPreTraining(ToyAutoencoderPreTrainedModel):
    """Encoder and decoder, and a discriminator that tells signals from what the decoder returns."""

    def __init__(self, config):
        super().__init__(config)
        self.toy_autoencoder = ToyAutoencoderModel(config)
        self.decoder = nn.Conv1d(config.hidden_size, config.num_leads, 5, padding=2)
        self.loss_weights = {"reconstruction_loss": 1.0}
        if config.adversarial_weight:
            self.discriminator = nn.Conv1d(config.num_leads, 1, 5)
            self.loss_weights |= {"adversarial_loss": config.adversarial_weight, "discriminator_loss": 1.0}
            self.phases = {"discriminate": ("discriminator",), "rebuild": ("toy_autoencoder", "decoder")}
        self.post_init()

    @property
    def encoder(self):
        return self.toy_autoencoder

    def draw(self, generator):
        return {"noise": generator.normal(self.config.num_leads, self.config.window_size)}

    def apply_draws(self, inputs, draws):
        return {"noise": self.config.noise * draws["noise"].to(inputs["input_values"].dtype)}

    def forward(
        self, input_values, noise=None, attention_mask=None, lead_mask=None, record_index=None, patient_ids=None,
        record_ids=None, return_loss=True, output_hidden_states=None, output_attentions=None, return_dict=None,
        phase=None,
    ):  # fmt: skip
        if noise is None:
            noise = self.config.noise * torch.randn_like(input_values)
        encoded = self.toy_autoencoder(
            input_values + noise, attention_mask=attention_mask, lead_mask=lead_mask,
            output_hidden_states=output_hidden_states, return_dict=True,
        )  # fmt: skip
        denoised = self.decoder(encoded.last_hidden_state.transpose(1, 2))
        if phase == "discriminate":
            real, rebuilt = self.discriminator(input_values), self.discriminator(denoised.detach())
            loss = functional.softplus(-real).mean() + functional.softplus(rebuilt).mean()
            return ToyAutoencoderForPreTrainingOutput(loss, discriminator_loss=loss)
        everything = torch.ones(denoised.shape[:2], device=denoised.device)
        loss = masked_reconstruction_loss(denoised, input_values.to(denoised.dtype), everything)
        result = ToyAutoencoderForPreTrainingOutput(
            self.loss_weights["reconstruction_loss"] * loss, loss, denoised, encoded.hidden_states
        )
        if "adversarial_loss" in self.loss_weights:
            result.adversarial_loss = functional.softplus(-self.discriminator(denoised)).mean()
            result.loss = result.loss + self.loss_weights["adversarial_loss"] * result.adversarial_loss
        return self.finish_output(result, return_dict=return_dict)
