"""A prepared corpus over HTTP: pushed as Parquet, streamed back bit for bit, split between processes, pretrained on."""

import pytest

from ecg_transformers.cli import main
from ecg_transformers.corpora import hub as corpora_hub
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.hub import push_corpus
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.sources.synthetic import synthetic_definition
from ecg_transformers.errors import CorpusError

from ..conftest import CONFIGS, ROOT

PUSH = """
import json
from pathlib import Path
from huggingface_hub import HfApi
from ecg_transformers.cli import main
from ecg_transformers.corpora import hub

hub._FILE_BYTES, hub._ROWS = 1, 20  # three files
assert main(["push", CORPUS, "tester/ecgs"]) == 0
print(json.dumps(HfApi().list_repo_files("tester/ecgs", repo_type="dataset")))
"""
LOAD = """
import json
import numpy as np
from ecg_transformers import load_corpus
from ecg_transformers.corpora import hub
from ecg_transformers.errors import CorpusError

local, remote = load_corpus(CORPUS), load_corpus("tester/ecgs")
same = all(np.array_equal(one, other) for one, other in zip(local.signals(), remote.signals(), strict=True))
facts = [local.info == remote.info, local.labels == remote.labels, local[3].name == remote[3].name]
parts = [
    [row["record_id"] for row in hub.stream_corpus("tester/ecgs", rank=rank, world_size=2)] for rank in range(2)
]
try:
    load_corpus("tester/nothing")
except CorpusError as error:
    message = str(error)
again = load_corpus("tester/ecgs")
print(json.dumps({
    "same": same, "facts": facts, "parts": parts, "ids": local.record_ids.tolist(), "message": message,
    "path": str(again.path), "reused": again.path == remote.path,
}))
"""
PRETRAIN = """
import json, runpy, sys
sys.argv = ["pretrain.py", CONFIG, "--corpus", "tester/ecgs", "--output_dir", OUT, "--max_steps", "2",
            "--per_device_train_batch_size", "8"]
try:
    runpy.run_path(SCRIPT, run_name="__main__")
except SystemExit as end:
    assert not end.code
print(json.dumps(json.load(open(OUT + "/run.json"))["corpus"]))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "synthetic"
    return build_corpus(synthetic_definition(48, seed=0, sampling_rate=100), "", folder, progress=False)


def test_a_corpus_is_pushed_streamed_and_pretrained_on(corpus, hub, in_process, tmp_path):
    def run(code, **names):
        head = "".join(f"{name} = {str(value)!r}\n" for name, value in names.items())
        return in_process(
            head + code, package=True, modules=tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="token", HF_HUB_DISABLE_XET="1"
        )

    files = run(PUSH, CORPUS=corpus.path)
    assert sum(file.endswith(".parquet") for file in files) == 3
    assert {"README.md", "corpus.json", "refused.csv"} <= set(files)
    found = run(LOAD, CORPUS=corpus.path)
    assert found["same"]
    assert all(found["facts"])
    assert all(found["parts"])
    assert sorted(found["parts"][0] + found["parts"][1]) == sorted(found["ids"])
    assert found["reused"]
    assert "tester/nothing is no folder, and no prepared corpus of the Hub" in found["message"]
    record = run(
        PRETRAIN, CONFIG=CONFIGS / "mae_moco_tiny.yaml", OUT=tmp_path / "run", SCRIPT=ROOT / "training/pretrain.py"
    )
    assert record["hash"] == corpus.hash


def test_only_whole_corpora_are_pushed(corpus):
    with pytest.raises(CorpusError, match="is a selection"):
        push_corpus(corpus.select([0, 1]), "tester/part")
    with pytest.raises(CorpusError, match="expected owner/name"):
        push_corpus(corpus, "part")


def test_a_hub_that_cannot_be_reached_is_one_line(corpus, monkeypatch, capsys):
    def create_repo(self, *arguments, **options):
        raise ConnectionError("no way to the Hub\nand more")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create_repo)
    assert main(["push", str(corpus.path), "tester/ecgs"]) == 2
    error = capsys.readouterr().err
    assert error == "ecg-transformers: CorpusError: tester/ecgs cannot be pushed to: no way to the Hub\n"


def test_a_fetch_that_was_interrupted_keeps_its_files(corpus, tmp_path, monkeypatch):
    """The second file fails once; the first is not streamed again."""
    import datasets

    corpora_hub._write_parquet(corpus, tmp_path / "data")
    names = [f"data/{name}.parquet" for name in "ab"]
    table = datasets.Dataset.from_parquet(str(next((tmp_path / "data").glob("*"))), cache_dir=str(tmp_path / "cache"))
    streamed = []

    def stream(repo_id, commit, files):
        streamed.extend(files)
        if len(streamed) == 2:
            raise ConnectionError("reset")
        return table.select(range(24) if files == names[:1] else range(24, 48)).to_iterable_dataset()

    monkeypatch.setattr(corpora_hub, "_stream", stream)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *args, **options: names)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **options: str(corpus.path / "refused.csv"))
    target = tmp_path / "fetched"
    with pytest.raises(ConnectionError):
        corpora_hub._fetch("tester/ecgs", "0", corpus.info, target)
    assert not target.exists()
    corpora_hub._fetch("tester/ecgs", "0", corpus.info, target)
    assert streamed == [*names, names[1]]
    assert load_corpus(target).record_ids.tolist() == corpus.record_ids.tolist()
