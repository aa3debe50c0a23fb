"""The figures of a classifier label by label, and what is said about its thresholds."""

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.labels import label_table, load_label_figures, threshold_notes

LABELS = [("NORM", "normal ECG"), ("MI", "infarction"), ("2AVB", "2AVB")]
FIGURES = [
    {"code": "NORM", "positives": 955, "auroc": 0.95, "average_precision": 0.9, "f1": 0.85, "threshold": 0.4},
    {"code": "MI", "positives": 1200, "auroc": 0.85, "average_precision": 0.7, "f1": 0.6, "threshold": 0.0004},
    {"code": "2AVB", "positives": 1, "auroc": None, "average_precision": None, "f1": 0.0, "threshold": 0.5},
]


@pytest.fixture
def supervised(results):
    return [
        results[0]
        | {"mode": "from_scratch", "initialisation": "random", "value": 0.9, "macro_f1": 0.44, "difference": None}
        | {"selection": "nothing is chosen (last epoch); thresholds on folds 9, which are reported"}
    ]


def test_the_table_is_folded_frequent_labels_first_and_the_worst_are_named(supervised):
    text = label_table(FIGURES, LABELS, supervised)
    assert "among the 2 labels with 10 positives or more: MI (infarction) 0.850, NORM (normal ECG) 0.950." in text
    assert "The 1 labels with fewer positives are marked *" in text
    assert "<summary>All 3 labels on the validation fold 9 of ptbxl</summary>" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| label | name | positives | AUROC | average precision | F1 | threshold |"
    assert rows[2] == "| MI | infarction | 1,200 | 0.850 | 0.700 | 0.600 | 0.0004 |"
    assert rows[4] == "| 2AVB * |  | 1 | - | - | 0.000 | 0.5 |"
    assert label_table([], LABELS, supervised) == ""


def test_figures_of_other_labels_or_of_another_evaluation_are_refused(supervised):
    with pytest.raises(CheckpointError, match="same order"):
        label_table(FIGURES, LABELS[::-1], supervised)
    with pytest.raises(CheckpointError, match=r"mean 0\.9000, results\.json has 0\.8712"):
        label_table(FIGURES, LABELS, [supervised[0] | {"value": 0.8712}])


def test_the_file_is_read_as_fine_tuning_writes_it(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "code,positives,auroc,average_precision,f1,threshold\nNORM,955,0.95,0.9,0.85,0.4\n2AVB,1,,,0.0,0.5\n"
    )
    first, second = load_label_figures(path)
    assert first == FIGURES[0]
    assert second == {"code": "2AVB", "positives": 1, "auroc": None, "average_precision": None, "f1": 0.0,
                      "threshold": 0.5}  # fmt: skip
    for text in ("label,positives\nNORM,3\n", "code,positives,auroc\nNORM,many,0.9\n"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="no table of labels"):
            load_label_figures(path)


def test_thresholds_that_were_fitted_on_the_reported_records_are_called_optimiztic(supervised):
    text = threshold_notes(supervised)
    assert "The last epoch is kept. Nothing was chosen on the reported records but one threshold per label." in text
    assert "macro F1 at the saved thresholds 0.440" in text
    assert "is optimiztic here" in text


def test_what_was_chosen_elsewhere_is_not_called_optimiztic(results):
    text = threshold_notes([results[0] | {"selection": "a tenth of the training records, by patient"}])
    assert text == "The epoch and one threshold per label were chosen on a tenth of the training records, by patient."
    other = threshold_notes([results[0] | {"selection": "nothing is chosen (last epoch); thresholds on folds 8"}])
    assert other == "The last epoch is kept: nothing is chosen (last epoch); thresholds on folds 8."
    assert threshold_notes(results) == threshold_notes([]) == ""
