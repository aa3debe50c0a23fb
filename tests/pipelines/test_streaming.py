"""Long recordings: the same windows as the whole recording gives, block by block."""

import copy
from datetime import datetime

import numpy as np
import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.pipelines import feature_stream, open_recording, stream_windows
from ecg_transformers.pipelines.feature_stream import FeatureStream
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.signals.wfdb.read import read_wfdb, write_wfdb


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_stream, "BLOCK_SECONDS", 40.0)


def with_extractor(pipeline, **changes):
    """The pipeline with another preprocessing."""
    other = copy.copy(pipeline)
    other.feature_extractor = copy.copy(pipeline.feature_extractor)
    for name, value in changes.items():
        setattr(other.feature_extractor, name, value)
    return other


@pytest.mark.parametrize(
    ("rate", "seconds", "changes"),
    [
        (100, 127.3, {}),
        (250, 127.3, {}),
        (250, 120.2, {}),  # the rest is too short for a window of its own
        (360, 127.3, {"allow_short": False}),
        (257.3, 95.0, {}),
        (128.37, 95.0, {}),  # a ratio that resampling may approximate, to a twentieth of a sample
        (1000, 65.0, {"window_stride": 300}),
        (250, 127.3, {"bandpass": [0.5, 40.0], "notch": 30.0}),
        (250, 127.3, {"bandpass": [0.5, 40.0], "zero_phase": False}),
        (50, 127.3, {}),
    ],
)
def test_streamed_windows_equal_those_of_the_whole_recording(embed, make_record, small_blocks, rate, seconds, changes):
    record = make_record(seconds, rate)
    pipeline = with_extractor(embed, **changes)
    expected = pipeline.feature_extractor(record)["input_values"]
    windows = list(FeatureStream(open_recording(record), pipeline.feature_extractor))
    assert len(windows) == len(expected)
    streamed = np.concatenate([window.features["input_values"] for window in windows])
    tolerance = 1e-4 if "bandpass" in changes else 0.1 if rate == 128.37 else 1e-5
    np.testing.assert_allclose(streamed, expected, atol=tolerance)
    rows = list(pipeline.stream(record, batch_size=3, progress=False))
    vectors = pipeline(record, windows=True)
    np.testing.assert_allclose([row["embedding"] for row in rows], vectors, atol=0.1 if rate == 128.37 else 1e-3)


def test_masks_and_flat_leads_are_those_of_the_whole_recording(embed, make_record, small_blocks):
    record = make_record(95, 250, leads=("I", "II", "V1"))
    record.signal[1, 5000:12_500] = 0.7  # lead II falls off for three windows
    expected = embed.feature_extractor(record)
    streamed = [window.features for window in FeatureStream(open_recording(record), embed.feature_extractor)]
    for name in ("lead_mask", "attention_mask"):
        np.testing.assert_array_equal(np.concatenate([one[name] for one in streamed]), expected[name])
    np.testing.assert_array_equal(expected["lead_mask"][:, 1], [1, 1, 0, 0, 0, 1, 1, 1, 1, 1])


def test_rows_name_record_and_seconds(classify, make_record, small_blocks):
    rows = list(classify.stream(make_record(45, 250, name="day"), window_seconds=10, progress=False))
    assert [(row["record"], row["start"], row["end"]) for row in rows] == [
        ("day", 0.0, 10.0),
        ("day", 10.0, 20.0),
        ("day", 20.0, 30.0),
        ("day", 30.0, 40.0),
        ("day", 40.0, 45.0),
    ]
    first = rows[0]
    assert first["label"] == classify.codes[int(np.argmax(first["scores"]))]
    assert first["score"] == pytest.approx(first["scores"].max())
    assert set(first["positive"]) == {code for code, s in zip(classify.codes, first["scores"], strict=True) if s >= 0.5}
    assert first["time"] is None
    assert first["note"] is None


def test_times_are_absolute_where_the_header_has_a_date(classify, make_record, tmp_path):
    header = write_wfdb(make_record(30, 250, name="dated"), tmp_path)
    lines = header.read_text().splitlines()
    lines[0] += " 23:59:45.5 31/12/2024"
    header.write_text("\n".join(lines) + "\n")
    times = [row["time"] for row in classify.stream(header, progress=False)]
    assert times[0] == datetime(2024, 12, 31, 23, 59, 45, 500_000)
    assert times[2] == datetime(2025, 1, 1, 0, 0, 5, 500_000)


def test_files_are_read_in_pieces(classify, make_record, small_blocks, tmp_path, monkeypatch):
    record = make_record(130, 250, name="long")
    header = write_wfdb(record, tmp_path)
    pieces = []

    def counted(path, *, start, stop, **options):
        pieces.append(stop - start)
        return read_wfdb(path, start=start, stop=stop, **options)

    monkeypatch.setattr("ecg_transformers.pipelines.recordings.read_wfdb", counted)
    rows = list(classify.stream(str(header).removesuffix(".hea"), progress=False))
    assert len(rows) == 13
    assert max(pieces) < 70 * 250
    np.testing.assert_allclose(
        [row["scores"] for row in rows], classify(header, windows=True, as_array=True), atol=1e-3
    )


def test_a_stream_goes_on_where_another_stopped(classify, make_record, small_blocks):
    record = make_record(95, 250)
    whole = list(classify.stream(record, progress=False))
    rest = list(classify.stream(record, start=whole[6]["start"], progress=False))
    assert [row["start"] for row in rest] == [row["start"] for row in whole[6:]]
    np.testing.assert_allclose([row["scores"] for row in rest], [row["scores"] for row in whole[6:]], atol=1e-6)


def test_a_gap_costs_its_window_and_says_why(classify, make_record, small_blocks):
    record = make_record(95, 250)
    record.signal[3, 7000:7400] = np.nan  # 28.0 to 29.6 s
    record.signal[:, 12_500:15_000] = 0.1  # 50 to 60 s: every lead is off
    rows = list(classify.stream(record, batch_size=2, progress=False))
    assert [row["start"] for row in rows] == [10.0 * index for index in range(10)]
    assert [index for index, row in enumerate(rows) if row["scores"] is None] == [2, 5]
    assert "missing samples" in rows[2]["note"]
    assert rows[5]["note"] == "no signal in any lead"
    assert (rows[2]["label"], rows[2]["positive"]) == (None, ())
    sound = make_record(95, 250)
    expected = classify(sound, windows=True, as_array=True)
    np.testing.assert_allclose(rows[8]["scores"], expected[8], atol=1e-5)
    # beside the gap a window is prepared on its own: only its edges may differ
    np.testing.assert_allclose(rows[3]["scores"], expected[3], atol=0.05)


def test_a_stream_without_any_usable_window(classify, make_record):
    silent = EcgRecord(np.zeros((12, 7500)), 250, leads=make_record(1, 250).leads)
    rows = list(classify.stream(silent, progress=False))
    assert [row["note"] for row in rows] == ["no signal in any lead"] * 3


def test_stride_and_start_keep_the_lattice(embed, make_record, small_blocks):
    record = make_record(65, 250)
    rows = list(embed.stream(record, stride_seconds=5, progress=False))
    assert [row["start"] for row in rows] == [5.0 * index for index in range(12)]
    assert rows[-1]["end"] == 65.0
    longer = with_extractor(embed, window_stride=500)
    np.testing.assert_allclose([row["embedding"] for row in rows], longer(record, windows=True), rtol=1e-3, atol=1e-4)


def test_what_a_stream_cannot_do_is_an_error(embed, make_record):
    record = make_record(30, 250)
    with pytest.raises(SignalError, match="last 10 s"):
        list(embed.stream(record, window_seconds=30))
    with pytest.raises(SignalError, match="stride"):
        list(embed.stream(record, stride_seconds=20))
    whole_first = ["leads", "units", "resample", "filter", "normalize", "window", "pad"]
    with pytest.raises(SignalError, match="whole recording"):
        list(with_extractor(embed, order=whole_first).stream(record))
    too_short = with_extractor(embed, allow_short=False)
    with pytest.raises(SignalError, match="lasts 5 s"):
        list(too_short.stream(make_record(5, 250), progress=False))


def test_raw_windows_are_stretches_of_the_recording(make_record, tmp_path):
    record = make_record(127.3, 250, name="raw")
    path = write_wfdb(record, tmp_path)
    stored = read_wfdb(path)
    windows = list(stream_windows(path, 10, 5, block_seconds=30))
    assert len(windows) == 25
    for window in windows:
        begin, end = round(window.start * 250), round(window.end * 250)
        np.testing.assert_array_equal(window.record.signal, stored.signal[:, begin:end])
    assert windows[-1].end == pytest.approx(127.3)
    later = list(stream_windows(path, 10, 5, start=100.0))
    assert [window.start for window in later] == [100.0, 105.0, 110.0, 115.0, 120.0]
