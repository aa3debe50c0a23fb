"""Which records train, choose and are reported."""

import numpy as np
import pytest

from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.corpora.protocol import chosen_folds
from ecg_transformers.errors import CorpusError


def patients(part):
    return set(part.corpus.patient_ids.tolist())


def test_default_folds_leave_the_test_fold_alone(corpus, extractor):
    assert chosen_folds(corpus) == (tuple(range(1, 9)), (9,))
    splits = Protocol().split(corpus, extractor)
    assert (splits.reported_folds, splits.evaluate_role) == ("validation (fold 9)", "validation")
    splits = Protocol(evaluate_folds=[10]).split(corpus, extractor)
    assert (splits.reported_folds, splits.evaluate_role) == ("test (fold 10)", "test")
    splits = Protocol(evaluate_folds=[9, 10]).split(corpus, extractor)
    assert (splits.reported_folds, splits.evaluate_role) == ("folds 9, 10", None)


def test_no_patient_is_on_two_sides_and_choices_touch_training_records_only(corpus, extractor):
    splits = Protocol().split(corpus, extractor)
    assert not patients(splits.train) & patients(splits.evaluate)
    assert set(splits.train.corpus.folds) == set(range(1, 9))
    assert set(splits.evaluate.corpus.folds) == {9}
    assert len(splits.held_out) == 5
    assert (np.sum(splits.held_out, axis=0) == 1).all()
    for mask in splits.held_out:
        assert not patients(splits.train.select(mask)) & patients(splits.train.select(~mask))


def test_records_without_a_label_are_left_out_and_counted(corpus, extractor):
    splits = Protocol().split(corpus, extractor)
    assert splits.left_out == int((~corpus.select(folds=[9]).label_matrix("all").has_label).sum()) > 0
    assert splits.train.labels.any(axis=1).all()


def test_in_a_users_own_table_a_record_without_a_label_is_a_negative(own_corpus, extractor):
    splits = Protocol().split(own_corpus, extractor)
    assert splits.left_out == 0
    assert not splits.train.labels.any(axis=1).all()


def test_a_fraction_is_nested_and_keeps_whole_patients(corpus, extractor):
    parts = [Protocol(train_fraction=f).split(corpus, extractor).train for f in (0.2, 0.5, 1.0)]
    records = [set(part.corpus.record_ids.tolist()) for part in parts]
    assert records[0] < records[1] < records[2]
    assert 0.1 < len(records[0]) / len(records[2]) < 0.3
    whole = parts[2].corpus
    for part in parts:
        own = whole.record_ids[np.isin(whole.patient_ids, part.corpus.patient_ids)]
        assert set(own.tolist()) == set(part.corpus.record_ids.tolist())


def test_labels_without_a_training_record_are_left_out_and_named(corpus, extractor, monkeypatch):
    warnings = []
    monkeypatch.setattr("ecg_transformers.corpora.evaluation_split.logger.warning", warnings.append)
    # RARE is in folds 1 and 3.
    splits = Protocol(train_folds=[2, 4], evaluate_folds=[1]).split(corpus, extractor)
    assert splits.untrained == ("RARE",)
    assert splits.task.codes == ("FAST", "TALL")
    assert splits.train.labels.shape[1] == splits.evaluate.labels.shape[1] == 2
    assert warnings == ["1 of 3 labels have no training record and are left out: RARE."]
    # A fold that only chooses teaches nothing.
    splits = Protocol(train_folds=[2, 4], validation_folds=[3], evaluate_folds=[1]).split(corpus, extractor)
    assert splits.untrained == ("RARE",)
    assert not Protocol(train_folds=[2, 3], evaluate_folds=[1]).split(corpus, extractor).untrained
    # A classifier says itself what it predicts.
    told = Protocol(train_folds=[2, 4], evaluate_folds=[1]).split(corpus, extractor, codes=["FAST", "RARE"])
    assert told.task.codes == ("FAST", "RARE")


def test_another_seed_draws_another_share(corpus, extractor):
    draws = [Protocol(train_fraction=0.2).split(corpus, extractor, seed=seed).train for seed in (0, 0, 1)]
    records = [set(part.corpus.record_ids.tolist()) for part in draws]
    assert records[0] == records[1] != records[2]


def test_named_validation_folds_choose_and_teach_nothing(corpus, extractor):
    splits = Protocol(train_folds=[1, 2, 3], validation_folds=[9], evaluate_folds=[10]).split(corpus, extractor)
    assert set(splits.train.select(splits.held_out[0]).corpus.folds) == {9}
    assert set(splits.train.select(~splits.held_out[0]).corpus.folds) == {1, 2, 3}
    assert not splits.refit
    assert splits.selection_of(trains_once=True) == splits.selection_of(trains_once=False) == "validation folds 9"
    assert splits.without_selection().selection_of(trains_once=True) == (
        "nothing is chosen (last epoch); thresholds on validation folds 9"
    )


def test_the_selection_is_what_happens_below_4000_records(corpus, extractor, monkeypatch):
    splits = Protocol().split(corpus, extractor)
    assert splits.selection_of(trains_once=False) == "5 parts in turn of the training records, by patient"
    assert splits.selection_of(trains_once=True) == "the first of 5 parts of the training records, by patient"
    assert splits.without_selection().selection_of(trains_once=True) == (
        "nothing is chosen (last epoch); thresholds on folds 9, which are reported"
    )
    monkeypatch.setattr("ecg_transformers.corpora.protocol._FEW_RECORDS", 50)
    splits = Protocol().split(corpus, extractor)
    assert len(splits.held_out) == 1
    assert {splits.selection_of(trains_once=once) for once in (True, False)} == {
        "a tenth of the training records, by patient"
    }


def test_overlapping_or_absent_folds_are_refused(corpus, extractor):
    with pytest.raises(CorpusError, match=r"\[2\] are in train_folds and in evaluate_folds"):
        Protocol(train_folds=[1, 2], evaluate_folds=[2]).split(corpus, extractor)
    with pytest.raises(CorpusError, match="no records in folds"):
        Protocol(train_folds=[1], evaluate_folds=[77]).split(corpus, extractor)


def test_rare_labels_are_dropped_by_name_and_the_order_stays(corpus, extractor, monkeypatch):
    warnings = []
    monkeypatch.setattr("ecg_transformers.corpora.evaluation_split.logger.warning", warnings.append)
    splits = Protocol(min_examples=5).split(corpus, extractor, own_table=True)
    assert warnings == ["labels with fewer than 5 training records are dropped: RARE (2)."]
    assert Protocol(min_examples=1).split(corpus, extractor, own_table=True).task.num_labels == 3
    assert len(warnings) == 1
    assert splits.task.codes == ("FAST", "TALL")
    assert splits.task.names == ("the label FAST", "the label TALL")
    assert splits.train.labels.shape[1] == splits.evaluate.labels.shape[1] == 2
    assert len(splits.held_out[0]) == len(splits.train)


def test_one_class_that_is_left_is_named_with_a_cure_that_works(corpus, extractor):
    from ecg_transformers.corpora.definition import LabelSet

    classes = LabelSet(("A", "B"), ("A", "B"), "own", problem_type="single_label_classification")
    train = np.flatnonzero(np.isin(corpus.folds, corpus.fold_roles.train))
    rare = {*train[:2], *np.flatnonzero(np.isin(corpus.folds, corpus.fold_roles.reported))[:2]}
    labels = [("B",) if row in rare else ("A",) for row in range(len(corpus))]
    corpus = corpus.with_labels(labels, classes, note="test")
    with pytest.raises(CorpusError, match=r"only A keeps 3 training records; .* two classes\. Lower --min_examples"):
        Protocol().split(corpus, extractor, own_table=True)
    assert Protocol(min_examples=2).split(corpus, extractor, own_table=True).task.codes == ("A", "B")


def test_only_some_labels_can_be_asked_for(corpus, extractor):
    splits = Protocol().split(corpus, extractor, codes=("RARE", "FAST"))
    assert splits.task.codes == ("FAST", "RARE")
    assert splits.evaluate.labels.shape[1] == 2


def test_single_label_targets_are_class_numbers(single_corpus, extractor):
    splits = Protocol().split(single_corpus, extractor)
    assert splits.task.codes == ("FAST", "NONE", "TALL")
    assert splits.train.targets.ndim == 1
    assert (np.eye(3)[splits.train.targets] == splits.train.labels).all()
