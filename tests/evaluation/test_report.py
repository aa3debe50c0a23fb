"""The line for the screen."""

from ecg_transformers.evaluation.results.report import summary_line


def entry(records):
    return {
        "metric": "macro_auroc",
        "value": 0.9,
        "low": 0.8,
        "high": 1.0,
        "num_labels": 2,
        "records": records,
        "min_positives": 1,
    }


def test_a_figure_of_few_records_is_said_to_say_little():
    assert "only 3 records are reported" in summary_line([entry(3)], [], "folds 2")
    assert "only" not in summary_line([entry(2183)], [], "validation (fold 9)")
