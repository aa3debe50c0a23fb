"""The scores of a card: checked, in one table, and as model-index equal to results.json."""

import json

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.evaluation.modes import mode_title
from ecg_transformers.publishing.card.results import (
    checkpoint_entries,
    evaluation_results,
    find_fold_role,
    load_results,
    main_entries,
)
from ecg_transformers.publishing.card.table import MAX_ROWS, results_table


def write(path, entries):
    path.write_text(json.dumps(entries))
    return path


def test_a_file_of_results_is_read_as_it_stands(tmp_path, results):
    assert load_results(write(tmp_path / "results.json", results)) == results


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"low": 0.9}, "lower bound exceeds upper bound"),
        ({"value": "0.9"}, "finite"),
        ({"value": float("nan")}, "finite"),
    ],
)
def test_a_score_that_cannot_be_right_is_refused(tmp_path, results, change, reason):
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
    assert find_fold_role(results[0] | {"corpus": "own"}) == "fold 9"
    assert find_fold_role(results[0] | {"corpus": "own", "evaluate_role": "validation"}) == "validation"
    assert find_fold_role(results[0] | {"corpus": "mitdb", "evaluate_folds": [2]}) == "test"
    assert find_fold_role(results[0] | {"corpus": "mitdb", "evaluate_folds": [3]}) == "fold 3"


def rows_of(table):
    return [line for line in table.splitlines() if line.startswith("|")]


def test_a_row_has_interval_baseline_paired_difference_an_empty_test_column_and_its_source(results):
    table = results_table(results)
    header, _, *rows = rows_of(table)
    assert header == (
        "| labels | protocol | validation (fold 9) | baseline | paired difference | test (fold 10) | records | source |"
    )
    assert len(rows) == 3, "the random encoder is a column of the row that it is compared with"
    assert (
        "| superclass (5 labels) | linear probe | 0.871 (0.860-0.882) | 0.810 (random weights) | "
        "+0.061 (+0.050 to +0.072) | - | 2,146 | 1 |"
    ) in rows
    assert "must not be read as test scores" in table
    assert "1,000 resamples" in table
    assert "Macro AUROC on ptbxl 1.0.3" in table
    assert "A gain counts where the interval of the paired difference is above 0." in table


def test_every_row_says_where_it_comes_from_and_what_was_filled_in_by_hand(results):
    changed = results[3] | {"commit": "0123abcdef+changes", "hardware": "1 x GPU", "provenance": "Filled in by hand."}
    table = results_table([*results[:3], changed])
    assert "commit `0123abc` with uncommitted changes, 2026-11-26, 1 x GPU. Filled in by hand.\n2. " in table
    assert "2. `training/configs/mae_moco_ptbxl.yaml`, commit `0123abc`, 2026-11-26\n" in f"{table}\n"
    assert [row.rpartition("| ")[2] for row in rows_of(table)[2:]] == ["1 |", "2 |", "2 |"]


def test_fine_tuning_is_compared_with_training_from_scratch(results):
    scratch = results[2] | {"mode": "from_scratch", "initialization": "random", "value": 0.88}
    assert "0.880 (from scratch)" in results_table([results[2], scratch])
    other = scratch | {"train_fraction": 0.1}
    assert "0.880" not in results_table([results[2], other])


def test_validation_and_test_scores_of_one_setting_share_a_row(results):
    table = results_table([results[0], results[0] | {"evaluate_folds": [10], "value": 0.865, "records": 2158}])
    rows = rows_of(table)
    assert len(rows) == 3
    assert "0.871 (0.860-0.882)" in rows[2]
    assert "0.865 (0.860-0.882)" in rows[2]
    assert "must not be read" not in table


def test_settings_that_differ_are_named_in_the_protocol(results):
    fraction = results[0] | {"train_fraction": 0.1, "train_records": 1_708}
    rows = rows_of(results_table([results[0] | {"train_fraction": 1.0}, results[0] | {"seed": 1}, fraction]))
    assert len(rows) == 5
    assert any("| linear probe, 1,708 labeled records, seed 0 |" in row for row in rows)
    assert any("| linear probe, seed 1 |" in row for row in rows)


def test_an_entry_that_leaves_out_no_rare_label_is_shown_and_indexed_once(results):
    first = results[0] | {"min_positives": 1}
    rare = results[3] | {"min_positives": 10, "num_labels": 50}
    entries = [first, results[0] | {"min_positives": 10}, results[3] | {"min_positives": 1}, rare]
    rows = rows_of(results_table(entries))
    assert len(rows) == 2 + 3
    assert any("all (50 labels, 10 positives or more)" in row for row in rows)
    assert len(evaluation_results(entries)) == 3


def test_ten_rows_at_most_those_with_a_paired_difference_first(results):
    many = [results[2] | {"seed": seed} for seed in range(12)]
    table = results_table([*many, *results[:2]])
    assert len(rows_of(table)) == 2 + MAX_ROWS
    assert "+0.061 (+0.050 to +0.072)" in table
    assert "3 more rows are in `results.json`." in table


def test_labels_that_vanish_in_resamples_are_counted(results):
    table = results_table([results[0] | {"resamples_with_vanished_label": 0.854, "min_positives": 1}])
    assert "at most 85 % of the resamples" in table


def test_the_pretrained_system_that_a_difference_names_is_the_baseline(results):
    other = results[0] | {"checkpoint": "other", "value": 0.812}
    other.pop("difference", None)
    title = f"other, {mode_title(other['mode'])}"
    compared = results[0] | {"difference": {"against": title, "value": 0.05, "low": 0.04, "high": 0.06}}
    assert f"0.812 ({title})" in results_table([compared, other], str(compared["checkpoint"]))


def test_scores_without_a_baseline_say_so(results):
    alone = {key: value for key, value in results[0].items() if key != "difference"}
    assert "No randomly initialized encoder" in results_table([alone])
    compared = alone | {
        "difference": {"against": "xresnet1d50, from scratch", "value": 0.01, "low": 0.005, "high": 0.02}
    }
    assert "No randomly initialized encoder" not in results_table([compared])
    assert "No evaluation" in results_table([])


def test_the_model_index_holds_the_pretrained_entries_rounded(results):
    found = evaluation_results([results[0] | {"value": 0.87123456789}, *results[1:]])
    assert [one.metric_value for one in found] == [0.8712, 0.9, 0.8]
    assert {one.dataset_split for one in found} == {"validation"}
    assert {(one.dataset_type, one.dataset_name[:6]) for one in found} == {("ptb-xl", "PTB-XL")}
    assert found[0].metric_type == "roc_auc"
    assert found[0].metric_args["low"] == 0.86
    assert found[0].metric_args["paired_difference"] == {
        "against": "random",
        "value": 0.061,
        "low": 0.05,
        "high": 0.072,
    }


@pytest.fixture
def supervised(results):
    """A checkpoint that was trained from new weights, its recipe with another seed and label set, and others."""
    own = results[0] | {"checkpoint": "net", "mode": "from_scratch", "initialization": "random", "difference": None}
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
    rows = rows_of(table)
    assert len(rows) == 2 + 4
    assert not any(figure in table for figure in ("0.701", "0.702", "0.703", "0.777"))
    assert "noise" not in table
    assert [entry["value"] for entry in main_entries(supervised, "other")] == [0.777]


def test_a_supervised_card_says_which_rows_are_the_published_weights(supervised):
    rows = rows_of(results_table(supervised, "net"))
    assert "| weights |" in rows[0]
    assert "baseline" not in rows[0]
    published = [row for row in rows if "| published |" in row]
    assert len(published) == 2
    assert all("superclass" in row and "| from scratch, seed 0 |" in row for row in published)
    assert sum("another training" in row for row in rows) == 2


def test_the_model_index_of_a_supervised_checkpoint_holds_its_own_scores_alone(supervised):
    found = evaluation_results(supervised, "net")
    assert [one.metric_value for one in found] == [0.8712, 0.91]
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


def test_the_test_column_is_that_of_the_corpus(results):
    table = results_table([entry | {"corpus": "own", "evaluate_role": "validation"} for entry in results])
    assert "validation (fold 9)" in table
    assert "--folds" not in table
    table = results_table([entry | {"corpus": "mitdb", "evaluate_folds": [2]} for entry in results])
    assert "test (fold 2)" in table
    assert "not evaluated" not in table
    assert "`training/score.py --folds 10` fills" in results_table(results)


def test_lead_sets_and_the_identification_of_patients_are_told_apart(results):
    facts = {"labels": "patients", "metric": "identification_accuracy", "num_labels": 1, "records": 189}
    whole = results[0] | facts
    entries = [whole, whole | {"leads": ["I", "II"], "value": whole["value"] - 0.1, "low": 0.1}]
    table = results_table(entries)
    assert table.count("patients (189 patients)") == 2
    assert "leads I, II" in table
    assert "identification accuracy" in table.lower()
    found = evaluation_results(entries)
    assert [one.task_name for one in found] == ["patient identification"] * 2
    assert found[1].metric_name.endswith("leads I, II")


def test_a_row_names_its_amount_of_labels_and_the_system_that_it_is_compared_with(results):
    probe = results[0] | {"train_records": 17_418}
    other = probe | {"checkpoint": "net", "mode": "from_scratch", "initialization": "random", "train_folds": [1]}
    difference = {"against": "net, from scratch", "value": 0.04, "low": 0.03, "high": 0.05}
    few = {"mode": "fine_tune", "train_folds": [1], "train_records": 196, "difference": difference}
    noisy = other | {"value": 0.5, "low": 0.4, "high": 0.6, "noise_level": 1}
    rows = rows_of(results_table([probe, probe | few, noisy, other]))
    assert "| fine-tuned, 196 labeled records |" in rows[-1]
    assert f"| {other['value']:.3f} (net, from scratch) | +0.040 (+0.030 to +0.050) |" in rows[-1]
    assert "| linear probe, 17,418 labeled records |" in rows[-2]
