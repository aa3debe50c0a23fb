"""Figures against the level of noise."""

import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.viz import plot_noise_robustness

PROBE = "mae-moco-ecg, linear probe"
TWIN = "encoder of mae-moco-ecg with new weights, linear probe"


def entries(levels=range(7), **fields):
    """Clean and noisy figures of one system, as `results.json` has them."""
    common = {
        "checkpoint": "mae-moco-ecg", "mode": "linear_probe", "initialization": "pretrained", "corpus": "ptbxl",
        "labels": "superclass", "evaluate_folds": [9], "metric": "macro_auroc", "min_positives": 1, "seed": 0,
        "train_folds": [1, 2],
    }  # fmt: skip
    made = []
    for level in levels:
        value = 0.9 - 0.02 * level
        noise = {"noise_level": level} if level else {}
        made.append(common | {"value": value, "low": value - 0.01, "high": value + 0.01} | noise | fields)
    return made


def lines(figure, panel=0):
    return {line.get_label(): line for line in figure.axes[panel].lines}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_line_for_each_system_over_the_levels():
    figure = plot_noise_robustness([*entries(), *entries(initialization="random", value=0.7)])
    drawn = lines(figure)
    assert list(drawn) == legend(figure) == [PROBE, TWIN]
    assert list(drawn[PROBE].get_xdata()) == list(range(7))
    assert list(drawn[PROBE].get_ydata()) == pytest.approx([0.9 - 0.02 * k for k in range(7)])
    assert drawn[TWIN].get_linestyle() == "--"
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["clean", "1", "2", "3", "4", "5", "6"]
    assert axes.get_ylabel() == "macro AUROC"
    assert axes.get_title() == "ptbxl, superclass, fold 9"


def test_the_band_is_the_interval():
    band = plot_noise_robustness(entries(levels=(0, 3))).axes[0].collections[0]
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.91)
    assert heights.min() == pytest.approx(0.83)


def test_the_order_of_the_entries_does_not_matter_and_levels_may_be_missing():
    drawn = lines(plot_noise_robustness(list(reversed(entries(levels=(0, 1, 6))))))
    assert list(drawn[PROBE].get_xdata()) == [0, 1, 6]


def test_only_what_was_scored_under_noise_is_drawn():
    figure = plot_noise_robustness([*entries(), *entries(levels=(0,), checkpoint="other"), *entries(min_positives=10)])
    assert legend(figure) == [PROBE]


def test_label_sets_have_panels_of_their_own():
    figure = plot_noise_robustness([*entries(), *entries(labels="all"), *entries(labels="all", seed=1)])
    assert [axes.get_title() for axes in figure.axes] == ["ptbxl, superclass, fold 9", "ptbxl, all, fold 9"]
    assert len(lines(figure, 0)) == 1
    assert len(lines(figure, 1)) == 2
    assert legend(figure) == [f"{PROBE}, seed 0", f"{PROBE}, seed 1"]


def test_label_efficiency_is_told_by_its_folds():
    figure = plot_noise_robustness([*entries(), *entries(train_folds=[1])])
    assert legend(figure) == [f"{PROBE}, trained on folds 1, 2", f"{PROBE}, trained on folds 1"]


def test_no_noise_is_an_error():
    with pytest.raises(SignalError, match="noise_levels"):
        plot_noise_robustness(entries(levels=(0,)))
