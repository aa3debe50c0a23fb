"""Conversion of rows before they are stored: to another rate, or by the first steps of a checkpoint's contract."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorpusError, LeadError
from ..signals.record import EcgRecord
from ..signals.resample import resample, resampled_length
from .layout import CorpusRecord

if TYPE_CHECKING:
    from ..features.contract import SignalContract

__all__ = ["STORED_STEPS", "at_rate", "in_millivolts", "through_contract"]

# The steps of a contract that do not depend on the position of a window.
STORED_STEPS = ("leads", "units", "resample", "filter")


def in_millivolts(row: CorpusRecord) -> CorpusRecord:
    """The row as float32 mV."""
    leads = len(row.leads)
    return replace(row, signal=row.in_millivolts(), gain=np.ones(leads), baseline=np.zeros(leads, np.int32))


def at_rate(row: CorpusRecord, sampling_rate: float) -> CorpusRecord:
    """The row as float32 mV at another rate, its annotations at the corresponding samples.

    Raises:
        SignalError: the rates have no usable ratio, or samples are missing.
    """
    if row.sampling_rate == sampling_rate:
        return in_millivolts(row)
    signal = resample(row.in_millivolts(), row.sampling_rate, sampling_rate)
    note = f"resampled {row.sampling_rate:g} -> {sampling_rate:g} Hz"
    return _stored(row, signal, sampling_rate, row.leads, [note])


def through_contract(row: CorpusRecord, contract: "SignalContract") -> CorpusRecord:
    """The row after a contract's leads, resampling and filters, before its windows.

    Raises:
        LeadError: a lead of the contract is absent: zeros in a corpus would look like a signal.
        CorpusError: the contract normalizes before it filters or resamples.
    """
    from ..features.preparation import prepare_record

    last = max(contract.order_of("resample"), contract.order_of("filter"))
    if contract.normalization != "none" and contract.order_of("normalize") < last:
        raise CorpusError(
            "this contract normalizes before it resamples or filters; store the corpus as it is recorded."
        )
    length = resampled_length(row.signal.shape[1], row.sampling_rate, contract.sampling_rate)
    # One window as long as the recording: the same code as the extractor's, without cutting.
    whole = contract.for_whole(
        length, normalization="none", normalization_mean=None, normalization_std=None, allow_short=False
    )
    record = EcgRecord(row.in_millivolts(), row.sampling_rate, row.leads, name=row.name)
    done: list[str] = []
    made = prepare_record(record, whole, steps=[*STORED_STEPS, "window"], window_mode="crop", trace=done)
    if not made.present.all():
        absent = [name for name, there in zip(contract.lead_names, made.present, strict=True) if not there]
        raise LeadError(
            f"record {row.name} lacks {', '.join(absent)}; a corpus stored for a checkpoint needs all its leads."
        )
    return _stored(row, made.windows[0], contract.sampling_rate, tuple(contract.lead_names), done[:-1])


def _stored(
    row: CorpusRecord, signal: np.ndarray, rate: float, leads: tuple[str, ...], notes: Sequence[str]
) -> CorpusRecord:
    annotations = row.annotations
    if annotations is not None:
        moved = np.rint(annotations.samples * (rate / row.sampling_rate)).astype(np.int64)
        annotations = replace(annotations, samples=np.minimum(moved, signal.shape[1] - 1))
    return replace(
        row,
        signal=signal,
        gain=np.ones(len(leads)),
        baseline=np.zeros(len(leads), np.int32),
        sampling_rate=rate,
        leads=leads,
        start=round(row.start * rate / row.sampling_rate),
        annotations=annotations,
        notes=[*row.notes, *notes],
    )
