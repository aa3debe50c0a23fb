"""Pushing and downloading over HTTP, against a small server that speaks the Hub's endpoints."""

import json
import sys

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish

PUSH = """
import json
from pathlib import Path
from ecg_transformers.errors import EcgError
from ecg_transformers.publishing import publish
import torch
from huggingface_hub import HfApi
from transformers import AutoFeatureExtractor, AutoModel

run, record = Path(RUN), RECORD
first = publish(run, "tester/tiny", push=True, golden_record=record, clean_process=False, max_shard_size="20KB")
done = publish(run, "tester/tiny", push=True, golden_record=record, clean_process=False, output_dir=OUT)
model = AutoModel.from_pretrained("tester/tiny")
local = AutoModel.from_pretrained(OUT)
same = all(torch.equal(value, local.state_dict()[name]) for name, value in model.state_dict().items())
hash = AutoFeatureExtractor.from_pretrained("tester/tiny").contract_hash()
HfApi().create_repo("tester/open", private=False)
errors = []
for call in (
    lambda: publish(run, "tester/open", push=True, golden_record=record, clean_process=False),
    lambda: AutoModel.from_pretrained("tester/nowhere"),
):
    try:
        call()
    except (EcgError, OSError) as error:
        errors.append(f"{type(error).__name__}: {error}")
opened = publish(run, "tester/open", push=True, private=False, golden_record=record, clean_process=False)
print(json.dumps({
    "first": first.revision, "revision": done.revision, "url": done.url, "files": done.files, "same": same,
    "remote": HfApi().list_repo_files("tester/tiny"), "hash": hash, "errors": errors, "opened": opened.revision,
}))
"""

LOAD = """
import json
import torch
from transformers import AutoFeatureExtractor, AutoModel
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

extractor = AutoFeatureExtractor.from_pretrained("tester/tiny", trust_remote_code=True)
model = AutoModel.from_pretrained("tester/tiny", trust_remote_code=True)
golden = load_file(snapshot_download("tester/tiny") + "/golden.safetensors")
inputs = extractor(golden["signal"].numpy(), sampling_rate=500, return_tensors="pt")
with torch.no_grad():
    difference = (model(**inputs).pooler_output - golden["pooler_output"]).abs().max().item()
print(json.dumps({"module": type(model).__module__, "difference": difference}))
"""


def test_a_checkpoint_goes_to_the_hub_and_comes_back(hub, run_folder, record_file, in_process, tmp_path):
    names = {"RUN": str(run_folder), "RECORD": str(record_file), "OUT": str(tmp_path / "out")}
    head = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    online = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_dummy", "HF_HUB_DISABLE_XET": "1"}
    pushed = in_process(head + PUSH, package=True, **online)

    repository = hub.repositories["tester/tiny"]
    assert repository.private
    assert pushed["revision"] == repository.commits[-1][0] != pushed["first"]
    assert pushed["url"].endswith(pushed["revision"])
    # One commit for each publication; the shards of the first were removed by the second.
    assert [message for _, _, message in repository.commits] == ["initial commit", "Publish tiny", "Publish tiny"]
    assert any(name.startswith("model-00001") for name in repository.commits[1][1])
    assert sorted(pushed["remote"]) == sorted(pushed["files"]) == sorted(repository.commits[-1][1])
    for name, content in repository.commits[-1][1].items():
        assert content == (tmp_path / "out" / name).read_bytes(), name
    assert pushed["same"]
    assert pushed["errors"][0].startswith("CheckpointError: tester/open exists and is public")
    assert "is not a valid model identifier" in pushed["errors"][1]
    assert not hub.repositories["tester/open"].private
    assert len(hub.repositories["tester/open"].commits) == 2

    modules = tmp_path / "modules"
    modules.mkdir()
    found = in_process(LOAD, package=False, modules=modules, **online)
    assert found["module"].startswith("transformers_modules.tester.tiny.")
    assert found["difference"] < 1e-6

    before = len(hub.requests)
    offline = in_process(LOAD, package=False, modules=modules, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.url)
    assert offline == found
    assert len(hub.requests) == before


def test_pushing_without_a_token_says_how_to_log_in(run_folder, record_file, monkeypatch):
    monkeypatch.setattr(sys.modules["ecg_transformers.publishing.publish"], "get_token", lambda: None)
    with pytest.raises(CheckpointError, match="hf auth login"):
        publish(run_folder, "tester/tiny", push=True, golden_record=record_file, clean_process=False)


def test_pushing_needs_results(classifier_folder, record_file):
    assert not (classifier_folder / "results.json").exists()
    with pytest.raises(CheckpointError, match="published with its scores"):
        publish(classifier_folder, "tester/tiny", push=True, golden_record=record_file, clean_process=False)


def test_the_server_double_is_local_only(hub):
    assert hub.url.startswith("http://127.0.0.1:")
    assert json.dumps(hub.requests) == "[]"
