"""What a mode uses and what its entry says: defaults that depend on the data, settings without effect, facts."""

from dataclasses import replace

import numpy as np
import pytest

from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.evaluation import outcomes
from ecg_transformers.evaluation.modes import MODES
from ecg_transformers.evaluation.outcomes import recorded, run_mode
from ecg_transformers.evaluation.results.report import Evaluation
from ecg_transformers.evaluation.results.store import merge_results
from ecg_transformers.evaluation.settings import LearningSettings, ReportSettings
from ecg_transformers.metrics.table import METRICS

QUICK = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "disable_tqdm": True}


@pytest.fixture
def splits(corpus, extractor):
    return Protocol().split(corpus, extractor)


def test_class_weights_are_balanced_below_a_thousand_records_unless_the_settings_say(
    checkpoint, extractor, splits, monkeypatch
):
    def balanced(**settings):
        return run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(**settings)).settings[
            "balanced"
        ]

    assert balanced()
    assert not balanced(balanced=False)
    monkeypatch.setattr(outcomes, "_FEW_RECORDS", 10)
    assert not balanced()


def test_from_scratch_has_one_rate_for_all_layers_and_no_epochs_of_the_head(checkpoint, extractor, splits, tmp_path):
    plain = LearningSettings(training=QUICK)
    scores = [
        run_mode("from_scratch", checkpoint, extractor, splits, settings, output_dir=tmp_path / str(number))
        for number, settings in enumerate((plain, replace(plain, layer_decay=0.1, head_epochs=1.0)))
    ]
    assert (scores[0].predictions.scores == scores[1].predictions.scores).all()


def test_entries_of_rare_labels_and_of_the_baseline_are_entries_of_their_own(
    checkpoint, extractor, splits, tmp_path, monkeypatch
):
    (tmp_path / "run.json").write_text("{}")
    facts = {"records": 7, "epochs": 3.0, "steps": 9, "hardware": "a test", "hours": 0.1, "config": "a.yaml"}
    known = facts | {"labels": ""}
    monkeypatch.setattr("ecg_transformers.evaluation.results.report.pretraining_facts", lambda _: dict(known))
    monkeypatch.setattr("ecg_transformers.evaluation.results.report.FEW_POSITIVES", 2)
    system, random = (
        run_mode("linear_probe", checkpoint, extractor, splits, initialization=start)
        for start in ("pretrained", "random")
    )
    evaluation = Evaluation("tiny", checkpoint, extractor, splits, system, random)
    own, baseline = evaluation.entries(ReportSettings(resamples=20))
    assert [entry["min_positives"] for entry in own] == [1, 2]
    assert own[0]["pretraining"] == facts
    assert (own[0]["config"], baseline[0]["config"]) == ("a.yaml", "")
    assert set(baseline[0]["pretraining"].values()) == {0, ""}
    assert "difference" not in baseline[0]
    assert len(merge_results(tmp_path / "results.json", [*own, *baseline])) == 4


def test_f1_is_over_the_labels_that_occur():
    labels, decisions = np.array([[1, 0], [0, 0]]), np.array([[1, 1], [0, 0]])
    assert METRICS["macro_f1"].value(labels, decisions) == 1.0


def test_a_head_that_starts_no_fine_tuning_is_not_recorded():
    mode = MODES["fine_tune"]
    assert recorded(LearningSettings(), mode)["head_first"] is True
    assert recorded(LearningSettings(head_first=False, head_epochs=1.0), mode)["head_first"] is False
    for without in ({"head_hidden_sizes": [8]}, {"head_epochs": 2.0}):
        assert "head_first" not in recorded(LearningSettings(**without), mode)
