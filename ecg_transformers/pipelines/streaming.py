"""Long recordings, read block by block: windows that equal those of the whole recording, in bounded memory.

A block is handed to the feature extractor with so much signal on either side that resampling and filters have settled,
and begins at a window's start that falls on a whole sample before and after resampling; of the windows that come back,
those of the block are kept. Everything that the extractor does to a whole recording it therefore does here, and to the
same samples.
"""

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import ceil, gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from ..errors import SignalError
from ..features.extractor import EcgFeatureExtractor
from ..signals.filters import bandpass_sections, notch_sections, settling_samples
from ..signals.record import EcgRecord
from ..signals.resample import HALF_WIDTH, resampled_length
from ..signals.windows import window_starts
from .recordings import LongRecording, open_recording
from .records import READING, PreparedWindows, slide_starts

__all__ = ["StreamedWindow", "stream_results", "stream_windows"]

logger = logging.get_logger(__name__)

BLOCK_SECONDS = 300.0
# a block for rates of an awkward ratio may become longer, so that it begins on a whole sample; not beyond this
LONGEST_BLOCK_SECONDS = 3600.0


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


@dataclass(frozen=True)
class _FeatureWindow:
    """A window ready for the model, or the reason why there is none."""

    start: float
    end: float
    features: dict[str, torch.Tensor] | None
    note: str | None = None


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
    count, windows = _feature_windows(recording, extractor, start=start)
    waiting: deque[_FeatureWindow] = deque()

    def ready() -> Iterator[PreparedWindows]:
        for window in windows:
            waiting.append(window)
            if window.features is not None:
                yield PreparedWindows(window.features, recording.name, np.array([window.start]))

    def told(window: _FeatureWindow, result: Any = None) -> StreamedResult:
        return StreamedResult(recording.place(window.start, window.end), result, window.note)

    with logging.tqdm(total=count, desc=recording.name, unit="window", disable=not progress) as bar:
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
            "this checkpoint normalises a whole recording before it cuts windows, which a stream cannot; expected "
            "windows first. Cut the recording with stream_windows and pass each window on its own."
        )
    if window_seconds is not None and round(window_seconds * extractor.sampling_rate) != extractor.window_size:
        raise SignalError(
            f"window_seconds is {window_seconds:g}; this checkpoint's windows last {extractor.window_seconds:g} s. "
            "Leave window_seconds out."
        )
    if extractor.resampling == "linear":
        logger.warning_once("Linear resampling depends on a recording's length: streamed windows lie within a sample.")
    extractor = copy(extractor)
    if stride_seconds is not None:
        extractor.window_stride = round(stride_seconds * extractor.sampling_rate)
    return extractor


def _feature_windows(
    recording: LongRecording, extractor: EcgFeatureExtractor, *, start: float
) -> tuple[int, Iterator[_FeatureWindow]]:
    """The number of windows from `start` on, and the windows."""
    source, target = recording.sampling_rate, extractor.sampling_rate
    stride = extractor.window_stride
    total = resampled_length(recording.num_samples, source, target)
    starts = slide_starts(extractor, total)
    wanted = int(np.searchsorted(starts, start * target - 0.5))
    ratio = Fraction(repr(float(target))) / Fraction(repr(float(source)))
    up, down = ratio.numerator, ratio.denominator
    per_window = Fraction(stride * down, up)  # source samples from one window to the next
    unit = up // gcd(up, stride * down)  # so many windows are a whole number of source samples
    if unit * stride / target > LONGEST_BLOCK_SECONDS:
        # rates of no simple ratio: a block then begins up to half a source sample beside the window's place
        unit = 1
    margin = _margin_seconds(extractor, source)
    group = max(1, int(BLOCK_SECONDS * target / (stride * unit))) * unit
    before = max(1, ceil(margin * target / (stride * unit))) * unit

    def read(first: int, stop: int, *, alone: bool = False) -> dict[str, torch.Tensor]:
        """Features of the windows `first` to `stop`, taken from a piece that reaches beyond them."""
        lattice = 0 if alone else max(0, first - before) // unit * unit
        begin = round(Fraction(int(starts[first]) * down, up) if alone else lattice * per_window)
        reach = int(starts[stop - 1]) + extractor.window_size + (0 if alone else ceil(margin * target))
        end = recording.num_samples if stop == len(starts) else min(recording.num_samples, ceil(reach * down / up))
        features = extractor(recording.piece(begin, end), window="slide", return_tensors="pt", return_patches=False)
        skip = 0 if alone else first - lattice
        if len(features["record_index"]) < skip + stop - first:
            raise RuntimeError(f"a piece of {recording.name} gave too few windows ({first} to {stop}).")
        return {name: values[skip : skip + stop - first] for name, values in features.items() if name != "record_index"}

    def windows() -> Iterator[_FeatureWindow]:
        for first in range(wanted, len(starts), group):
            stop = min(first + group, len(starts))
            try:
                blocks = [(range(first, stop), read(first, stop), None)]
            except SignalError as error:
                if total <= extractor.window_size:
                    raise
                logger.info(f"{recording.name}, windows {first} to {stop - 1}: {error} They are tried one by one.")
                blocks = [(range(one, one + 1), *_tried(read, one)) for one in range(first, stop)]
            for numbers, features, note in blocks:
                for row, number in enumerate(numbers):
                    begin = int(starts[number]) / target
                    end = min(begin + extractor.window_seconds, recording.duration)
                    if features is None:
                        yield _FeatureWindow(begin, end, None, note)
                        continue
                    one = {name: values[row : row + 1] for name, values in features.items()}
                    silent = not one["lead_mask"].any()
                    yield _FeatureWindow(
                        begin, end, None if silent else one, "no signal in any lead" if silent else None
                    )

    return len(starts) - wanted, windows()


def _tried(
    read: Callable[..., dict[str, torch.Tensor]], number: int
) -> tuple[dict[str, torch.Tensor] | None, str | None]:
    """One window on its own, so that a gap beside it does not count; or the reason why it cannot be used."""
    try:
        return read(number, number + 1, alone=True), None
    except SignalError as error:
        return None, str(error)


def _margin_seconds(extractor: EcgFeatureExtractor, source_rate: float) -> float:
    """So much signal on either side makes a piece come out of resampling and filters like the whole."""
    seconds = (HALF_WIDTH + 2) / min(source_rate, extractor.sampling_rate)
    contract = extractor.contract
    rate = extractor.sampling_rate if contract.order_of("resample") < contract.order_of("filter") else source_rate
    sections = []
    if extractor.bandpass is not None:
        sections.append(bandpass_sections(*extractor.bandpass, rate, order=extractor.filter_order))
    if extractor.notch is not None:
        sections.append(notch_sections(extractor.notch, rate, quality=extractor.notch_quality))
    # a billionth: what the start of a piece leaves behind is then below the rounding of float32
    return seconds + sum(settling_samples(section, 1e-9) for section in sections) / rate
