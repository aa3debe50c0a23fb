"""Label efficiency and noise in a card: tables apart from the main results, a column for each system."""

import pytest

from ecg_transformers.publishing.card.curves import label_efficiency_section, noise_section
from ecg_transformers.publishing.card.pictures import draw_pictures

RECORDS = {1: 2_180, 2: 4_352, 4: 8_721, 8: 17_418}
PRETRAINED = {"checkpoint": "mae-moco-ecg", "mode": "fine_tune", "initialisation": "pretrained"}


@pytest.fixture
def entry(results):
    def make(folds=8, value=0.9, **changes):
        return results[0] | {
            "checkpoint": "xresnet1d50-ecg",
            "mode": "from_scratch",
            "initialisation": "random",
            "labels": "all",
            "num_labels": 71,
            "min_positives": 1,
            "train_folds": list(range(1, folds + 1)),
            "train_records": RECORDS[folds],
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "difference": None,
        } | changes  # fmt: skip

    return make


@pytest.fixture
def curves(entry):
    scratch = [entry(folds, 0.80 + 0.01 * folds) for folds in RECORDS]
    return scratch + [entry(folds, 0.84 + 0.005 * folds, **PRETRAINED) for folds in RECORDS]


def rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_a_row_for_each_number_of_folds_and_a_column_for_each_system(curves):
    text = label_efficiency_section(curves, "xresnet1d50-ecg")
    header, _, *body = rows(text)
    assert header == ("| training folds (labeled records) | xresnet1d50-ecg, from scratch | mae-moco-ecg, fine-tuned |")
    assert [row.split(" | ")[0] for row in body] == ["| 1 (2,180)", "| 2 (4,352)", "| 4 (8,721)", "| 8 (17,418)"]
    assert body[0] == "| 1 (2,180) | 0.810 (0.800-0.820) | 0.845 (0.835-0.855) |"
    assert "all (71 labels), validation fold 9 of ptbxl 1.0.3, macro AUROC with 95 % interval:" in text


def test_the_checkpoint_of_the_card_stands_first(curves):
    assert "| mae-moco-ecg, fine-tuned | xresnet1d50-ecg" in label_efficiency_section(curves, "mae-moco-ecg")


def test_new_weights_beside_a_checkpoint_are_not_called_the_checkpoint(curves, entry):
    twin = [entry(folds, 0.8, checkpoint="mae-moco-ecg") for folds in RECORDS]
    header = rows(label_efficiency_section([*curves, *twin], "mae-moco-ecg"))[0]
    assert "| encoder of mae-moco-ecg with new weights, from scratch |" in header


def test_one_number_of_folds_is_no_curve_and_noise_is_no_point_of_one(curves, entry):
    assert label_efficiency_section([entry(8), entry(8, seed=1), entry(8, noise_level=2)]) == ""
    noisy = [one | {"noise_level": 3, "value": 0.5} for one in curves]
    assert label_efficiency_section([*curves, *noisy]) == label_efficiency_section(curves)


def test_labels_with_enough_positives_have_a_table_where_some_are_rare(curves):
    common = [one | {"min_positives": 10, "num_labels": 50, "value": one["value"] + 0.02} for one in curves]
    text = label_efficiency_section([*curves, *common])
    assert "all (50 labels, 10 positives or more), validation fold 9" in text
    assert len(rows(text)) == 12
    repeated = [one | {"min_positives": 10} for one in curves]
    assert len(rows(label_efficiency_section([*curves, *repeated]))) == 6


def test_seeds_share_a_cell_and_that_is_said(curves, entry):
    text = label_efficiency_section([entry(1, 0.83, seed=1), *curves])
    assert "| 1 (2,180) | 0.810 (0.800-0.820); 0.830 (0.820-0.840) |" in text
    assert "of several seeds" in text
    assert "of several seeds" not in label_efficiency_section(curves)


def test_paired_differences_along_the_curve_are_told_in_words(curves):
    compared = {"against": "xresnet1d50-ecg", "value": 0.035, "low": 0.02, "high": 0.05}
    text = label_efficiency_section([one | {"difference": compared} for one in curves[4:5]] + curves[:4] + curves[5:])
    assert (
        "- mae-moco-ecg, fine-tuned, 1 fold (2,180 records), all (71 labels): ahead of xresnet1d50-ecg, "
        "+0.035 (+0.020 to +0.050, paired)." in text
    )


def test_noise_has_a_row_for_each_level_and_the_clean_figure_first(entry, curves):
    noisy = [entry(8, 0.88 - 0.02 * level, noise_level=level) for level in (6, 1, 3)]
    text = noise_section([*noisy, *curves], "xresnet1d50-ecg")
    header, _, *body = rows(text)
    assert header == "| level of noise | xresnet1d50-ecg, from scratch |"
    assert [row.split(" | ")[0] for row in body] == ["| none", "| 1", "| 3", "| 6"]
    assert body[0] == "| none | 0.880 (0.870-0.890) |"
    assert noise_section(curves) == ""


def test_trainings_of_one_system_are_told_apart_under_noise(entry):
    few, many = (entry(folds, 0.8, noise_level=1) for folds in (1, 2))
    header = rows(noise_section([few, many, many | {"seed": 1}]))[0]
    assert "xresnet1d50-ecg, from scratch, trained on folds 1, seed 0" in header
    assert "xresnet1d50-ecg, from scratch, trained on folds 1, 2, seed 1" in header


def test_pictures_are_drawn_from_the_same_entries(entry, curves, tmp_path):
    assert draw_pictures(tmp_path, [entry(8)]) == []
    assert draw_pictures(tmp_path, [*curves, entry(8, noise_level=1)]) == [
        "label_efficiency.png",
        "noise_robustness.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
