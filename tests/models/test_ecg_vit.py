"""The plain vision transformer: sizes, and MAE-MoCo as its subclass with unchanged names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers import EcgVitConfig, EcgVitModel, MaeMocoConfig, MaeMocoModel
from ecg_transformers.inference.encode import embed_windows
from ecg_transformers.readout import Readout

from ..conftest import count

HUB = Path(__file__).parents[2] / "hub" / "mae-moco-ecg"


def test_the_default_is_the_small_transformer_of_moco_v3():
    model = EcgVitModel(EcgVitConfig())
    assert count(model) == 21_465_984
    assert count(model) - (model.embeddings.position_embeddings.numel()) == 21_410_304
    assert count(model.embeddings.patch_embeddings) == 115_584
    assert model.embeddings.cls_token.abs().max() < 1e-5


def test_mae_moco_is_the_same_network_under_the_same_names():
    fields = {"window_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields |= {"intermediate_size": 64, "position_initialization": "normal", "initializer_range": 0.02}
    models = []
    for model_class, config_class in ((EcgVitModel, EcgVitConfig), (MaeMocoModel, MaeMocoConfig)):
        torch.manual_seed(0)
        models.append(model_class(config_class(**fields)).eval())
    assert isinstance(models[1], EcgVitModel)
    states = [model.state_dict() for model in models]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    x = torch.randn(2, 12, 200)
    with torch.no_grad():
        outputs = [model(x).pooler_output for model in models]
    torch.testing.assert_close(*outputs, rtol=1e-6, atol=1e-6)


def test_the_shipped_checkpoint_of_mae_moco_keeps_its_names():
    model, info = MaeMocoModel.from_pretrained(HUB, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert set(load_file(HUB / "model.safetensors")) >= set(model.state_dict())


@torch.no_grad()
def test_a_quarter_of_the_blocks_is_a_model_of_its_own():
    """Stages of the layer study: blocks 3, 6 and 9 of 12, and the output."""
    model = EcgVitModel(EcgVitConfig(window_size=400)).eval()
    inputs = {"input_values": torch.randn(2, 12, 400, generator=torch.Generator().manual_seed(1))}
    fused = embed_windows(model, inputs, Readout("cls", [3, 6, 9, -1]))
    assert fused.shape == (2, 1536)
    for number, layer in enumerate((3, 6, 9, 12)):
        small = model.truncate(layer)
        assert count(small) < count(model) or layer == 12
        got = small(**inputs).pooler_output
        torch.testing.assert_close(got, fused[:, 384 * number : 384 * (number + 1)], rtol=0, atol=1e-6)
    assert torch.equal(fused[:, -384:], model(**inputs).pooler_output)


@pytest.mark.parametrize("name", ["decoder_hidden_size", "mask_ratio", "queue_size"])
def test_the_encoder_has_no_field_of_a_pretraining(name):
    assert name not in EcgVitConfig().own_fields()
