"""Summary of long recordings: burden and longest run of each label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import SignalError

__all__ = ["LabelSummary", "StreamSummary", "summarize"]


@dataclass(frozen=True)
class LabelSummary:
    """One label over a recording.

    Args:
        label: Code of the label.
        windows: Number of positive windows.
        burden_percent: Percentage of the classified time covered by positive windows.
        runs: Number of runs (contiguous positive windows).
        longest_run_seconds: Length of the longest run (s).
        longest_run_start: Its start (s).
        longest_run_time: Date and time of its start, if the rows have it.
    """

    label: str
    windows: int
    burden_percent: float
    runs: int
    longest_run_seconds: float
    longest_run_start: float
    longest_run_time: datetime | None


@dataclass(frozen=True)
class StreamSummary:
    """Summary of a long recording; `str()` formats it.

    Args:
        record: Name of the recording.
        windows: Number of windows.
        read_seconds: Classified time (s).
        unread_seconds: Time covered only by windows without a result (s): missing samples, no signal.
        labels: Labels with a positive window, the largest burden first.
    """

    record: str
    windows: int
    read_seconds: float
    unread_seconds: float
    labels: tuple[LabelSummary, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.record}: {self.windows} windows, {_clock(self.read_seconds)} read, "
            f"{_clock(self.unread_seconds)} unread"
        ]
        for label in self.labels:
            moment = label.longest_run_time or _clock(label.longest_run_start)
            lines.append(
                f"  {label.label:<12} {label.burden_percent:5.1f} %   {label.runs} runs, the longest "
                f"{_clock(label.longest_run_seconds)} from {moment}"
            )
        return "\n".join(lines)


class _Spans:
    """Joins time spans that touch or overlap, in the order of their starts."""

    def __init__(self) -> None:
        self.windows, self.runs, self.seconds = 0, 0, 0.0
        self.longest: tuple[float, float, datetime | None] = (0.0, 0.0, None)
        self._start, self._end = 0.0, float("-inf")
        self._time: datetime | None = None

    def add(self, start: float, end: float, time: datetime | None) -> None:
        """Add the next span."""
        # A tolerance of a millisecond: starts and ends are sums of fractions.
        if start > self._end + 1e-3:
            self.runs += 1
            self._start, self._end, self._time = start, start, time
        self.windows += 1
        self.seconds += max(0.0, end - self._end)
        self._end = max(self._end, end)
        if self._end - self._start > self.longest[0]:
            self.longest = (self._end - self._start, self._start, self._time)


def summarize(rows: Iterable[Mapping[str, Any]]) -> StreamSummary:
    """Summarize a stream of classified windows.

    The burden of a label is the percentage of the classified time covered by its positive windows; a run consists of
    positive windows that touch or overlap.

    Args:
        rows: Rows of `classify.stream(...)`, in order; they are not kept in memory.

    Raises:
        SignalError: There is no row.

    Example:
        >>> found = [("AFIB",), ("AFIB",), ("AFIB",), ()]
        >>> day = {"record": "r", "scores": [0.9]}
        >>> rows = [day | {"start": 10.0 * i, "end": 10.0 * i + 10, "positive": codes} for i, codes in enumerate(found)]
        >>> summary = summarize(rows)
        >>> summary.labels[0].burden_percent, summary.labels[0].longest_run_seconds
        (75.0, 30.0)
    """
    name, count = None, 0
    read, everything = _Spans(), _Spans()
    labels: dict[str, _Spans] = {}
    for row in rows:
        name = row["record"] if name is None else name
        count += 1
        span = (row["start"], row["end"], row.get("time"))
        everything.add(*span)
        if row.get("scores") is None:
            continue
        read.add(*span)
        for code in row["positive"]:
            labels.setdefault(code, _Spans()).add(*span)
    if not count:
        raise SignalError("there are no rows to summarize; expected those of classify.stream(...).")
    summaries = [
        LabelSummary(code, spans.windows, 100 * spans.seconds / read.seconds, spans.runs, *spans.longest)
        for code, spans in labels.items()
    ]
    summaries.sort(key=lambda summary: -summary.burden_percent)
    return StreamSummary(str(name), count, read.seconds, everything.seconds - read.seconds, tuple(summaries))


def _clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
