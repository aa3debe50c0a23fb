"""The base class of all models, under a head from outside the package."""

import pytest
import torch
from torch import nn

import ecg_transformers.modeling  # noqa: F401 (the auto classes, to which importing a toy adds it)

from .toys.toy_autoencoder.configuration_toy_autoencoder import ToyAutoencoderConfig
from .toys.toy_autoencoder.modeling_toy_autoencoder import ToyAutoencoderModel, ToyAutoencoderPreTrainedModel


class OutsideHead(ToyAutoencoderPreTrainedModel):
    """Layers for which the architecture has no rule of initialization."""

    def __init__(self, config):
        super().__init__(config)
        self.toy_autoencoder = ToyAutoencoderModel(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.rnn = nn.LSTM(config.hidden_size, 6)
        self.attention = nn.MultiheadAttention(6, 2)
        self.output = nn.Linear(6, 3)
        self.post_init()


@pytest.fixture
def poisoned_memory():
    """Memory that nobody initialized is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_a_head_from_outside_starts_as_in_torch_and_keeps_what_was_loaded(tmp_path, poisoned_memory):
    encoder = ToyAutoencoderModel(ToyAutoencoderConfig())
    encoder.save_pretrained(tmp_path)
    model, report = OutsideHead.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.partition(".")[0] for name in report["missing_keys"]} == {"norm", "rnn", "attention", "output"}
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
    assert 0.05 < model.output.weight.std() < 0.5
    assert torch.equal(model.norm.weight, torch.ones_like(model.norm.weight))
    for name, value in encoder.state_dict().items():
        assert torch.equal(model.toy_autoencoder.state_dict()[name], value), name
    with torch.no_grad():
        model.output.bias.fill_(7)
    model.save_pretrained(tmp_path / "whole")
    again = OutsideHead.from_pretrained(tmp_path / "whole")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
