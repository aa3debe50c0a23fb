"""Sliding over recordings of any length: raw windows, and a pipeline's result for each window."""

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
    """A stretch of a long recording as it was recorded.

    Args:
        start: Its first second.
        end: The second at which it ends.
        time: When it began, where the header says so.
        record: The stretch.
    """

    start: float
    end: float
    time: datetime | None
    record: EcgRecord


@dataclass(frozen=True)
class StreamedResult:
    """What a pipeline says about a window: `place` in the recording, `result`, and a `note` where there is none."""

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
    """Slides over a recording of any length, holding a block of it at a time.

    Windows lie on the lattice of whole samples nearest to the stride; the last one is as long as what is left, and lies
    at the end if that were less than a second.

    Args:
        source: Path of a recording, or an EcgRecord.
        window_seconds: Length of a window.
        stride_seconds: Distance of two windows, at most their length; that length by default.
        block_seconds: How much is read at a time.
        start: Second from which windows are wanted, on the same lattice.
        **reading: As in `read_record`.

    Raises:
        SignalError: A length that is not positive, or a stride that leaves gaps.
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
    """Runs a pipeline over a long recording; for the arguments see `stream` of the pipelines.

    Args:
        pipeline: A pipeline that takes `PreparedWindows`.
        source: Path of a recording, or an EcgRecord.
        window_seconds: Length of a window, if the caller named one.
        stride_seconds: Distance of two windows.
        batch_size: Windows per pass.
        start: Second from which windows are wanted.
        progress: Show a progress bar.
        options: Arguments of the pipeline's call; those of `read_record` are used for reading.

    Raises:
        SignalError: The window is not the checkpoint's, or the contract cannot be kept block by block.
    """
    reading = {name: value for name, value in options.items() if name in READING}
    options = {name: value for name, value in options.items() if name not in READING}
    extractor = _sliding(pipeline.feature_extractor, window_seconds, stride_seconds)
    recording = open_recording(source, **reading)
    windows = FeatureStream(recording, extractor, start=start)
    waiting: deque[FeatureWindow] = deque()

    def ready() -> Iterator[PreparedWindows]:
        for window in windows:
            waiting.append(window)
            if window.features is not None:
                yield PreparedWindows(window.features, recording.name, np.array([window.start]))

    def told(window: FeatureWindow, result: Any = None) -> StreamedResult:
        return StreamedResult(recording.place(window.start, window.end), result, window.note)

    with logging.tqdm(total=len(windows), desc=recording.name, unit="window", disable=not progress) as bar:
        for result in pipeline(ready(), batch_size=batch_size, **options):
            while waiting[0].features is None:
                bar.update()
                yield told(waiting.popleft())
            bar.update()
            yield told(waiting.popleft(), result)
        while waiting:
            bar.update()
            yield told(waiting.popleft())


def _sliding(
    extractor: EcgFeatureExtractor, window_seconds: float | None, stride_seconds: float | None
) -> EcgFeatureExtractor:
    """The extractor with the wanted stride, after a look at whether a stream can keep its contract."""
    contract = extractor.contract
    if contract.order_of("normalize") < contract.order_of("window"):
        raise SignalError(
            "this checkpoint normalizes a whole recording before it cuts windows, which a stream cannot; expected "
            "windows first. Cut the recording with stream_windows and pass each window on its own."
        )
    if window_seconds is not None and round(window_seconds * extractor.sampling_rate) != extractor.window_size:
        raise SignalError(
            f"window_seconds is {window_seconds:g}; this checkpoint's windows last {extractor.window_seconds:g} s. "
            "Leave window_seconds out."
        )
    if contract.resampling == "linear":
        logger.warning_once("Linear resampling depends on a recording's length: streamed windows lie within a sample.")
    extractor = copy(extractor)
    if stride_seconds is not None:
        extractor.window_stride = round(stride_seconds * extractor.sampling_rate)
    return extractor
