"""The command `training/publish.py`, as it is typed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from ecg_transformers import (
    MaeMocoConfig,
    MaeMocoFeatureExtractor,
    MaeMocoForPreTraining,
    MocoV3Config,
    MocoV3FeatureExtractor,
    MocoV3ForPreTraining,
    publishing,
)
from ecg_transformers.errors import CheckpointError

from ..conftest import ROOT
from ..conftest import script as module_of

SCRIPT = ROOT / "training" / "publish.py"
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "queue_size": 8}
SIZES |= {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
WINDOW = {"sampling_rate": 100, "window_size": 1000, "patch_size": 25}


@pytest.fixture(scope="module")
def script():
    return module_of("publish")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What is left by a pretraining run, its own record included."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    MaeMocoForPreTraining(MaeMocoConfig(**SIZES, **WINDOW)).save_pretrained(folder)
    MaeMocoFeatureExtractor(**WINDOW).save_pretrained(folder)
    run = {"corpus": {"name": "ptbxl", "version": "1.0.3"}, "records": 17418, "steps": 12, "epochs": 0.5, "hours": 0.25}
    run |= {"hardware": "2 CPU threads", "commit": "abc123", "seed": 3, "config": "/home/me/tiny.yaml"}
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def test_the_command_writes_a_verified_folder_and_says_where(run_folder, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(run_folder), "--output_dir", "hub/tiny"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "golden    equal: record 00001_lr" in done.stdout
    assert "folder    hub/tiny" in done.stdout
    card = (tmp_path / "hub" / "tiny" / "README.md").read_text()
    assert 'from_pretrained("hub/tiny")' in card
    assert "17,418 records, 0.5 epochs, 12 steps, 15.0 minutes" in card
    assert "configuration `tiny.yaml`" in card
    assert "PTB-XL" in card
    assert "CC BY 4.0" in card


BACKBONES = {
    "ecg_vit": {
        **WINDOW, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    },
    "swin1d": {
        "embedding_size": 8, "depths": [1, 2], "num_attention_heads": [2, 4], "patch_size": 5, "window_size": 1000,
        "sampling_rate": 100,
    },
}  # fmt: skip


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_run_of_moco_v3_is_published_as_its_backbone(backbone, script, tmp_path, monkeypatch, forked_verification):
    monkeypatch.chdir(tmp_path)
    fields = BACKBONES[backbone]
    config = MocoV3Config(
        backbone_config={"model_type": backbone, **fields}, projector_hidden_size=16, projection_size=8, queue_size=8,
        sampling="srcl",
    )  # fmt: skip
    torch.manual_seed(0)
    model = MocoV3ForPreTraining(config)
    model.save_pretrained("run")
    contract = {name: fields[name] for name in WINDOW}
    takes_padding = backbone == "ecg_vit"
    extractor = MocoV3FeatureExtractor(**contract, allow_short=takes_padding, return_attention_mask=takes_padding)
    extractor.save_pretrained("run")
    run = {"records": 17418, "steps": 12, "sampling": "srcl", "model_type": "moco_v3"}
    Path("run/run.json").write_text(json.dumps(run))
    # Opened by its own code in a process without the package.
    done = script.main(["run", "--output_dir", "hub/tiny"])
    assert done.verification.golden.passed
    stored = json.loads((done.folder / "config.json").read_text())
    assert (stored["model_type"], stored["pretrained_by"]) == (backbone, "moco_v3")
    assert not [path.name for path in done.folder.iterdir() if "moco" in path.name or "objectives" in path.name]
    card = (done.folder / "README.md").read_text()
    assert "moco_v3" in card
    assert "positives by `srcl`" in card
    published = AutoModel.from_pretrained(done.folder, trust_remote_code=False)
    own = dict(model.moco_v3.backbone.named_parameters())
    assert all(torch.equal(value, own[name].bfloat16().float()) for name, value in published.named_parameters())


def in_this_process(monkeypatch):
    """Publishing without the clean process of the verification, which takes seconds."""
    quick = publishing.publish
    monkeypatch.setattr(publishing, "publish", lambda *words, **options: quick(*words, **options, clean_process=False))


def test_a_repository_without_push_is_checked_and_nothing_is_sent(script, run_folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    in_this_process(monkeypatch)
    done = script.main([str(run_folder), "--repo_id", "me/tiny"])
    assert done.folder is None
    assert done.revision is None
    assert "not sent  verified for me/tiny; add --push" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_card_of_this_repository_is_found_by_name(script):
    options = script.parser().parse_args(["run", "--output_dir", "somewhere/mae-moco-ecg"])
    assert script.find_card(options) == SCRIPT.parents[1] / "hub_cards" / "mae-moco-ecg"
    options = script.parser().parse_args(["run", "--repo_id", "me/other"])
    assert script.find_card(options) is None


def test_a_call_without_a_target_is_refused(script, run_folder):
    with pytest.raises(CheckpointError, match="--output_dir DIR or --repo_id"):
        script.main([str(run_folder)])


def test_the_template_of_the_shipped_card_renders(script, run_folder, monkeypatch, tmp_path):
    in_this_process(monkeypatch)
    done = script.main([str(run_folder), "--output_dir", str(tmp_path / "mae-moco-ecg")])
    card = (done.folder / "README.md").read_text()
    assert "datasets:" not in card, "PTB-XL has no id on the Hub"
    assert "doi:10.13026/kfzx-aw45" in card
    assert "not the authors' weights" in card


def test_every_corpus_of_a_joint_pretraining_is_on_the_card(script, run_folder, monkeypatch, tmp_path):
    in_this_process(monkeypatch)
    joint = tmp_path / "joint"
    shutil.copytree(run_folder, joint)
    run = json.loads((joint / "run.json").read_text())
    corpora = [{"name": name, "version": "1", "hash": "0", "records": 5} for name in ("georgia", "mitdb")]
    run["corpus"] = {"name": "georgia+mitdb", "version": "", "hash": "1", "corpora": corpora}
    (joint / "run.json").write_text(json.dumps(run))
    card = (script.main([str(joint), "--output_dir", str(tmp_path / "out")]).folder / "README.md").read_text()
    assert "Georgia 12-lead database" in card
    assert "ODC-By" in card
