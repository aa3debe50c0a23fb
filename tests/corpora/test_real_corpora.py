"""The bundled real corpora, unpacked and prepared whole: counts as published (`-m slow`)."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from ecg_transformers.corpora import corpus_definition
from ecg_transformers.corpora.beat_splits import beat_classes, named_split
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.sources.mitdb_beats import beat_contract, beats_definition
from ecg_transformers.evaluation.beats.baselines import beat_task, nearest_normal, principal_components
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.metrics import metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


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


@pytest.fixture(scope="module")
def published_beats(shared, tmp_path_factory):
    """The beats of MIT-BIH in the published preparation."""
    folder = tmp_path_factory.mktemp("mitdb")
    command = [sys.executable, str(shared / "data" / "unpack.py"), str(folder), "mitdb"]
    subprocess.run(command, check=True, capture_output=True, timeout=800)
    return build_corpus(beats_definition("published"), folder / "mitdb", folder / "out", num_proc=2, progress=False)


def test_published_beats_are_the_97_568_of_the_publication(published_beats, shared):
    folder = shared / "parity" / "beatgan"
    stored = np.load(folder / "prep_beats.npz", allow_pickle=False)
    np.testing.assert_array_equal(published_beats.parent_ids, stored["record"])
    np.testing.assert_array_equal(published_beats.starts, stored["sample0"] + 1 - 140)
    np.testing.assert_array_equal(beat_classes(published_beats), stored["cls"])
    assert [label for [label] in published_beats.labels] == [chr(code) for code in stored["symbol"]]
    first = load_file(folder / "prep_excerpts.safetensors")
    for record, place, window in zip(
        first["first_window_record"], first["first_window_index1"], first["first_window_of_each_record"], strict=True
    ):
        [row] = np.flatnonzero((published_beats.parent_ids == record) & (published_beats.starts == place - 140))
        np.testing.assert_allclose(published_beats.signals([row])[0][0], window[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("splits", "auroc", "average_precision"),
    [
        (["published/0"], 0.896, 0.830),
        ([f"patients/{n}" for n in range(5)], 0.860, 0.518),
        (["de_chazal"], 0.802, 0.433),
    ],
)
def test_principal_components_give_the_known_scores(published_beats, splits, auroc, average_precision):
    extractor = EcgFeatureExtractor(**vars(beat_contract()))
    task = beat_task(published_beats, named_split(published_beats, splits[0]), extractor)
    values = []
    for name in splits:
        split = named_split(published_beats, name)
        scores = principal_components(replace(task, split=split), split.test)
        labels = (beat_classes(published_beats)[split.test] > 0).astype(int)
        values.append([metrics.auroc(labels, scores)[0], metrics.average_precision(labels, scores)[0]])
    np.testing.assert_allclose(np.mean(values, axis=0), [auroc, average_precision], atol=0.004)
    if splits == ["published/0"]:
        nearest = metrics.auroc(labels, nearest_normal(replace(task, split=split), split.test))[0]
        assert nearest == pytest.approx(0.960, abs=0.004)
