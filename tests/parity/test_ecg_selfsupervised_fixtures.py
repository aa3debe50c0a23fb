"""xresnet1d, its heads, windows, metrics and folds against numbers recorded from ecg-selfsupervised and the benchmark.

Fixtures in `data/ecg_selfsupervised/`; tolerances are those that a reimplementation of the formulas reached: 2e-6 of a
tensor's largest value for float32 forward passes, 1e-6 in float64 for a training step whose results were rounded to
float32 once, 1e-9 for the full-size models.
"""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file
from torch import nn

from ecg_transformers import Xresnet1dConfig, Xresnet1dForSequenceClassification, Xresnet1dModel
from ecg_transformers.corpora.splits import iterative_stratification
from ecg_transformers.layers.heads import classification_layers
from ecg_transformers.metrics.bootstrap import bootstrap, compare
from ecg_transformers.metrics.metrics import auroc, macro_auroc
from ecg_transformers.signals.windows import window_starts

from .recorded import ECG_SELFSUPERVISED, assert_near_largest, fill_by_rule, part, two_sines

FACTS = json.loads((ECG_SELFSUPERVISED / "full_size_facts.json").read_text())
FORWARD = 2e-6
STEP = 1e-6
FULL_SIZE = 1e-9

SMALL = {"stem_sizes": (8, 8, 64), "head_hidden_sizes": (6,), "head_dropout": 0.0, "num_labels": 5}
SMALL_CONFIGS = {
    "xresnet_basic": {"block": "basic", "depths": (2, 2, 1, 1), "width": 16},
    "xresnet_bottleneck": {"block": "bottleneck", "depths": (2, 2, 2, 1), "width": 8},
}
# Pool and flatten stand before the layers of the official head and have no tensors.
BEFORE_HEAD = 2


def our_name(official):
    """Name of the official state dict to ours."""
    number, _, rest = official.partition(".")
    if int(number) < 3:
        kind, _, tensor = rest.partition(".")
        return f"xresnet1d.stem.{number}.{('conv', 'norm')[int(kind)]}.{tensor}"
    if int(number) == 8:
        layer, _, tensor = rest.partition(".")
        return f"classifier.{int(layer) - BEFORE_HEAD}.{tensor}"
    rest = re.sub(r"idpath\.\d\.(\d)", r"shortcut.\1", rest)
    rest = re.sub(r"(convs\.\d|shortcut)\.0\.", r"\1.conv.", rest)
    rest = re.sub(r"(convs\.\d|shortcut)\.1\.", r"\1.norm.", rest)
    return f"xresnet1d.stages.{int(number) - 4}.{rest}"


def recorded(fixture, prefix):
    return {our_name(name): value for name, value in part(fixture, prefix).items()}


@pytest.fixture(params=SMALL_CONFIGS)
def small(request):
    """A fixture and the classifier with its weights, float32, in evaluation mode."""
    fixture = load_file(ECG_SELFSUPERVISED / f"{request.param}.safetensors")
    model = Xresnet1dForSequenceClassification(Xresnet1dConfig(**SMALL, **SMALL_CONFIGS[request.param]))
    model.load_state_dict(recorded(fixture, "state/"))
    return fixture, model.eval()


def test_every_stage_of_a_window(small):
    fixture, model = small
    stem = {}
    for number, layer in enumerate(model.xresnet1d.stem):
        layer.register_forward_hook(lambda _, __, output, number=number: stem.update({number: output.clone()}))
    with torch.no_grad():
        output = model(fixture["input"][:2], output_hidden_states=True)
        encoded = model.xresnet1d(fixture["input"][:2])
    for number, value in stem.items():
        assert_near_largest(value.squeeze(2), fixture[f"eval/stem{number}"], FORWARD, name=f"stem {number}")
    for stage in range(1, 5):
        assert_near_largest(
            output.hidden_states[stage].mT, fixture[f"eval/stage{stage}"], FORWARD, name=f"stage {stage}"
        )
    assert_near_largest(encoded.last_hidden_state.mT, fixture["eval/stage4"], FORWARD)
    assert_near_largest(encoded.pooler_output, fixture["eval/pool"], FORWARD)
    assert_near_largest(output.logits, fixture["eval/logits"], FORWARD)


def test_every_stage_of_an_odd_length(small):
    fixture, model = small
    with torch.no_grad():
        output = model(fixture["odd/input"], output_hidden_states=True)
        pooled = model.xresnet1d(fixture["odd/input"]).pooler_output
    assert [len(state[0]) for state in output.hidden_states] == [59, 59, 30, 15, 8]
    for stage in range(1, 5):
        assert_near_largest(
            output.hidden_states[stage].mT, fixture[f"odd/stage{stage}"], FORWARD, name=f"stage {stage}"
        )
    assert_near_largest(pooled, fixture["odd/pool"], FORWARD)
    assert_near_largest(output.logits, fixture["odd/logits"], FORWARD)


def test_one_training_step(small):
    fixture, model = small
    model = model.double().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    output = model(fixture["input"].double(), labels=fixture["train/target"])
    assert_near_largest(output.logits, fixture["train/logits"], STEP)
    assert_near_largest(output.loss, fixture["train/loss"], STEP)
    output.loss.backward()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    gradients, norms = recorded(fixture, "train/grad/"), recorded(fixture, "train/grad_norm/")
    assert set(gradients) == set(norms) == set(parameters)
    floor = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert_near_largest(parameters[name].grad, gradient, STEP, floor, name)
        assert_near_largest(parameters[name].grad.norm(), norms[name], STEP, floor, name)
    after = recorded(fixture, "train/buffer_after/")
    assert set(after) == {name for name in buffers if "running_" in name}
    for name, value in after.items():
        assert_near_largest(buffers[name], value, STEP, name=name)
    optimizer.step()
    for name, value in recorded(fixture, "train/param_after/").items():
        assert_near_largest(parameters[name], value, STEP, name=name)


class GivenDropout(nn.Module):
    """A dropout whose mask was drawn before."""

    def __init__(self, keep_mask, share):
        super().__init__()
        self.keep_mask, self.share = keep_mask, share

    def forward(self, hidden):
        return hidden * self.keep_mask / (1 - self.share)


@pytest.mark.parametrize(
    ("name", "hidden_sizes", "dropout", "batch_norm"),
    [("linear_default", (), 0.5, True), ("hidden", (7,), 0.5, True), ("hidden_nobn", (7,), 0.5, False)],
)
def test_heads_in_evaluation_and_in_a_training_pass_with_given_masks(name, hidden_sizes, dropout, batch_norm):
    fixture = part(load_file(ECG_SELFSUPERVISED / "head.safetensors"), f"{name}/")
    head = classification_layers(20, 4, hidden_sizes=hidden_sizes, dropout=dropout, batch_norm=batch_norm)

    def recorded_tensors(prefix):
        for key, value in fixture.items():
            if key.startswith(prefix):
                layer, _, tensor = key.removeprefix(prefix).partition(".")
                yield f"{int(layer) - BEFORE_HEAD}.{tensor}", value

    head.load_state_dict(dict(recorded_tensors("state/")))
    pooled = torch.cat([fixture["input"].amax(dim=2), fixture["input"].mean(dim=2)], dim=1)
    with torch.no_grad():
        assert_near_largest(head.eval()(pooled), fixture["eval"], FORWARD)
    dropouts = [number for number, layer in enumerate(head) if isinstance(layer, nn.Dropout)]
    assert len(dropouts) == sum(key.startswith("train/keep_mask") for key in fixture)
    for drawn, number in enumerate(dropouts):
        share = fixture[f"train/p{drawn}"].item()
        assert head[number].p == share
        head[number] = GivenDropout(fixture[f"train/keep_mask{drawn}"], share)
    assert_near_largest(head.train()(pooled), fixture["train/logits"], FORWARD)
    for key, value in recorded_tensors("train/buffer_after/"):
        assert_near_largest(head.state_dict()[key].double(), value.double(), FORWARD, name=key)


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def classifier_size(config):
    with torch.device("meta"):
        return size(Xresnet1dForSequenceClassification(config))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_full_size_outputs_under_the_weight_rule(depth):
    facts = FACTS[f"xresnet1d{depth}"]
    model = Xresnet1dForSequenceClassification(Xresnet1dConfig.of_depth(depth, num_labels=71)).double().eval()
    damped = {block.convs[-1].norm for stage in model.xresnet1d.stages for block in stage}
    assert fill_by_rule(model, damped) == facts["layers_numbered"]
    signal = two_sines()
    with torch.no_grad():
        output = model(signal, output_hidden_states=True)
        pooled = model.xresnet1d(signal).pooler_output
    assert output.hidden_states[-1].shape == (2, facts["stage_output_length"], facts["stage_output_channels"])
    assert_near_largest(output.logits[:, :5], torch.tensor(facts["logits_first5"], dtype=torch.float64), FULL_SIZE)
    largest = output.logits.abs().sum().item()
    assert output.logits.sum().item() == pytest.approx(facts["logits_sum"], abs=FULL_SIZE * largest)
    assert pooled.norm().item() == pytest.approx(facts["pool_norm"], rel=FULL_SIZE)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_published_depths_have_the_published_numbers_of_parameters(depth):
    facts = FACTS[f"xresnet1d{depth}"]
    config = Xresnet1dConfig.of_depth(depth, num_labels=71)
    with torch.device("meta"):
        assert size(Xresnet1dModel(config)) == facts["backbone_parameters"]
    assert classifier_size(config) == facts["parameters"]
    linear = Xresnet1dConfig.of_depth(depth, num_labels=71, head_hidden_sizes=())
    assert classifier_size(linear) == facts["parameters_linear_bn_head"]


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_deeper_variants_have_half_the_width_from_the_fifth_stage_on(depth):
    base = Xresnet1dConfig.of_depth(depth)
    deep = {"deep": [*base.depths, 1, 1], "deeper": [*base.depths[:2], *[1] * 6]}
    if depth != 18:
        deep["deeper"] = [*base.depths, 1, 1, 1, 1]
    for name, depths in deep.items():
        config = Xresnet1dConfig(block=base.block, depths=depths, num_labels=71)
        facts = FACTS[f"xresnet1d{depth}_{name}"]
        assert classifier_size(config) == facts["parameters"], name
        assert config.stage_widths == [64] * 4 + [32] * (len(depths) - 4)
        with torch.no_grad():
            logits = Xresnet1dForSequenceClassification(config).eval()(torch.zeros(2, 12, 250)).logits
        assert list(logits.shape) == facts["logits_shape"]


@pytest.mark.parametrize("factor", [2, 4])
def test_wider_blocks_leave_the_stem_as_it_is(factor):
    facts = FACTS[f"xresnet1d50_widen{factor}"]
    config = Xresnet1dConfig(width=64 * factor)
    with torch.device("meta"):
        model = Xresnet1dModel(config)
    assert (size(model), config.pooled_size) == (facts["backbone_parameters"], facts["pooled"])
    assert [layer.conv.out_channels for layer in model.stem] == [32, 32, 64]


@pytest.mark.parametrize("depth", [18, 50])
def test_channels_length_and_parameters_of_each_part(depth):
    model = Xresnet1dModel(Xresnet1dConfig.of_depth(depth)).eval()
    shapes = []
    for layer in (*model.stem, *model.stages):
        # Inside, the signal has an axis of length 1 before time.
        layer.register_forward_hook(lambda _, __, output: shapes.append(list(output.squeeze(2).shape[1:])))
    with torch.no_grad():
        pooled = model(torch.zeros(1, 12, 250), output_hidden_states=True).hidden_states[0]
    sizes = [size(layer) for layer in (*model.stem, *model.stages)]
    table = [[number, shape, count] for number, (shape, count) in enumerate(zip(shapes, sizes, strict=True))]
    # The table counts the max pooling as a layer between stem and stages.
    stem, stages = table[:3], [[number + 1, shape, count] for number, shape, count in table[3:]]
    pool = [3, list(pooled.mT.shape[1:]), 0]
    assert [*stem, pool, *stages] == FACTS[f"xresnet1d{depth}_layer_table"]


@pytest.mark.parametrize("samples", [250, 300, 374, 375, 376, 500, 1000, 1024, 2500])
def test_windows_start_where_a_whole_window_fits(samples):
    expected = load_numpy(ECG_SELFSUPERVISED / "windows.safetensors")[f"starts_{samples}"]
    assert window_starts(samples, 250, 125, incomplete="drop").tolist() == expected.tolist()


def test_recorded_resamples_have_the_recorded_mean_and_none_is_rejected():
    data = load_numpy(ECG_SELFSUPERVISED / "metrics.safetensors")
    truth, scores = data["y_true"][:, :5], data["y_pred"][:, :5]
    assert macro_auroc(truth, scores) == pytest.approx(float(data["sklearn_macro_first5"]), abs=1e-12)
    assert np.isnan(auroc(data["y_true"], data["y_pred"])[5])
    result = bootstrap(truth, scores, indices=data["bootstrap/ids"])
    assert result.samples.mean() == pytest.approx(float(data["bootstrap/mean"]), abs=1e-12)
    assert result.vanished == float(data["bootstrap/rejected"]) == 0
    second = bootstrap(truth, data["paired/y_pred2"], indices=data["bootstrap/ids"])
    np.testing.assert_allclose(result.samples - second.samples, data["paired/difference"], atol=1e-12)
    paired = compare(truth, scores, data["paired/y_pred2"], indices=data["bootstrap/ids"])
    assert paired.value == pytest.approx(float(data["paired/point"]), abs=1e-12)


def test_iterative_stratification_gives_the_recorded_folds():
    recorded = json.loads((ECG_SELFSUPERVISED / "stratification.json").read_text())
    grouped = recorded["grouped"]
    for case, sizes in ((recorded, None), (grouped, grouped["samples_per_group"])):
        folds = iterative_stratification(case["labels"], case["num_folds"], sizes=sizes)
        found = [np.flatnonzero(folds == fold).tolist() for fold in range(case["num_folds"])]
        assert found == case["folds"]
        empty = [number for number, labels in enumerate(case["labels"]) if not labels]
        assert np.flatnonzero(folds == -1).tolist() == empty == case.get("unassigned", empty)
