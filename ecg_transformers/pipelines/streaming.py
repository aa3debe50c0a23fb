"""Streams over recordings of any length: raw windows, and the result of a pipeline for each window."""

from collections import deque
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..errors import SignalError
from ..features.contract import POLICIES
from ..features.extractor import EcgFeatureExtractor
from ..signals.record import EcgRecord
from ..signals.windows import window_starts
from .feature_stream import FeatureStream, FeatureWindow
from .recordings import open_recording
from .records import READING, PreparedWindows

__all__ = ["StreamedWindow", "stream_results", "stream_windows"]

logger = logging.get_logger(__name__)

BLOCK_SECONDS = 300.0


@dataclass(frozen=True)
class StreamedWindow:
    """A window of a long recording, as recorded.

    Args:
        start: Start in seconds.
        end: End in seconds.
        time: Date and time of the start, if the header has a date.
        record: The signal of the window.
    """

    start: float
    end: float
    time: datetime | None
    record: EcgRecord


@dataclass(frozen=True)
class StreamedResult:
    """Result of a pipeline for a window.

    Args:
        place: Record, start and end in seconds, date and time.
        result: The result; `None` if the window could not be used.
        note: The reason, if there is no result.
    """

    place: dict[str, Any]
    result: Any
    note: str | None


def stream_windows(
    source: str | Path | EcgRecord,
    window_seconds: float = 10.0,
    stride_seconds: float | None = None,
    *,
    block_seconds: float = BLOCK_SECONDS,
    start: float = 0.0,
    **reading: Any,
) -> Iterator[StreamedWindow]:
    """Slide over a recording of any length, one block in memory at a time.

    Window starts are whole samples at multiples of the stride. The last window is shorter if the recording ends first;
    if less than a second were left, it is aligned to the end.

    Args:
        source: Path of a recording, or an EcgRecord.
        window_seconds: Window length (s). Default: 10.
        stride_seconds: Stride between windows (s), at most the window length. Default: the window length.
        block_seconds: Length of a block (s). Default: 300.
        start: Position (s) of the first window, on the same grid. Default: 0.
        **reading: As in `read_record`.

    Raises:
        SignalError: A length is not positive, or the stride leaves gaps.
    """
    recording = open_recording(source, **reading)
    rate = recording.sampling_rate
    size = round(window_seconds * rate)
    stride = size if stride_seconds is None else round(stride_seconds * rate)
    starts = window_starts(recording.num_samples, size, stride, min_samples=ceil(rate))
    starts = starts[starts >= start * rate - 0.5]
    group = max(1, int(block_seconds * rate) // stride)
    for first in range(0, len(starts), group):
        inside = starts[first : first + group]
        begin, end = int(inside[0]), min(int(inside[-1]) + size, recording.num_samples)
        block = recording.piece(begin, end)
        for sample in inside.tolist():
            stop = min(sample + size, recording.num_samples)
            record = EcgRecord(
                block.signal[:, sample - begin : stop - begin], rate, leads=block.leads, name=recording.name
            )
            place = recording.place(sample / rate, stop / rate)
            yield StreamedWindow(place["start"], place["end"], place["time"], record)


def stream_results(
    pipeline: Any,
    source: str | Path | EcgRecord,
    *,
    window_seconds: float | None,
    stride_seconds: float | None,
    batch_size: int,
    start: float,
    progress: bool,
    options: dict[str, Any],
) -> Iterator[StreamedResult]:
    """Run a pipeline over a long recording.

    Args:
        pipeline: The pipeline.
        source: Path of a recording, or an EcgRecord.
        window_seconds: Window length (s), if the caller specified one.
        stride_seconds: Stride between windows (s).
        batch_size: Inference batch size in windows.
        start: Position (s) of the first window.
        progress: Show a progress bar.
        options: Call arguments of the pipeline; those of `read_record` are used for reading.

    Raises:
        SignalError: The window is not the checkpoint's, or the contract does not permit block-wise processing.
    """
    policies = {name: value for name, value in options.items() if name in POLICIES}
    reading = {name: value for name, value in options.items() if name in READING and name not in POLICIES}
    options = {name: value for name, value in options.items() if name not in (*READING, *POLICIES)}
    extractor = _sliding(pipeline.feature_extractor.with_policies(**policies), window_seconds, stride_seconds)
    recording = open_recording(source, **reading)
    windows = FeatureStream(recording, extractor, start=start)
    waiting: deque[FeatureWindow] = deque()

    def prepared() -> Iterator[PreparedWindows]:
        for window in windows:
            waiting.append(window)
            if window.features is not None:
                yield PreparedWindows(window.features, recording.name, np.array([window.start]))

    def to_result(window: FeatureWindow, result: Any = None) -> StreamedResult:
        return StreamedResult(recording.place(window.start, window.end), result, window.note)

    with logging.tqdm(total=len(windows), desc=recording.name, unit="window", disable=not progress) as bar:
        for result in pipeline(prepared(), batch_size=batch_size, **options):
            while waiting[0].features is None:
                bar.update()
                yield to_result(waiting.popleft())
            bar.update()
            yield to_result(waiting.popleft(), result)
        while waiting:
            bar.update()
            yield to_result(waiting.popleft())


def _sliding(
    extractor: EcgFeatureExtractor, window_seconds: float | None, stride_seconds: float | None
) -> EcgFeatureExtractor:
    """The extractor with another stride; checks that its contract permits streaming."""
    contract = extractor.contract
    if contract.order_of("normalize") < contract.order_of("window"):
        raise SignalError(
            "this checkpoint normalizes a whole recording before it cuts windows, which a stream cannot; expected a "
            "contract that cuts first. Cut the recording with stream_windows and pass each window separately."
        )
    if window_seconds is not None and round(window_seconds * extractor.sampling_rate) != extractor.window_size:
        raise SignalError(
            f"window_seconds is {window_seconds:g}; this checkpoint's windows last {extractor.window_seconds:g} s. "
            "Omit window_seconds."
        )
    if contract.resampling == "linear":
        logger.warning_once(
            "Linear resampling depends on the recording's length: streamed windows may be shifted by up to a sample."
        )
    extractor = copy(extractor)
    if stride_seconds is not None:
        extractor.window_stride = round(stride_seconds * extractor.sampling_rate)
    return extractor
