"""A day in a few lines."""

from datetime import datetime, timedelta

import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.pipelines import summarize

BEGAN = datetime(2024, 5, 1, 22, 0)


def rows(pattern, *, length=10.0, stride=10.0):
    """A: AFIB, P: PVC, B: both, -: neither, x: unread."""
    codes = {"A": ("AFIB",), "P": ("PVC",), "B": ("AFIB", "PVC"), "-": (), "x": ()}
    for index, letter in enumerate(pattern):
        yield {
            "record": "day",
            "start": index * stride,
            "end": index * stride + length,
            "time": BEGAN + timedelta(seconds=index * stride),
            "scores": None if letter == "x" else [0.5],
            "positive": codes[letter],
        }


def test_burden_and_longest_run():
    summary = summarize(rows("AA-AAAB-P-"))
    assert (summary.windows, summary.read_seconds, summary.unread_seconds) == (10, 100.0, 0.0)
    first, second = summary.labels
    assert (first.label, first.windows, first.burden_percent, first.runs) == ("AFIB", 6, 60.0, 2)
    assert (first.longest_run_seconds, first.longest_run_start) == (40.0, 30.0)
    assert first.longest_run_time == BEGAN + timedelta(seconds=30)
    assert (second.label, second.burden_percent, second.longest_run_seconds) == ("PVC", 20.0, 10.0)


def test_unread_windows_do_not_count():
    summary = summarize(rows("AxxA"))
    assert (summary.read_seconds, summary.unread_seconds) == (20.0, 20.0)
    assert summary.labels[0].burden_percent == 100.0
    assert summary.labels[0].runs == 2


def test_overlapping_windows_count_their_time_once():
    summary = summarize(rows("AA--AA", stride=5.0))
    assert summary.read_seconds == 35.0
    assert summary.labels[0].burden_percent == pytest.approx(100 * 30 / 35)
    assert summary.labels[0].longest_run_seconds == 15.0


def test_it_prints_a_line_for_each_label():
    text = str(summarize(rows("AA-P")))
    assert text.splitlines()[0] == "day: 4 windows, 0:00:40 read, 0:00:00 unread"
    assert "AFIB" in text
    assert "50.0 %" in text
    assert "2024-05-01 22:00:00" in text


def test_no_rows_are_an_error():
    with pytest.raises(SignalError, match="rows"):
        summarize([])
