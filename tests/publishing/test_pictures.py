"""The plots of a card: the curves that `results.json` holds, and none without them."""

import pytest

from ecg_transformers.evaluation.results.entries import label_efficiency_curves, noise_curves
from ecg_transformers.publishing.card.pictures import draw_pictures

PRETRAINED = {"checkpoint": "mae-moco-ecg", "mode": "fine_tune", "initialization": "pretrained"}
AMOUNTS = (1, 2, 4, 8)


@pytest.fixture
def entry(results):
    def make(folds=8, value=0.9, **changes):
        return results[0] | {
            "checkpoint": "xresnet1d50-ecg",
            "mode": "from_scratch",
            "initialization": "random",
            "labels": "all",
            "num_labels": 71,
            "min_positives": 1,
            "train_folds": list(range(1, folds + 1)),
            "train_records": 2_000 * folds,
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "difference": None,
        } | changes  # fmt: skip

    return make


@pytest.fixture
def curves(entry):
    scratch = [entry(folds, 0.80 + 0.01 * folds) for folds in AMOUNTS]
    return scratch + [entry(folds, 0.84 + 0.005 * folds, **PRETRAINED) for folds in AMOUNTS]


def names(found):
    return [list(systems) for systems in found]


def test_every_system_of_a_curve_has_a_name_of_its_own(curves, entry):
    assert names(label_efficiency_curves(curves)) == [["xresnet1d50-ecg, from scratch", "mae-moco-ecg, fine-tuned"]]
    # New weights of a pretrained encoder are not called by the name of the checkpoint.
    random = [entry(folds, 0.8, checkpoint="mae-moco-ecg") for folds in AMOUNTS]
    found = names(label_efficiency_curves([*curves, *random]))[0]
    assert "encoder of mae-moco-ecg with new weights, from scratch" in found


def test_one_number_of_folds_is_no_curve_and_noise_is_no_point_of_one(curves, entry):
    assert not label_efficiency_curves([entry(8), entry(8, seed=1), entry(8, noise_level=2)])
    noisy = [one | {"noise_level": 3, "value": 0.5} for one in curves]
    assert label_efficiency_curves([*curves, *noisy]) == label_efficiency_curves(curves)


def test_labels_with_enough_positives_are_a_task_of_their_own_where_some_are_rare(curves):
    common = [one | {"min_positives": 10, "num_labels": 50, "value": one["value"] + 0.02} for one in curves]
    assert len(label_efficiency_curves([*curves, *common])) == 2
    repeated = [one | {"min_positives": 10} for one in curves]
    assert len(label_efficiency_curves([*curves, *repeated])) == 1


def test_trainings_of_one_system_are_told_apart_under_noise(entry):
    few, many = (entry(folds, 0.8, noise_level=1) for folds in (1, 2))
    found = names(noise_curves([few, many, many | {"seed": 1}]))[0]
    assert "xresnet1d50-ecg, from scratch, trained on folds 1, seed 0" in found
    assert "xresnet1d50-ecg, from scratch, trained on folds 1, 2, seed 1" in found


def test_plots_are_drawn_where_there_are_curves(entry, curves, tmp_path):
    assert draw_pictures(tmp_path, [entry(8)]) == []
    assert draw_pictures(tmp_path, [*curves, entry(8, noise_level=1)]) == [
        "label_efficiency.png",
        "noise_robustness.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
