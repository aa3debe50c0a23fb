"""A classifier under levels of noise: the head that was fitted on clean records, the same noise for every system."""

import numpy as np
import pytest

from ecg_transformers.augmentations.noise import PhysiologicalNoise
from ecg_transformers.commands.noise import check_noise_levels, noise_table, score_under_noise
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.outcomes import run_mode
from ecg_transformers.evaluation.results.predictions import Predictions
from ecg_transformers.evaluation.results.report import Evaluation
from ecg_transformers.evaluation.settings import LearningSettings, ReportSettings


@pytest.fixture
def splits(corpus, extractor):
    return Protocol().split(corpus, extractor)


@pytest.mark.parametrize("mode", ["linear_probe", "attentive_probe"])
def test_a_probe_is_scored_with_its_own_head(checkpoint, extractor, splits, tmp_path, monkeypatch, mode):
    outcome = run_mode(mode, checkpoint, extractor, splits, LearningSettings(pooling="cls"))
    silent = PhysiologicalNoise(50, *[0.0] * 4)
    monkeypatch.setattr("ecg_transformers.inference.noise.noise_of_level", lambda *_: silent)
    evaluation = Evaluation("tiny-ecg", checkpoint, extractor, splits, outcome)
    score_under_noise(evaluation, ReportSettings(noise_levels=[2], resamples=20), tmp_path)
    (file,) = (tmp_path / "predictions" / "noise2").glob("*.safetensors")
    # The tokens of an attentive probe are kept in bfloat16.
    tolerance = 2e-3 if mode == "attentive_probe" else 1e-5
    np.testing.assert_allclose(Predictions.load(file).scores, outcome.predictions.scores, atol=tolerance)


def test_every_seed_is_scored_under_the_same_noise(checkpoint, extractor, splits, tmp_path):
    outcome = run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(pooling="cls"))
    values = []
    for seed in (0, 1):
        evaluation = Evaluation("tiny-ecg", checkpoint, extractor, splits, outcome, seed=seed)
        entries = score_under_noise(evaluation, ReportSettings(noise_levels=[6, 3, 6], resamples=20), tmp_path)
        assert {entry["seed"] for entry in entries} == {seed}
        assert [entry["noise_level"] for entry in entries if entry["min_positives"] == 1] == [3, 6]
        values.append([entry["value"] for entry in entries])
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_levels_and_contracts_are_checked_before_anything_is_trained(extractor, splits):
    check_noise_levels(None, extractor, splits)
    check_noise_levels([1, 6], extractor, splits)
    with pytest.raises(EcgError, match="noise_levels has 0, 9; expected numbers from 1 to 6"):
        check_noise_levels([0, 1, 9], extractor, splits)
    extractor.order = ["leads", "units", "resample", "filter", "normalize", "window", "pad"]
    check_noise_levels([], extractor, splits)
    with pytest.raises(EcgError, match="before it cuts windows"):
        check_noise_levels([1], extractor, splits)


def test_the_table_has_a_row_for_each_level():
    clean = {"min_positives": 1, "metric": "macro_auroc", "value": 0.9, "low": 0.88, "high": 0.92}
    clean |= {"mode": "linear_probe", "initialization": "pretrained"}
    clean |= {"difference": {"against": "random", "value": 0.1, "low": 0.05, "high": 0.15}}
    entries = [clean, clean | {"min_positives": 10}, clean | {"noise_level": 3, "value": 0.8}]
    random = clean | {"initialization": "random"}
    baseline = [random | {"value": 0.7}, random | {"noise_level": 3, "value": 0.6}]
    lines = noise_table([*entries, *baseline]).splitlines()
    assert lines[0].split("  ")[0] == "noise"
    assert [line.split()[:2] for line in lines[1:]] == [["clean", "0.900"], ["3", "0.800"]]
    assert "0.600 [0.880, 0.920]" in lines[2]
    assert lines[2].endswith("+0.100 [+0.050, +0.150]")
    assert noise_table(entries).splitlines()[2].split() == ["3", "0.800", "[0.880,", "0.920]"]
