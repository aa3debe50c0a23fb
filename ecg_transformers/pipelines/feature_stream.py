"""Model input from a long recording, block by block, equal to that of the whole recording.

A block is prepared with a margin on either side in which resampling and filters settle, and starts at a window whose
start is a whole sample before and after resampling; only the windows of the block are kept. The feature extractor
therefore processes the same samples in the same way as for the whole recording.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd

import numpy as np
import torch
from transformers.utils import logging

from ..errors import SignalError
from ..features.extractor import EcgFeatureExtractor
from ..features.preparation import NO_SIGNAL
from ..signals.filters import bandpass_sections, notch_sections, settling_samples
from ..signals.resample import HALF_WIDTH, resampled_length
from .recordings import LongRecording
from .records import PreparedWindows, slide_starts

__all__ = ["FeatureStream", "FeatureWindow", "margin_seconds"]

logger = logging.get_logger(__name__)

BLOCK_SECONDS = 300.0
# Upper limit of a block, which is longer for rates without a simple ratio so that it starts on a whole sample.
LONGEST_BLOCK_SECONDS = 3600.0
# Remaining transient of a filter, below the rounding of float32.
SETTLED = 1e-9


@dataclass(frozen=True)
class FeatureWindow:
    """A prepared window, or the reason why it cannot be used.

    Args:
        start: Start in seconds.
        end: End of its signal in seconds.
        features: Tensors of the feature extractor `(1, ...)`, or None.
        note: The reason, if there are none.
    """

    start: float
    end: float
    features: dict[str, torch.Tensor] | None
    note: str | None = None


class FeatureStream:
    """The windows of a whole recording, prepared block by block.

    Args:
        recording: The recording.
        extractor: Feature extractor, which must cut windows before it normalizes.
        start: Position (s) of the first window, on the grid of the whole recording. Default: 0.
    """

    def __init__(self, recording: LongRecording, extractor: EcgFeatureExtractor, *, start: float = 0.0) -> None:
        self.recording, self.extractor = recording, extractor
        self.rate = extractor.sampling_rate
        # Exact: the decimal numbers as which the rates were written.
        self._ratio = Fraction(repr(float(self.rate))) / Fraction(repr(float(recording.sampling_rate)))
        total = resampled_length(recording.num_samples, recording.sampling_rate, self.rate)
        self.starts = slide_starts(extractor, total)
        self._wanted = int(np.searchsorted(self.starts, start * self.rate - 0.5))
        stride = extractor.window_stride
        self._source_stride = stride / self._ratio
        # Number of windows that span a whole number of source samples; for rates without a simple ratio a block starts
        # up to half a source sample away from its window.
        unit = self._ratio.numerator // gcd(self._ratio.numerator, stride * self._ratio.denominator)
        self._unit = unit if unit * stride <= LONGEST_BLOCK_SECONDS * self.rate else 1
        self._margin = ceil(margin_seconds(extractor, recording.sampling_rate) * self.rate)
        self._before = max(1, ceil(self._margin / (stride * self._unit))) * self._unit

    def __len__(self) -> int:
        """Number of windows from `start` on."""
        return len(self.starts) - self._wanted

    def __iter__(self) -> Iterator[FeatureWindow]:
        """Iterate over the windows; those of a block that cannot be prepared are tried one by one."""
        group = max(1, int(BLOCK_SECONDS * self.rate / (self.extractor.window_stride * self._unit))) * self._unit
        for first in range(self._wanted, len(self.starts), group):
            stop = min(first + group, len(self.starts))
            try:
                features = self._block(first, stop)
            except SignalError as error:
                # Too short for a window: trying windows one by one would not help.
                if len(self.starts) == 1:
                    raise
                logger.info(f"{self.recording.name}, windows {first} to {stop - 1} are tried one by one: {error}")
                yield from (self._tried(number) for number in range(first, stop))
                continue
            for row, number in enumerate(range(first, stop)):
                yield self._window(number, {name: values[row : row + 1] for name, values in features.items()})

    def _block(self, first: int, stop: int) -> dict[str, torch.Tensor]:
        """Features of the windows `first` to `stop`, from a piece with margins."""
        lattice = max(0, first - self._before) // self._unit * self._unit
        end = self.recording.num_samples
        if stop < len(self.starts):
            end = min(end, self._source_sample(int(self.starts[stop - 1]) + self.extractor.window_size + self._margin))
        features = self._features(round(lattice * self._source_stride), end)
        rows = slice(first - lattice, stop - lattice)
        return {name: values[rows] for name, values in features.items()}

    def _tried(self, number: int) -> FeatureWindow:
        """One window alone, without the margins that may hold a gap; or the reason why it cannot be used."""
        begin = int(self.starts[number])
        end = self.recording.num_samples
        if number < len(self.starts) - 1:
            end = min(end, self._source_sample(begin + self.extractor.window_size))
        try:
            features = self._features(round(begin / self._ratio), end)
        except SignalError as error:
            return self._window(number, None, NO_SIGNAL if NO_SIGNAL in str(error) else str(error))
        return self._window(number, {name: values[:1] for name, values in features.items()})

    def _features(self, begin: int, end: int) -> dict[str, torch.Tensor]:
        piece = self.recording.piece(begin, end)
        features = dict(self.extractor(piece, window="slide", return_tensors="pt", return_patches=False))
        features.pop("record_index")
        return features

    def _window(self, number: int, features: dict[str, torch.Tensor] | None, note: str | None = None) -> FeatureWindow:
        begin = int(self.starts[number]) / self.rate
        end = min(begin + self.extractor.window_seconds, self.recording.duration)
        if features is not None and not PreparedWindows(features, "", np.zeros(1)).has_signal.any():
            features, note = None, NO_SIGNAL
        return FeatureWindow(begin, end, features, note)

    def _source_sample(self, sample: int) -> int:
        """The first sample of the recording at or after a sample at the model's rate."""
        return ceil(sample / self._ratio)


def margin_seconds(extractor: EcgFeatureExtractor, source_rate: float) -> float:
    """Margin on either side (s) after which resampling and filters of a piece equal those of the whole.

    Args:
        extractor: Feature extractor.
        source_rate: Rate of the recording in Hz.
    """
    seconds = (HALF_WIDTH + 2) / min(source_rate, extractor.sampling_rate)
    contract = extractor.contract
    rate = extractor.sampling_rate if contract.order_of("resample") < contract.order_of("filter") else source_rate
    sections = []
    if contract.fir_taps is not None:
        # Both directions together reach so many samples.
        seconds += (contract.fir_taps - 1) / rate
    elif contract.bandpass is not None:
        low, high = contract.bandpass
        sections.append(bandpass_sections(low, high, rate, order=contract.filter_order))
    if contract.notch is not None:
        sections.append(notch_sections(contract.notch, rate, quality=contract.notch_quality))
    return seconds + sum(settling_samples(section, SETTLED) for section in sections) / rate
