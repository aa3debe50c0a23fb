"""The shifted-window transformer: size, windows that it takes, truncation, input as patches."""

import pytest
import torch
from transformers import AutoModel

from ecg_transformers import Swin1dConfig, Swin1dFeatureExtractor, Swin1dForSequenceClassification, Swin1dModel
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.features.steps import patchify
from ecg_transformers.inference.encode import embed_windows
from ecg_transformers.readout import Readout
from ecg_transformers.trainer.trainer import EcgTrainer

from ..conftest import count


@pytest.fixture(scope="module")
def swin_t():
    """Of the default size, in evaluation mode."""
    torch.manual_seed(0)
    return Swin1dModel(Swin1dConfig()).eval()


@pytest.fixture(scope="module")
def signal():
    return torch.randn(2, 12, 2560, generator=torch.Generator().manual_seed(1))


def test_the_default_is_swin_t_in_time(swin_t, signal):
    assert count(swin_t) == 26_721_822
    with torch.no_grad():
        output = swin_t(signal, output_hidden_states=True)
    assert [tuple(state.shape[1:]) for state in output.hidden_states] == [
        (640, 96), (640, 96), (320, 192), (160, 384), (80, 768),
    ]  # fmt: skip
    torch.testing.assert_close(output.pooler_output, output.last_hidden_state.mean(dim=1))
    with pytest.raises(SignalError, match=r"12, 2240\).*2560 samples"):
        swin_t(signal[:, :, :2240])
    # Swin's own start: normal with deviation .02, cut at two; biases 0.
    weight = swin_t.encoder.stage[2].layer[3].attention.query.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert swin_t.encoder.stage[0].layer[1].attention.relative_position_bias.std().item() == pytest.approx(
        0.02, rel=0.3
    )


@torch.no_grad()
def test_a_truncated_model_equals_the_features_of_its_stage(swin_t, signal, tmp_path):
    for stage, width in ((1, 96), (2, 192), (3, 384)):
        small = swin_t.truncate(stage)
        assert count(small) < count(swin_t)
        assert (small.config.hidden_size, small.config.pooled_size) == (width, width)
        want = embed_windows(swin_t, {"input_values": signal}, Readout("cls", stage))
        torch.testing.assert_close(small(signal).pooler_output, want, rtol=0, atol=1e-6)
    small.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert (type(again), again.config.final_norm, again.config.depths) == (Swin1dModel, False, [2, 2, 6])
    torch.testing.assert_close(again(signal).pooler_output, want, rtol=0, atol=1e-6)
    fused = embed_windows(swin_t, {"input_values": signal}, Readout("cls", [1, 2, 3, -1]))
    assert fused.shape == (2, 1440)
    torch.testing.assert_close(fused[:, 288:672], want)
    torch.testing.assert_close(fused[:, 672:], swin_t(signal).pooler_output)


@pytest.mark.parametrize(("window", "near"), [(1000, "960 or 1280"), (100, "320"), (2561, "2560 or 2880")])
def test_a_window_that_its_stages_cannot_halve_is_refused_with_the_nearest(window, near):
    with pytest.raises(
        CheckpointError, match=rf"window_size {window} is not a multiple of 320.*Set window_size to {near}"
    ):
        Swin1dConfig(window_size=window)


def test_other_windows_are_taken_and_change_no_weight(tmp_path):
    fields = {"embedding_size": 12, "depths": [1, 2], "num_attention_heads": [2, 3], "window_size": 320}
    model = Swin1dModel(Swin1dConfig(**fields)).eval()
    model.save_pretrained(tmp_path)
    longer = Swin1dModel.from_pretrained(tmp_path, window_size=640)
    with torch.no_grad():
        assert longer(torch.randn(1, 12, 640)).last_hidden_state.shape == (1, 80, 24)
    model.resize_window(640)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in longer.state_dict().items())
    with pytest.raises(CheckpointError, match="640 or 720"):
        model.resize_window(700)
    assert model.config.window_size == 640
    with pytest.raises(SignalError, match="640 samples"):
        model(torch.zeros(1, 12, 320))


@torch.no_grad()
def test_patches_give_the_same_as_the_signal_they_are_cut_from(swin_t, signal):
    patches = patchify(signal, 4)
    assert torch.equal(swin_t(patches=patches).pooler_output, swin_t(signal).pooler_output)
    with pytest.raises(SignalError, match="exactly one"):
        swin_t(signal, patches=patches)


def test_its_extractor_does_not_pad(signal):
    with pytest.raises(SignalError, match=r"2560 samples.*no padded windows"):
        Swin1dFeatureExtractor()(signal[0, :, :1000].numpy(), sampling_rate=256)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_attention_heads": [3, 6, 12]}, "expected 4 numbers"),
        ({"num_attention_heads": [5, 6, 12, 24]}, r"divide the widths \[96, 192, 384, 768\]"),
        ({"depths": []}, "1 to 8 stages"),
        ({"depths": [2, 0, 2, 2]}, "1 to 8 stages"),
        ({"hidden_size": 512}, "last stage has width 768"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, words):
    with pytest.raises(CheckpointError, match=words):
        Swin1dConfig(**fields)


def test_position_biases_are_exempt_from_decay(tmp_path):
    from ecg_transformers.trainer import EcgTrainingArguments

    fields = {"embedding_size": 12, "depths": [1, 1], "num_attention_heads": [2, 3], "window_size": 320}
    model = Swin1dForSequenceClassification(Swin1dConfig(**fields))
    args = EcgTrainingArguments(output_dir=str(tmp_path), weight_decay=0.1, use_cpu=True)
    decayed = set(EcgTrainer(model, args).get_decay_parameter_names(model))
    assert "swin1d.encoder.stage.0.layer.0.attention.query.weight" in decayed
    assert not [name for name in decayed if "relative_position_bias" in name or "norm" in name]
