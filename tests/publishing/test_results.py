"""The figures of a card: checked, in a table, and as model-index equal to results.json."""

import json

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.results import (
    checkpoint_entries,
    evaluation_results,
    find_fold_role,
    load_results,
    main_entries,
    results_table,
)


def write(path, entries):
    path.write_text(json.dumps(entries))
    return path


def test_a_file_of_results_is_read_as_it_stands(tmp_path, results):
    assert load_results(write(tmp_path / "results.json", results)) == results


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"low": 0.9}, "upside down"),
        ({"value": "0.9"}, "finite"),
        ({"value": float("nan")}, "finite"),
    ],
)
def test_a_figure_that_cannot_be_right_is_refused(tmp_path, results, change, reason):
    with pytest.raises(CheckpointError, match=reason):
        load_results(write(tmp_path / "results.json", [results[0] | change]))


def test_an_entry_without_its_seed_or_no_list_is_refused(tmp_path, results):
    entry = {key: value for key, value in results[0].items() if key != "seed"}
    with pytest.raises(CheckpointError, match="lacks seed"):
        load_results(write(tmp_path / "results.json", [entry]))
    with pytest.raises(CheckpointError, match="list of entries"):
        load_results(write(tmp_path / "results.json", {"value": 1}))
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        load_results(tmp_path / "results.json")


def test_the_role_of_a_fold_is_never_guessed(results):
    assert find_fold_role(results[0]) == "validation"
    assert find_fold_role(results[0] | {"evaluate_folds": [10]}) == "test"
    assert find_fold_role(results[0] | {"evaluate_folds": [9, 10]}) == "folds 9, 10"
    assert find_fold_role(results[0] | {"corpus": "own"}) == "folds 9"


def test_the_table_has_intervals_baseline_gain_and_an_empty_test_column(results):
    table = results_table(results)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(results)
    assert "validation (fold 9)" in rows[0]
    assert "test (fold 10)" in rows[0]
    pretrained = next(row for row in rows if "0.871 (0.860-0.882)" in row)
    assert "+0.061 (+0.050 to +0.072) over random" in pretrained
    assert any("0.810 (0.800-0.820)" in row and "random" in row for row in rows)
    assert "must not be read as test figures" in table
    assert "1,000 resamples" in table
    assert "Macro AUROC on ptbxl 1.0.3" in table


def test_validation_and_test_figures_of_one_setting_share_a_row(results):
    table = results_table([results[0], results[0] | {"evaluate_folds": [10], "value": 0.865, "records": 2158}])
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert "0.871 (0.860-0.882) | 0.865 (0.860-0.882)" in rows[2]
    assert "must not be read" not in table


def test_settings_that_differ_become_columns_and_rows(results):
    table = results_table([results[0], results[0] | {"seed": 1}, results[0] | {"train_fraction": 0.1}])
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert "train fraction" in rows[0]
    assert "seed" in rows[0]
    assert len(rows) == 5


def test_an_entry_that_leaves_out_no_rare_label_is_not_shown_twice(results):
    first = results[0] | {"min_positives": 1}
    rare = results[3] | {"min_positives": 10, "num_labels": 50}
    table = results_table([first, results[0] | {"min_positives": 10}, results[3] | {"min_positives": 1}, rare])
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert any("all (50 labels, 10 positives or more)" in row for row in rows)


def test_it_is_said_at_how_many_labels_the_checkpoint_is_worth_having(results):
    def compared(low, value, high, **changes):
        difference = {"against": "from_scratch", "value": value, "low": low, "high": high}
        return results[2] | {"difference": difference} | changes

    table = results_table(
        [
            compared(0.01, 0.02, 0.03, train_records=1_742, train_fraction=0.1),
            compared(-0.01, 0.0, 0.01, train_records=17_418, train_fraction=1.0),
            compared(-0.03, -0.02, -0.01, train_records=17_418, train_fraction=1.0, labels="all"),
        ]
    )
    assert "1,742 labeled records, superclass (5 labels): ahead of the same encoder from scratch, +0.020" in table
    assert "17,418 labeled records, superclass (5 labels): not distinguishable from" in table
    assert "all (5 labels): behind the same encoder" in table


def test_labels_that_vanish_in_resamples_are_told(results):
    table = results_table([results[0] | {"resamples_with_vanished_label": 0.854, "min_positives": 1}])
    assert "in at most 85 % of the resamples" in table


def test_figures_without_a_random_encoder_say_so(results):
    assert "No randomly initialized encoder" in results_table(results[:1])
    assert "No evaluation" in results_table([])


def test_the_model_index_holds_the_pretrained_entries(results):
    found = evaluation_results(results)
    assert [one.metric_value for one in found] == [0.871234, 0.9, 0.8]
    assert {one.dataset_split for one in found} == {"validation"}
    assert found[0].metric_type == "roc_auc"
    assert found[0].metric_args["low"] == 0.86


@pytest.fixture
def supervised(results):
    """A checkpoint that was trained from new weights, its recipe with another seed and label set, and others."""
    own = results[0] | {"checkpoint": "net", "mode": "from_scratch", "initialisation": "random", "difference": None}
    other = results[0] | {"checkpoint": "other", "value": 0.777}
    return [
        own,
        own | {"min_positives": 10, "num_labels": 4, "value": 0.91},
        own | {"seed": 1, "value": 0.872},
        own | {"labels": "all", "num_labels": 71, "value": 0.92},
        own | {"train_folds": [1, 2], "value": 0.701},
        own | {"noise_level": 3, "value": 0.702},
        other,
        other | {"train_folds": [1, 2], "value": 0.703},
    ]


def test_noise_fewer_folds_and_other_systems_never_look_like_a_result(supervised):
    table = results_table(supervised, "net")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert not any(figure in table for figure in ("0.701", "0.702", "0.703", "0.777"))
    assert "noise" not in table
    assert [entry["value"] for entry in main_entries(supervised, "other")] == [0.777]


def test_a_supervised_card_says_which_rows_are_the_published_weights(supervised):
    rows = [line for line in results_table(supervised, "net").splitlines() if line.startswith("|")]
    assert "| weights |" in rows[0]
    assert "gain" not in rows[0]
    published = [row for row in rows if "| this checkpoint |" in row]
    assert len(published) == 2
    assert all("superclass" in row and "| from scratch | 0 |" in row for row in published)
    assert sum("another training" in row for row in rows) == 2


def test_the_model_index_of_a_supervised_checkpoint_holds_its_own_figures_alone(supervised):
    found = evaluation_results(supervised, "net")
    assert [one.metric_value for one in found] == [0.871234, 0.91]
    assert [one.metric_name for one in found] == [
        "macro AUROC, from scratch",
        "macro AUROC, from scratch, labels with 10 positives or more",
    ]
    assert evaluation_results([], "net") == []


def test_a_run_that_is_published_under_another_name_keeps_its_entries(results, supervised):
    assert evaluation_results(results, "my-name") == evaluation_results(results)
    assert len(checkpoint_entries(supervised, "my-name")) == 2


def test_all_training_folds_are_the_result_and_fewer_a_curve(results):
    few = results[2] | {"train_folds": [1], "value": 0.6}
    assert few not in main_entries([few, *results])
    assert few in main_entries([few, *results[:2]]), "of another mode nothing says that there is more"
