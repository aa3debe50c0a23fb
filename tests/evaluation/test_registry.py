"""Modes and metrics are rows of a table: a new row is known to settings, entries, tables and the card."""

import numpy as np
import pytest

from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.backbone import EcgBackboneConfig
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.modes import LEARNING, MODES, Mode, find_mode, mode_title
from ecg_transformers.evaluation.outcomes import run_mode
from ecg_transformers.evaluation.results.predictions import other_metrics
from ecg_transformers.evaluation.results.report import Evaluation, summary_line
from ecg_transformers.evaluation.settings import LearningSettings, ReportSettings
from ecg_transformers.metrics.metrics import auroc
from ecg_transformers.metrics.table import METRICS, Metric, main_metric, metric_title


@pytest.fixture
def new_mode(monkeypatch):
    """A mode that is one registration: a linear probe under another name, compared with a random one."""
    mode = Mode(
        "nearest_class", title="nearest class", learned="class means", fitted_by="fit_probe:fit_probe",
        uses=frozenset({LEARNING}), baseline="nearest_class", linear_head=True,
    )  # fmt: skip
    monkeypatch.setitem(MODES, mode.name, mode)
    return mode


def test_a_new_mode_is_one_row(new_mode, checkpoint, corpus, extractor):
    from ecg_transformers.commands.downstream import FineTuneArguments, read_arguments
    from ecg_transformers.commands.help import command_help
    from ecg_transformers.publishing.card.table import results_table

    words = ["--model", "m", "--output_dir", "o", "--mode", "nearest_class"]
    assert read_arguments(words, FineTuneArguments).mode == "nearest_class"
    assert "nearest_class" in command_help("usage", FineTuneArguments)
    splits = Protocol().split(corpus, extractor)
    system, random = (
        run_mode("nearest_class", checkpoint, extractor, splits, initialization=start)
        for start in ("pretrained", "random")
    )
    evaluation = Evaluation("tiny", checkpoint, extractor, splits, system, random)
    entries, baseline = evaluation.entries(ReportSettings(resamples=20))
    assert entries[0]["difference"]["against"] == "random"
    assert "random encoder" in summary_line(entries, baseline, "validation")
    assert "nearest class" in results_table([*entries, *baseline])


def test_an_unknown_mode_names_the_known_ones(new_mode):
    with pytest.raises(EcgError, match=r"linear_prob.*nearest_class"):
        find_mode("linear_prob")
    assert mode_title("of_another_package") == "of another package"


@pytest.mark.parametrize("name", MODES)
def test_every_baseline_is_a_mode_and_every_mode_has_its_function(name):
    mode = MODES[name]
    assert mode.baseline is None or mode.baseline in MODES
    module, _, function = mode.fitted_by.partition(":")
    imported = __import__(f"ecg_transformers.evaluation.{module}", fromlist=[function])
    assert callable(getattr(imported, function))


@pytest.fixture
def new_metric(monkeypatch):
    def complement(labels, scores, *, weights=None):
        return 1 - auroc(labels, scores, weights=weights)

    metric = Metric(
        "macro_complement", "macro complement", complement, "complement", higher_is_better=False,
        reported_of=("multi_label_classification",),
    )  # fmt: skip
    monkeypatch.setitem(METRICS, metric.name, metric)
    return metric


def test_a_new_metric_is_one_row(new_metric, checkpoint, corpus, extractor):
    from ecg_transformers.metrics.bootstrap import bootstrap
    from ecg_transformers.publishing.card.results import evaluation_results

    splits = Protocol().split(corpus, extractor)
    outcome = run_mode("linear_probe", checkpoint, extractor, splits)
    predictions = outcome.predictions
    interval = bootstrap(predictions.labels, predictions.scores, metric="macro_complement", resamples=20)
    assert other_metrics(predictions)["macro_complement"] == pytest.approx(interval.value)
    entries, _ = Evaluation("tiny", checkpoint, extractor, splits, outcome).entries(ReportSettings(resamples=20))
    assert entries[0]["macro_complement"] == pytest.approx(1 - entries[0]["value"])
    shown = evaluation_results([entries[0] | {"metric": "macro_complement"}], "tiny")
    assert (shown[0].metric_type, shown[0].metric_name) == (
        "complement",
        "macro complement (lower is better), linear probe",
    )


def test_a_kind_of_task_is_judged_by_one_metric_that_rises():
    kinds = ("multi_label_classification", "single_label_classification", "regression")
    for kind in kinds:
        assert [metric.name for metric in METRICS.values() if kind in metric.main_of] == [main_metric(kind).name]
        assert main_metric(kind).higher_is_better
    assert metric_title("macro_auroc") == "macro AUROC"
    assert metric_title("of_another_package") == "of another package"


def test_accuracy_can_be_resampled():
    labels, scores = np.eye(2)[[0, 1, 1]], np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    weights = np.array([[1, 2], [1, 0], [1, 1]])
    np.testing.assert_allclose(METRICS["accuracy"].function(labels, scores, weights=weights), [[2 / 3], [2 / 3]])
    assert METRICS["accuracy"].value(labels, scores) == pytest.approx(2 / 3)


def test_settings_of_a_baseline_from_scratch_are_the_recipe_with_scratch_over_it(checkpoint):
    from transformers import AutoConfig

    from ecg_transformers.models.ecg_vit.recipe_ecg_vit import SUPERVISED_RECIPE

    config = AutoConfig.from_pretrained(checkpoint)
    training = {"learning_rate": 7.0, "bf16": True}
    given = LearningSettings(max_shift_seconds=0.5, scratch={"num_train_epochs": 3}, training=training)
    tuned = given.of_mode(MODES["fine_tune"], config)
    assert (tuned.training, tuned.max_shift_seconds) == (training, 0.5)
    baseline = tuned.of_baseline(MODES["fine_tune"])
    assert baseline.training["learning_rate"] == SUPERVISED_RECIPE["learning_rate"]
    assert baseline.training["num_train_epochs"] == 3
    assert baseline.training["bf16"] is True
    assert baseline.max_shift_seconds == SUPERVISED_RECIPE["max_shift_seconds"]
    # The mode itself has the recipe where nothing was set, and what was set where something was.
    own = LearningSettings(training={"learning_rate": 7.0}, given=frozenset({"learning_rate"}))
    scratch = own.of_mode(MODES["from_scratch"], config)
    assert scratch.training == {
        name: value for name, value in {**SUPERVISED_RECIPE, "learning_rate": 7.0}.items() if name in scratch.training
    }
    assert scratch.training["num_train_epochs"] == SUPERVISED_RECIPE["num_train_epochs"]
    probe = given.of_mode(MODES["linear_probe"], config)
    assert probe.of_baseline(MODES["linear_probe"]) is probe


@pytest.mark.parametrize(
    "model_type",
    [
        name
        for name, row in ARCHITECTURES.items()
        if "classifier" in row.heads and not issubclass(row.config, EcgBackboneConfig)
    ],
)
def test_a_recipe_leaves_no_optimization_setting_to_the_fine_tuning_it_is_compared_with(model_type):
    """A name that a recipe lacks would have the value that was tuned for fine-tuning."""
    from types import SimpleNamespace

    from ecg_transformers.evaluation.settings import supervised_recipe

    config = ARCHITECTURES[model_type].config()
    recipe = supervised_recipe(config)
    needed = {"num_train_epochs", "per_device_train_batch_size", "learning_rate", "one_cycle", "weight_decay"}
    needed |= {"adam_beta2", "max_grad_norm", "max_shift_seconds", "early_stopping_patience"}
    assert needed <= recipe.keys()
    assert recipe["one_cycle"] or {"lr_scheduler_type", "warmup_steps", "warmup_epochs"} <= recipe.keys()
    assert supervised_recipe(SimpleNamespace(backbone_config=config)) == recipe
    assert supervised_recipe(SimpleNamespace()) == {}
