"""From one recording to its windows: lead selection, gaps, resampling, filtering, cutting."""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress, product

import numpy as np
import torch
from transformers.utils import logging

from ..errors import LeadError, SignalError
from ..signals.filters import bandpass, fir_bandpass, notch
from ..signals.leads import derive_limb_leads, listed
from ..signals.quality import (
    MIN_LARGEST_SWING,
    LeadGaps,
    amplitude_note,
    fill_gaps,
    find_gaps,
    flat_leads,
    flat_note,
    how_taken,
    jump_fault,
    offset_finding,
    unit_fault,
    unlike_note,
    usual_amplitude,
)
from ..signals.record import EcgRecord
from ..signals.resample import resample
from ..signals.windows import beat_starts, check_peaks, cut_windows, window_starts
from .contract import SignalContract
from .steps import LeadStatistics, normalize_windows

__all__ = ["NO_SIGNAL", "PreparedRecord", "check_values", "normalize", "prepare_record", "present_leads"]

logger = logging.get_logger(__name__)

# Said of a recording, or a window, whose leads are all constant.
NO_SIGNAL = "no signal in any lead"
# Recordings that a warning names before it stops.
_MOST_NAMED = 5
DERIVABLE_LEADS = ("III", "aVR", "aVL", "aVF")


@dataclass
class PreparedRecord:
    """The windows of one recording before the batched steps.

    Args:
        windows: Float32 `(windows, leads, window_size)`, zero beyond the end of the recording.
        lengths: Number of signal samples in each window `(windows,)`.
        starts: First sample of each window at the rate of the model `(windows,)`.
        present: Leads of the recording, bool `(leads,)`.
        flat: Leads that are constant in the recording within the window, bool `(windows, leads)`.
        reference_beat: Normalized beat `(leads, window_size)` that is subtracted where the contract has a `reference`;
            None: the median of these windows.
        selected: Leads of the contract `(leads, samples)` in mV as they were recorded, gaps included.
        is_usual: Whether the amplitudes of `selected` are certainly usual; False where they are not judged.
    """

    windows: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    present: np.ndarray
    flat: np.ndarray
    reference_beat: np.ndarray | None
    selected: np.ndarray
    is_usual: bool


def prepare_record(
    record: EcgRecord,
    contract: SignalContract,
    *,
    steps: Sequence[str],
    window_mode: str,
    peaks: np.ndarray | None = None,
    reference_beat: np.ndarray | None = None,
    generator: torch.Generator | None = None,
    trace: list[str] | None = None,
) -> PreparedRecord:
    """Process a recording up to its windows.

    Args:
        record: Recording.
        contract: The preprocessing.
        steps: Remaining steps of the contract.
        window_mode: `"slide"`, `"crop"`, `"center"`, `"random"` or `"beats"`.
        peaks: R peaks as samples of the recording, for `"beats"`.
        reference_beat: Normalized beat `(leads, window_size)` that a contract with `reference` subtracts; None: the
            median of the beats that are cut here.
        generator: Random generator for `"random"`; None: the global one.
        trace: Receives one sentence for each operation on this recording.

    Raises:
        SignalError: If a gap, a filter or the length is not allowed by the contract.
        LeadError: If leads are missing.
    """
    done = [] if trace is None else trace
    if peaks is not None and window_mode != "beats":
        raise SignalError(f"peaks are for window='beats', and the window is {window_mode!r}. Leave peaks out.")
    selected, present = _select_leads(record, contract, done)
    is_usual = _is_usual(record, selected, present, contract)
    # A missing sample is no usual amplitude.
    signal, present = (selected, present) if is_usual else _close_gaps(record, selected, present, contract, done)
    if contract.removes_offset and offset_finding(signal, contract.lead_names) is not None:
        signal = signal - np.median(signal, axis=1, keepdims=True)
        done.append("subtracted the median of each lead (electrode offset)")
    source, rate = signal, record.sampling_rate
    for step in steps:
        if step == "resample" and rate != contract.sampling_rate:
            signal = resample(signal, rate, contract.sampling_rate, contract.resampling)
            if trace is not None:
                trace.append(_resampling_text(rate, source.shape[1], signal.shape[1], contract))
            rate = contract.sampling_rate
        elif step == "filter":
            signal = _filter(signal, rate, contract, done)
        elif step == "normalize" and contract.order_of("normalize") < contract.order_of("window"):
            whole = torch.from_numpy(np.array(signal[np.newaxis]))
            signal = normalize(whole, contract, lead_mask=torch.from_numpy(present[np.newaxis]))[0].numpy()
            signal[flat_leads(source, contract.normalization_epsilon)] *= contract.normalization == "none"
            done.append(f"normalized the whole recording ({contract.normalization})")
    if rate != contract.sampling_rate:
        raise SignalError(
            f"{_title(record)} is marked as resampled but has {rate:g} Hz; expected {contract.sampling_rate:g} Hz."
        )
    if "window" not in steps:
        starts = _stored_window(record, signal.shape[1], contract)
    elif window_mode == "beats":
        starts = _beat_starts(record, signal.shape[1], contract, peaks, done)
    else:
        starts = _starts(record, signal.shape[1], contract, window_mode, generator)
    windows, lengths = cut_windows(signal, starts, contract.window_size)
    if trace is not None:
        trace.append(_window_text(starts, lengths, signal.shape[1], contract))
    if is_usual and signal is source and windows.shape == (1, *source.shape) and present.all():
        flat = np.zeros((1, len(present)), dtype=bool)  # in the recording as a whole, each lead moves
    else:
        ratio = record.sampling_rate / contract.sampling_rate
        flat = _flat_in_source(source, starts, lengths, ratio, contract.normalization_epsilon)
    if contract.reference != "none" and reference_beat is None and (window_mode != "beats" or "window" not in steps):
        raise SignalError(
            f"reference is {contract.reference!r}, but the beats of {_title(record)} are not cut here (window "
            f"{window_mode!r}); expected window='beats' with the recording and its peaks=. Pass those, or the median "
            "of its normalized beats as reference_beat=."
        )
    return PreparedRecord(windows, lengths, starts, present, flat, reference_beat, selected, is_usual)


def check_values(
    record: EcgRecord, prepared: PreparedRecord, contract: SignalContract, *, steps: Sequence[str]
) -> None:
    """Reject a recording without signal, and one whose values cannot be millivolts; warn of suspicious values.

    Only leads that reach the model are judged; whether a recording was ever filtered, all of its leads tell. Warnings
    that the reader of a file noted are not repeated.

    Args:
        record: The recording.
        prepared: Its windows.
        contract: The preprocessing.
        steps: Remaining steps of the contract; of a signal that is normalized already the offset is not judged.

    Raises:
        SignalError: If every lead is constant in every window, or the amplitude or the offset is implausible.
    """
    any_flat = bool(prepared.flat.any())
    if any_flat and (prepared.flat | ~prepared.present).all():
        raise SignalError(f"{_title(record)}: {NO_SIGNAL}")
    judges_offset = contract.keeps_offset and not contract.removes_offset and "normalize" in steps
    if contract.implausible_amplitude == "accept" or (prepared.is_usual and not any_flat and not judges_offset):
        return
    notes = []
    signal = _present(prepared.selected, prepared.present)
    names = list(compress(contract.lead_names, prepared.present.tolist()))
    if not prepared.is_usual:
        fault = unit_fault(signal, record.sampling_rate, record.notes) or jump_fault(signal, names)
        if fault is not None:
            raise SignalError(
                f"{_title(record)} {how_taken(record.notes)}, but {fault} Pass the unit with the signal, or "
                "implausible_amplitude='accept' to take the values as they are."
            )
        notes += [amplitude_note(signal, record.sampling_rate), unlike_note(signal, names)]
    if judges_offset and offset_finding(signal, names) is not None:
        _check_offset(record, offset_finding(signal, names, others=_other_leads(record, contract, names)))
    if record.source is None:  # otherwise its reader has judged it
        if any_flat:
            flat = compress(contract.lead_names, prepared.flat.all(axis=0) & prepared.present)
            notes.append(flat_note(list(flat)))
        for note in notes:
            if note is not None and note not in record.notes:
                logger.warning_once(f"{_title(record)}: {note}")


def _other_leads(record: EcgRecord, contract: SignalContract, names: Collection[str]) -> np.ndarray | None:
    """The leads of a recording other than these, named as the contract treats them; None if there are none."""
    places = [place for place, name in enumerate(_treated(record.leads or (), contract)) if name not in names]
    return record.signal[places] if places else None


def _is_usual(record: EcgRecord, selected: np.ndarray, present: np.ndarray, contract: SignalContract) -> bool:
    """Whether the amplitudes are judged and certainly usual."""
    judged = contract.implausible_amplitude == "error"
    # A flat lead is not usual, whichever range the contract calls flat.
    judged = judged and contract.normalization_epsilon <= MIN_LARGEST_SWING
    return judged and usual_amplitude(_present(selected, present), record.sampling_rate)


def _present(signal: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The leads that are present, without a copy if all are."""
    return signal if present.all() else signal[present]


def _check_offset(record: EcgRecord, found: tuple[str, bool] | None) -> None:
    """Reject leads that are too far from 0 for a contract that leaves them there; warn of one that may be."""
    if found is None:
        return
    text, is_fault = found
    text = f"{_title(record)}: {text}, and the preprocessing of this checkpoint removes no electrode offset"
    if is_fault:
        raise SignalError(
            f"{text}. Set electrode_offset='remove' to subtract the median of each lead, or "
            "implausible_amplitude='accept' to take the values as they are."
        )
    named = _warn_of_offset.cache_info().currsize
    if named < _MOST_NAMED:
        _warn_of_offset(f"{text}.")
    elif named == _MOST_NAMED:
        _warn_of_offset("Further recordings with an unusual offset are not named.")


@cache
def _warn_of_offset(text: str) -> None:
    logger.warning(text)


def normalize(
    windows: torch.Tensor,
    contract: SignalContract,
    *,
    attention_mask: torch.Tensor | None = None,
    lead_mask: torch.Tensor | None = None,
    statistics: LeadStatistics | None = None,
    any_flat: bool = True,
) -> torch.Tensor:
    """Normalize windows `(batch, leads, samples)` in mV according to the contract, on their device.

    The other arguments are those of `normalize_windows`.
    """
    mean, std = (
        None if values is None else torch.tensor(values, device=windows.device)
        for values in (contract.normalization_mean, contract.normalization_std)
    )
    return normalize_windows(
        windows,
        normalization=contract.normalization,
        mean=mean,
        std=std,
        epsilon=contract.normalization_epsilon,
        attention_mask=attention_mask,
        lead_mask=lead_mask,
        statistics=statistics,
        any_flat=any_flat,
    )


def present_leads(record: EcgRecord, contract: SignalContract) -> np.ndarray:
    """Which leads of the contract a record gives, as they are named, treated and derived: bool `(leads,)`.

    Raises:
        LeadError: It lacks leads that the contract demands.
    """
    return _select_leads(record, contract, [])[1]


def _select_leads(record: EcgRecord, contract: SignalContract, trace: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The leads of the contract in its order, zeros for missing and unused leads, and which are present."""
    signal, present = _named_leads(record, contract, trace)
    if contract.used_leads is None:
        return signal, present
    present = present & contract.is_used
    trace.append(f"used only {', '.join(contract.used_leads)}: zeros, 0 in lead_mask for the other leads")
    return np.where(present[:, np.newaxis], signal, signal.dtype.type(0)), present


def _named_leads(record: EcgRecord, contract: SignalContract, trace: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The leads of the contract in its order, zeros for missing leads, and which are present."""
    wanted, signal, names = contract.lead_names, record.signal, record.leads
    needed = wanted if contract.used_leads is None else contract.used_leads
    if names is None:
        if record.num_leads != len(wanted):
            raise LeadError(
                f"{_title(record)} has {record.num_leads} leads without names; expected {len(wanted)} in the order "
                f"{', '.join(wanted)}, or names for them. Pass leads=[...]."
            )
        trace.append(f"took the {len(wanted)} unnamed leads in the order {', '.join(wanted)}")
        return signal, np.ones(len(wanted), dtype=bool)
    if list(names) == wanted:
        return signal, np.ones(len(wanted), dtype=bool)
    given, names = names, _treated(names, contract)
    trace += [f"lead {old} treated as {new}" for old, new in zip(given, names, strict=True) if old != new]
    if contract.derive_leads and not set(needed) <= set(names):
        signal, names, derived = derive_limb_leads(signal, names)
        if derived:
            trace.append(f"derived {', '.join(name for name in derived if name in wanted)} from I and II")
    places = [names.index(name) if name in names else -1 for name in wanted]
    absent = [name for name in needed if name not in names]
    if absent:
        _check_absent(record, names, absent, contract)
        trace.append(f"absent leads {', '.join(absent)}: zeros, 0 in lead_mask")
    unused = [name for name in names if name not in wanted]
    if unused:
        trace.append(f"left out {', '.join(unused)}")
    trace.append(f"put the leads in the order {', '.join(wanted)}")
    present = np.array(places) >= 0
    selected = signal[places]
    selected[~present] = 0.0
    return selected, present


def _treated(names: Sequence[str], contract: SignalContract) -> tuple[str, ...]:
    """Names of leads, those that stand for a lacking one by its name."""
    names = tuple(names)
    for old, new in (contract.treat_as or {}).items():
        if old in names and new not in names:
            names = tuple(new if name == old else name for name in names)
    return names


def _check_absent(record: EcgRecord, names: Sequence[str], absent: list[str], contract: SignalContract) -> None:
    """Reject missing leads, unless the contract masks them and some are left; `names` are those as treated."""
    count = len(contract.used_leads or contract.lead_names)
    if contract.missing_leads == "mask" and len(absent) < count:
        logger.warning_once(
            f"{_title(record)} lacks {', '.join(absent)}, replaced by zeros (missing_leads='mask'). See the model card "
            "for whether the checkpoint was trained with masked leads."
        )
        return
    cures = []
    if strange := [name for name in names if name not in contract.lead_names]:
        name, lead = max(product(strange, absent), key=_likeness)
        cures.append(f"treat_as={{{name!r}: {lead!r}}} takes {name} for {lead}")
    if not contract.derive_leads and {"I", "II"} <= set(names) and not set(DERIVABLE_LEADS).isdisjoint(absent):
        cures.append("derive_leads=True computes III, aVR, aVL, aVF from I and II")
    if contract.missing_leads == "error" and len(absent) < count:
        cures.append(
            "missing_leads='mask' replaces missing ones by zeros, at your own risk if the checkpoint was not trained so"
        )
    cures = cures or ["expected at least one of them"]
    number = "1 lead" if record.num_leads == 1 else f"{record.num_leads} leads"
    raise LeadError(
        f"{_title(record)} has {number} ({listed(record.leads or ())}); this checkpoint needs {count}, missing: "
        f"{', '.join(absent)}. {'; '.join(cures)}."
    )


def _likeness(pair: tuple[str, str]) -> int:
    """How much two names of leads resemble each other, as MLII does II, and MCL1 V1; 0 if they do not."""
    short, long = sorted((re.sub(r"^MC?L([1-6])$", r"V\1", name) for name in pair), key=len)
    return len(short) if long.endswith(short) else 0


def _close_gaps(
    record: EcgRecord, signal: np.ndarray, present: np.ndarray, contract: SignalContract, trace: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The signal without NaN according to the contract, and the remaining leads."""
    gaps = find_gaps(signal)
    if not gaps:
        return signal, present
    rate = record.sampling_rate
    limit = contract.max_gap_seconds * rate
    listed = "; ".join(_gap_text(gap, contract.lead_names, rate) for gap in gaps)
    if contract.nan_policy == "interpolate" and all(gap.longest <= limit for gap in gaps):
        trace.append(f"interpolated missing samples: {listed}")
        return fill_gaps(signal, gaps), present
    if contract.nan_policy == "mask_lead":
        lost = [gap.lead for gap in gaps]
        kept = present.copy()
        kept[lost] = False
        if kept.any():
            trace.append(f"leads with missing samples: zeros, 0 in lead_mask: {listed}")
            signal = signal.copy()
            signal[lost] = 0.0
            return signal, kept
        raise SignalError(f"{_title(record)} has missing samples in every lead: {listed}; expected one complete lead.")
    bound = f", at most {contract.max_gap_seconds:g} s in a row" if contract.nan_policy == "interpolate" else ""
    raise SignalError(
        f"{_title(record)} has missing samples (NaN or infinite): {listed}; expected finite numbers{bound}. Set "
        "nan_policy='interpolate' with max_gap_seconds=, or nan_policy='mask_lead'."
    )


def _gap_text(gap: LeadGaps, lead_names: Sequence[str], rate: float) -> str:
    samples = "1 sample" if gap.count == 1 else f"{gap.count} samples"
    return f"{lead_names[gap.lead]} {samples}, the first at {gap.first / rate:.3f} s, up to {gap.longest} in a row"


def _filter(signal: np.ndarray, rate: float, contract: SignalContract, trace: list[str]) -> np.ndarray:
    """Apply band-pass and notch of the contract."""
    manner = "zero-phase" if contract.zero_phase else "causal"
    if contract.bandpass is not None and contract.fir_taps is not None:
        low, high = contract.bandpass
        signal = fir_bandpass(signal, rate, low, high, taps=contract.fir_taps)
        trace.append(f"filtered {low} to {high} Hz, FIR of {contract.fir_taps} taps, {manner}")
    elif contract.bandpass is not None:
        low, high = contract.bandpass
        signal = bandpass(signal, rate, low, high, order=contract.filter_order, zero_phase=contract.zero_phase)
        trace.append(f"filtered {low} to {high} Hz, order {contract.filter_order}, {manner}")
    if contract.notch is not None:
        signal = notch(signal, rate, contract.notch, quality=contract.notch_quality, zero_phase=contract.zero_phase)
        trace.append(f"notch at {contract.notch:g} Hz, {manner}")
    return signal


def _starts(
    record: EcgRecord, num_samples: int, contract: SignalContract, window_mode: str, generator: torch.Generator | None
) -> np.ndarray:
    """First sample of each window."""
    size, rate = contract.window_size, contract.sampling_rate
    if num_samples < size and not contract.allow_short:
        cure = ", or set allow_short=True to pad it" if contract.return_attention_mask else ""
        raise SignalError(
            f"{_title(record)} lasts {record.duration:.4g} s and a window {contract.window_seconds:.4g} s "
            f"({num_samples} and {size} samples at {rate:g} Hz); this model takes no padded windows. Pass a longer "
            f"recording{cure}."
        )
    if num_samples == size:
        return np.zeros(1, dtype=np.int64)
    if window_mode == "slide":
        return window_starts(
            num_samples,
            size,
            contract.window_stride,
            incomplete="pad" if contract.allow_short else "align",
            min_samples=int(min(np.ceil(contract.min_window_seconds * rate), size)),
        )
    surplus = max(num_samples - size, 0)
    start = {"crop": 0, "center": surplus // 2}.get(window_mode)
    if start is None:
        start = int(torch.randint(surplus + 1, (), generator=generator)) if surplus else 0
    return np.array([start], dtype=np.int64)


def _stored_window(record: EcgRecord, num_samples: int, contract: SignalContract) -> np.ndarray:
    """Start of a record that is stored as one window."""
    if num_samples != contract.window_size:
        raise SignalError(
            f"{_title(record)} is marked as one window but has {num_samples} samples; expected {contract.window_size}."
        )
    return np.zeros(1, dtype=np.int64)


def _beat_starts(
    record: EcgRecord, num_samples: int, contract: SignalContract, peaks: np.ndarray | None, trace: list[str]
) -> np.ndarray:
    """First sample of each beat that is completely inside the recording."""
    before, after = contract.samples_before, contract.samples_after
    if before is None or after is None:
        raise SignalError(
            "window is 'beats', but this contract does not say where the R peak is in a window. Set samples_before and "
            "samples_after."
        )
    if peaks is None:
        raise SignalError(
            f"{_title(record)} was passed without R peaks, around which this model's windows are cut. Pass "
            "peaks=detect_r_peaks(record) (ecg_transformers.signals.beats), or those of its annotations."
        )
    peaks = check_peaks(peaks, record.num_samples, _title(record))
    starts, kept = beat_starts(
        peaks, num_samples, before=before, after=after, ratio=contract.sampling_rate / record.sampling_rate
    )
    if not kept.any():
        raise SignalError(
            f"{_title(record)} has {len(peaks)} R peaks in {record.duration:.4g} s and none with a complete beat "
            f"({before / contract.sampling_rate:.3g} s before and {after / contract.sampling_rate:.3g} s after it). "
            "Pass a longer recording, or peaks inside it."
        )
    if not kept.all():
        trace.append(f"left out {int((~kept).sum())} of {len(peaks)} beats, which reach beyond the recording")
    return starts


def _flat_in_source(
    source: np.ndarray, starts: np.ndarray, lengths: np.ndarray, ratio: float, epsilon: float
) -> np.ndarray:
    """Leads that are constant in the recording within each window, bool `(windows, leads)`.

    Determined before resampling and filtering, which turn a constant into ripple and the ringing of its neighbors;
    normalized ripple would look like a signal. `ratio` is samples of the recording per sample of a window.
    """
    limit = source.shape[1] - 1
    flat = np.zeros((len(starts), source.shape[0]), dtype=bool)
    # A loop: windows are few and cover different samples.
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        first = min(math.ceil(start * ratio - 1e-6), limit)
        last = min(max(math.floor((start + length - 1) * ratio + 1e-6), first), limit)
        # A constant has equal ends: only leads that pass this cheap test are examined completely.
        alike = np.abs(source[:, first] - source[:, last]) < epsilon
        if alike.any():
            flat[row] = alike & flat_leads(source[:, first : last + 1], epsilon)
    return flat


def _resampling_text(rate: float, before: int, after: int, contract: SignalContract) -> str:
    text = f"resampled {rate:g} -> {contract.sampling_rate:g} Hz ({before} -> {after} samples, {contract.resampling})"
    if rate < contract.sampling_rate:
        text += f"; the band above {rate / 2:g} Hz is empty in this record"
    return text


def _window_text(starts: np.ndarray, lengths: np.ndarray, num_samples: int, contract: SignalContract) -> str:
    size, rate = contract.window_size, contract.sampling_rate
    places = ", ".join(f"{start / rate:.4g} s" for start in starts[:4]) + (", ..." if len(starts) > 4 else "")
    count = "1 window" if len(starts) == 1 else f"{len(starts)} windows"
    text = f"cut {count} of {contract.window_seconds:.4g} s out of {num_samples / rate:.4g} s, from {places}"
    if lengths[-1] < size:
        text += f"; the last has {lengths[-1] / rate:.4g} s of signal and is padded"
    return text


def _title(record: EcgRecord) -> str:
    return f"record {record.name}" if record.name else "the record"
