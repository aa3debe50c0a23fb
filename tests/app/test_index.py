"""The index of recordings: what it holds, what is nearest, how it is made of a folder or a corpus."""

import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from ecg_transformers.app.analysis import Checkpoint
from ecg_transformers.app.index import EmbeddingIndex, build_index, read_index
from ecg_transformers.app.page import ASSETS, DEFAULT_MODELS, build_page
from ecg_transformers.cli import main
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.errors import CheckpointError, RecordFileError


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(checkpoint):
    return Checkpoint(str(checkpoint))


def test_the_nearest_come_first_and_an_offset_of_all_embeddings_changes_nothing(vectors):
    traces = [np.full(500, 1000 * row, np.int16) for row in range(20)]
    for offset in (0.0, 100.0):
        index = EmbeddingIndex(
            "hash", "x", "", [f"r{row}" for row in range(20)], [["AFIB", "X"]] * 20, vectors + offset, traces,
            ["II"] * 20, {"AFIB": "atrial fibrillation"},
        )  # fmt: skip
        found = index.nearest(vectors[7] + offset, 3)
        assert found[0].name == "r7"
        assert found[0].similarity == pytest.approx(1, abs=1e-4)
        assert found[0].similarity > found[1].similarity > found[2].similarity
    assert found[0].labels == ("AFIB (atrial fibrillation)", "X")
    assert found[0].trace[0] == 7.0


def test_a_corpus_becomes_an_index_in_which_its_own_records_are_nearest(tiny, corpus_folder, tmp_path):
    corpus = load_corpus(corpus_folder)
    index = build_index(tiny.embed, corpus_folder, tmp_path / "i.parquet", records=40)
    assert len(index.names) == 40
    # Rare labels are drawn too: two of 160 records have this one.
    assert {label for labels in index.labels for label in labels} == {"FAST", "TALL", "RARE"}
    assert index.source == "Tiny corpus 1, CC0"
    row = corpus.names.index(index.names[5])
    nearest = index.nearest(tiny.embed(corpus[row]), 1)[0]
    assert nearest.name == index.names[5]
    signal = corpus[row].signal[corpus[row].leads.index("II")]
    # 2 s at 50 Hz became 100 Hz.
    np.testing.assert_allclose(nearest.trace[::2], signal, atol=0.05)
    # It belongs to this checkpoint only.
    assert Checkpoint(tiny.name, [index]).index is index


def test_anybodys_folder_becomes_an_index_and_what_is_refused_is_listed(data_dir, tmp_path, capsys, caplog):
    shutil.copytree(data_dir / "ptbxl", tmp_path / "mine")
    (tmp_path / "mine" / "broken.csv").write_text("no numbers here\n")
    output = tmp_path / "mine.parquet"
    arguments = ["--model", "hub/xresnet1d50-ecg", "--output", str(output), "--license", "own"]
    assert main(["index", str(tmp_path / "mine"), *arguments]) == 0
    assert "5 recordings" in capsys.readouterr().out
    assert "1 recordings were refused" in caplog.text
    index = read_index(output)
    assert index.source == "own"
    assert "broken.csv" in (tmp_path / "mine.refused.csv").read_text()
    (tmp_path / "empty").mkdir()
    assert main(["index", str(tmp_path / "empty"), *arguments]) == 2


def test_a_foreign_file_is_no_index(tmp_path, tiny):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match="ecg-transformers index"):
        read_index(tmp_path / "x.parquet")
    with pytest.raises(RecordFileError, match="no recording"):
        build_index(tiny.embed, tmp_path, tmp_path / "y.parquet")


def test_an_index_of_another_state_of_its_checkpoint_is_noticed(checkpoint, corpus_folder, tmp_path, gradio):
    tiny, path = Checkpoint(str(checkpoint)), tmp_path / "mine.parquet"
    index = build_index(tiny.embed, corpus_folder, path, records=10)
    assert (index.model, tiny.has_outdated_index) == (tiny.title, False)
    changed = tmp_path / tiny.title
    shutil.copytree(checkpoint, changed)
    with torch.no_grad():
        next(tiny.pretraining.parameters()).add_(0.1)
    tiny.pretraining.save_pretrained(changed)
    later = Checkpoint(str(changed), [index])
    assert later.index is None
    assert later.has_outdated_index
    with pytest.raises(CheckpointError, match=rf"mine.parquet was made with another.*{tiny.title}.*index FOLDER"):
        build_page([str(changed)], {str(path): index})


def test_an_index_of_ones_own_comes_before_the_bundled_one(gradio, monkeypatch):
    own = read_index(ASSETS / "index_xresnet1d50-ecg.parquet")
    opened = []
    monkeypatch.setattr(
        "ecg_transformers.app.page._Page", lambda gradio, models, limits: opened.append(models) or Mock()
    )
    build_page(["hub/xresnet1d50-ecg"], {"own.parquet": own})
    assert opened[0].open("xresnet1d50-ecg").index is own


@pytest.mark.parametrize("name", DEFAULT_MODELS)
def test_the_bundled_index_is_that_of_the_shipped_checkpoint_small_and_licensed(name):
    path = ASSETS / f"index_{name}.parquet"
    index = read_index(path)
    assert Checkpoint(f"hub/{name}", [index]).index is index, f"{path} is of another state of {name}; make it again"
    assert len(index.names) == 300
    assert "CC BY 4.0" in index.source
    assert len({label for labels in index.labels for label in labels}) >= 70
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 2.5e6
