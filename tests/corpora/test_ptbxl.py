"""PTB-XL from its official tree: signals, statements, unknown ages, missing files, both rates."""

import shutil

import numpy as np
import pytest

from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.labels import map_labels
from ecg_transformers.corpora.prepared import Corpus, load_corpus
from ecg_transformers.corpora.sources.ptbxl import PTBXL, parse_statements
from ecg_transformers.errors import CorpusError
from ecg_transformers.signals.wfdb.read import read_wfdb


@pytest.fixture(scope="module")
def corpus(ptbxl_tree, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "ptbxl"
    return build_corpus(PTBXL, ptbxl_tree, output, sampling_rate=100, progress=False)


def test_records_carry_table_and_signal(corpus, ptbxl_tree):
    assert corpus.record_ids.tolist() == [1, 2, 152]
    assert corpus.patient_ids.tolist() == [15709, 13243, 300]
    assert corpus.folds.tolist() == [3, 2, 9]
    record = corpus[0]
    assert (record.name, record.age, record.sex, record.patient_id) == ("00001_lr", 56.0, "female", 15709)
    assert record.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    stored = np.fromfile(ptbxl_tree / "records100" / "00000" / "00001_lr.dat", "<i2").reshape(1000, 12).T
    np.testing.assert_array_equal(corpus.select([0]).packed().values.reshape(12, 1000), stored)
    np.testing.assert_array_equal(record.signal, read_wfdb(ptbxl_tree / "records100" / "00000" / "00001_lr").signal)


def test_age_300_is_unknown_and_noted(corpus):
    assert np.isnan(corpus.ages[2])
    assert any("300" in note for note in corpus[2].notes)
    assert corpus[1].age == 19


def test_every_statement_counts_whatever_its_likelihood(corpus):
    assert corpus.labels == [["NORM", "LVOLT", "SR"], ["NORM", "SBRAD"], ["AFIB", "ABQRS", "LAO/LAE"]]
    superclass = corpus.label_matrix("superclass")
    assert superclass.values.tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert corpus.label_matrix("all").values.sum() == 8
    rhythm = corpus.label_matrix("rhythm")
    assert rhythm.names[rhythm.codes.index("AFIB")] == "atrial fibrillation"
    assert corpus.label_matrix("form").has_label.tolist() == [True, False, True]


def test_scored_is_the_challenge_classes_that_a_statement_means_exactly(corpus):
    scored = corpus.label_matrix("scored")
    assert (len(scored.codes), scored.system) == (26, "challenge2021")
    found = [[scored.names[column] for column in np.flatnonzero(row)] for row in scored.values]
    assert found == [["low qrs voltages", "sinus rhythm"], ["sinus bradycardia"], ["atrial fibrillation"]]
    mapped, _ = map_labels(corpus, "scp", "challenge2021")
    np.testing.assert_array_equal(mapped.label_matrix("all").values, scored.values)
    assert list(mapped.label_sets) == ["all"]


def test_a_corpus_that_was_prepared_before_a_label_set_was_defined_has_it(corpus):
    sets = {name: values for name, values in corpus.info["label_sets"].items() if name != "scored"}
    older = Corpus(corpus.rows, {**corpus.info, "label_sets": sets}, corpus.path, corpus.indices, store=corpus.store)
    np.testing.assert_array_equal(older.label_matrix("scored").values, corpus.label_matrix("scored").values)


def test_a_record_whose_files_are_absent_is_refused_by_name(corpus):
    refused = (corpus.path / "refused.csv").read_text()
    assert refused.count("00003_lr") >= 2
    assert corpus.info["refused"] == 1


def test_500_hz_is_its_own_corpus_and_other_rates_are_resampled(ptbxl_tree, tmp_path):
    native = build_corpus(PTBXL, ptbxl_tree, tmp_path / "500", progress=False)
    assert native.sampling_rates.tolist() == [500]
    assert native.info["storage"] == "int16"
    other = build_corpus(PTBXL, ptbxl_tree, tmp_path / "360", sampling_rate=360, progress=False)
    assert other[0].signal.shape == (12, 3600)
    assert other.info["storage"] == "float32"
    assert "resampled 500 -> 360 Hz" in other[0].notes


def test_a_killed_build_notices_files_that_came_later(ptbxl_tree, tmp_path, data_dir):
    tree = tmp_path / "tree"
    shutil.copytree(ptbxl_tree, tree)
    before = build_corpus(PTBXL, tree, tmp_path / "out", sampling_rate=100, progress=False)
    for suffix in (".dat", ".hea"):
        text = (data_dir / "ptbxl" / f"00002_lr{suffix}").read_bytes().replace(b"00002_lr", b"00003_lr")
        (tree / "records100" / "00000" / f"00003_lr{suffix}").write_bytes(text)
    with pytest.raises(CorpusError, match="overwrite"):
        build_corpus(PTBXL, tree, tmp_path / "out", sampling_rate=100, progress=False)
    after = build_corpus(PTBXL, tree, tmp_path / "out", sampling_rate=100, overwrite=True, progress=False)
    assert (len(before), len(after)) == (3, 4)
    assert len(load_corpus(tmp_path / "out")) == 4


def test_fold_arrays_give_the_same_corpus(ptbxl_tree, tmp_path, corpus):
    tree = tmp_path / "tree"
    (tree / "npy100").mkdir(parents=True)
    lines = (ptbxl_tree / "ptbxl_database.csv").read_text().splitlines()
    (tree / "ptbxl_database.csv").write_text("\n".join(line for line in lines if not line.startswith("3,")))
    for fold, row in ((9, 2), (3, 0), (2, 1)):
        np.save(tree / "npy100" / f"fold{fold}.npy", corpus.select([row]).packed().values.reshape(1, 12, 1000))
        np.save(tree / "npy100" / f"fold{fold}_ids.npy", np.array([corpus.record_ids[row]]))
    assert build_corpus(PTBXL, tree, tmp_path / "out", sampling_rate=100, progress=False).hash == corpus.hash


def test_a_wrong_tree_is_named_with_what_was_looked_for(tmp_path):
    (tmp_path / "letters").mkdir()
    with pytest.raises(CorpusError, match=r"looked for ptbxl_database.csv .*found: letters"):
        build_corpus(PTBXL, tmp_path, tmp_path / "out")
    (tmp_path / "letters" / "ptbxl_database.csv").write_text("ecg_id\n")
    with pytest.raises(CorpusError, match="no records100"):
        build_corpus(PTBXL, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["__import__('os')", "{'NORM': 100.0", "{'NORM': x}", "['NORM']", "{'NORM': 1} + 1", ""]
)
def test_statements_of_another_form_are_refused(text):
    with pytest.raises(CorpusError, match="expected"):
        parse_statements(text)


def test_statements_are_parsed():
    assert parse_statements("{}") == {}
    assert parse_statements("{'LAO/LAE': 15.0, 'PRC(S)': 0.0}") == {"LAO/LAE": 15.0, "PRC(S)": 0.0}
