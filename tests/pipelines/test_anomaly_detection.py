"""The pipeline of abnormal beats: rows, thresholds, streams, tables, summaries, inputs that cannot be used."""

import logging as std_logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline
from transformers.utils import logging

import ecg_transformers  # noqa: F401  registers the task
from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection
from ecg_transformers.errors import ArgumentsError, CheckpointError, LeadError, SignalError
from ecg_transformers.features import preparation
from ecg_transformers.pipelines import summarize_beats
from ecg_transformers.signals.beats import annotated_peaks, detect_r_peaks, interval_ratio
from ecg_transformers.signals.filters import fir_bandpass
from ecg_transformers.signals.formats.readers import read_record
from ecg_transformers.signals.record import EcgRecord

RECORD = Path(__file__).parents[1] / "data" / "mitdb" / "100"


def make_checkpoint(folder, **contract):
    torch.manual_seed(0)
    reference = contract.get("reference", "none")
    model = BeatganForAnomalyDetection(BeatganConfig(base_channels=2, latent_size=4, reference=reference)).eval()
    extractor = BeatganFeatureExtractor(**contract)
    record = read_record(RECORD)
    model.calibrate(extractor(record, peaks=detect_r_peaks(record), return_tensors="pt")["input_values"], quantile=0.9)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("compared"), reference="record_median_beat")


@pytest.fixture(scope="module")
def find(checkpoint):
    return pipeline("ecg-anomaly-detection", model=checkpoint)


@pytest.fixture(scope="module")
def record():
    return read_record(RECORD)


def test_rows_of_a_recording(find, record):
    rows = find(str(RECORD))
    peaks = detect_r_peaks(record)
    inside = peaks[(peaks >= 140) & (peaks + 180 <= record.num_samples)]
    assert [round(row["peak"] * 360) for row in rows] == inside.tolist()
    row = rows[5]
    assert row["start"] == pytest.approx(row["peak"] - 140 / 360)
    assert row["end"] == pytest.approx(row["peak"] + 0.5)
    assert row["heat"].shape == (320,)
    assert row["heat"].mean() == pytest.approx(row["score"], rel=1e-5)
    assert row["threshold"] == find.model.config.anomaly_threshold
    flags = [row["anomalous"] for row in rows]
    assert flags == [row["score"] >= row["threshold"] for row in rows]
    assert 0 < sum(flags) < len(rows) / 2
    np.testing.assert_allclose([row["rr_ratio"] for row in rows], interval_ratio(inside))
    assert {row["record"] for row in rows} == {"100"}


@pytest.mark.parametrize("reference", ["none", "record_median_beat"])
@pytest.mark.parametrize("rate", [360, 250])
def test_blocks_give_the_scores_of_the_whole(checkpoint, compared, record, reference, rate):
    find = pipeline("ecg-anomaly-detection", model=compared if reference != "none" else checkpoint)
    signal = record.signal[:1, : 60 * rate]
    whole = EcgRecord(signal, rate, ["MLII"], name="piece")
    peaks = detect_r_peaks(whole)
    inputs = find.feature_extractor(whole, peaks=peaks, return_tensors="pt")
    with torch.no_grad():
        expected = find.model(**inputs).score.numpy()
    rows = list(find.stream(whole, peaks=peaks, block_seconds=7.0, progress=False))
    np.testing.assert_allclose([row["score"] for row in rows], expected, rtol=2e-4)
    again = find(whole, peaks=peaks, batch_size=3)
    np.testing.assert_allclose([row["score"] for row in again], expected, rtol=2e-4)


def test_distance_is_from_the_median_beat_of_the_recording(find, record):
    rows = find(record)
    peaks = np.array([round(row["peak"] * 360) for row in rows])
    raw = BeatganFeatureExtractor(normalization="none")(record, peaks=peaks)["input_values"]
    median = np.median(raw, axis=0)
    expected = ((raw - median) ** 2).mean(axis=(1, 2)) / (median**2).mean()
    np.testing.assert_allclose([row["median_distance"] for row in rows], expected, rtol=1e-3)


def test_annotations_are_used_only_when_asked_for(find, record):
    peaks, _ = annotated_peaks(record)
    inside = peaks[(peaks >= 140) & (peaks + 180 <= record.num_samples)]
    assert [round(row["peak"] * 360) for row in find(record, annotations=True)] == inside.tolist()
    assert [round(row["peak"] * 360) for row in find(record)] != inside.tolist()
    assert len(find(str(RECORD), annotations=True)) == len(inside)


def test_several_recordings_and_arrays(find, record):
    both = find([record, str(RECORD)])
    assert [row["score"] for row in both[0]] == pytest.approx([row["score"] for row in both[1]], rel=1e-5)
    array = find(record.signal[:1], sampling_rate=360)
    assert [row["score"] for row in array] == pytest.approx([row["score"] for row in both[0]], rel=1e-5)


def test_threshold_of_the_call_and_of_the_record(find, record):
    rows = find(record, threshold=0.0)
    assert all(row["anomalous"] for row in rows)
    scores = np.array([row["score"] for row in rows])
    config = find.model.config
    cut = find(record, calibrate="record")[0]["threshold"]
    assert cut == pytest.approx(config.anomaly_threshold * np.median(scores) / config.score_statistics["q50"], rel=1e-4)
    doubled = EcgRecord(record.signal, 360, record.leads)
    assert find(doubled, calibrate="record")[0]["threshold"] == pytest.approx(cut, rel=1e-4)


def test_a_block_is_prepared_once_for_the_median_beat_and_once_for_the_scores(find, record, monkeypatch):
    filtered = []
    monkeypatch.setattr(
        preparation, "fir_bandpass", lambda *args, **options: filtered.append(1) or fir_bandpass(*args, **options)
    )
    find(record, peaks=detect_r_peaks(record))
    assert len(filtered) == 2


def test_a_gap_costs_only_its_own_beats(find, record):
    signal = record.signal.copy()
    signal[:, 3000:3010] = np.nan
    broken = EcgRecord(signal, 360, record.leads, name="gap")
    whole = {row["peak"]: row for row in find(record)}
    rows = find(broken)
    scored = [row for row in rows if row["anomalous"] is not None]
    lost = [row for row in rows if row["anomalous"] is None]
    assert 1 <= len(lost) <= 4
    assert all("missing samples" in row["note"] and row["heat"] is None for row in lost)
    same = [row for row in scored if row["peak"] in whole]
    assert len(same) > 0.9 * len(whole)
    np.testing.assert_allclose([row["score"] for row in same], [whole[row["peak"]]["score"] for row in same], rtol=1e-3)


def test_a_beat_without_signal_has_no_score_and_says_why(find, record):
    signal = record.signal.copy()
    signal[:, 3000:4000] = 0.5
    first, lost, last = find(EcgRecord(signal, 360, record.leads), peaks=[1000, 3500, 5000])
    assert np.isnan(lost["score"])
    assert lost["anomalous"] is None
    assert lost["note"] == "no signal in this beat: every lead is constant"
    assert [row["note"] for row in (first, last)] == [None, None]


def test_a_flat_recording_and_one_shorter_than_a_beat_have_no_beats_and_say_so(find, record, caplog):
    logging.enable_propagation()
    try:
        with caplog.at_level(std_logging.WARNING):
            assert find(EcgRecord(np.zeros((1, 3600)), 360, ["MLII"], name="flat")) == []
            assert find(EcgRecord(record.signal[:, :200], 360, record.leads, name="short")) == []
    finally:
        logging.disable_propagation()
    assert "flat: no beats were found (a flat lead has none)." in caplog.text
    assert "short: no beats were found (0.56 s are shorter than a beat of 0.89 s)." in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"detector": None}, SignalError, "no R peaks.*annotations=True.*detector='gqrs'"),
        ({"detector": "pan"}, SignalError, "expected one of gqrs, sleepecg"),
        ({"peaks": [500, 400]}, SignalError, "ascending"),
        ({"peaks": [500, 10**9]}, SignalError, "expected 0 to"),
        ({"calibrate": "day"}, CheckpointError, "expected 'record'"),
        ({"windows": True}, SignalError, "no argument windows"),
    ],
)
def test_unusable_calls_say_what_to_set(find, record, changes, error, message):
    with pytest.raises(error, match=message):
        find(record, **changes)


def test_what_was_filtered_before_is_not_filtered_again(find, record):
    contract = find.feature_extractor.contract
    peaks = detect_r_peaks(record)
    steps = ["leads", "units", "resample", "filter"]
    stamp = {"steps": steps, "hash": contract.hash(steps)}
    assert contract.remaining_steps(stamp)[:1] == ["window"]
    done = [row["score"] for row in find(record, peaks=peaks, preprocessed_by=stamp)]
    plain = find.feature_extractor(record, peaks=peaks, preprocessed_by=stamp, return_tensors="pt")
    with torch.no_grad():
        expected = find.model(plain["input_values"]).score
    np.testing.assert_allclose(done, expected.numpy(), rtol=1e-4)
    assert not np.allclose(done, [row["score"] for row in find(record, peaks=peaks)], rtol=1e-2)


def test_what_concerns_files_is_refused_for_recordings_in_memory(find, record):
    with pytest.raises(SignalError, match="decimal is for files"):
        find(record.signal[:1], sampling_rate=360, decimal=",")
    with pytest.raises(SignalError, match="250"):
        find(record, sampling_rate=250)
    dated = find(str(RECORD), annotations=True)
    assert [row["time"] for row in dated[:1]] == [row["time"] for row in find(str(RECORD))[:1]]


def test_unusable_recordings_say_what_to_set(find, record, checkpoint):
    other = EcgRecord(record.signal, 360, ["V1", "V2"], name="other")
    with pytest.raises(LeadError, match=r"leads V1, V2 and no lead MLII.*treat_as="):
        find(other)
    assert len(find(other, treat_as={"V1": "MLII"})) == len(find(record))
    with pytest.raises(SignalError, match="sampling_rate"):
        find(record.signal[:1])
    bare = pipeline("ecg-anomaly-detection", model=checkpoint)
    bare.model.config.anomaly_threshold = None
    with pytest.raises(CheckpointError, match=r"no threshold.*calibrate"):
        bare(record)
    short = EcgRecord(record.signal[:, :200], 360, record.leads)
    with pytest.raises(SignalError, match="from sample"):
        find(short, peaks=[150, 300])
    assert find(short, peaks=[150]) == []


def test_a_table_has_a_row_for_each_beat(find, record, tmp_path):
    from pyarrow import parquet

    path = find.to_table([record, record], tmp_path / "beats.parquet", progress=False)
    rows = parquet.read_table(path).to_pylist()
    expected = find(record)
    assert len(rows) == 2 * len(expected)
    for name in ("start", "end", "peak", "score", "anomalous", "rr_ratio"):
        assert [row[name] for row in rows[: len(expected)]] == pytest.approx([row[name] for row in expected])


def test_a_summary_has_the_share_the_longest_run_and_the_gaps():
    peaks = [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0]
    flags = [True, True, None, True, True, True, False]
    rows = [
        {"record": "r", "start": peak - 0.4, "peak": peak, "anomalous": flag}
        for peak, flag in zip(peaks, flags, strict=True)
    ]
    summary = summarize_beats(rows)
    assert (summary.beats, summary.unscored, summary.longest_run) == (6, 1, 2)
    assert summary.anomalous_percent == pytest.approx(100 * 5 / 6)
    assert summary.longest_run_start == pytest.approx(-0.4)
    assert summary.gaps == ((3.0, 8.0),)
    assert "83.3 % anomalous" in str(summary)
    with pytest.raises(SignalError, match="no beats"):
        summarize_beats([])


@pytest.mark.parametrize("reference", ["none", "record_median_beat"])
def test_a_bound_for_the_memory_gives_the_same_scores_or_is_refused(checkpoint, compared, record, reference):
    find = pipeline("ecg-anomaly-detection", model=compared if reference != "none" else checkpoint)
    free, bounded = find(record), find(record, max_memory="8GB")
    assert [row["score"] for row in bounded] == pytest.approx([row["score"] for row in free], rel=1e-5)
    with pytest.raises(ArgumentsError, match="max_memory is 1MB; libraries, model and a pass of one window need about"):
        next(find.stream(record, max_memory="1MB", progress=False))
