"""CPC, beyond the recorded values: sizes, starts, negatives, windows, checkpoints."""

import math

import pytest
import torch
from transformers import AutoModel

from ecg_transformers import CpcConfig, CpcFeatureExtractor, CpcForPreTraining, CpcForSequenceClassification, CpcModel
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, LeadError, SignalError

from ..conftest import count, drawn

SMALL = {
    "encoder_sizes": [6, 8], "encoder_kernel_sizes": [4, 3], "encoder_strides": [2, 1], "hidden_size": 10,
    "window_size": 100, "offsets": [2], "num_negatives": 5,
}  # fmt: skip


def tiny(**changes):
    torch.manual_seed(0)
    return CpcForPreTraining(CpcConfig(**{**SMALL, **changes}))


def records(batch=6, samples=100):
    return torch.randn(batch, 12, samples, generator=torch.Generator().manual_seed(1))


def test_published_sizes():
    with torch.device("meta"):
        model = CpcForPreTraining(CpcConfig())
        convolutional = CpcModel(CpcConfig.of_encoder("convolutional"))
        gru = CpcModel(CpcConfig(context="gru"))
        classifier = CpcForSequenceClassification(CpcConfig(num_labels=71))
        linear = {"head_hidden_sizes": [], "head_dropout": 0.0, "head_batch_norm": False}
        probe = CpcForSequenceClassification(CpcConfig(num_labels=71, **linear))
    assert count(model) == 5_261_312
    assert (count(model.cpc.encoder), count(model.cpc.rnn), count(model.projection)) == (796_672, 4_202_496, 262_144)
    assert (count(convolutional.encoder), count(gru.rnn)) == (3_211_264, 3_151_872)
    assert (convolutional.num_tokens(250), convolutional.num_tokens(1000)) == (15, 62)
    assert (count(classifier), count(classifier.classifier)) == (5_826_631, 827_463)
    assert count(probe.classifier) == 109_127
    assert model.cpc.config.pooled_size == 1536
    assert [type(layer).__name__ for layer in classifier.classifier] == [
        "BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"
    ]  # fmt: skip
    assert [layer.p for layer in classifier.classifier if isinstance(layer, torch.nn.Dropout)] == [0.25, 0.5]


def test_tensors_start_as_in_torch():
    model = CpcModel(CpcConfig(encoder_sizes=[64, 64, 64, 64], hidden_size=64))
    for name, tensor in model.named_parameters():
        if "norm" in name:
            assert torch.equal(tensor, torch.full_like(tensor, float("weight" in name)))
        else:
            fan_in = 12 if name.startswith("encoder.0") else 64
            assert 0.8 / math.sqrt(fan_in) < tensor.abs().max() <= 1 / math.sqrt(fan_in), name
    plain = CpcModel(CpcConfig(encoder_sizes=[64], encoder_kernel_sizes=[5], encoder_strides=[1],
                               encoder_batch_norm=False, hidden_size=8))  # fmt: skip
    assert 0.5 / math.sqrt(60) < plain.encoder[0].conv.bias.abs().max() <= 1 / math.sqrt(60)


@pytest.mark.parametrize("changes", [{}, {"negatives": "batch"}, {"offsets": [1, 3]}, {"projection": "mlp"}])
def test_a_few_steps_lower_the_loss(changes):
    time = torch.arange(100) / 100
    x = torch.sin(2 * torch.pi * torch.linspace(3, 9, 12)[:, None] * time) + 0.1 * records(8)
    model = tiny(**changes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        output = model(x, **drawn(model, x, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert losses[0] == pytest.approx(math.log(6), abs=0.3)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_negatives_are_never_the_target_and_reach_every_other_time():
    model = tiny(offsets=[1, 4], num_negatives=400)
    tokens = model.cpc.num_tokens(100)
    keywords = drawn(model, records(2))
    assert keywords.keys() == {"negative_times"}
    times = keywords["negative_times"]
    assert times.shape == (2, 2, tokens - 1, 400)
    for number, offset in enumerate((1, 4)):
        target = torch.arange(tokens - offset) + offset
        used = times[:, number, : tokens - offset]
        assert not (used == target[:, None]).any()
        assert set(used.flatten().tolist()) == set(range(tokens))
        # What a larger offset does not use.
        assert not times[:, number, tokens - offset :].any()


def test_negatives_of_the_batch_are_rows_of_all_processes(monkeypatch):
    model = tiny(negatives="batch")
    draws = model.draw(RowGenerator(2, seed=0, first_row=2, total_rows=6))
    inputs = {"input_values": records(2)}
    # In an evaluation the batch may be smaller than what was drawn for.
    assert set(model.apply_draws(inputs, draws)["negative_records"].flatten().tolist()) == {0, 1}
    monkeypatch.setattr("ecg_transformers.models.cpc.pretraining_cpc.world_size", lambda: 3)
    rows = model.apply_draws(inputs, draws)["negative_records"]
    assert set(rows.flatten().tolist()) == set(range(6))
    whole = model.draw(RowGenerator(6, seed=0))
    assert torch.equal(draws["record"], whole["record"][2:4])


def test_the_sum_over_positions_is_an_option():
    x = records()
    mean, total = tiny().eval(), tiny(loss_reduction="sum").eval()
    with torch.no_grad():
        one, other = (model(x, **drawn(model, x)).loss for model in (mean, total))
    assert other.item() == pytest.approx(one.item() * (mean.cpc.num_tokens(100) - 2), rel=1e-5)


def test_a_checkpoint_opens_as_encoder_and_classifier_and_takes_any_window(tmp_path):
    model = tiny().train()
    model(records(), **drawn(model, records()))
    model.save_pretrained(tmp_path)
    encoder, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    x = records(samples=250)
    output = encoder.eval()(x)
    tokens = output.last_hidden_state
    want = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), tokens[:, -1]], dim=1)
    torch.testing.assert_close(output.pooler_output, want)
    # The last convolution keeps the number of steps, the first halves it.
    assert tokens.shape == (6, 125, 10)


def test_windows_offsets_and_nan():
    with pytest.raises(SignalError, match="predicts 50 steps ahead in windows of 50"):
        tiny(offsets=[50])
    model = tiny()
    with pytest.raises(SignalError, match=r"windows of 120 samples; expected 100 \(window_size\)"):
        model(records(samples=120))
    short = CpcModel(CpcConfig(**{**SMALL, "encoder_kernel_sizes": [10, 10], "encoder_strides": [5, 5]}))
    with pytest.raises(SignalError, match="windows of 1 samples, too few for one token"):
        short(records(samples=1))
    x = records()
    x[0, 0, 50] = float("nan")
    assert model(x, **drawn(model, x)).loss.isnan()
    assert tiny().eval()(records(1)).loss.isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_sizes": []}, "encoder_sizes"),
        ({"encoder_strides": [2]}, "encoder_strides has 1 entries"),
        ({"offsets": [0]}, "offsets"),
        ({"offsets": [2, 2]}, "each number once"),
        ({"num_negatives": 0}, "num_negatives"),
        ({"encoder_kernel_sizes": [0, 3]}, "encoder_kernel_sizes"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        CpcConfig(**{**SMALL, **changes})
    with pytest.raises(CheckpointError, match="fully_connected, convolutional"):
        CpcConfig.of_encoder("dense")


def test_the_constants_belong_to_lead_names():
    extractor = CpcFeatureExtractor(lead_names=["V2", "I"])
    assert extractor.normalization_mean == [-0.00091313, -0.00184586]
    assert extractor.normalization_std == [0.33767231, 0.16401004]
    whole = CpcFeatureExtractor()
    mean = dict(zip(whole.lead_names, whole.normalization_mean, strict=True))
    # The assignment of the published order to names: III = II - I, aVR = -(I + II) / 2.
    assert mean["III"] == pytest.approx(mean["II"] - mean["I"], abs=1e-6)
    assert mean["aVR"] == pytest.approx(-(mean["I"] + mean["II"]) / 2, abs=2e-5)
    with pytest.raises(LeadError, match="MLII"):
        CpcFeatureExtractor(lead_names=["MLII"])
    assert CpcFeatureExtractor(lead_names=["MLII"], normalization="none").normalization_mean is None
