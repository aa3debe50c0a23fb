"""Dots and intervals of a benchmark's table."""

import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.viz import plot_benchmark


def cell(system="net", labels="all", value=0.9, **fields):
    common = {"system": system, "protocol": "from scratch", "train_folds": "1-8", "labels": labels, "published": None}
    if value is not None:
        common |= {"value": value, "low": value - 0.01, "high": value + 0.02, "num_labels": 5, "seed_values": [value]}
    return common | fields


def names(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_panel_for_each_label_set_and_a_line_for_each_system():
    figure = plot_benchmark([cell(), cell("other"), cell(labels="superclass"), cell("other", "superclass")])
    assert [axes.get_title() for axes in figure.axes] == ["all (5 labels)", "superclass (5 labels)"]
    assert names(figure) == ["net, from scratch", "other, from scratch"]
    # The first system stands at the top.
    bottom, top = figure.axes[0].get_ylim()
    assert top < 0 < 1 < bottom


def test_the_dot_is_the_figure_and_the_line_its_interval():
    axes = plot_benchmark([cell(value=0.9)]).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0.9, 0.0]]
    (segment,) = axes.collections[0].get_segments()
    assert segment.tolist() == [[pytest.approx(0.89), 0.0], [pytest.approx(0.92), 0.0]]
    assert [text.get_text() for text in axes.texts] == ["0.900"]


def test_seeds_and_published_results_are_explained_where_they_occur():
    assert legend(plot_benchmark([cell()])) == ["score and 95 % interval over records"]
    figure = plot_benchmark([cell(published=0.93, seed_values=[0.89, 0.91])])
    assert legend(figure)[1:] == ["single seeds", "published, on the test fold (10, other records)"]
    diamond = figure.axes[0].lines[-1]
    assert diamond.get_marker() == "D"
    assert diamond.get_xdata().tolist() == [0.93]


def test_what_is_not_finished_says_so():
    figure = plot_benchmark([cell(), cell("late", value=None), cell(labels="form", value=None)])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.900", "no score"]
    assert list(figure.axes[1].get_xticks()) == []


def test_training_folds_are_named_where_they_differ():
    figure = plot_benchmark([cell(train_folds="1"), cell(train_folds="1-8")])
    assert names(figure) == ["net, from scratch, fold 1", "net, from scratch, folds 1-8"]


def test_an_empty_table_is_an_error():
    with pytest.raises(SignalError, match="empty"):
        plot_benchmark([])
