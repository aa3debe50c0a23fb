"""Official checkpoints of BeatGAN (hi-bingo/BeatGAN)."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ...conversion import Converted, OfficialState, read_tensors
from .configuration_beatgan import BeatganConfig
from .feature_extraction_beatgan import BeatganFeatureExtractor
from .modeling_beatgan import BeatganForAnomalyDetection

__all__ = ["convert_beatgan", "our_discriminator", "our_generator"]

# Convolution, BatchNorm and activation follow each other in the official lists, where the first layer has no BatchNorm
# in encoder and discriminator, and the last one none in the decoder.
_STAGES, _FIRST, _PARTS = 4, 2, 3


def our_generator(state: OfficialState) -> dict[str, torch.Tensor]:
    """Take the tensors of an official generator under our names.

    Args:
        state: Its tensors (`encoder1.main...`, `decoder.main...`).

    Raises:
        CheckpointError: A layer is missing.
    """
    tensors = _features(state, "encoder1.main.", "beatgan.features.")
    tensors |= state.take_module(f"encoder1.main.{_FIRST + _PARTS * _STAGES}.", "beatgan.latent.")
    for number in range(_STAGES + 2):
        tensors |= state.take_module(f"decoder.main.{_PARTS * number}.", f"decoder.convs.{number}.")
        if number <= _STAGES:
            tensors |= state.take_module(f"decoder.main.{_PARTS * number + 1}.", f"decoder.norms.{number}.")
    return tensors


def our_discriminator(state: OfficialState) -> dict[str, torch.Tensor]:
    """Take the tensors of an official discriminator under our names.

    Args:
        state: Its tensors (`features...`, `classifier...`).

    Raises:
        CheckpointError: A layer is missing.
    """
    tensors = _features(state, "features.", "discriminator.features.")
    return tensors | state.take_module("classifier.0.", "discriminator.classifier.")


def _features(state: OfficialState, official: str, ours: str) -> dict[str, torch.Tensor]:
    tensors = state.take_module(f"{official}0.", f"{ours}embed.")
    for stage in range(_STAGES):
        place = _FIRST + _PARTS * stage
        tensors |= state.take_module(f"{official}{place}.", f"{ours}stages.{stage}.conv.")
        tensors |= state.take_module(f"{official}{place + 1}.", f"{ours}stages.{stage}.norm.")
    return tensors


def convert_beatgan(path: str | Path, *, lead_names: Sequence[str] | None = None) -> Converted:
    """Convert the generator of an official checkpoint (`..._G.pkl`).

    Its BatchNorm statistics are those of validation beats, a seventh of them abnormal: the public code validates in
    training mode. There is no threshold; call `calibrate` with normal beats.

    Args:
        path: The file of the generator.
        lead_names: Leads of the network in its order, where it is not MLII alone.

    Raises:
        CheckpointError: The file is no such checkpoint.
    """
    state = OfficialState(read_tensors(path), Path(path).name)
    channels, leads, _ = state.shape("encoder1.main.0.weight")
    latent, _, tokens = state.shape(f"encoder1.main.{_FIRST + _PARTS * _STAGES}.weight")
    config = BeatganConfig(
        num_leads=leads,
        lead_names=None if lead_names is None else list(lead_names),
        window_size=tokens * 2 ** (_STAGES + 1),
        base_channels=channels,
        latent_size=latent,
    )
    model = BeatganForAnomalyDetection(config)
    state.load_into(model, our_generator(state))
    extractor = BeatganFeatureExtractor(lead_names=list(config.lead_names or ()), window_size=config.window_size)
    notes = ["the BatchNorm statistics are of validation beats, a seventh of them abnormal, as published"]
    return Converted(model, extractor, notes)
