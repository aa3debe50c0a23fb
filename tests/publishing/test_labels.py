"""Scores of a classifier per label, and what is said about its thresholds."""

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.labels import (
    label_lines,
    label_notes,
    load_label_scores,
    threshold_limits,
    threshold_notes,
)

LABELS = [("NORM", "normal ECG"), ("MI", "infarction"), ("2AVB", "2AVB")]
SCORES = [
    {"code": "NORM", "positives": 955, "auroc": 0.95, "average_precision": 0.9, "f1": 0.85, "threshold": 0.4},
    {"code": "MI", "positives": 1200, "auroc": 0.85, "average_precision": 0.7, "f1": 0.6, "threshold": 0.0004},
    {"code": "2AVB", "positives": 1, "auroc": None, "average_precision": None, "f1": 0.0, "threshold": 0.5},
]


@pytest.fixture
def supervised(results):
    return [
        results[0]
        | {"mode": "from_scratch", "initialization": "random", "value": 0.9, "macro_f1": 0.44, "difference": None}
        | {"selection": "nothing is chosen (last epoch); thresholds on folds 9, which are reported"}
    ]


def test_the_worst_labels_are_named_and_rare_ones_are_called_unreliable(supervised):
    text = label_notes(SCORES, LABELS, supervised)
    assert "of the 2 labels with 10 positives or more: MI (infarction) 0.850, NORM (normal ECG) 0.950." in text
    assert "The scores of the other 1 labels are based on very few recordings and are unreliable." in text
    assert label_notes([], LABELS, supervised) == ""


def test_scores_of_other_labels_or_of_another_evaluation_are_refused(supervised):
    with pytest.raises(CheckpointError, match="same order"):
        label_notes(SCORES, LABELS[::-1], supervised)
    with pytest.raises(CheckpointError, match=r"mean 0\.9000, results\.json has 0\.8712"):
        label_notes(SCORES, LABELS, [supervised[0] | {"value": 0.8712}])


def test_the_file_is_read_as_fine_tuning_writes_it(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "code,positives,auroc,average_precision,f1,threshold\nNORM,955,0.95,0.9,0.85,0.4\n2AVB,1,,,0.0,0.5\n"
    )
    first, second = load_label_scores(path)
    assert first == SCORES[0]
    assert second == SCORES[2]
    for text in ("label,positives\nNORM,3\n", "code,positives,auroc\nNORM,many,0.9\n"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="no table of labels"):
            load_label_scores(path)


def test_thresholds_that_were_fitted_on_the_reported_records_are_judged_out_of_fold(supervised):
    # Of an entry that does not count its thresholds: nothing that depends on them is shown.
    text = threshold_notes(supervised)
    assert text.startswith("The last epoch is published. The thresholds were fitted on the reported records;")
    assert "F1 at" not in text
    counted = threshold_notes([supervised[0] | {"labels_with_threshold": 50}])
    assert "out of fold: each fifth of these records, by patient" in counted
    assert "macro F1 at the thresholds of 50 labels 0.440" in counted


def test_labels_without_threshold_are_named_with_the_reason():
    text = threshold_limits(LABELS, [0.4, 0.1, None])
    assert text.startswith("1 of the 3 labels have no threshold, because fewer than 10 positives were there")
    assert "`positive` is `None` for 2AVB." in text
    assert "training/score.py --fit_thresholds" in text
    assert "None" not in threshold_limits(LABELS, [0.4, 0.1, 0.2])
    assert threshold_limits(LABELS, None) == ""


def test_the_labels_are_listed_with_their_thresholds():
    more = [{"threshold": 0.4, "threshold_positives": 95, "precision": 0.5, "recall": 0.25}, {}, {"threshold": None}]
    lines = label_lines([row | extra for row, extra in zip(SCORES, more, strict=True)], LABELS).splitlines()
    assert lines == [
        "- NORM (normal ECG): threshold 0.400, 95 positives, precision 0.50, recall 0.25",
        "- MI (infarction): threshold 0.000, 1,200 positives",
        "- 2AVB: no threshold, 1 positive",
    ]


def test_what_was_chosen_elsewhere_is_not_called_optimistic(results):
    text = threshold_notes([results[0] | {"selection": "a tenth of the training records, by patient"}])
    assert text == "Epoch and thresholds (one per label) were chosen on a tenth of the training records, by patient."
    other = threshold_notes([results[0] | {"selection": "nothing is chosen (last epoch); thresholds on folds 8"}])
    assert other == "The last epoch is published: nothing is chosen (last epoch); thresholds on folds 8."
    assert threshold_notes(results) == threshold_notes([]) == ""
