"""Pretraining models of a few lines that use what a model may offer to the Trainer."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from ecg_transformers.configuration import EcgConfig
from ecg_transformers.modeling import EcgPreTrainedModel


class ToyConfig(EcgConfig):
    """Windows of 2 leads, 10 samples."""

    model_type = "toy"


def toy_config():
    return ToyConfig(num_leads=2, window_size=10, sampling_rate=10, hidden_size=4)


class ToyModel(EcgPreTrainedModel):
    """What both toys have in common: no draws, one encoder."""

    config_class = ToyConfig
    base_model_prefix = "encoder_network"

    def _init_weights(self, module):
        """Keep torch's own start."""

    @property
    def encoder(self):
        return self.encoder_network

    def draw(self, generator):
        return {}

    def apply_draws(self, inputs, draws):
        return {}


@dataclass
class ToyOutput(ModelOutput):
    """Fields of both toys."""

    loss: torch.Tensor | None = None
    distance_loss: torch.Tensor | None = None
    discriminator_loss: torch.Tensor | None = None
    generator_loss: torch.Tensor | None = None
    share_positive: torch.Tensor | None = None
    handed: dict[str, torch.Tensor] | None = None


class ToySegments(ToyModel):
    """Distance of two segments of a record after a random lead mask, with an averaged copy and frozen prototypes."""

    logged_values = ("share_positive",)

    def __init__(self, config):
        super().__init__(config)
        self.encoder_network = nn.Linear(20, 4)
        self.average = nn.Linear(20, 4).requires_grad_(False)
        self.prototypes = nn.Linear(4, 3, bias=False)
        self.loss_weights = {"distance_loss": 2.0}
        self.calls = []
        self.post_init()

    def draw(self, generator):
        return {"keep": generator.uniform(2, 2)}  # (batch, segments, leads)

    def apply_draws(self, inputs, draws):
        return {"input_values": inputs["input_values"] * (draws["keep"] < inputs["kept"][:, None, None])[..., None]}

    def forward(self, input_values, kept=None, return_loss=True):
        first, second = self.encoder_network(input_values.flatten(2)).unbind(1)
        distance = (self.prototypes(first) - self.prototypes(second)).square().mean() + (first - 1).square().mean()
        return ToyOutput(
            loss=self.loss_weights["distance_loss"] * distance,
            distance_loss=distance,
            share_positive=(first > 0).float().mean(),
        )

    def note(self, name, progress):
        has_gradient = self.encoder_network.weight.grad is not None
        self.calls.append((name, progress, has_gradient, self.encoder_network.weight.detach().clone()))

    def before_step(self, progress):
        self.note("before_step", progress)

    def before_optimizer_step(self, progress):
        self.note("before_optimizer_step", progress)
        if progress.epoch < 1:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, progress):
        self.note("after_step", progress)
        self.average.weight.lerp_(self.encoder_network.weight, 0.5)


class ToyAdversaries(ToyModel):
    """An autoencoder against a discriminator, which is not frozen while the other learns."""

    phases = {"discriminate": ("discriminator",), "generate": ("encoder_network", "decoder")}

    def __init__(self, config):
        super().__init__(config)
        self.encoder_network = nn.Sequential(nn.Flatten(), nn.Linear(20, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.decoder = nn.Linear(4, 20)
        self.discriminator = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
        self.loss_weights = {"discriminator_loss": 1.0, "generator_loss": 1.0}
        self.post_init()

    def draw(self, generator):
        return {"noise": generator.normal(2, 10)}

    def apply_draws(self, inputs, draws):
        return {"noise": draws["noise"].to(inputs["input_values"].dtype)}

    def forward(self, input_values, noise=None, phase=None, rebuilt=None, return_loss=True):
        signal = input_values.flatten(1)
        if phase != "generate":
            rebuilt = self.decoder(self.encoder_network(input_values + 0.1 * noise))
        if phase == "discriminate":
            real, false = self.discriminator(signal), self.discriminator(rebuilt.detach())
            loss = functional.softplus(-real).mean() + functional.softplus(false).mean()
            return ToyOutput(loss=loss, discriminator_loss=loss, handed={"rebuilt": rebuilt})
        matched = (self.discriminator(signal) - self.discriminator(rebuilt)).square().mean()
        loss = (rebuilt - signal).square().mean() + matched
        return ToyOutput(loss=loss, generator_loss=loss)
