"""`list_models`: the checkpoints of a folder and of an account of the Hub, with the scores of their cards."""

import json

import pytest

from ecg_transformers import list_models
from ecg_transformers.cli import main
from ecg_transformers.errors import CheckpointError

from ..conftest import ROOT
from .hub_server import Repository

CARD = """---
license: apache-2.0
model-index:
- name: tiny
  results:
  - task: {type: audio-classification}
    dataset: {name: "PTB-XL, a corpus", type: ptb-xl, config: superclass, split: validation}
    metrics:
    - {type: roc_auc, value: 0.9111, name: "macro AUROC, linear probe"}
---
# tiny
"""
CONFIG = {
    "model_type": "mae_moco", "architectures": ["MaeMocoModel"], "num_leads": 12, "sampling_rate": 100,
    "window_size": 1000,
}  # fmt: skip


def test_every_shipped_checkpoint_is_listed_with_the_scores_of_its_card(capsys):
    entries = {entry.name: entry for entry in list_models(ROOT / "hub")}
    assert entries.keys() == {folder.parent.as_posix() for folder in (ROOT / "hub").glob("*/config.json")}
    for entry in entries.values():
        split = "test" if entry.model_type == "beatgan" else "validation"  # DS2 of MIT-BIH; fold 9 of PTB-XL
        assert all(score.value > 0.8 and score.split == split for score in entry.scores)
    vit = entries[(ROOT / "hub" / "moco-v3-ecg").as_posix()]
    assert (vit.model_type, vit.pretrained_by, vit.window_seconds) == ("ecg_vit", "moco_v3", 10)
    assert main(["list", str(ROOT / "hub")]) == 0
    text = capsys.readouterr().out
    assert f"      {vit.scores[0]}\n" in text
    assert any(line.split() == ["ecg_vit", "encoder,", "classifier", "moco-v3-ecg"] for line in text.splitlines())


def test_an_account_of_the_hub_is_listed_like_a_folder(hub, in_process):
    for name, files in {
        "tester/tiny": {"config.json": json.dumps(CONFIG), "README.md": CARD},
        "tester/bare": {"config.json": json.dumps(CONFIG | {"pretrained_by": "byol"})},
        "tester/text": {"config.json": '{"model_type": "bert"}'},
        "tester/empty": {},
        "other/tiny": {"config.json": json.dumps(CONFIG)},
    }.items():
        hub.repositories[name] = Repository(False)
        hub.repositories[name].record({file: text.encode() for file, text in files.items()}, "files")
    code = """
    import json
    from ecg_transformers import list_models
    print(json.dumps([[str(entry), *map(str, entry.scores)] for entry in list_models("tester")]))
    """
    bare, tiny = in_process(code, package=True, HF_ENDPOINT=hub.url)
    assert [" ".join(bare[0].split()), *bare[1:]] == [
        "tester/bare MaeMocoModel, pretrained by byol, 12 leads, 100 Hz, 10 s"
    ]
    assert tiny[1:] == ["0.9111 macro AUROC, linear probe (PTB-XL, superclass, validation)"]


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub():
    with pytest.raises(CheckpointError, match="hub/absent is no folder"):
        list_models("hub/absent")
