"""What xresnet1d promises beyond the recorded fixtures: start values, windows of any length, leads, layers, errors."""

import json
import math
import re

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from torch import nn
from transformers import AutoConfig

from ecg_transformers import (
    Xresnet1dConfig,
    Xresnet1dFeatureExtractor,
    Xresnet1dForSequenceClassification,
    Xresnet1dModel,
)
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.models.xresnet1d.modeling_xresnet1d import average_pairs

TINY = {"stem_sizes": (4, 4, 8), "depths": (1, 2, 1, 1), "width": 4, "head_hidden_sizes": (6,), "num_labels": 3}
POOLINGS = ("cls", "mean", "max", "cls_mean", "attention")


def tiny(kind=Xresnet1dForSequenceClassification, **changes):
    """A small model in evaluation mode whose BatchNorm statistics have seen something."""
    torch.manual_seed(0)
    model = kind(Xresnet1dConfig(**{"zero_init_residual": False, **TINY, **changes})).train()
    with torch.no_grad():
        model(records(8, num_leads=model.config.num_leads))
    return model.eval()


def records(batch=4, samples=250, num_leads=12, seed=1):
    return torch.randn(batch, num_leads, samples, generator=torch.Generator().manual_seed(seed))


def norms(model):
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    }


def scales_at_zero(model):
    return {name for name, norm in norms(model).items() if not norm.weight.any()}


def test_the_last_norm_of_every_branch_starts_at_zero():
    model = Xresnet1dForSequenceClassification(Xresnet1dConfig())
    branches = {name for name in norms(model) if name.endswith(".convs.2.norm")}
    assert len(branches) == 16
    assert scales_at_zero(model) == branches
    basic = Xresnet1dModel(Xresnet1dConfig.of_depth(18))
    assert scales_at_zero(basic) == {name for name in norms(basic) if name.endswith(".convs.1.norm")}
    # A block is its shortcut at the start, so that a stage keeps what it gets.
    signal = torch.rand(2, 256, 1, 20)
    assert torch.equal(model.xresnet1d.stages[0].eval()[1](signal), signal)


def test_the_benchmark_starts_every_norm_at_one():
    model = Xresnet1dForSequenceClassification(Xresnet1dConfig(zero_init_residual=False))
    assert not scales_at_zero(model)
    for norm in norms(model).values():
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()


def test_convolutions_and_linear_layers_start_by_kaiming_without_bias():
    torch.manual_seed(0)
    model = Xresnet1dForSequenceClassification(Xresnet1dConfig(num_labels=71))
    layers = [module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Linear)]
    assert len(layers) == 54
    for layer in layers:
        expected = math.sqrt(2 / layer.weight[0].numel())
        few = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(few))
        assert abs(layer.weight.mean().item()) < 5 * expected / math.sqrt(few)
        # Normal, not uniform: some values lie beyond the bound of a uniform distribution of the same deviation.
        assert layer.weight.abs().max() > 1.9 * expected
        assert layer.bias is None or not layer.bias.any()


def test_the_self_supervised_encoder_has_a_first_convolution_with_bias_and_the_start_of_the_framework():
    torch.manual_seed(0)
    model = Xresnet1dModel(Xresnet1dConfig(stem_bias=True, stem_initialization="torch"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 886_432
    first, bound = model.stem[0].conv, 1 / math.sqrt(60)
    for tensor in (first.weight, first.bias):
        assert 0.8 * bound < tensor.abs().max() <= bound
    assert first.bias.count_nonzero() == 32
    assert first.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert all(layer.conv.bias is None for layer in model.stem[1:])
    assert len(scales_at_zero(model)) == 16


def test_start_values_do_not_hang_on_the_order_of_loading(tmp_path):
    """An encoder that is opened as a classifier keeps its tensors and gets a head that starts like a new one."""
    tiny(Xresnet1dModel).save_pretrained(tmp_path)
    for pooling in POOLINGS:
        # Memory that holds odd numbers: what nobody initializes would show them.
        junk = [torch.full((size,), 1e30) for size in (3, 6, 12, 16, 32, 96, 128, 256) for _ in range(50)]
        del junk
        model = Xresnet1dForSequenceClassification.from_pretrained(tmp_path, pooling=pooling, num_labels=5)
        for name, value in model.state_dict().items():
            assert value.isfinite().all(), name
            assert value.abs().max() < 100, name
        if pooling == "attention":
            assert not model.pooling.attention.query.any()
        assert (model.classifier[0].running_var == 1).all()


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 8, 50, 249, 250, 251, 375, 1000])
def test_any_window_length(samples):
    model = tiny()
    with torch.no_grad():
        output = model(records(samples=samples), output_hidden_states=True)
        encoded = model.xresnet1d(records(samples=samples))
    steps = [math.ceil(samples / factor) for factor in (4, 4, 8, 16, 32)]
    assert [state.shape[1] for state in output.hidden_states] == steps
    assert encoded.last_hidden_state.shape == (4, steps[-1], 16)
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("num_leads", range(1, 13))
def test_one_to_twelve_leads(num_leads, tmp_path):
    model = tiny(num_leads=num_leads)
    x = records(num_leads=num_leads)
    model.save_pretrained(tmp_path)
    again = Xresnet1dForSequenceClassification.from_pretrained(tmp_path)
    assert (
        again.config.lead_names == ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{n}" for n in range(1, 7))][:num_leads]
    )
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, model(x).logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(SignalError, match=f"{num_leads} leads"):
        model(records(num_leads=num_leads + 1))


def test_hidden_states_are_what_stem_and_stages_hand_on():
    model = tiny(Xresnet1dModel, depths=(1, 1, 1, 1, 1, 1))
    with torch.no_grad():
        output = model(records(), output_hidden_states=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [
        (4, 63, 8), (4, 63, 16), (4, 32, 16), (4, 16, 16), (4, 8, 16), (4, 4, 8), (4, 2, 8),
    ]  # fmt: skip
    assert output.hidden_states[-1] is output.last_hidden_state
    assert model.config.hidden_size == 8
    widths = [model.layer_size(layer) for layer in range(7)]
    assert widths == [state.shape[2] for state in output.hidden_states]
    assert torch.equal(output.pooler_output[:, :8], output.last_hidden_state.amax(1))
    torch.testing.assert_close(output.pooler_output[:, 8:], output.last_hidden_state.mean(1))


@pytest.mark.parametrize("layer", [-1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_classifier_reads_any_layer_by_any_pooling(pooling, layer, tmp_path):
    # The last two stages are half as wide, so that a mistaken width shows.
    model = tiny(pooling=pooling, layer=layer, depths=(1, 1, 1, 1, 1), problem_type="multi_label_classification")
    x = records()
    with torch.no_grad():
        states = model.xresnet1d(x, output_hidden_states=True).hidden_states
        want = model(x, labels=torch.ones(4, 3))
    tokens = states[layer]
    if pooling in ("cls", "mean", "max"):
        mean, largest = tokens.mean(1), tokens.amax(1)
        pooled = {"mean": mean, "max": largest, "cls": torch.cat([largest, mean], 1)}[pooling]
        with torch.no_grad():
            torch.testing.assert_close(model.classifier(pooled), want.logits)
    assert want.loss > 0
    assert want.hidden_states is None
    model.save_pretrained(tmp_path)
    again = Xresnet1dForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, want.logits, rtol=1e-5, atol=1e-5)


def test_parts_that_share_a_rate_are_all_of_the_encoder_once_from_input_to_output():
    for depths in ((1, 1, 1, 1), (1, 1, 1), (1,)):
        model = tiny(Xresnet1dModel, depths=depths)
        groups = model.layer_groups()
        names = [name for group in groups for name in group]
        assert len(names) == len(set(names))
        parts = [name for name, _ in model.named_modules() if name in names]
        assert parts == names
        covered = {name for name, _ in model.named_parameters() if any(name.startswith(f"{part}.") for part in names)}
        assert covered == {name for name, _ in model.named_parameters()}
    assert tiny(Xresnet1dModel).layer_groups() == [
        ("stem.0",),
        ("stem.1", "stem.2"),
        ("stages.0", "stages.1"),
        ("stages.2", "stages.3"),
    ]


def test_no_lead_at_all_is_finite():
    with torch.no_grad():
        nothing = tiny()(records(), lead_mask=torch.zeros(4, 12, dtype=torch.long)).logits
    assert nothing.isfinite().all()
    torch.testing.assert_close(nothing[0], nothing[1], rtol=1e-5, atol=1e-5)


def test_other_types_of_numbers():
    model, x = tiny(), records()
    with torch.no_grad():
        want = model(x).logits
        torch.testing.assert_close(model(x.double()).logits, want, rtol=1e-5, atol=1e-5)
        half = model.to(torch.bfloat16)(x).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - want).norm() < 0.05 * want.norm()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"depths": ()}, "depths"),
        ({"depths": (1, 0, 1, 1)}, "depths"),
        ({"depths": (1,) * 17}, "16 stages"),
        ({"depths": (900, 200)}, "1,000 blocks"),
        ({"stem_sizes": (32, -1)}, "stem_sizes"),
        ({"width": 0}, "width"),
        ({"width": 10**6}, "width"),
        ({"kernel_size": 4}, "odd"),
        ({"stem_kernel_size": 0}, "odd"),
        ({"hidden_size": 512}, "256 channels"),
        ({"head_hidden_sizes": (0,)}, "head_hidden_sizes"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"block": "inverted"}, "bottleneck"),
        ({"stem_initialization": "benchmark"}, "kaiming"),
        ({"stem_initialisation": "torch"}, "stem_initialization"),
        ({"pooling": "last"}, "pooling"),
        ({"num_leads": 8, "lead_names": ["I", "II"]}, "num_leads"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, reason):
    with pytest.raises((CheckpointError, StrictDataclassFieldValidationError), match=reason):
        Xresnet1dConfig(**fields)


def test_a_layer_that_is_set_on_loading_is_checked_too(tmp_path):
    tiny().save_pretrained(tmp_path)
    for layer in (5, -6, [1, 5], [2, 2], [-1, 4], []):
        with pytest.raises(CheckpointError, match=re.escape(f"layer is {layer}")):
            Xresnet1dForSequenceClassification.from_pretrained(tmp_path, layer=layer)


def test_a_depth_that_was_never_published_is_refused():
    with pytest.raises(CheckpointError, match="18, 34, 50, 101, 152"):
        Xresnet1dConfig.of_depth(26)


def test_a_configuration_comes_back_as_it_was(tmp_path):
    config = Xresnet1dConfig.of_depth(34, num_leads=3, width=16, stem_bias=True, id2label={0: "NORM", 1: "MI"})
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    assert (again.block, again.depths, again.hidden_size, again.pooled_size) == ("basic", [3, 4, 6, 3], 16, 32)
    assert json.loads((tmp_path / "config.json").read_text())["head_hidden_sizes"] == [128]
    other = Xresnet1dConfig.from_pretrained(tmp_path, num_labels=7, head_hidden_sizes=())
    assert (other.num_labels, list(other.head_hidden_sizes), other.depths) == (7, [], [3, 4, 6, 3])


def test_ten_seconds_become_seven_windows_scaled_by_one_mean_and_deviation():
    extractor = Xresnet1dFeatureExtractor()
    signal = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)
    batch = extractor(signal, sampling_rate=100, return_tensors="pt")
    assert batch["input_values"].shape == (7, 12, 250)
    assert "attention_mask" not in batch
    expected = (signal[:, 125:375] - -0.00077717) / 0.23895642
    np.testing.assert_allclose(batch["input_values"][1], expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        output = tiny()(**batch)
    assert output.logits.shape == (7, 3)
    raw = Xresnet1dFeatureExtractor(normalization="none")(signal, sampling_rate=100, return_tensors="pt")
    np.testing.assert_array_equal(raw["input_values"][0], signal[:, :250])


def test_the_last_window_ends_with_the_recording_and_a_short_recording_is_refused():
    extractor = Xresnet1dFeatureExtractor(normalization="none")
    signal = np.arange(12 * 300, dtype=np.float32).reshape(12, 300) / 3000
    batch = extractor(signal, sampling_rate=100, return_tensors="np")
    assert len(batch["input_values"]) == 2
    np.testing.assert_array_equal(batch["input_values"][1], signal[:, 50:])
    with pytest.raises(SignalError, match=r"2\.49 s"):
        extractor(signal[:, :249], sampling_rate=100)


def test_fewer_leads_and_other_windows_have_their_own_defaults(tmp_path):
    extractor = Xresnet1dFeatureExtractor(lead_names=("II", "V5"), window_size=101)
    assert extractor.window_stride == 50
    assert len(extractor.normalization_mean) == 2
    extractor.save_pretrained(tmp_path)
    again = Xresnet1dFeatureExtractor.from_pretrained(tmp_path)
    assert again.contract_hash() == extractor.contract_hash()
    batch = again(np.tile(np.sin(np.arange(300)), (2, 1)), sampling_rate=100, return_tensors="pt")
    assert batch["input_values"].shape[1:] == (2, 101)


def test_a_recording_without_some_leads_is_taken_where_the_extractor_masks_them():
    extractor = Xresnet1dFeatureExtractor(missing_leads="mask")
    signal = np.random.default_rng(1).normal(size=(3, 500)).astype(np.float32)
    batch = extractor(signal, sampling_rate=100, leads=["I", "II", "V2"], return_tensors="pt")
    assert batch["lead_mask"].sum(1).tolist() == [3] * 3
    model = tiny()
    with torch.no_grad():
        want = model(batch["input_values"]).logits
        # What the extractor left out is zero already: the mask changes nothing, and hides whatever else stood there.
        torch.testing.assert_close(model(**batch).logits, want, rtol=1e-5, atol=1e-5)
        noisy = torch.where(batch["lead_mask"][:, :, None] == 1, batch["input_values"], 5.0)
        torch.testing.assert_close(model(**{**batch, "input_values": noisy}).logits, want, rtol=1e-5, atol=1e-5)


def test_labels_stand_in_the_order_of_the_outputs_whatever_the_order_of_the_file():
    shuffled = {"10": "K", "0": "A", "2": "C", **{str(n): f"L{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)}}
    assert list(Xresnet1dConfig(id2label=shuffled).id2label) == list(range(11))


@pytest.mark.parametrize("samples", [1, 2, 9, 10])
def test_averages_of_pairs_are_the_same_in_an_exported_graph(samples, monkeypatch):
    signal = torch.randn(2, 3, 1, samples)
    eager = average_pairs(signal)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(average_pairs(signal), eager)
    assert torch.equal(eager[..., -1], signal[..., -1] if samples % 2 else signal[..., -2:].mean(-1))
