"""Beats of a recording of any length as model input, block by block, equal to those of the whole recording."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from ..errors import SignalError
from ..features.batch import make_batch
from ..features.contract import SignalContract
from ..features.extractor import EcgFeatureExtractor
from ..features.inputs import as_records
from ..features.preparation import check_values, prepare_record
from ..signals.beats import beat_distance
from ..signals.resample import resampled_length
from ..signals.windows import beat_starts, check_peaks
from .feature_stream import BLOCK_SECONDS, margin_seconds
from .recordings import LongRecording

__all__ = ["BeatBlock", "BeatStream", "RecordReference"]

logger = logging.get_logger(__name__)

# Of a longer recording the median beat is that of so many beats at equal steps: a day in the memory of an hour.
REFERENCE_BEATS = 10_000


@dataclass(frozen=True, eq=False)
class BeatBlock:
    """Some consecutive beats.

    Args:
        numbers: Numbers of the beats in `BeatStream.peaks`, int64 `(beats,)`.
        features: Tensors of the feature extractor, each `(beats, ...)`; None if they cannot be used.
        millivolts: The beats before they are scaled `(beats, leads, samples)`.
        note: The reason, if there are no features.
    """

    numbers: np.ndarray
    features: dict[str, torch.Tensor] | None
    millivolts: np.ndarray | None
    note: str | None = None


@dataclass(frozen=True, eq=False)
class RecordReference:
    """Median beat of a recording.

    Args:
        millivolts: `(leads, samples)` in mV.
        normalized: Median of the normalized beats `(leads, samples)`.
    """

    millivolts: np.ndarray
    normalized: np.ndarray

    def distance(self, beats: np.ndarray) -> np.ndarray:
        """Mean squared distance in mV of beats `(beats, leads, samples)`, relative to the power of the median beat."""
        return beat_distance(beats, self.millivolts)


class BeatStream:
    """The beats of a recording, prepared block by block.

    A block is prepared with a margin on either side in which resampling and filters settle, and starts at a sample
    that resampling maps to a whole one.

    Args:
        recording: The recording.
        extractor: Feature extractor with `window_mode="beats"`.
        peaks: R peaks as samples of the recording, ascending.
        block_seconds: Length of a block (s). Default: 300.
        preprocessed_by: Steps that were done before, as in the extractor's call.

    Attributes:
        peaks: R peaks of the beats that are completely inside the recording, int64 `(beats,)`.
    """

    def __init__(
        self,
        recording: LongRecording,
        extractor: EcgFeatureExtractor,
        peaks: np.ndarray,
        *,
        block_seconds: float = BLOCK_SECONDS,
        preprocessed_by: dict[str, Any] | None = None,
    ) -> None:
        if extractor.samples_before is None or extractor.samples_after is None:
            raise SignalError(
                "this checkpoint's feature extractor cuts no beats; expected window_mode 'beats' with samples_before "
                "and samples_after. Use the checkpoint of a system of beats."
            )
        if extractor.contract.order_of("normalize") < extractor.contract.order_of("window"):
            raise SignalError(
                "this checkpoint's feature extractor normalizes a recording before it cuts beats, so that they are not "
                "in mV; expected the order window, normalize."
            )
        self.recording, self.block_seconds = recording, block_seconds
        self._done_before = preprocessed_by
        self.extractor = extractor
        self._ratio = Fraction(repr(float(extractor.sampling_rate))) / Fraction(repr(float(recording.sampling_rate)))
        peaks = check_peaks(peaks, recording.num_samples, f"record {recording.name}")
        total = resampled_length(recording.num_samples, recording.sampling_rate, extractor.sampling_rate)
        _, kept = beat_starts(
            peaks, total, before=extractor.samples_before, after=extractor.samples_after, ratio=float(self._ratio)
        )
        self.peaks = peaks[kept]
        rate = recording.sampling_rate
        margin = margin_seconds(extractor, rate) * rate
        self._before = ceil(extractor.samples_before / self._ratio + margin) + 1
        self._after = ceil(extractor.samples_after / self._ratio + margin) + 1

    def __len__(self) -> int:
        """Number of beats."""
        return len(self.peaks)

    @property
    def step(self) -> int:
        """Distance of the beats that stand for the recording: 1 up to 10,000 beats."""
        return max(1, ceil(len(self.peaks) / REFERENCE_BEATS))

    def reference(self) -> RecordReference | None:
        """The median beat of the recording; None without any usable beat.

        Of more than 10,000 beats, so many at equal steps.
        """
        raw, scaled = [], []
        for block in self.blocks(None, every=self.step):
            if block.features is not None and block.millivolts is not None:
                raw.append(block.millivolts)
                scaled.append(block.features["input_values"].numpy())
        if not raw:
            return None
        return RecordReference(*(np.median(np.concatenate(parts), axis=0) for parts in (raw, scaled)))

    def blocks(self, reference: RecordReference | None, *, every: int = 1) -> Iterator[BeatBlock]:
        """Prepare the beats; those of a block that cannot be prepared are tried one by one.

        Args:
            reference: From `reference()`.
            every: Distance of the beats. Default: 1 (all).
        """
        known = None if reference is None or self.extractor.reference == "none" else reference.normalized
        contract = replace(self.extractor.contract, reference="none") if known is None else self.extractor.contract
        for numbers in self._groups(np.arange(0, len(self.peaks), every)):
            yield from self._prepared(numbers, contract, known)

    def _groups(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """Beats of each block, by the place of their peaks."""
        block = self.peaks[numbers] // round(self.block_seconds * self.recording.sampling_rate)
        yield from np.split(numbers, np.flatnonzero(np.diff(block)) + 1) if len(numbers) else ()

    def _prepared(
        self, numbers: np.ndarray, contract: SignalContract, reference: np.ndarray | None
    ) -> Iterator[BeatBlock]:
        try:
            yield self._block(numbers, contract, reference)
        except SignalError as error:
            if len(numbers) == 1:
                yield BeatBlock(numbers, None, None, str(error))
                return
            logger.info(f"{self.recording.name}, {len(numbers)} beats are tried one by one: {error}")
            for number in numbers:
                yield from self._prepared(np.array([number]), contract, reference)

    def _block(self, numbers: np.ndarray, contract: SignalContract, reference: np.ndarray | None) -> BeatBlock:
        peaks = self.peaks[numbers]
        grid = self._ratio.denominator
        begin = max(0, int(peaks[0]) - self._before) // grid * grid
        end = min(self.recording.num_samples, int(peaks[-1]) + self._after)
        piece = self.recording.piece(begin, end)
        local = peaks - begin
        [record] = as_records(piece, sampling_rate=None, leads=None, units="mV", num_leads=len(contract.lead_names))
        steps = contract.remaining_steps(self._done_before)
        prepared = prepare_record(
            record, contract, steps=steps, window_mode="beats", peaks=local, reference_beat=reference
        )
        check_values(record, prepared, contract, steps=steps)
        if len(prepared.windows) != len(numbers):
            raise SignalError(f"{len(prepared.windows)} of {len(numbers)} beats are complete.")
        features = make_batch(
            [prepared],
            contract,
            record_index=np.zeros(len(prepared.windows), np.int64),
            kept=None,
            random_lead_mask=None,
            generator=None,
            steps=steps,
            patches=contract.return_patches,
        )
        return BeatBlock(numbers, features, prepared.windows)
