import json
from pathlib import Path

import pytest
import torch

from ecg_transformers.commands.settings import build_model, read_settings
from ecg_transformers.errors import ArgumentsError, CheckpointError

from ..conftest import TINY
from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("mae_moco_*.yaml"))


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "run.yaml"
    lines = [f"{name}: {value}" for name, value in TINY.items()]
    path.write_text(
        "\n".join(
            [*lines, "learning_rate: 1e-3", "eval_strategy: no", "schedules: {momentum: {kind: constant, start: 0.9}}"]
        )
    )
    return [str(path), "--corpus", "c", "--output_dir", str(tmp_path / "out"), "--use_cpu", "true"]


def test_each_name_reaches_its_owner_and_the_command_line_wins(words):
    settings = read_settings(
        [*words, "--hidden_size", "8", "--normalization", "record", "--max_steps", "7", "--train_folds", "1-2"]
    )
    assert settings.config.hidden_size == 8
    assert settings.config.queue_size == 32
    assert settings.extractor.normalization == "record"
    # One name for what model and extractor share.
    assert settings.config.window_size == settings.extractor.window_size == 100
    assert settings.training.learning_rate == 1e-3
    assert settings.training.max_steps == 7
    assert settings.training.eval_strategy == "no"
    assert settings.run.train_folds == [1, 2]
    assert settings.run.schedules == {"momentum": {"kind": "constant", "start": 0.9}}
    assert settings.full_run == {"max_steps": -1, "num_train_epochs": 3.0}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--hiden_size", "8"], "hidden_size"),
        (["--learning_rate", "fast"], "learning_rate is 'fast'"),
        (["--model_type", "mae_mocco"], "mae_moco"),
        (["--model_type", "xresnet1d"], "supervised network.*one of .*mae_moco.*finetune"),
        (["--lr_scheduler_type", "reduce_lr_on_plateau"], "Trainer refuses"),
        (["--early_stopping_patience", "3"], "eval_strategy"),
        (["--patch_size", "33"], "not a whole number of patches"),
        (["--corpus="], "--corpus DIR"),
    ],
)
def test_a_mistake_is_explained(words, extra, message):
    with pytest.raises((ArgumentsError, CheckpointError), match=message):
        read_settings([*words, *extra])


def test_one_configuration_is_needed(words):
    with pytest.raises(ArgumentsError, match="one configuration file"):
        read_settings(words[1:])


SWIN = {
    "model_type": "swin1d", "embedding_size": 8, "depths": [2, 2], "num_attention_heads": [2, 4], "patch_size": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "extra", "message"),
    [
        ("moco_v3", "--sampling nearest", "none, srcl, n_sam, ds"),
        ("mae_moco", "--sampling nearest", "none, srcl, n_sam, ds"),
        ("mae_moco", "--same_source drop", "ignore, exclude, positive"),
        ("moco_v3", "--ds_threshold 1.2", "ds_threshold is 1.2.*from -1 to 1"),
        ("mae_moco", "--ds_threshold -1.2", "ds_threshold is -1.2.*from -1 to 1"),
        ("moco_v3", "--backbone_config={'model_type':'resnet'}", "'resnet'; expected a registered encoder: .*ecg_vit"),
        ("mae_nextclip", "--nextclip_size 950", "need a window of 1050 samples, but window_size is 1000"),
        ("mae_nextclip", "--nextclip_size 20", "up to 75 samples.*Set nextclip_size to 75"),
        (SWIN, "--window_size 1000", "1000 is not a multiple of 80 samples.*Set window_size to 960 or 1040"),
    ],
)
def test_bad_input_of_an_objective_is_one_clear_error(recipe, extra, message, tmp_path):
    path = CONFIGS[0].parent / f"{recipe}_tiny.yaml"
    if isinstance(recipe, dict):
        path = tmp_path / "swin.yaml"
        path.write_text(json.dumps({"model_type": "moco_v3", "backbone_config": recipe}))
    words = [path, "--corpus", "c", "--output_dir", tmp_path / "out", "--use_cpu", *extra.replace("'", '"').split()]
    with pytest.raises((ArgumentsError, CheckpointError), match=message.replace("'", ".")):
        build_model(read_settings([str(word) for word in words]))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_are_understood(path, tmp_path):
    settings = read_settings([str(path), "--corpus", "c", "--output_dir", str(tmp_path), "--use_cpu"])
    is_published = path.stem.endswith("published")
    rate = 360 if is_published else 100
    assert settings.config.sampling_rate == settings.extractor.sampling_rate == rate
    assert settings.config.num_patches * settings.config.patch_size == settings.extractor.window_size == 10 * rate
    assert settings.config.same_source == ("ignore" if is_published else "exclude")
    # What a run was clipped with is written into its recipe; the default clips nothing.
    assert settings.training.max_grad_norm == (0.0 if is_published else 1.0)


def test_going_on_from_a_checkpoint_keeps_the_encoder_and_starts_twin_and_queue_anew(
    words, tmp_path, make_model, extractor
):
    trained = make_model()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        trained.queue.keys.normal_()
        trained.queue.pointer.fill_(5)
    trained.save_pretrained(tmp_path / "checkpoint")
    extractor.normalization = "record"
    extractor.save_pretrained(tmp_path / "checkpoint")
    settings = read_settings([*words, "--model", str(tmp_path / "checkpoint"), "--mask_ratio", "0.5"])
    # The checkpoint's contract and architecture win over the YAML, the command line over both.
    assert settings.extractor.normalization == "record"
    assert settings.config.mask_ratio == 0.5
    model = build_model(settings)
    old, new = trained.state_dict(), model.state_dict()
    for name in old:
        if name.startswith(("mae_moco.", "decoder.", "projector.")):
            assert torch.equal(old[name], new[name]), name
    for part, twin in (("mae_moco", "momentum_encoder"), ("projector", "momentum_projector")):
        for name, value in getattr(model, part).state_dict().items():
            assert torch.equal(value, new[f"{twin}.{name}"]), name
    assert torch.equal(model.queue.keys, make_model().queue.keys)
    assert model.queue.pointer.item() == 0
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, parameter in make_model().named_parameters() if parameter.requires_grad}
    # The queue may have another length than the checkpoint's, or be left out.
    for size in (16, 0):
        settings = read_settings([*words, "--model", str(tmp_path / "checkpoint"), "--queue_size", str(size)])
        model = build_model(settings)
        assert (0 if model.queue is None else model.queue.keys.shape[1]) == size
        assert torch.equal(model.projector.layers[0].linear.weight, trained.projector.layers[0].linear.weight)


def test_going_on_from_an_encoder_alone_works(words, tmp_path, make_model, extractor):
    trained = make_model()
    trained.encoder.save_pretrained(tmp_path / "encoder")
    extractor.save_pretrained(tmp_path / "encoder")
    model = build_model(read_settings([*words, "--model", str(tmp_path / "encoder")]))
    for name, value in trained.encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[name])


def test_a_checkpoint_without_the_encoder_is_refused(words, tmp_path, make_model, extractor):
    model = make_model()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("mae_moco.encoder")}
    model.save_pretrained(tmp_path / "broken", state_dict=state)
    extractor.save_pretrained(tmp_path / "broken")
    with pytest.raises(CheckpointError, match="lacks"):
        build_model(read_settings([*words, "--model", str(tmp_path / "broken")]))


def test_the_checkpoint_of_a_supervised_network_is_not_pretrained_further(words, tmp_path):
    from ecg_transformers import Xresnet1dConfig

    Xresnet1dConfig(depths=(1,), width=4).save_pretrained(tmp_path / "supervised")
    with pytest.raises(ArgumentsError, match="xresnet1d is a supervised network"):
        read_settings([*words, "--model", str(tmp_path / "supervised")])


def test_what_has_no_weights_is_not_newly_initialized(tmp_path, caplog):
    """Dropouts and the like; a family without a momentum encoder begins with all its weights."""
    tester = EcgWav2vec2Tester()
    row = tester.architecture
    row.pretraining(tester.get_config()).save_pretrained(tmp_path / "checkpoint")
    row.feature_extractor(window_size=64).save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "run.yaml").write_text("model_type: ecg_wav2vec2")
    words = [tmp_path / "run.yaml", "--corpus", "c", "--output_dir", "o", "--model", tmp_path / "checkpoint"]
    with caplog.at_level("WARNING", logger="transformers"):
        build_model(read_settings([str(word) for word in words]))
    assert "its encoder is loaded" in caplog.text
    assert "newly initialized" not in caplog.text


def published_encoder(folder, **changes):
    """A tiny xresnet1d with random weights, as a supervised checkpoint is published: with labels, without projector."""
    from ecg_transformers import Xresnet1dConfig, Xresnet1dFeatureExtractor, Xresnet1dForSequenceClassification

    config = Xresnet1dConfig(
        depths=[1, 1, 1, 1], width=8, stem_sizes=[8, 8, 8], block="basic", sampling_rate=50, window_size=100,
        id2label={0: "A", 1: "B"}, label_names=["a", "b"], **changes,
    )  # fmt: skip
    model = Xresnet1dForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    Xresnet1dFeatureExtractor(sampling_rate=50, window_size=100, normalization="record").save_pretrained(folder)
    return model.base_model


@pytest.mark.parametrize("method", ["simclr", "byol", "moco_v3", "swav"])
def test_a_published_encoder_is_the_start_of_the_backbone_of_a_method(method, tmp_path, caplog):
    encoder = published_encoder(tmp_path / "published")
    path = tmp_path / "run.yaml"
    backbone = {"model_type": "xresnet1d", "depths": [2, 2, 2, 2], "block": "basic"}
    recipe = {"model_type": method, "backbone_config": backbone, "projector_hidden_size": 16, "window_size": 250}
    path.write_text(json.dumps(recipe | {"normalization": "constants"}))
    words = [path, "--corpus", "c", "--output_dir", tmp_path / "out", "--use_cpu", "--model", tmp_path / "published"]
    settings = read_settings([str(word) for word in words])
    model = build_model(settings)
    assert (settings.config.model_type, settings.config.projector_hidden_size) == (method, 16)
    assert settings.config.backbone_config.label_names is None
    assert settings.extractor.normalization == "record"
    # The checkpoint's architecture and signal win over those of the YAML, in one line.
    line = "the checkpoint decides: depths [1, 1, 1, 1] (not [2, 2, 2, 2]), window_size 100 (not 250), "
    assert line in caplog.text
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(model.encoder.backbone.state_dict()[name], tensor), name
    twin = getattr(model, "momentum_encoder", None)
    if twin is not None:
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(twin.backbone.state_dict()[name], tensor), name
        assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert (twin is not None) == (method in ("byol", "moco_v3"))
    fresh = [name for name, child in model.named_children() if child.state_dict() and child is not model.encoder]
    assert f"its encoder is loaded; newly initialized: {', '.join(fresh)}." in caplog.text
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("backbone", "extra", "error", "message"),
    [
        ({"model_type": "ecg_vit"}, [], ArgumentsError, "is a xresnet1d, but the configuration pretrains a ecg_vit"),
        (
            {"model_type": "xresnet1d"},
            ["--kernel_size", "7"],
            CheckpointError,
            "another shape than its config implies",
        ),
    ],
)
def test_a_published_encoder_that_is_not_the_backbone_is_refused(backbone, extra, error, message, tmp_path):
    published_encoder(tmp_path / "published")
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"model_type": "simclr", "backbone_config": backbone}))
    words = [path, "--corpus", "c", "--output_dir", tmp_path / "out", "--use_cpu", "--model", tmp_path / "published"]
    with pytest.raises(error, match=message):
        build_model(read_settings([str(word) for word in (*words, *extra)]))
