"""Any registered encoder inside another family, shown with a SimCLR of the tests over three backbones."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)

from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.backbone import EcgBackboneConfig
from ecg_transformers.commands.settings import config_and_extractor, read_settings
from ecg_transformers.corpora.protocol import Task
from ecg_transformers.errors import CheckpointError
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.inference.aggregation import aggregate_windows
from ecg_transformers.inference.encode import CheckpointEncoder, embed_windows, encode_corpus, predict_records
from ecg_transformers.publishing import publish
from ecg_transformers.readout import Readout
from ecg_transformers.trainer.fine_tuning import layer_depths

from .toys import TOYS

CONTRACT = {"sampling_rate": 50, "window_size": 100}
BACKBONES = {
    "mae_moco": {
        "model_type": "mae_moco", "patch_size": 10, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, **CONTRACT,
    },
    "xresnet1d": {"model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 2], "width": 4, **CONTRACT},
    "toy_autoencoder": {"model_type": "toy_autoencoder", "hidden_size": 6, **CONTRACT},
}  # fmt: skip
TASK = Task("all", ("A", "B"), ("label A", "label B"), "own", "multi_label_classification")
SIMCLR = TOYS["toy_simclr"]


@pytest.fixture(autouse=True)
def registered(monkeypatch, forked_verification):
    """The toy families are part of the table."""
    for row in TOYS.values():
        monkeypatch.setitem(ARCHITECTURES, row.model_type, row)


@pytest.fixture(params=["mae_moco", "xresnet1d"])
def backbone(request) -> dict:
    return BACKBONES[request.param]


def make(backbone, head="pretraining", **fields):
    torch.manual_seed(0)
    return SIMCLR.find(head)(SIMCLR.config(backbone_config=backbone, **fields))


def signals(samples=100, records=4):
    return torch.randn(records, 12, samples, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def checkpoint(backbone, tmp_path):
    """A pretraining checkpoint with its extractor."""
    make(backbone).save_pretrained(tmp_path / "run")
    SIMCLR.feature_extractor(**CONTRACT, patch_size=backbone.get("patch_size")).save_pretrained(tmp_path / "run")
    return tmp_path / "run"


FAMILIES = [row for row in ARCHITECTURES.values() if issubclass(row.config, EcgBackboneConfig)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda row: row.model_type)
def test_what_is_set_afterwards_is_set_in_the_backbone_in_every_family(family, tmp_path):
    """Further bases of a config must not come before `EcgBackboneConfig`, which hands assignments on."""
    longer = {"source_window_size": 200} if family.model_type != "moco_v3" else {}
    config = family.config(backbone_config=BACKBONES["mae_moco"], **longer)
    config.window_size, config.pooling, config.layer = 50, "mean", [1, 2]
    assert (config.backbone_config.window_size, config.backbone_config.layer) == (50, [1, 2])
    assert config.backbone_config.pooling == config.pooling == "mean"
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, window_size=40).backbone_config.window_size == 40


def test_input_and_sizes_are_the_backbones_and_nothing_is_copied(backbone):
    config = SIMCLR.config(backbone_config=backbone)
    for name in ("num_leads", "lead_names", "sampling_rate", "window_size", "hidden_size", "pooled_size", "layer"):
        assert name not in vars(config)
        assert getattr(config, name) == getattr(config.backbone_config, name)
    config.window_size = 200
    assert config.backbone_config.window_size == config.window_size == 200
    with pytest.raises(AttributeError, match="no_such_field"):
        _ = config.no_such_field


def test_fields_of_the_backbone_may_be_given_at_the_top_level(backbone):
    flat = SIMCLR.config(
        backbone_config={"model_type": backbone["model_type"]},
        temperature=0.2,
        **{name: value for name, value in backbone.items() if name != "model_type"},
    )
    assert flat.to_dict() == SIMCLR.config(backbone_config=backbone, temperature=0.2).to_dict()
    # Of a field that both have, the top level is the method's own.
    both = SIMCLR.config(backbone_config={"model_type": "mae_moco", "temperature": 0.3}, temperature=0.2)
    assert (both.temperature, both.backbone_config.temperature) == (0.2, 0.3)
    # A row of the run is one window, whatever the backbone's own pretraining compares.
    assert getattr(SIMCLR.config(backbone_config={"model_type": "ecg_wav2vec2"}), "num_segments", 1) == 1
    assert SIMCLR.config().backbone_config.model_type == "xresnet1d"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"widht": 8}, "Did you mean 'width'"),
        ({"temprature": 8}, "Did you mean 'temperature'"),
        ({"backbone_config": {"model_type": "mae_moco", "patch_sise": 5}}, "Did you mean 'patch_size'"),
        ({"backbone_config": {"model_type": "vit"}}, r"model_type 'vit'.*mae_moco.*xresnet1d"),
        ({"backbone_config": {"width": 8}}, "model_type None"),
        ({"backbone_config": {"model_type": "toy_simclr"}}, "expected a registered encoder"),
        ({"backbone_config": {"model_type": "mae_moco"}, "window_size": 101}, "100 or 125"),
        ({"projection_size": 0}, "projection_size"),
    ],
)
def test_contradictions_are_refused_as_elsewhere(fields, reason):
    with pytest.raises(CheckpointError, match=reason):
        SIMCLR.config(**fields)


def test_a_configuration_comes_back_as_it_was_and_takes_overrides(backbone, tmp_path):
    config = SIMCLR.config(backbone_config=backbone, temperature=0.2, id2label={0: "NORM", 1: "MI"})
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    changed = AutoConfig.from_pretrained(tmp_path, sampling_rate=60, temperature=0.3)
    assert (changed.backbone_config.sampling_rate, changed.temperature) == (60, 0.3)


def test_it_encodes_as_the_backbone_itself(backbone):
    model, x = make(backbone, "encoder").eval(), signals()
    with torch.no_grad():
        want = model.backbone(x, output_hidden_states=True)
        got = model(x, output_hidden_states=True)
        assert all(torch.equal(*both) for both in zip(got.hidden_states, want.hidden_states, strict=True))
        for layer in (-1, 1, [0, -1]):
            for pooling in ("cls", "mean", "cls_mean"):
                ours = embed_windows(model, {"input_values": x}, Readout(pooling, layer))
                assert torch.equal(ours, embed_windows(model.backbone, {"input_values": x}, Readout(pooling, layer)))
    assert model.has_cls_token == model.backbone.has_cls_token
    assert model.takes_any_window == model.backbone.takes_any_window
    groups = [tuple(f"backbone.{part}" for part in group) for group in model.backbone.layer_groups()]
    assert model.layer_groups() == groups


def test_windows_of_another_length_work_as_on_the_backbone(checkpoint):
    x = signals(200)
    for auto_class in (AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification):
        model = auto_class.from_pretrained(checkpoint, window_size=200, interpolate_positions=True)
        assert model.config.window_size == model.config.backbone_config.window_size == 200
        assert model(x)[0].isfinite().all()
    encoder = AutoModel.from_pretrained(checkpoint)
    encoder.resize_window(200)
    with torch.no_grad():
        assert torch.equal(encoder(x).pooler_output, encoder.backbone(x).pooler_output)


def test_attention_kernels_and_truncation_reach_the_backbone(checkpoint, backbone):
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager")
    assert model.backbone.config._attn_implementation == "eager"
    if model.backbone.config.model_type == "mae_moco":
        assert len(model(signals(), output_attentions=True).attentions) == 2
    small = model.truncate(1)
    torch.testing.assert_close(
        small(signals()).pooler_output, embed_windows(model, {"input_values": signals()}, Readout("cls", 1))
    )
    assert (small.num_layers, model.num_layers) == (1, 2)


def test_probes_and_classifiers_read_it_like_the_backbone(checkpoint, single_corpus):
    extractor = SIMCLR.feature_extractor.from_pretrained(checkpoint)
    model = build_classifier(checkpoint, TASK, readout=Readout(layer=1))
    has_cls = model.base_model.has_cls_token
    assert model.config.pooling == model.config.backbone_config.pooling == ("cls_mean" if has_cls else "cls")
    assert model.config.label_names == ["label A", "label B"]
    embeddings = encode_corpus(CheckpointEncoder(model, extractor, "toy"), single_corpus)
    with torch.no_grad():
        windows = model.classifier(embeddings.features).sigmoid().numpy()
    scores = aggregate_windows(windows, embeddings.record_index)
    np.testing.assert_allclose(predict_records(model, single_corpus, extractor), scores, atol=1e-6)


def test_discriminative_rates_go_by_the_backbones_groups(checkpoint):
    model = build_classifier(checkpoint, TASK)
    depths, groups = layer_depths(model), model.base_model.layer_groups()
    for name, depth in depths.items():
        inside = [number for number, group in enumerate(groups) for part in group if f".{part}." in f".{name}"]
        assert [depth] == (inside or [len(groups)]), name


def test_flat_settings_of_a_yaml_file_reach_the_backbone(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model_type: toy_simclr\nbackbone_config: {model_type: xresnet1d}\nwidth: 8\ndepths: [1, 1]\n"
        "window_size: 120\nsampling_rate: 60\ntemperature: 0.2\nnormalization: none\n"
    )
    settings = read_settings([str(file), "--corpus", "c", "--output_dir", str(tmp_path / "out"), "--width", "4"])
    backbone = settings.config.backbone_config
    assert (backbone.width, backbone.depths, backbone.window_size, settings.config.temperature) == (4, [1, 1], 120, 0.2)
    assert (settings.extractor.window_size, settings.extractor.sampling_rate) == (120, 60)
    assert settings.extractor.normalization == "none"
    with pytest.raises(ValueError, match="widht"):
        read_settings([str(file), "--corpus", "c", "--output_dir", str(tmp_path), "--widht", "4"])
    words = [
        str(file),
        "--corpus",
        "c",
        "--output_dir",
        str(tmp_path),
        "--backbone_config",
        '{"model_type": "mae_moco"}',
    ]
    with pytest.raises(ValueError, match="width"):
        read_settings(words)
    config, extractor = config_and_extractor(SIMCLR, {"backbone_config": {"model_type": "mae_moco"}, "patch_size": 20})
    assert config.backbone_config.patch_size == extractor.patch_size == 20


def test_publishing_ships_the_backbone_under_its_own_type_with_its_own_code(checkpoint, backbone, data_dir, tmp_path):
    published = publish(checkpoint, output_dir=tmp_path / "hub" / "toy", golden_record=data_dir / "ptbxl" / "00001_lr")
    folder, model_type = published.folder, backbone["model_type"]
    assert published.verification.golden.passed
    config = AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.pretrained_by) == (model_type, "toy_simclr")
    assert config.architectures == [ARCHITECTURES[model_type].encoder.__name__]
    opened = published.verification.opened
    assert opened["AutoModel"].endswith(f"modeling_{model_type}")
    assert opened["AutoFeatureExtractor"].endswith(f"feature_extraction_{model_type}")
    assert "AutoModelForPreTraining" not in opened
    names = {path.name for path in folder.glob("*.py")}
    assert not [name for name in names if re.search("simclr|backbone|objectives", name)]
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == AutoModel.from_pretrained(checkpoint).backbone.state_dict().keys()
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        torch.testing.assert_close(
            model(signals()).pooler_output,
            AutoModel.from_pretrained(checkpoint)(signals()).pooler_output,
            atol=0.05,
            rtol=0.05,
        )
    with pytest.raises(CheckpointError, match="the pretraining state is not published"):
        publish(checkpoint, output_dir=tmp_path / "state", with_pretraining_state=True)


def test_a_fine_tuned_classifier_is_published_as_the_backbones(checkpoint, backbone, data_dir, tmp_path):
    model = build_classifier(checkpoint, TASK, readout=Readout(layer=[1, -1])).eval()
    model.save_pretrained(tmp_path / "tuned")
    SIMCLR.feature_extractor.from_pretrained(checkpoint).save_pretrained(tmp_path / "tuned")
    folder = publish(
        tmp_path / "tuned", output_dir=tmp_path / "hub", golden_record=data_dir / "ptbxl" / "00001_lr",
        weights_dtype="float32", clean_process=False,
    ).folder  # fmt: skip
    published = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(published) is ARCHITECTURES[backbone["model_type"]].classifier
    assert published.config.id2label == {0: "A", 1: "B"}
    assert published.config.label_names == ["label A", "label B"]
    assert published.config.layer == [1, -1]
    with torch.no_grad():
        torch.testing.assert_close(published(signals()).logits, model(signals()).logits, rtol=1e-5, atol=1e-6)


def test_a_backbone_without_classifier_pretrains_and_says_so_when_a_classifier_is_published(data_dir, tmp_path):
    model = make(BACKBONES["toy_autoencoder"], "classifier", id2label={0: "A", 1: "B"})
    with pytest.raises(CheckpointError, match="toy_autoencoder has no classifier"):
        model.published_model()
