"""BeatGAN, beyond the recorded values: sizes, errors, phases, scores, calibration, converter."""

import json

import pytest
import torch

from ecg_transformers import BeatganConfig, BeatganForAnomalyDetection, BeatganForPreTraining, BeatganModel
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.commands.convert import convert_checkpoint
from ecg_transformers.commands.settings import config_and_extractor
from ecg_transformers.errors import CheckpointError
from ecg_transformers.features.agreement import check_contract
from ecg_transformers.objectives.progress import Progress

from ..conftest import count
from .beats import SMALL, beatgan, beats

STEP = Progress(0, 10, 0.0)


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({}, (954_368, 954_432, 703_488)),
        ({"num_leads": 2}, (954_496, 954_560, 703_616)),
        ({"base_channels": 16}, (606_240, 177_664)),
        ({"base_channels": 8}, (216_080, 45_312)),
        ({"base_channels": 4, "latent_size": 10}, (35_080, 11_776)),
        ({"base_channels": 4, "latent_size": 10, "num_leads": 2}, (35_112, 11_792)),
    ],
)
def test_published_sizes(fields, sizes):
    with torch.device("meta"):
        model = BeatganForPreTraining(BeatganConfig(**fields))
        output = model(torch.empty(2, fields.get("num_leads", 1), 320))
        encoded = model.beatgan(torch.empty(2, fields.get("num_leads", 1), 320))
    parts = [count(model.beatgan), count(model.decoder), count(model.discriminator)]
    assert sizes == (tuple(parts) if len(sizes) == 3 else (parts[0] + parts[1], parts[2]))
    assert output.reconstruction.shape == (2, fields.get("num_leads", 1), 320)
    assert encoded.last_hidden_state.shape == (2, 10, 16 * fields.get("base_channels", 32))
    assert encoded.pooler_output.shape == (2, fields.get("latent_size", 50))


def test_published_defaults():
    config = BeatganConfig()
    assert (config.lead_names, config.hidden_size, config.pooled_size) == (["MLII"], 512, 50)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"window_size": 300}, r"multiple of 32 samples.*Set window_size to 288 or 320"),
        ({"hidden_size": 100}, "last stage has 512 channels"),
        ({"base_channels": 0}, "base_channels is 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"samples_before": 320}, "samples_before is 320"),
        ({"feature_matching_weight": -1.0}, "feature_matching_weight is -1.0"),
        ({"warp_probability": 1.5}, "warp_probability is 1.5"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, words):
    with pytest.raises(CheckpointError, match=words):
        BeatganConfig(**fields)


def test_what_only_some_classes_need_is_refused_by_them():
    with pytest.raises(CheckpointError, match="no latent vector to decode"):
        BeatganForAnomalyDetection(BeatganConfig(latent_size=0))
    with pytest.raises(CheckpointError, match=r"280 samples on each side.*140 before and 179"):
        BeatganForPreTraining(BeatganConfig(warp_probability=0.5, warp_samples=140))
    assert BeatganModel(BeatganConfig(latent_size=0, **{k: v for k, v in SMALL.items() if k != "latent_size"}))


@torch.no_grad()
def test_other_windows_make_other_numbers_of_steps():
    for samples in (32, 160, 640):
        model = BeatganForAnomalyDetection(
            BeatganConfig(window_size=samples, samples_before=10, base_channels=2)
        ).eval()
        assert model(torch.rand(1, 1, samples)).reconstruction.shape == (1, 1, samples)
        assert model.beatgan(torch.rand(1, 1, samples)).last_hidden_state.shape[1] == samples // 32


def test_initial_weights_are_xavier_normal_and_norms_are_spread():
    model = BeatganForPreTraining(BeatganConfig())
    for name, value in model.named_parameters():
        if value.ndim == 3:
            expected = (2 / ((value.shape[0] + value.shape[1]) * value.shape[2])) ** 0.5
            assert value.std().item() == pytest.approx(expected, rel=0.2), name
        elif name.endswith("weight") and value.numel() >= 256:
            assert value.mean().item() == pytest.approx(1, abs=0.01), name
            assert value.std().item() == pytest.approx(0.02, rel=0.2), name
        elif name.endswith("bias"):
            assert not value.any(), name


def test_reference_and_place_of_the_peak_are_the_same_in_config_and_extractor():
    row = ARCHITECTURES["beatgan"]
    config, extractor = config_and_extractor(row, {"reference": "record_median_beat", "samples_before": 100})
    assert (config.reference, extractor.reference) == ("record_median_beat", "record_median_beat")
    assert (config.samples_before, extractor.samples_before, extractor.samples_after) == (100, 100, 220)
    for field, value in (("reference", "none"), ("samples_before", 140)):
        fields = {"reference": "record_median_beat", "samples_before": 100, field: value}
        with pytest.raises(CheckpointError, match=f"{field} is {value}"):
            check_contract(row.config(**fields), extractor)


# ---- phases --------------------------------------------------------------------------------------------------------


def test_each_phase_has_its_terms_and_leaves_the_other_network_alone():
    model, x = beatgan().train(), beats()
    first = model(x, phase="discriminator")
    assert {name for name in first if name.endswith("_loss")} == {"discriminator_loss"}
    first.loss.backward()
    assert all(p.grad is None for part in (model.beatgan, model.decoder) for p in part.parameters())
    model.zero_grad()
    second = model(x, phase="generator", **first.handed)
    assert {name for name in second if name.endswith("_loss")} == {"reconstruction_loss", "feature_matching_loss"}
    second.loss.backward()
    assert all(p.grad is None and p.requires_grad for p in model.discriminator.parameters())
    assert all(p.grad.abs().sum() > 0 for part in (model.beatgan, model.decoder) for p in part.parameters())
    assert second.reconstruction is first.reconstruction
    counters = {name: int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert set(counters.values()) == {2, 4}
    assert {value for name, value in counters.items() if "discriminator" in name} == {4}


def test_without_a_weight_there_is_no_discriminator():
    model, x = beatgan(feature_matching_weight=0.0).train(), beats()
    assert not model.phases
    assert model.draw(RowGenerator(4, seed=0)) == {}
    assert not any(name.startswith("discriminator") for name in model.state_dict())
    output = model(x)
    assert output.loss == output.reconstruction_loss
    assert output.discriminator_loss is None
    assert model.decoder.norms[0].momentum == 0.1
    assert int(model.decoder.norms[0].num_batches_tracked) == 1


def test_a_weight_may_be_changed_in_training():
    model, x = beatgan().eval(), beats()
    model.loss_weights["feature_matching_loss"] = 3.0
    output = model(x)
    expected = output.discriminator_loss + output.reconstruction_loss + 3 * output.feature_matching_loss
    torch.testing.assert_close(output.loss, expected)


def test_a_won_step_ends_with_new_weights_that_follow_from_its_numbers():
    states = []
    # The loss is about 1.5: with the first bound every step is won.
    for bound, seed in ((10.0, 1), (10.0, 1), (10.0, 2), (0.0, 1)):
        model = beatgan(reinitialize_below=bound).train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        keywords = model.apply_draws({"input_values": beats()}, model.draw(RowGenerator(16, seed=seed)))
        output = model(beats(), phase="discriminator", **keywords)
        assert output.reinitialized == (bound > 0)
        model.after_step(STEP)
        after = model.state_dict()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        states.append(after["discriminator.classifier.weight"])
        weights = {name for name, value in model.named_parameters() if name.startswith("discriminator")}
        fresh = {name for name in weights if not name.endswith("bias")}
        statistics = {n for n in changed if "running" in n or "num_batches" in n}
        assert changed - statistics == (fresh if bound else set())
        # Once a step.
        model.after_step(STEP)
        assert torch.equal(model.state_dict()["discriminator.classifier.weight"], states[-1])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_evaluation_never_reinitializes():
    model = beatgan(reinitialize_below=10.0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(beats())
    model.after_step(STEP)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_warps_are_of_training_only_and_of_their_share():
    model, x = beatgan(warp_probability=0.5, warp_samples=3).train(), beats(64)
    draws = model.draw(RowGenerator(64, seed=3))
    warped = model.apply_draws({"input_values": x}, draws)["input_values"]
    same = (warped == x).all(dim=2)[:, 0]
    assert 16 < same.sum() < 48
    assert torch.equal(same, draws["warp_chance"] >= 0.5)
    # The R peak stays in place.
    assert torch.equal(warped[:, :, 28], x[:, :, 28]) or (warped[:, :, 28] - x[:, :, 28]).abs().max() < 0.1
    assert "input_values" not in model.eval().apply_draws({"input_values": x}, draws)


def test_the_loss_falls():
    model = beatgan().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    x, errors = beats(32), []
    for _ in range(90):
        first = model(x, phase="discriminator")
        first.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        second = model(x, phase="generator", **first.handed)
        second.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(second.reconstruction_loss.item())
    assert errors[-1] < 0.3 * errors[0]


# ---- scores --------------------------------------------------------------------------------------------------------


def test_a_pretraining_checkpoint_opens_as_detector_and_scores_alike(tmp_path):
    model = beatgan().eval()
    model.save_pretrained(tmp_path)
    loaded, info = BeatganForAnomalyDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        output, generated = loaded(beats()), model.generate_beats(beats())
    torch.testing.assert_close(output.score, generated.error.mean(dim=(1, 2)), rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_calibration_sets_threshold_and_statistics_that_are_saved(tmp_path):
    model = BeatganForAnomalyDetection(BeatganConfig(**SMALL)).train()
    with pytest.raises(CheckpointError, match="anomaly_threshold is not set"):
        model.is_anomalous(torch.ones(1))
    normal = beats(200)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    statistics = model.calibrate(normal, quantile=0.9)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    scores = model.eval()(normal).score
    assert statistics["count"] == 200
    assert statistics["max"] == pytest.approx(scores.max().item(), rel=1e-5)
    assert statistics["q50"] == pytest.approx(scores.double().quantile(0.5).item(), rel=1e-5)
    assert statistics["std"] == pytest.approx(scores.std(correction=0).item(), rel=1e-5)
    assert model.is_anomalous(scores).float().mean() == pytest.approx(0.1, abs=0.01)
    # Batches, as a dataset gives them.
    assert model.calibrate(normal.split(30), quantile=0.9) == pytest.approx(statistics, rel=1e-5)
    model.save_pretrained(tmp_path)
    again = BeatganForAnomalyDetection.from_pretrained(tmp_path)
    assert again.config.score_statistics == model.config.score_statistics
    assert again.config.anomaly_threshold == model.config.anomaly_threshold
    with pytest.raises(CheckpointError, match=r"quantile is 1\.0"):
        model.calibrate(normal, quantile=1.0)
    with pytest.raises(CheckpointError, match="no beats to calibrate on"):
        model.calibrate([])


def test_the_official_generator_is_converted(tmp_path):
    torch.manual_seed(0)
    model = BeatganForAnomalyDetection(BeatganConfig(base_channels=4, latent_size=10, num_leads=2)).eval()
    official = {}
    for name, value in model.state_dict().items():
        room, *rest = name.removeprefix("beatgan.").split(".")
        if room == "features" and rest[0] == "embed":
            place = "encoder1.main.0"
        elif room == "features":
            place = f"encoder1.main.{2 + 3 * int(rest[1]) + (rest[2] == 'norm')}"
        elif room == "latent":
            place = "encoder1.main.14"
        else:
            place = f"decoder.main.{3 * int(rest[1]) + (rest[0] == 'norms')}"
        official[f"{place}.{rest[-1]}"] = value
    assert {"encoder1.main.12.running_var", "decoder.main.13.bias", "decoder.main.15.weight"} <= official.keys()
    torch.save(official, tmp_path / "folder_0_G.pkl")
    convert_checkpoint("beatgan", tmp_path / "folder_0_G.pkl", tmp_path / "ours", lead_names=["MLII", "V1"])
    loaded = BeatganForAnomalyDetection.from_pretrained(tmp_path / "ours")
    x = torch.rand(3, 2, 320)
    with torch.no_grad():
        # Another place in memory: the same network to rounding, not to the bit.
        torch.testing.assert_close(loaded(x).score, model(x).score)
    assert json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text())["lead_names"] == ["MLII", "V1"]
    del official["decoder.main.6.weight"]
    torch.save(official, tmp_path / "damaged_G.pkl")
    with pytest.raises(CheckpointError, match=r"no tensor 'decoder\.main\.6\.weight'"):
        convert_checkpoint("beatgan", tmp_path / "damaged_G.pkl", tmp_path / "other")
