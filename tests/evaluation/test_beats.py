"""Baselines of abnormal beats, their metrics, and the command that prints them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection
from ecg_transformers.commands.beat_options import BeatScoringArguments
from ecg_transformers.commands.score_beats import BeatScoring, read_beat_arguments
from ecg_transformers.corpora.beat_splits import PATIENT_FOLDS, SPLITS, BeatSplit, named_split
from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.pretraining_split import split_beats
from ecg_transformers.corpora.sources.mitdb import DS1, PACED
from ecg_transformers.corpora.sources.mitdb_beats import beats_definition
from ecg_transformers.errors import ArgumentsError, CheckpointError, CorpusError
from ecg_transformers.evaluation.beats import baselines
from ecg_transformers.evaluation.beats.baselines import BASELINES, RANK_SUM, BeatTask, rank_sum, rank_sum_with
from ecg_transformers.evaluation.beats.report import ScoredBeats, flagged, measure, paired, table
from ecg_transformers.publishing.card.beats import (
    added_value,
    alarms_text,
    as_used_text,
    beats_table,
    find_beat_entries,
)
from ecg_transformers.publishing.card.results import evaluation_results, load_results
from ecg_transformers.trainer.data import WindowDataset


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Every patient has 26 normal beats and 12 early, wider ones."""
    random, definition = np.random.default_rng(0), beats_definition("corrected")
    time = np.arange(320) - 140
    shapes = {"N": np.exp(-((time / 6) ** 2)), "V": -np.exp(-((time / 20) ** 2)), "A": 0.9 * np.exp(-((time / 8) ** 2))}
    rows = []
    for patient in [patient for fold in PATIENT_FOLDS for patient in fold]:
        whole = CorpusRecord(
            np.zeros((1, 120_000), np.float32), 360, ("MLII",), record_id=patient, name=str(patient),
            patient_id=patient, fold=1 if patient in DS1 else 2,
        )  # fmt: skip
        place, mean = 108_000 - 20 * 300, random.normal(size=320) * 0.05  # both sides of five minutes
        for symbol in ["N", "N", "V", "N", "N", "A", "N"] * 5 + ["V", "A", "N"]:
            place += int(random.normal(300, 5)) - (100 if symbol in "VA" else 0)
            beat = whole.part(place - 140, place + 180, labels=(symbol,))
            noise = 0.02 * random.normal(size=320)
            rows.append(replace(beat, signal=(shapes[symbol] + mean + noise)[None].astype(np.float32)))
    info = {"name": "mitdb_beats", "version": "1.0.0, corrected", "preprocessed_by": definition.stored_after()}
    return write_corpus(rows, tmp_path_factory.mktemp("x") / "beats", info, label_sets=definition.label_sets("NVA"))


@pytest.fixture
def task():
    random = np.random.default_rng(1)
    beats = random.normal(size=(60, 20)).astype(np.float32)
    parents = np.repeat([1, 2], 30)
    peaks = np.tile(np.arange(30) * 300, 2)
    split = BeatSplit("own", np.arange(0, 30), np.arange(30, 40), np.arange(40, 60))
    return BeatTask(split, beats, beats + 1, beats, peaks, parents)


def test_nearest_normal_is_that_of_a_search(task, monkeypatch):
    monkeypatch.setattr(baselines, "_BLOCK", 100)
    rows = task.split.test
    expected = cdist(task.scaled[rows], task.scaled[:30]).min(axis=1) ** 2 / 20
    np.testing.assert_allclose(baselines.nearest_normal(task, rows), expected, rtol=1e-4)


def test_principal_components_are_those_of_scikit_learn(task):
    rows = task.split.test
    for compared, beats in ((False, task.scaled), (True, task.compared)):
        model = PCA(3, svd_solver="full").fit(beats[:30])
        rest = beats[rows] - model.inverse_transform(model.transform(beats[rows]))
        found = baselines.principal_components(task, rows, count=3, compared=compared)
        np.testing.assert_allclose(found, (rest**2).mean(axis=1), rtol=1e-3)


def test_interval_is_compared_with_those_of_the_neighbors():
    peaks = np.array([0, 300, 600, 700, 1200, 1500, 1800, 50, 90])
    split = BeatSplit("own", np.arange(1), np.arange(1), np.arange(9))
    task = BeatTask(split, *[np.zeros((9, 2))] * 3, peaks, np.array([1] * 7 + [2] * 2))
    # Of the beat at 700: 100 against the median of 300, 300, 500, 300, 300.
    short = baselines.short_interval(task, np.array([0, 3, 4, 7, 8]))
    np.testing.assert_allclose(short, [0, 2 / 3, -2 / 3, 0, 0], atol=1e-12)


def test_median_beat_is_that_of_the_own_recording(task):
    own = task.millivolts[task.parents == 2]
    median = np.median(own, axis=0)
    expected = ((own - median) ** 2).mean(axis=1) / (median**2).mean()
    np.testing.assert_allclose(baselines.median_distance(task, np.arange(30, 60)), expected, rtol=1e-5)


def test_equal_scores_share_their_rank():
    assert rank_sum(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 0.0, 3.0, 3.0])).tolist() == [2.5, 4.0, 6.0, 7.5]


def test_metrics_of_scored_beats_and_their_difference():
    classes = np.array([0] * 40 + [1] * 20 + [2] * 20)
    patients = np.tile([1, 2], 40)
    random = np.random.default_rng(0)
    good = ScoredBeats(classes, (classes > 0) + random.normal(size=80) * 0.1, patients, threshold=0.5)
    bad = replace(good, scores=random.normal(size=80), threshold=None)
    first, second = measure([good], resamples=50), measure([bad], resamples=50)
    assert first["auroc"].value == first["patient_auroc"].value == first["f1"].value == first["auroc_V"].value == 1.0
    assert "auroc_F" not in first  # there is no such beat
    assert "f1" not in second  # there is no threshold
    difference = paired(first, second)["auroc"]
    assert difference.value == pytest.approx(1.0 - second["auroc"].value)
    assert difference.interval[0] > 0.2
    two = measure([good, bad], resamples=50)
    assert two["auroc"].value == pytest.approx((1.0 + second["auroc"].value) / 2)
    assert "1.000 [1.000, 1.000]" in table({"good": first, "bad": second})


def test_named_splits_of_a_corpus(corpus):
    assert len(SPLITS) == 11
    assert not set(corpus.patient_ids.tolist()) & set(PACED)
    for name in SPLITS:
        split = named_split(corpus, name)
        assert split.name == name
        assert min(len(split.train), len(split.validation), len(split.test)) > 0
        shared = set(corpus.patient_ids[split.train]) & set(corpus.patient_ids[split.test])
        assert bool(shared) == split.shares_patients == name.startswith("published")
    for name in ("patients/5", "published", "ds1"):
        with pytest.raises(CorpusError, match="there is no split"):
            named_split(corpus, name)


def test_baselines_of_a_corpus_are_printed_and_written(corpus, tmp_path):
    lines = []
    arguments = BeatScoringArguments(
        corpus=str(corpus.path), splits=["patients", "published/1"], resamples=20, output_dir=str(tmp_path)
    )
    entries = BeatScoring(arguments, print_line=lines.append).run()
    assert len(entries) == 2 * (len(BASELINES) + 1)
    text = "\n".join(lines)
    assert "patients, mean of 5: 1,634 beats; patients are kept apart" in text
    assert "patients are in training AND in test" in text
    saved = json.loads((tmp_path / "results.json").read_text())
    assert len(saved) == len(entries)
    assert {entry["split"]: entry["shares_patients"] for entry in saved} == {"patients": False, "published/1": True}
    best = {entry["checkpoint"]: entry for entry in saved if entry["split"] == "patients"}
    assert best["ranks of RR and median beat added"]["value"] > 0.95
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in saved)
    assert all(entry["unit"] == "patient" for entry in saved)


def test_a_checkpoint_of_another_split_is_refused(corpus, tmp_path):
    from ecg_transformers.commands.score_beats import _check_split

    (tmp_path / "run.json").write_text('{"split": "patients/0"}')
    _check_split(str(tmp_path), named_split(corpus, "patients/0"))
    with pytest.raises(CheckpointError, match=r"'patients/0'.*--splits patients/0"):
        _check_split(str(tmp_path), named_split(corpus, "de_chazal"))


def test_options_are_checked():
    assert read_beat_arguments(["--corpus", "x", "--no_baselines"]).baselines is False
    assert read_beat_arguments(["--corpus", "x", "--splits", "patients", "de_chazal"]).splits[1] == "de_chazal"
    with pytest.raises(ArgumentsError, match="--corpus DIR"):
        read_beat_arguments([])
    with pytest.raises(ArgumentsError, match="splits"):
        read_beat_arguments(["--corpus", "x", "--split", "patients"])


def test_normal_beats_of_a_split_train_and_validate(corpus):
    split = split_beats([corpus], "patients/2")
    named = named_split(corpus, "patients/2")
    assert split.validation is not None
    assert all(labels == ["N"] for labels in [*split.train.labels, *split.validation.labels])
    assert len(split.train) == len(named.train)
    assert 0 < len(split.validation) < len(named.validation)
    assert split.test_records_left_out == {"mitdb_beats": len(named.test)}
    assert (split.shares_patients, split_beats([corpus], "published/0").shares_patients) == (False, True)
    with pytest.raises(CorpusError, match="2 corpora are given"):
        split_beats([corpus, corpus], "patients/2")


@pytest.fixture(scope="module")
def checkpoint(corpus, tmp_path_factory):
    torch.manual_seed(0)
    model = BeatganForAnomalyDetection(BeatganConfig(base_channels=2, latent_size=4)).eval()
    extractor = BeatganFeatureExtractor()
    model.calibrate(WindowDataset(corpus.select(range(200)), extractor).__getitems__(range(200))["input_values"])
    folder = tmp_path_factory.mktemp("run")
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    facts = {"split": "de_chazal", "records": 416, "steps": 5, "epochs": 1.0, "hours": 0.1, "config": "small.yaml"}
    (folder / "run.json").write_text(json.dumps(facts))
    return str(folder)


def test_a_checkpoint_is_compared_and_added_to_the_rank_sum(corpus, checkpoint, tmp_path):
    arguments = BeatScoringArguments(
        corpus=str(corpus.path), model=[checkpoint], baselines=False, resamples=10, output_dir=str(tmp_path / "out")
    )
    lines = []
    entries = {entry["checkpoint"]: entry for entry in BeatScoring(arguments, print_line=lines.append).run()}
    with_it = f"{RANK_SUM}, and those of {checkpoint}"
    assert list(entries) == [RANK_SUM, checkpoint, with_it]
    for title in (checkpoint, with_it):
        assert entries[title]["difference"]["against"] == RANK_SUM
        assert "differences" not in entries[title]
    assert entries[checkpoint]["pretraining"]["records"] == 416
    assert entries[checkpoint]["config"] == "small.yaml"
    assert any(line.startswith(f"{checkpoint} minus {RANK_SUM}") for line in lines)


def test_entries_of_a_card_are_those_that_publishing_reads(corpus, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"corpus": str(corpus.path), "card": "beatgan-x", "resamples": 10, "output_dir": "out"}
    with pytest.raises(ArgumentsError, match=r"2 are given. Set --model"):
        BeatScoring(BeatScoringArguments(model=[checkpoint, "other"], **options))
    BeatScoring(BeatScoringArguments(model=[checkpoint], **options)).run()
    results = load_results(tmp_path / "hub_cards" / "beatgan-x" / "results.json")
    assert json.loads((tmp_path / "hub_cards" / "beatgan-x" / "run.json").read_text())["steps"] == 5
    assert not any(checkpoint in json.dumps(entry) for entry in results)
    found = find_beat_entries(results, "beatgan-x")
    assert next(iter(found)) == "beatgan-x"
    own = found["beatgan-x"]
    assert (own["train_folds"], own["evaluate_folds"], own["patients"]) == ([1], [2], 21)
    assert set(own["train_patients"]) < set(DS1)
    assert {one["against"] for one in own["differences"]} == {RANK_SUM, *(title for title, _ in BASELINES.values())}
    lines = beats_table(found).splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(BASELINES) + 3
    assert "10 resamples" in beats_table(found)
    assert "Does the network add" in added_value(found)
    assert len(alarms_text(found).splitlines()) == 3
    assert as_used_text(found) == ""  # the recordings were not given
    scores = {one.dataset_config: one.metric_type for one in evaluation_results(results, "beatgan-x")}
    assert scores == {"aami, de_chazal": "roc_auc"}


def test_what_is_flagged_is_given_by_class_and_by_patient():
    classes, patients = np.array([0, 0, 0, 0, 1, 2]), np.array([1, 1, 2, 2, 1, 2])
    part = ScoredBeats(classes, np.array([0.1, 0.9, 0.1, 0.2, 0.8, 0.3]), patients, threshold=0.5)
    found = flagged([part])
    assert (found["N"], found["S"], found["V"]) == (0.25, 1.0, 0.0)
    assert found["patients"] == {"low": 0.0, "median": 0.25, "high": 0.5}
    own = flagged([replace(part, threshold=np.array([1, 1, 0.15, 0.15, 1, 0.15]))])
    assert (own["N"], own["S"], own["V"]) == (0.25, 0.0, 1.0)
    assert measure([replace(part, threshold=part.scores)], resamples=5)["f1"].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("interval", "words"),
    [((0.01, 0.03), "Yes."), ((-0.01, 0.03), "No: no difference"), ((-0.03, -0.01), "No: it makes them worse")],
)
def test_a_card_says_whether_the_network_adds_to_what_needs_none(interval, words):
    score = {"value": 0.9, "low": 0.8, "high": 0.95, "split": "de_chazal"}
    change = {"value": 0.02, "low": interval[0], "high": interval[1]}
    with_it = score | {"difference": change | {"metrics": {"auroc_V": change}}}
    found = {"net": score | {"checkpoint": "net"}, RANK_SUM: score, rank_sum_with("net"): with_it}
    text = added_value(found)
    assert words in text
    assert ("higher: ventricular" in text, "lower: ventricular" in text) == (interval[0] > 0, interval[1] < 0)
    assert added_value({"net": score | {"checkpoint": "net"}}) == ""
