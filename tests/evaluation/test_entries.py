"""What entries are about, where pictures and tables must not mistake one system for another."""

from ecg_transformers.evaluation.results.entries import label_efficiency_curves, label_set_title, noise_curves


def curve(**changes):
    one = {
        "checkpoint": "mae-moco-ecg", "mode": "fine_tune", "initialization": "pretrained", "corpus": "ptbxl",
        "labels": "all", "evaluate_folds": [9], "metric": "macro_auroc", "seed": 0,
    }  # fmt: skip
    return [one | {"train_folds": list(range(1, folds + 1)), "value": 0.8 + 0.01 * folds} | changes for folds in (1, 2)]


def names(curves):
    return [list(systems) for systems in curves]


def test_no_two_systems_share_a_name():
    entries = [*curve(), *curve(initialization="supervised"), *curve(initialization="random")]
    assert names(label_efficiency_curves(entries)) == [
        [
            "mae-moco-ecg, fine-tuned, initialization pretrained",
            "mae-moco-ecg, fine-tuned, initialization supervised",
            "encoder of mae-moco-ecg with new weights, fine-tuned",
        ]
    ]


def test_a_system_has_one_name_in_every_task():
    entries = [*curve(), *curve(labels="superclass"), *curve(labels="superclass", layer=6)]
    assert names(label_efficiency_curves(entries)) == [
        ["mae-moco-ecg, fine-tuned, layer None"],
        ["mae-moco-ecg, fine-tuned, layer None", "mae-moco-ecg, fine-tuned, layer 6"],
    ]


def test_versions_of_a_corpus_are_tasks_of_their_own():
    entries = [*curve(corpus_version="1.0.1"), *curve(corpus_version="1.0.3")]
    assert len(label_efficiency_curves(entries)) == 2


def test_without_noise_there_is_no_curve_under_noise():
    assert noise_curves(curve()) == []
    assert len(noise_curves([*curve(), *curve(noise_level=2)])) == 1


def test_labels_are_told_with_what_is_known_of_them():
    assert label_set_title({"labels": "all", "num_labels": 50, "min_positives": 10}) == (
        "all (50 labels, 10 positives or more)"
    )
    assert label_set_title({"labels": "all"}) == "all"
