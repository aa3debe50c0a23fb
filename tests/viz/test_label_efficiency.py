"""Figures against the number of training folds."""

import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.viz import plot_label_efficiency

RECORDS = {1: 2_180, 2: 4_352, 4: 8_721, 8: 17_418}


def entry(folds, value, **changes):
    return {
        "checkpoint": "xresnet1d50-ecg",
        "mode": "from_scratch",
        "initialization": "random",
        "corpus": "ptbxl",
        "labels": "all",
        "metric": "macro_auroc",
        "min_positives": 1,
        "num_labels": 71,
        "train_folds": list(range(1, folds + 1)),
        "train_records": RECORDS[folds],
        "evaluate_folds": [9],
        "value": value,
        "low": value - 0.01,
        "high": value + 0.02,
        "seed": 0,
    } | changes


def curve(values=(0.80, 0.84, 0.88, 0.92), **changes):
    return [entry(folds, value, **changes) for folds, value in zip(RECORDS, values, strict=True)]


PRETRAINED = {"checkpoint": "mae-moco-ecg", "mode": "fine_tune", "initialization": "pretrained"}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_line_for_each_system_over_the_training_folds_with_its_interval():
    figure = plot_label_efficiency([*reversed(curve()), *curve((0.85, 0.87, 0.89, 0.90), **PRETRAINED)])
    (axes,) = figure.axes
    scratch, pretrained = axes.lines
    assert list(scratch.get_xdata()) == [1, 2, 4, 8]
    assert list(scratch.get_ydata()) == [0.80, 0.84, 0.88, 0.92]
    assert list(pretrained.get_ydata()) == [0.85, 0.87, 0.89, 0.90]
    assert (scratch.get_linestyle(), pretrained.get_linestyle()) == ("--", "-")
    assert len(axes.collections) == 2
    assert axes.collections[0].get_paths()[0].get_extents().y0 == pytest.approx(0.79)
    assert legend(figure) == ["xresnet1d50-ecg, from scratch", "mae-moco-ecg, fine-tuned"]


def test_the_axis_names_folds_and_the_labeled_records_they_hold():
    (axes,) = plot_label_efficiency(curve()).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1\n2,180", "2\n4,352", "4\n8,721", "8\n17,418"]
    assert axes.get_xlabel() == "training folds\nlabeled records"
    assert axes.get_ylabel() == "macro AUROC"
    assert axes.get_title() == "ptbxl, all (71 labels), fold 9"


def test_a_share_of_the_records_is_named_by_its_number_of_records():
    few = entry(8, 0.7, train_fraction=0.0115, train_records=200)
    (axes,) = plot_label_efficiency([few, *curve()]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()][:2] == ["\n200", "1\n2,180"]


def test_systems_that_saw_other_records_share_the_folds_alone():
    other = [one | PRETRAINED | {"train_records": 100 * len(one["train_folds"])} for one in curve()]
    (axes,) = plot_label_efficiency([*curve(), *other]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4", "8"]


def test_seeds_are_averaged_and_shown_as_dots():
    (axes,) = plot_label_efficiency([*curve(), entry(1, 0.82, seed=1)]).axes
    (line,) = axes.lines
    assert line.get_ydata()[0] == pytest.approx(0.81)
    assert len(axes.collections[1].get_offsets()) == 5


def test_labels_with_enough_positives_have_a_panel_where_some_are_rare():
    common = curve((0.9, 0.91, 0.92, 0.93), min_positives=10, num_labels=50)
    titles = [axes.get_title() for axes in plot_label_efficiency([*curve(), *common]).axes]
    assert titles == ["ptbxl, all (71 labels), fold 9", "ptbxl, all (50 labels, 10 positives or more), fold 9"]
    assert len(plot_label_efficiency([*curve(), *curve(min_positives=10)]).axes) == 1


def test_what_is_no_curve_is_left_out():
    noisy = [one | {"noise_level": 3} for one in curve(labels="superclass")]
    single = entry(8, 0.9, **PRETRAINED)
    figure = plot_label_efficiency([*curve(), single, *noisy])
    assert legend(figure) == ["xresnet1d50-ecg, from scratch"]
    assert len(figure.axes) == 1
    with pytest.raises(SignalError, match="train_folds"):
        plot_label_efficiency([single, entry(8, 0.91, seed=1), *noisy])


def test_what_differs_between_lines_of_one_checkpoint_is_named():
    figure = plot_label_efficiency([*curve(aggregate="mean"), *curve(aggregate="max")])
    assert legend(figure) == [
        "xresnet1d50-ecg, from scratch, aggregate mean",
        "xresnet1d50-ecg, from scratch, aggregate max",
    ]
