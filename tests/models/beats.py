"""Invented beats, and small BeatGANs for them."""

import torch

from ecg_transformers import BeatganConfig, BeatganForPreTraining, SiBeatganConfig, SiBeatganForPreTraining

SMALL = {"window_size": 64, "samples_before": 28, "base_channels": 4, "latent_size": 6, "num_hidden_layers": 3}
# No term of SI-BeatGAN that needs a teacher.
ALONE = {"output_distillation_weight": 0.0, "latent_distillation_weight": 0.0}
V2 = {"contrastive_weight": 0.1, "warp_samples": 3, "projection_size": 5}


def beats(count=16, *, seed=1, samples=64, leads=1):
    """Bumps of random height and width around sample 28, from -1 to 1."""
    generator = torch.Generator().manual_seed(seed)
    height, width, shift = torch.rand(3, count, leads, 1, generator=generator)
    time = (torch.arange(samples) - 28) / (4 + 6 * width)
    wave = torch.exp(-(time**2)) - (0.2 + 0.6 * height) * torch.exp(-((time - 1 - shift) ** 2))
    wave = wave + 0.02 * torch.randn(count, leads, samples, generator=generator)
    low, high = wave.amin(-1, keepdim=True), wave.amax(-1, keepdim=True)
    return 2 * (wave - low) / (high - low) - 1


def beatgan(**changes):
    """A small BeatGAN from fixed random numbers."""
    torch.manual_seed(0)
    return BeatganForPreTraining(BeatganConfig(**{**SMALL, **changes}))


def si_beatgan(**changes):
    """A small SI-BeatGAN without a teacher, with the same weights as `beatgan`."""
    torch.manual_seed(0)
    return SiBeatganForPreTraining(SiBeatganConfig(**{**SMALL, **changes}))


def teacher(**changes):
    """A BeatGAN of other weights and moved statistics."""
    torch.manual_seed(7)
    model = BeatganForPreTraining(BeatganConfig(**{**SMALL, **changes})).train()
    with torch.no_grad():
        for batch in beats(64, seed=5, leads=model.config.num_leads).split(8):
            model(batch)
    return model
