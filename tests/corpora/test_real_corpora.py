"""The bundled real corpora, unpacked and prepared whole: counts as published (`-m slow`)."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ecg_transformers.corpora import corpus_definition
from ecg_transformers.corpora.build import build_corpus

pytestmark = pytest.mark.slow


@pytest.fixture
def unpacked(shared, tmp_path):
    """Unpacks a corpus of ../shared/data and gives its folder."""

    def unpack(name, *options):
        command = [sys.executable, str(shared / "data" / "unpack.py"), str(tmp_path), name, *options]
        subprocess.run(command, check=True, capture_output=True, timeout=280)
        return tmp_path / ("ptb-xl" if name == "ptbxl" else name)

    return unpack


def test_fold_9_of_ptbxl_has_its_records_superclasses_and_statements(unpacked, tmp_path):
    tree = unpacked("ptbxl", "--folds", "9")
    corpus = build_corpus(
        corpus_definition("ptbxl"), tree, tmp_path / "out", sampling_rate=100, num_proc=2, progress=False
    )
    assert (len(corpus), corpus.info["refused"]) == (2183, 0)
    assert corpus.info["label_sets"]["superclass"]["codes"] == ["CD", "HYP", "MI", "NORM", "STTC"]
    superclass = corpus.label_matrix("superclass")
    assert superclass.has_label.sum() == 2146
    assert superclass.values.sum(axis=0).tolist() == [495, 268, 540, 955, 528]
    assert (corpus.label_matrix("all").values.sum(axis=0) > 0).all()
    unpacked("ptbxl", "--folds", "9", "--as-npy")
    arrays = np.load(tree / "npy100" / "fold9.npy")
    np.testing.assert_array_equal(corpus.packed().values.reshape(-1, 12, 1000), arrays)
    _, counts = np.unique(corpus.patient_ids, return_counts=True)
    assert (counts > 1).sum() == 189


def test_mitdb_has_all_records_and_beats(unpacked, tmp_path):
    corpus = build_corpus(corpus_definition("mitdb"), unpacked("mitdb"), tmp_path / "out", num_proc=2, progress=False)
    assert (len(corpus), corpus.info["patients"], corpus.info["annotations"]) == (48, 47, 112_647)
    assert corpus.info["lead_sets"]["V5 MLII"] == 1
    assert corpus[0].require_annotations().symbols.count("N") == 2239


@pytest.mark.parametrize(
    "name", ["cinc2017", "cpsc2018", "cpsc_extra", "georgia", "chapman_shaoxing", "ningbo", "ptb", "ptbxl_cinc"]
)
def test_every_sample_is_read_whole(unpacked, shared, tmp_path, name):
    corpus = build_corpus(corpus_definition(name), unpacked(name), tmp_path / "out", progress=False)
    facts = json.loads((shared / "data" / name / "corpus.json").read_text())
    assert (len(corpus), corpus.info["refused"]) == (facts["records"], 0)
    if name == "cinc2017":
        assert corpus.info["label_counts"] == {"N": 147, "O": 68, "A": 47, "~": 28}
