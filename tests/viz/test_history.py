"""Curves of a training run."""

import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.viz import plot_history


def run():
    history = []
    for step in range(10, 101, 10):
        history.append(
            {"step": step, "epoch": step / 50, "loss": 100 / step, "contrastive_loss": 3.0, "learning_rate": 1e-3}
        )
        if step % 50 == 0:
            history.append({"step": step, "eval_loss": 200 / step, "eval_runtime": 1.0, "eval_macro_auroc": 0.8})
    history.append({"step": 100, "train_runtime": 60.0, "train_loss": 1.0, "total_flos": 0.0})
    return history


def panels(figure):
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_a_panel_for_each_quantity_with_the_loss_first():
    assert list(panels(plot_history(run()))) == ["loss", "contrastive loss", "macro auroc", "learning rate"]


def test_training_and_validation_share_a_panel():
    axes = panels(plot_history(run()))["loss"]
    training, validation = axes.lines
    assert list(training.get_xdata()) == list(range(10, 101, 10))
    assert list(validation.get_ydata()) == [4.0, 2.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]


def test_the_lowest_row_of_panels_carries_the_steps():
    axes = panels(plot_history(run()))
    assert axes["learning rate"].get_xlabel() == "training step"
    assert axes["macro auroc"].get_xlabel() == "training step"
    assert axes["loss"].get_xlabel() == ""


def test_a_moving_mean_ends_at_the_mean_of_the_last_values():
    lines = panels(plot_history(run(), smooth=2))["loss"].lines
    assert lines[1].get_ydata()[-1] == pytest.approx((100 / 90 + 1.0) / 2)


def test_a_step_logged_twice_after_a_resume_counts_once():
    axes = panels(plot_history([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 1.0}]))["loss"]
    assert list(axes.lines[0].get_ydata()) == [2.0, 1.0]


def test_names_choose_and_order_the_panels():
    figure = plot_history(run(), names=["learning_rate", "loss"], log_scale=True)
    assert list(panels(figure)) == ["learning rate", "loss"]
    assert panels(figure)["loss"].get_yscale() == "log"


def test_nothing_to_draw_is_an_error():
    with pytest.raises(SignalError, match="log_history"):
        plot_history([{"epoch": 1.0}])
    with pytest.raises(SignalError, match="queue_loss"):
        plot_history(run(), names=["queue_loss"])
