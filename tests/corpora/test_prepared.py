"""A prepared corpus in use: selections, labels, views of the buffers, the packed array."""

import json
import shutil

import numpy as np
import pytest

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.definition import LabelSet
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.errors import CorpusError

from .conftest import make_row
from .test_fold_roles import VERSION_1


def test_signals_are_those_of_the_rows_in_any_order(small_corpus):
    for number, signal in zip([19, 0, 7], small_corpus.signals([19, 0, 7]), strict=True):
        row = make_row(number, samples=200 + 10 * number)
        np.testing.assert_array_equal(signal, row.in_millivolts())
    assert len(small_corpus.signals()) == 20


def test_selection_by_fold_position_and_mask_keeps_rows_together(small_corpus):
    part = small_corpus.select(folds=[2]).select([3, 1])
    assert part.record_ids.tolist() == [10, 4]
    assert part.names == ["r010", "r004"]
    assert part[0].name == "r010"
    assert part.select(np.array([False, True])).record_ids.tolist() == [4]
    assert part.dataset["record_id"] == [10, 4]
    assert small_corpus.select(leads=["I", "II"]).record_ids.tolist() == list(range(20))
    with pytest.raises(CorpusError, match="no fold 4; it has 1, 2, 3"):
        small_corpus.select(folds=[4])
    with pytest.raises(CorpusError, match="no record"):
        small_corpus.select(leads=["V1"])


def test_packed_is_every_record_behind_the_other(small_corpus):
    for corpus in (small_corpus, small_corpus.select([5, 2, 11])):
        packed = corpus.packed()
        assert len(packed) == len(corpus)
        assert packed.leads == ("I", "II")
        for index, signal in enumerate(corpus.signals()):
            stored = packed.values[packed.offsets[index] : packed.offsets[index + 1]].reshape(2, -1)
            scaled = (stored - packed.baseline[index][:, None]) / packed.gain[index][:, None]
            np.testing.assert_array_equal(scaled.astype(np.float32), signal)
            assert packed.num_samples[index] == signal.shape[1]


def test_a_corpus_in_one_chunk_is_packed_without_a_copy(tmp_path):
    corpus = write_corpus([make_row(n) for n in range(4)], tmp_path / "out", {"name": "x"})
    packed = corpus.packed()
    assert np.shares_memory(packed.values, corpus.packed().values)
    assert not packed.values.flags.owndata
    assert not packed.values.flags.writeable


def test_unequal_leads_or_rates_cannot_be_packed(tmp_path):
    rows = [make_row(0), make_row(1, leads=("V1", "V5")), make_row(2)]
    corpus = write_corpus(rows, tmp_path / "out", {"name": "x"})
    with pytest.raises(CorpusError, match=r"2 lead sets \(I II; V1 V5\)"):
        corpus.packed()
    assert len(corpus.select(leads=["V1", "V5"]).packed()) == 1


def test_label_matrix_counts_a_label_for_any_of_its_sources(small_corpus):
    every = small_corpus.label_matrix()
    assert (every.codes, every.system, every.values.dtype) == (("A", "B"), "own", np.uint8)
    np.testing.assert_array_equal(every.values[:2], [[0, 1], [1, 1]])
    merged = LabelSet(("X", "Y"), ("either", "never"), "own", (("A", "B"), ("C",)))
    matrix = small_corpus.label_matrix(merged)
    assert matrix.values.sum(axis=0).tolist() == [20, 0]
    assert matrix.has_label.all()
    with pytest.raises(CorpusError, match=r"no label set 'al'; it has all. Did you mean 'all'"):
        small_corpus.label_matrix("al")


def test_other_labels_change_the_hash_and_nothing_else(small_corpus):
    part = small_corpus.select([0, 3])
    changed = part.with_labels([("Q",), ()], LabelSet(("P", "Q"), ("p", "q"), "mine"), note="A -> P")
    assert changed.labels == [["Q"], []]
    assert changed.hash != part.hash
    assert changed.label_matrix().values.tolist() == [[0, 1], [0, 0]]
    np.testing.assert_array_equal(changed[1].signal, part[1].signal)


def test_loading_says_what_is_wrong(tmp_path, small_corpus):
    with pytest.raises(CorpusError, match="not a prepared corpus"):
        load_corpus(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(CorpusError, match="format version 99; this package reads 1 and 2"):
        load_corpus(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="damaged"):
        load_corpus(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(small_corpus.path, copy)
    shard = copy / "data-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(CorpusError, match="damaged or a file of it is missing"):
        load_corpus(copy)
    shard.unlink()
    with pytest.raises(CorpusError, match="damaged or a file of it is missing"):
        load_corpus(copy)
    again = load_corpus(small_corpus.dataset)
    assert again.hash == small_corpus.hash
    assert repr(again).startswith("Corpus(small : 20 records")


def test_indexing_refuses_what_is_no_record(small_corpus):
    assert small_corpus[-1].name == "r019"
    with pytest.raises(IndexError):
        small_corpus[20]
    with pytest.raises(TypeError, match="select"):
        small_corpus[1:3]


def test_a_corpus_of_format_version_1_opens_and_is_the_same_corpus(tmp_path):
    old = load_corpus(VERSION_1)
    new = write_corpus([make_row(n, samples=40) for n in range(4)], tmp_path / "new", {"name": "small"})
    assert (old.info["format_version"], new.info["format_version"]) == (1, 2)
    assert old.hash == new.hash
    assert old.info["license"] == "CC0"
    assert "licence" not in old.info
    for name in ("record_ids", "patient_ids", "parent_ids", "starts", "folds"):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
    assert old.parent_ids.tolist() == [-1] * 4
    for first, second in zip(old, new, strict=True):
        np.testing.assert_array_equal(first.signal, second.signal)
    assert old.select(folds=[1])[1].name == "r003"


@pytest.mark.parametrize("storage", ["int16", "float32"])
def test_records_without_signal_are_found_by_the_leads_that_are_used(tmp_path, storage):
    rows = [make_row(number) for number in range(6)]
    rows[1].signal[0] = 5  # lead I
    rows[2].signal[:] = [[7], [9]]
    rows[3].signal[:] = -32768  # missing from end to end
    rows[4].signal[:] = 3
    rows[4].signal[1, 101] = 4  # between the samples that are looked at first
    rows[5].signal[:] = 3
    rows[5].signal[:, ::2] = -32768
    if storage == "float32":
        rows = [CorpusRecord(row.in_millivolts(), 100, row.leads, record_id=row.record_id) for row in rows]
    corpus = write_corpus(iter(rows), tmp_path / "made", {"name": "made", "label_system": "own"})
    assert corpus.info["storage"] == storage
    assert corpus.without_signal().tolist() == [False, False, True, True, False, True]
    assert corpus.without_signal({"I"}).tolist() == [False, True, True, True, True, True]
    assert corpus.select([4, 1]).without_signal({"V1"}).tolist() == [False, False]
