"""Families of the tests from end to end: they pretrain, resume bit for bit, publish, and open by remote code alone.

A SimCLR over two backbones, and a family with encoder and pretraining but no classifier, which lives outside the
package, alone and as an adversarial pair.
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification, pipeline

from ecg_transformers.auto import ARCHITECTURES, register
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish
from ecg_transformers.publishing.inspection import inspect_checkpoint
from ecg_transformers.trainer.arguments import EcgTrainingArguments
from ecg_transformers.trainer.data import WindowDataset

from .test_backbone import BACKBONES, CONTRACT
from .toys import TOYS

FAMILIES = {
    "simclr over mae_moco": ("toy_simclr", {"backbone_config": BACKBONES["mae_moco"], "hidden_dropout_prob": 0.1}),
    "simclr over xresnet1d": ("toy_simclr", {"backbone_config": BACKBONES["xresnet1d"]}),
    "autoencoder": ("toy_autoencoder", {}),
    "autoencoder against a discriminator": ("toy_autoencoder", {"adversarial_weight": 0.5}),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch, forked_verification):
    """The toy families are part of the table."""
    for row in TOYS.values():
        monkeypatch.setitem(ARCHITECTURES, row.model_type, row)


def make_trainer(name, corpus, folder):
    model_type, fields = FAMILIES[name]
    row = TOYS[model_type]
    config = row.config(**fields)
    extractor = row.feature_extractor(**CONTRACT, patch_size=getattr(config, "patch_size", None))
    torch.manual_seed(0)
    clip = 0.0 if fields.get("adversarial_weight") else 1.0
    arguments = EcgTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, learning_rate=1e-3, max_grad_norm=clip, logging_steps=1,
        save_strategy="steps", save_steps=3, seed=42, use_cpu=True, disable_tqdm=True, report_to="none", max_steps=6,
    )  # fmt: skip
    return row.trainer_class(
        model=row.pretraining(config),
        args=arguments,
        train_dataset=WindowDataset(corpus, extractor, seed=42),
        processing_class=extractor,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_it_pretrains_resumes_bit_for_bit_and_its_encoder_is_published(name, corpus, data_dir, tmp_path):
    straight = make_trainer(name, corpus, tmp_path / "straight")
    before = {key: value.clone() for key, value in straight.model.state_dict().items()}
    straight.train()
    changed = [key for key, value in straight.model.state_dict().items() if not torch.equal(value, before[key])]
    assert any(key.startswith(straight.model.base_model_prefix) for key in changed)
    assert any("discriminator" in key for key in changed) == ("discriminator" in name)
    losses = [entry["loss"] for entry in straight.state.log_history if "loss" in entry]
    assert len(losses) == 6

    # A run that was killed after its first checkpoint.
    shutil.copytree(tmp_path / "straight" / "checkpoint-3", tmp_path / "killed" / "checkpoint-3")
    resumed = make_trainer(name, corpus, tmp_path / "killed")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6
    want, got = (load_file(tmp_path / run / "checkpoint-6" / "model.safetensors") for run in ("straight", "killed"))
    assert want.keys() == got.keys()
    assert [key for key in want if not torch.equal(want[key], got[key])] == []

    checkpoint = tmp_path / "straight" / "checkpoint-6"
    encoder, info = AutoModel.from_pretrained(checkpoint, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(AutoModelForPreTraining.from_pretrained(checkpoint)) is type(straight.model)
    folder = publish(checkpoint, output_dir=tmp_path / "hub", golden_record=data_dir / "ptbxl" / "00001_lr").folder
    published = AutoModel.from_pretrained(folder)
    want = getattr(encoder, "backbone", encoder)
    assert type(published) is type(want)
    exact = {key: value.bfloat16().float() for key, value in want.named_parameters() if value.ndim > 1}
    assert all(torch.equal(dict(published.named_parameters())[key], value) for key, value in exact.items())
    assert "equal" in str(inspect_checkpoint(folder).golden)


def test_a_family_without_heads_is_published_and_opens_without_them(data_dir, tmp_path, monkeypatch):
    row = replace(TOYS["toy_autoencoder"], heads=("encoder",))
    monkeypatch.setitem(ARCHITECTURES, row.model_type, row)
    register([row])
    row.encoder(row.config()).save_pretrained(tmp_path / "run")
    row.feature_extractor().save_pretrained(tmp_path / "run")
    publication = publish(tmp_path / "run", output_dir=tmp_path / "hub", golden_record=data_dir / "ptbxl" / "00001_lr")
    assert set(publication.verification.opened) == {"AutoConfig", "AutoModel", "AutoFeatureExtractor"}
    assert publication.verification.golden.passed
    names = {path.name for path in publication.folder.glob("*.py")}
    assert {"modeling_toy_autoencoder.py", "modeling.py", "configuration.py"} <= names
    assert not [name for name in names if name.startswith(("pretraining", "objectives"))]
    with pytest.raises(ValueError, match="ToyAutoencoderConfig"):
        AutoModelForSequenceClassification.from_pretrained(publication.folder)
    with pytest.raises(CheckpointError, match="no pretraining state"):
        publish(tmp_path / "run", output_dir=tmp_path / "state", with_pretraining_state=True)


def test_a_family_from_elsewhere_is_published_with_its_pretraining_state(data_dir, tmp_path):
    row = TOYS["toy_autoencoder"]
    row.pretraining(row.config()).save_pretrained(tmp_path / "run")
    row.feature_extractor().save_pretrained(tmp_path / "run")
    publication = publish(
        tmp_path / "run", output_dir=tmp_path / "hub", golden_record=data_dir / "ptbxl" / "00001_lr",
        with_pretraining_state=True,
    )  # fmt: skip
    assert publication.verification.opened["AutoModelForPreTraining"].endswith("pretraining_toy_autoencoder")
    text = (publication.folder / "modeling_toy_autoencoder.py").read_text()
    assert text.startswith("# tests/toys/toy_autoencoder/modeling_toy_autoencoder.py")
    assert "from .modeling import EcgPreTrainedModel" in text


def test_the_pretraining_command_takes_a_family_over_a_backbone(corpus_folder, tmp_path):
    from ecg_transformers.commands.pretrain import PretrainingRun
    from ecg_transformers.commands.settings import read_settings

    file = tmp_path / "run.yaml"
    file.write_text(
        "model_type: toy_simclr\nbackbone_config: {model_type: mae_moco, num_hidden_layers: 2}\npatch_size: 10\n"
        "hidden_size: 16\nnum_attention_heads: 2\nintermediate_size: 32\nwindow_size: 100\nsampling_rate: 50\n"
        "per_device_train_batch_size: 8\nmax_steps: 4\nprobe_labels: all\nprobe_steps: 2\nnormalization: none\n"
    )
    words = [str(file), "--corpus", str(corpus_folder), "--output_dir", str(tmp_path / "run"), "--use_cpu"]
    run = PretrainingRun(read_settings([*words, "--train_folds", "1-6", "--validation_folds", "7,8"]))
    assert "encoder" in run.introduction()
    run.train()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["backbone_config"] == {"model_type": "mae_moco", "num_hidden_layers": 2}
    assert [entry["step"] for entry in json.loads((tmp_path / "run" / "probe.json").read_text())["probes"]] == [0, 2, 4]
    encoder = AutoModel.from_pretrained(tmp_path / "run")
    assert (encoder.num_layers, encoder.config.patch_size) == (2, 10)


def test_a_family_without_classifier_says_so_in_the_classification_pipeline(tmp_path):
    row = TOYS["toy_autoencoder"]
    model, extractor = row.pretraining(row.config()), row.feature_extractor()
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    for given in ({"model": str(tmp_path)}, {"model": model, "feature_extractor": extractor}):
        with pytest.raises(CheckpointError, match="toy_autoencoder, a family without classifier"):
            pipeline("ecg-classification", **given, device="cpu")
