"""Several corpora as one: ids that never meet, roles instead of fold numbers, signals that stay where they are."""

import numpy as np
import pytest
import torch

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.definition import LabelSet
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.corpora.fold_roles import FoldRoles
from ecg_transformers.corpora.join import join_corpora
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.pretraining_split import split_for_pretraining
from ecg_transformers.corpora.splits import check_disjoint, nested_fraction
from ecg_transformers.errors import CorpusError
from ecg_transformers.trainer import WindowDataset

from .conftest import make_row
from .test_fold_roles import VERSION_1

ROLES = FoldRoles((1,), (2,), (3,))


def floating(row: CorpusRecord) -> CorpusRecord:
    return CorpusRecord(
        row.in_millivolts(), row.sampling_rate, row.leads, record_id=row.record_id, name=row.name,
        patient_id=row.patient_id, fold=row.fold, labels=row.labels,
    )  # fmt: skip


@pytest.fixture(scope="module")
def integers(tmp_path_factory):
    """Twelve int16 records of six patients in three folds, which are train, validation and test."""
    rows = [make_row(number, fold=1 + number // 2 % 3) for number in range(12)]
    return write_corpus(rows, tmp_path_factory.mktemp("a") / "one", {"name": "one", "version": "1"}, shard_records=5)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """Eight float32 records without folds, some of unknown patients; other label sets but for "shared"."""
    rows = [
        floating(make_row(number, fold=-1, patient_id=number // 2 if number < 4 else -1, labels=("A",)))
        for number in range(8)
    ]
    return write_corpus(rows, tmp_path_factory.mktemp("b") / "two", {"name": "two"}, fold_roles=None)


def test_ids_never_meet_and_do_not_depend_on_what_else_is_joined(integers, floats, tmp_path):
    assert set(integers.record_ids) & set(floats.record_ids)
    both, swapped = join_corpora([integers, floats]), join_corpora([floats.select([7, 2]), integers.select([3, 1])])
    assert len(both) == 20
    assert len(set(both.record_ids.tolist())) == 20
    first, second = both.patient_ids[:12], both.patient_ids[12:]
    assert not set(first) & set(second)
    assert len(set(first)) == 6
    assert second[4:].tolist() == [-1] * 4
    assert swapped.record_ids.tolist() == both.record_ids[[19, 14, 3, 1]].tolist()
    assert swapped.patient_ids.tolist() == both.patient_ids[[19, 14, 3, 1]].tolist()
    assert both.record_ids.min() >= 0
    third = write_corpus([make_row(0)], tmp_path / "three", {"name": "three"})
    np.testing.assert_array_equal(join_corpora([third, integers, floats]).record_ids[1:], both.record_ids)


def test_signals_are_those_of_the_parts_and_stay_on_the_disk(integers, floats):
    both = join_corpora([integers, floats])
    for index, part in [*enumerate(integers.signals()), *enumerate(floats.signals(), start=12)]:
        np.testing.assert_array_equal(both.signals([index])[0], part)
        np.testing.assert_array_equal(both[index].signal, part)
    assert np.shares_memory(both.store.stored(3), integers.store.stored(3))
    assert np.shares_memory(both.store.stored(12), floats.store.stored(0))
    assert not both.store.stored(3).flags.writeable
    assert both.names[12:14] == ["r000", "r001"]
    assert both[13].name == "r001"
    packed = both.packed()
    assert packed.values.dtype == np.float32
    stored = packed.values[packed.offsets[5] : packed.offsets[6]].reshape(2, -1)
    scaled = (stored - packed.baseline[5][:, None]) / packed.gain[5][:, None]
    np.testing.assert_array_equal(scaled.astype(np.float32), both.signals([5])[0])


def test_a_missing_integer_sample_stays_missing_among_floats(integers, floats, tmp_path):
    row = make_row(0)
    row.signal[1, 3] = -32768
    gap = write_corpus([row], tmp_path / "gap", {"name": "gap"})
    both = join_corpora([gap, floats])
    assert both.invalid_samples.tolist() == [1] + [0] * 8
    with pytest.raises(CorpusError, match="1 records"):
        both.packed()
    assert np.flatnonzero(np.isnan(both.packed(invalid="keep").values)).tolist() == [203]
    assert len(both.select(both.invalid_samples == 0).packed()) == 8


def test_corpora_of_one_storage_type_are_an_ordinary_dataset(integers, tmp_path):
    old = load_corpus(VERSION_1)
    both = join_corpora([integers.select([4, 2]), old])
    assert both.packed().values.dtype == np.int16
    assert both.dataset["record_id"] == both.record_ids.tolist()
    np.testing.assert_array_equal(both.dataset[0]["signal"], integers.store.stored(4))
    assert both.parent_ids.tolist() == [-1] * 6
    assert both.select([1, 5]).names == ["r002", "r003"]


def test_names_hash_counts_and_common_label_sets(integers, floats, tmp_path):
    shared = LabelSet(("A",), ("a",), "own")
    sets = [{"all": LabelSet(codes, codes, "own"), "shared": shared} for codes in (("A", "B"), ("A",))]
    rows = [[make_row(n)] for n in range(2)]
    corpora = [
        write_corpus(one, tmp_path / f"labels{n}", {"name": f"labels{n}", "license": "CC0"}, label_sets=sets[n])
        for n, one in enumerate(rows)
    ]
    both = join_corpora(corpora)
    assert both.name == "labels0+labels1"
    assert list(both.label_sets) == ["shared"]
    assert both.label_matrix("shared").values.tolist() == [[0], [1]]
    assert both.info["license"] == "CC0"
    assert both.info["label_counts"] == {"B": 2, "A": 1}
    assert [one["hash"] for one in both.identity["corpora"]] == [corpus.hash for corpus in corpora]
    assert both.identity["hash"] == both.hash not in [corpus.hash for corpus in corpora]
    assert join_corpora(corpora).hash == both.hash != join_corpora(corpora[::-1]).hash
    assert join_corpora([integers]) is integers
    assert repr(both).startswith("Corpus(labels0+labels1 : 2 records")


def test_folds_are_roles_because_their_numbers_mean_other_things(integers, floats, extractor, tmp_path):
    two_folds = write_corpus(
        [make_row(n, fold=1 + n % 2, patient_id=n) for n in range(4)], tmp_path / "c", {"name": "c"}
    )
    both = join_corpora([integers, floats, two_folds])
    assert both.fold_roles == ROLES
    np.testing.assert_array_equal(both.folds[:12], integers.folds)
    assert set(both.folds[12:20].tolist()) == {-1}
    assert both.folds[20:].tolist() == [1, 2, 1, 2]
    assert both.select(folds=ROLES.test).names == integers.select(folds=[3]).names
    assert join_corpora([floats, load_corpus(floats.path).with_labels([()] * 8, floats.label_sets["all"], note="x")])
    extractor.lead_names = ["I", "II"]
    splits = Protocol().split(join_corpora([integers, two_folds]), extractor)
    assert splits.reported_folds == "validation (fold 2)"


def test_the_same_records_twice_and_other_contracts_are_refused(integers, floats, tmp_path):
    with pytest.raises(CorpusError, match="records in common"):
        join_corpora([integers, integers.select([3])])
    # The ids of a published corpus are the same at every rate: one patient of it is one patient.
    rates = [write_corpus([make_row(0, samples=n)], tmp_path / f"{n}", {"name": "ptbxl"}) for n in (100, 500)]
    with pytest.raises(CorpusError, match="records in common"):
        join_corpora(rates)
    with pytest.raises(CorpusError, match="no corpus"):
        join_corpora([])
    stored = load_corpus(floats.path)
    stored.info["preprocessed_by"] = {"hash": "x", "steps": ["leads"]}
    with pytest.raises(CorpusError, match="one as recorded, two for a checkpoint"):
        join_corpora([integers, stored])


def test_parts_of_recordings_stay_with_their_recording(integers, tmp_path):
    row = make_row(5, patient_id=-1)
    parts = write_corpus([row.part(0, 50), row.part(50, 100)], tmp_path / "parts", {"name": "parts"})
    both = join_corpora([integers, parts])
    assert both.patient_ids[12] == both.patient_ids[13] < -1
    assert both.parent_ids[12] == both.parent_ids[13] >= 0
    assert both.starts.tolist()[12:] == [0, 50]
    with pytest.raises(CorpusError, match="patients are both"):
        check_disjoint({"a": both.select([12]), "b": both.select([13])})


def test_windows_of_several_corpora_are_those_of_each(integers, floats, extractor):
    extractor.lead_names = ["I", "II"]
    extractor.sampling_rate = 100
    data = WindowDataset(join_corpora([integers, floats]), extractor, seed=3)
    assert data.corpus.packed().values.dtype == np.float32
    assert len(data) == 20
    batch = data.__getitems__([1, 14, 19])
    assert batch["record_ids"].tolist() == data.corpus.record_ids[[1, 14, 19]].tolist()
    assert (batch["patient_ids"] >= 0).tolist() == [True, True, False]
    whole = [integers[1].signal, floats[2].signal]
    extractor.normalization = "none"
    windows = WindowDataset(join_corpora([integers, floats]), extractor, seed=3).__getitems__([1, 14])["input_values"]
    for signal, window in zip(whole, windows, strict=True):
        places = torch.from_numpy(signal).unfold(1, 100, 1)
        assert (places - window[:, None]).abs().amax(dim=(0, 2)).min() < 1e-6


def test_other_rates_and_leads_are_prepared_as_in_one_corpus(integers, tmp_path, extractor):
    slow = CorpusRecord(
        np.ones((3, 400), np.int16), 50, ("I", "II", "V1"), np.full(3, 1000.0), record_id=1, patient_id=1
    )
    both = join_corpora([integers, write_corpus([slow], tmp_path / "slow", {"name": "slow"})])
    assert both.sampling_rates.tolist() == [100] * 12 + [50]
    with pytest.raises(CorpusError, match="2 lead sets"):
        both.packed()
    extractor.lead_names = ["I", "II"]
    values = WindowDataset(both, extractor).__getitems__([0, 12])["input_values"]
    wanted = extractor([both[0]], return_tensors="pt")["input_values"]
    torch.testing.assert_close(values[:1], wanted[:1], rtol=0, atol=2e-6)


def split(*corpora, **options):
    parts = split_for_pretraining(corpora, **options)
    if parts.validation is not None:
        check_disjoint({"train": parts.train, "validation": parts.validation})
    return parts


def test_validation_and_test_folds_of_each_corpus_stay_out_of_training_by_role(integers, floats):
    parts = split(integers, floats, validation_fraction=0.3, seed=1)
    assert parts.test_records_left_out == {"one": 4}
    assert parts.corpus.name == "one+two"
    assert len(parts.corpus) == 20
    known = parts.train.folds
    assert np.bincount(known[known >= 0], minlength=4).tolist() == [0, 4, 0, 0]
    assert int((parts.validation.folds == 2).sum()) == 4
    # Of the corpus without folds a share of the patients validates.
    assert (parts.validation.folds == -1).sum() + (known == -1).sum() == 8
    assert 0 < (parts.validation.folds == -1).sum() < 4
    assert nested_fraction(parts.train, 0.5, seed=0).hash == parts.train.hash
    kept = split(integers, floats, exclude_downstream_test=False)
    assert kept.test_records_left_out == {}
    assert int((kept.train.folds == 3).sum()) == 4


def test_one_corpus_keeps_its_ids_and_its_fold_numbers(integers):
    parts = split(integers)
    assert parts.corpus is integers
    assert parts.train.record_ids.tolist() == integers.select(folds=[1]).record_ids.tolist()
    assert parts.validation.record_ids.tolist() == integers.select(folds=[2]).record_ids.tolist()
    without = split(integers, validate=False)
    assert without.validation is None
    assert set(without.train.folds) == {1}


def test_named_folds_hold_for_every_corpus(integers, floats):
    parts = split(integers, train_folds=[1, 3], validation_folds=[2])
    assert (set(parts.train.folds), set(parts.validation.folds)) == ({1, 3}, {2})
    assert parts.test_records_left_out == {}
    parts = split(integers, validation_folds=[1])
    assert (set(parts.train.folds), set(parts.validation.folds)) == ({2}, {1})
    assert parts.test_records_left_out == {"one": 4}
    with pytest.raises(CorpusError, match="two has no fold 1"):
        split(integers, floats, train_folds=[1], validation_folds=[2])
    with pytest.raises(CorpusError, match="must not overlap"):
        split(integers, train_folds=[1], validation_folds=[1])
    with pytest.raises(CorpusError, match="validation_folds when train_folds"):
        split(integers, train_folds=[1])


def test_patients_on_both_sides_are_refused(tmp_path):
    rows = [make_row(number, fold=1 + number % 3, patient_id=7) for number in range(6)]
    corpus = write_corpus(rows, tmp_path / "x", {"name": "x"})
    with pytest.raises(CorpusError, match="1 patients are both in training and in validation"):
        split_for_pretraining([corpus])


def test_a_sample_of_corpora_is_one_of_all_their_records(tmp_path):
    expected = ({"records": 100}, {"records": 50}, {})
    parts = [
        write_corpus([make_row(0)], tmp_path / name, {"name": name, "expected": one})
        for name, one in zip("abc", expected, strict=True)
    ]
    assert join_corpora(parts[:2]).info["expected"] == {"records": 150}
    assert join_corpora(parts).info["expected"] == {}
