"""Conversion of the input of an extractor to a list of EcgRecords."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import LeadError, SignalError
from ..signals.assembly import apply_gain
from ..signals.leads import listed
from ..signals.record import EcgRecord, check_sampling_rate, unit_scale

__all__ = ["as_records"]

ACCEPTED = (
    "an EcgRecord, an array (leads, samples) or (records, leads, samples), a mapping with 'signal' and "
    "'sampling_rate', or a list of them"
)


def as_records(
    records: object,
    *,
    sampling_rate: float | Sequence[float] | None,
    leads: Sequence[str] | None,
    units: str,
    gain: float | None = None,
    num_leads: int,
) -> list[EcgRecord]:
    """The records of a call.

    Args:
        records: An EcgRecord, an array or tensor with two or three axes, a mapping, or a list of these.
        sampling_rate: Sampling rate of bare arrays in Hz, one for all or one each; must agree with that of a record.
        leads: Lead names of bare arrays.
        units: Unit of bare arrays.
        gain: Raw units per unit of bare arrays, or None.
        num_leads: Number of leads of the extractor, for error messages.

    Raises:
        SignalError: If an item is not a recording, or its sampling rate is missing or inconsistent.
        LeadError: If names and signal do not match.
    """
    items = _items(records)
    if not items:
        raise SignalError(f"the list of records is empty; expected {ACCEPTED}.")
    rates = _rates(sampling_rate, len(items))
    return [
        _as_record(item, rate=rate, leads=leads, units=units, gain=gain, num_leads=num_leads)
        for item, rate in zip(items, rates, strict=True)
    ]


def _items(records: object) -> list:
    """The single recordings of the input."""
    if isinstance(records, EcgRecord | Mapping):
        return [records]
    if isinstance(records, torch.Tensor):
        records = records.detach().cpu().numpy() if records.dtype != torch.bfloat16 else records.float().cpu().numpy()
    if isinstance(records, np.ndarray):
        if records.dtype == object:
            raise SignalError(
                f"the array has objects of shape {records.shape} instead of numbers; expected (leads, samples). "
                "Pass recordings of different length as a list."
            )
        return list(records) if records.ndim == 3 else [records]
    if isinstance(records, str | bytes) or not isinstance(records, Sequence):
        hint = " Read a file with ecg_transformers.read_record." if isinstance(records, str | bytes) else ""
        raise SignalError(f"got {type(records).__name__}; expected {ACCEPTED}.{hint}")
    if records and all(isinstance(item, int | float | np.number) or _is_flat(item) for item in records):
        # Numbers, or rows of numbers: one recording given as a list.
        try:
            return _items(np.asarray(records))
        except ValueError as error:
            raise SignalError(
                f"the list is not an array ({error}); expected rows of equal length, (leads, samples)."
            ) from None
    if len(records) > 0 and all(isinstance(item, list | tuple) for item in records):
        return [_items(item)[0] for item in records]
    return list(records)


def _is_flat(item: object) -> bool:
    """Whether an item is a row of numbers."""
    if isinstance(item, np.ndarray | torch.Tensor):
        return item.ndim <= 1
    return isinstance(item, list | tuple) and all(isinstance(value, int | float | np.number) for value in item[:1])


def _rates(sampling_rate: float | Sequence[float] | None, count: int) -> list[float | None]:
    """One rate per record."""
    if sampling_rate is None:
        return [None] * count
    if isinstance(sampling_rate, list | tuple | np.ndarray | torch.Tensor) and np.ndim(sampling_rate) > 0:
        rates = sampling_rate.tolist() if hasattr(sampling_rate, "tolist") else list(sampling_rate)
        if len(rates) != count:
            raise SignalError(
                f"sampling_rate has {len(rates)} values for {count} records; expected one number or one each."
            )
        return [check_sampling_rate(rate) for rate in rates]
    single: Any = sampling_rate.item() if hasattr(sampling_rate, "item") else sampling_rate
    return [check_sampling_rate(single)] * count


def _as_record(
    item: object,
    *,
    rate: float | None,
    leads: Sequence[str] | None,
    units: str,
    gain: float | None,
    num_leads: int,
) -> EcgRecord:
    """One recording as an EcgRecord."""
    if gain is not None and isinstance(item, EcgRecord | Mapping):
        raise SignalError(f"gain is for bare arrays, and the record is {type(item).__name__}; leave gain= out.")
    if isinstance(item, Mapping):
        item = _from_mapping(item, rate=rate, leads=leads, units=units)
        leads, units = None, "mV"
    if isinstance(item, EcgRecord):
        return _known_record(item, rate=rate, leads=leads, units=units)
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        item = (item.float() if item.dtype == torch.bfloat16 else item).numpy()
    if not isinstance(item, np.ndarray):
        raise SignalError(f"a record is {type(item).__name__}; expected {ACCEPTED}.")
    _check_array(item, num_leads=num_leads, named=leads is not None)
    if rate is None:
        raise SignalError(
            f"sampling_rate is missing for a bare array of shape {item.shape}. Pass sampling_rate=..., or an EcgRecord "
            "that knows it."
        )
    notes: list[str] = []
    if gain is not None:
        item, units = apply_gain(item, gain, units, notes=notes)
    # A text is left to the record, which says what it expects.
    names: Any = leads if leads is None or isinstance(leads, str) else tuple(leads)
    return EcgRecord(item, rate, names, units=units, notes=notes)


def _check_array(array: np.ndarray, *, num_leads: int, named: bool) -> None:
    """Reject arrays that are not a recording, before their rate matters."""
    if array.dtype.kind not in "iuf" or array.ndim != 2 or 0 in array.shape:
        raise SignalError(
            f"the array has type {array.dtype} and shape {array.shape}; expected real numbers of shape (leads, "
            f"samples) = ({num_leads}, samples), with at least one of each. Pass several recordings as a list."
        )
    if not named and array.shape[0] != num_leads and array.shape[1] == num_leads:
        raise SignalError(
            f"the array has shape {array.shape}; expected (leads, samples) = ({num_leads}, samples). The axes seem "
            "to be swapped: pass array.T."
        )


def _from_mapping(values: Mapping, *, rate: float | None, leads: Sequence[str] | None, units: str) -> EcgRecord:
    """A record from a mapping; missing values are taken from the call."""
    given = {key: value for key, value in values.items() if value is not None}
    signal = given.get("signal")
    if isinstance(signal, torch.Tensor):
        given["signal"] = signal.detach().cpu().numpy()
    given = {"sampling_rate": rate, "leads": leads, "units": units} | given
    if given["sampling_rate"] is None and signal is not None:
        raise SignalError(
            f"sampling_rate is missing for a mapping with the keys {', '.join(map(str, values))}. Add it, or pass "
            "sampling_rate=..."
        )
    return EcgRecord.from_dict(given)


def _known_record(record: EcgRecord, *, rate: float | None, leads: Sequence[str] | None, units: str) -> EcgRecord:
    """An EcgRecord, checked against the arguments of the call."""
    title = record.name or "the record"
    if rate is not None and rate != record.sampling_rate:
        raise SignalError(
            f"{title} has {record.sampling_rate:g} Hz but the call has sampling_rate={rate:g}; expected one of them. "
            "Omit sampling_rate: it is part of the record."
        )
    if unit_scale(units) != 1.0:
        raise SignalError(f"{title} is an EcgRecord, which is in mV, but the call has units={units!r}. Omit units.")
    if leads is not None:
        if record.leads is not None:
            raise LeadError(
                f"{title} has leads {listed(record.leads)} but the call has {listed(leads)}; expected one of "
                "them. Omit leads: they are part of the record."
            )
        named = record.to_dict() | {"leads": leads}
        return EcgRecord.from_dict(named)
    return record
