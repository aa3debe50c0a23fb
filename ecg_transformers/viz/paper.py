"""ECG plots on standard paper, true to scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LeadError, SignalError
from ..signals.filters import bandpass as apply_bandpass
from ..signals.filters import notch as apply_notch
from ..signals.record import EcgRecord
from .layouts import Layout, Order, Stretch, arrange
from .page import LABEL_WIDTH_MM, PEN_LIMIT_MV, PRINT, Page, label_height, row_envelope

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE_SECONDS", "describe_patient", "lead_names", "lead_rows", "medians", "plot_ecg", "shown_part"]

PAGE_SECONDS = 10.0  # default length of a page
MAX_WIDTH_MM = 4000.0


def plot_ecg(
    record: EcgRecord,
    layout: Layout = "3x4+II",
    speed: float = 25.0,
    gain: float = 10.0,
    order: Order = "standard",
    *,
    start: float = 0.0,
    duration: float | None = None,
    bandpass: tuple[float, float] | None = None,
    notch: float | None = None,
    title: str | None = None,
) -> "Figure":
    """Plot a record on ECG paper with 1-mm grid, calibration pulse, lead names, speed, gain, rate and filter.

    The grid is true to scale at any resolution and in print: one small square is 1 mm = 0.04 s and 0.1 mV at the
    standard 25 mm/s and 10 mm/mV. The median of each lead over the shown time is subtracted (paper recorders are
    AC-coupled: a constant offset is not a finding). Rows are placed further apart where their signals would touch;
    signals are clipped at 5 mV from the baseline, with a remark on the page.

    Args:
        record: Record with any number of leads; NaN samples leave gaps.
        layout: `"3x4"`, `"3x4+II"` (default), `"stacked"` or `"12x1"` (see `viz.layouts`).
        speed: Paper speed in mm/s. Default: 25.
        gain: Gain in mm/mV. Default: 10.
        order: `"standard"` (default) or `"cabrera"` (with aVR inverted).
        start: Start in seconds. Default: 0.
        duration: Duration in seconds. Default: 10, or the rest of the record.
        bandpass: Edges of a zero-phase band-pass for the plot in Hz, printed on the page. Default: None.
        notch: Frequency of a zero-phase notch for the plot in Hz, printed on the page. Default: None.
        title: Title. Default: the name of the record.

    Returns:
        A matplotlib figure, sized in mm by its content; `figure.savefig("ecg.pdf")` prints to scale.

    Raises:
        SignalError: If scale, layout or time range is invalid.

    Example:
        >>> from ecg_transformers.signals.synthesis import synthesize_record
        >>> figure = plot_ecg(synthesize_record("SR"), layout="3x4+II")
    """
    for name, value in (("speed", speed), ("gain", gain)):
        if not (np.isfinite(value) and value > 0):
            raise SignalError(
                f"{name} is {value}; expected a positive number of {'mm/s' if name == 'speed' else 'mm/mV'}."
            )
    filtered = record
    if bandpass is not None or notch is not None:
        filtered = _filtered(record, bandpass=bandpass, notch=notch)
    signal, first = shown_part(filtered, start=start, duration=duration, speed=speed)
    seconds = signal.shape[1] / record.sampling_rate
    signal = signal - medians(signal)
    rate = record.sampling_rate
    rows = arrange(lead_names(record), layout=layout, order=order, duration=seconds)
    page = Page(
        seconds=seconds,
        speed=speed,
        gain=gain,
        envelopes=[
            _row_envelope(signal, row, sampling_rate=rate, seconds=seconds, speed=speed, gain=gain) for row in rows
        ],
        min_pitch=25.0 if len(rows) <= 4 else 15.0,
    )
    clipped = [name for index, row in enumerate(rows) for name in _draw_row(page, index, row, signal, rate)]
    shown = {stretch.lead for row in rows for stretch in row}
    left_out = [name for index, name in enumerate(lead_names(record)) if index not in shown]
    page.header(
        title if title is not None else record.name or "ECG",
        below=describe_patient(record),
        right=f"{seconds:.4g} s from {first:.4g} s of {record.duration:.6g} s",
    )
    page.time_axis(first)
    remarks = [f"clipped at {PEN_LIMIT_MV:g} mV: {', '.join(dict.fromkeys(clipped))}"] if clipped else []
    remarks += [f"not shown: {', '.join(left_out)}"] if left_out else []
    scale = f"{speed:g} mm/s   {gain:g} mm/mV   {record.sampling_rate:g} Hz"
    page.footer(f"{scale}   {_filter_text(bandpass, notch)}", "; ".join(remarks))
    return page.figure


def shown_part(record: EcgRecord, *, start: float, duration: float | None, speed: float) -> tuple[np.ndarray, float]:
    """The samples from `start` to `start + duration` seconds as float64 (leads, samples), and the time of the first.

    Raises:
        SignalError: If the range lies outside the record, is empty or longer than a page.
    """
    if not 0 <= start < record.duration:
        raise SignalError(f"start is {start:g} s; this record goes from 0 to {record.duration:g} s.")
    wanted = PAGE_SECONDS if duration is None else duration
    if not wanted > 0:
        raise SignalError(
            f"duration is {wanted:g} s; expected a positive number of seconds, or None for the first 10 s."
        )
    wanted = min(wanted, record.duration - start)
    if wanted * speed > MAX_WIDTH_MM:
        raise SignalError(
            f"{wanted:g} s at {speed:g} mm/s are {wanted * speed / 1000:g} m of paper; "
            f"a page holds {MAX_WIDTH_MM / 1000:g} m. Pass a shorter duration or a lower speed."
        )
    begin = round(start * record.sampling_rate)
    stop = max(begin + 1, round((start + wanted) * record.sampling_rate))
    return np.asarray(record.signal[:, begin:stop], dtype=np.float64), begin / record.sampling_rate


def describe_patient(record: EcgRecord) -> str:
    """Age, sex and labels of a record in one line, as far as known."""
    parts = []
    if record.age is not None:
        parts.append(f"{record.age:g} years")
    if record.sex:
        parts.append(str(record.sex))
    if record.labels:
        parts.append(", ".join(str(label) for label in record.labels))
    return "   ".join(parts)


def lead_names(record: EcgRecord) -> tuple[str, ...]:
    """Lead names of a record, or numbers if it has none."""
    return record.leads or tuple(f"lead {number}" for number in range(1, record.num_leads + 1))


def lead_rows(names: Sequence[str], leads: Sequence[str] | None) -> list[int]:
    """Positions of the leads to draw among `names`; all by default.

    Raises:
        LeadError: If a lead is missing.
    """
    absent = [name for name in leads or () if name not in names]
    if absent:
        raise LeadError(f"no lead {', '.join(absent)} in this plot; expected some of {', '.join(names)}.")
    return list(range(len(names))) if leads is None else [list(names).index(name) for name in leads]


def _filtered(record: EcgRecord, *, bandpass: tuple[float, float] | None, notch: float | None) -> EcgRecord:
    signal = record.signal.astype(np.float64)
    missing = ~np.isfinite(signal)
    for lead, gaps in zip(signal, missing, strict=True):
        # a filter would spread a missing sample over the whole lead: interpolate first, and restore the gap afterwards
        if gaps.any() and not gaps.all():
            lead[gaps] = np.interp(np.flatnonzero(gaps), np.flatnonzero(~gaps), lead[~gaps])
    if bandpass is not None:
        signal = apply_bandpass(signal, record.sampling_rate, *bandpass)
    if notch is not None:
        signal = apply_notch(signal, record.sampling_rate, notch)
    return EcgRecord(np.where(missing, np.nan, signal), record.sampling_rate, leads=record.leads, name=record.name)


def _filter_text(bandpass: tuple[float, float] | None, notch: float | None) -> str:
    parts = [f"filter {bandpass[0]:g}\N{EN DASH}{bandpass[1]:g} Hz"] if bandpass is not None else []
    parts += [f"notch {notch:g} Hz"] if notch is not None else []
    return ", ".join(parts) or "filter off"


def medians(signal: np.ndarray) -> np.ndarray:
    """Medians (leads, 1) of the samples that are not NaN; 0 for a lead without samples."""
    middle = np.zeros((len(signal), 1))
    known = np.isfinite(signal).any(axis=1)
    middle[known, 0] = np.nanmedian(signal[known], axis=1)
    return middle


def _cut_out(signal: np.ndarray, stretch: Stretch, sampling_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Times on the page and values in mV of a stretch; empty for a missing lead."""
    if stretch.lead is None:
        return np.empty(0), np.empty(0)
    begin, stop = round(stretch.start * sampling_rate), round(stretch.stop * sampling_rate)
    values = signal[stretch.lead, begin:stop] * (-1.0 if stretch.inverted else 1.0)
    return np.arange(begin, begin + values.size) / sampling_rate, values


def _draw_row(page: Page, index: int, row: list[Stretch], signal: np.ndarray, sampling_rate: float) -> list[str]:
    """Draw one row of stretches and return the names of the clipped leads."""
    page.pulse(index)
    clipped = []
    for stretch in row:
        times, values = _cut_out(signal, stretch, sampling_rate)
        height = _label_height(times, values, stretch, page.speed, page.gain)
        if stretch.start > 0:
            page.divider(index, stretch.start)
        page.label(index, stretch.start, stretch.label, height=height)
        if not np.isfinite(values).any():
            text = "absent" if stretch.lead is None else "no signal"
            page.label(index, stretch.start + LABEL_WIDTH_MM / page.speed, text, height=height, color=PRINT)
        elif page.trace(index, times, values, gid=f"trace {stretch.label}"):
            clipped.append(stretch.label)
    return clipped


def _label_height(times: np.ndarray, values: np.ndarray, stretch: Stretch, speed: float, gain: float) -> float:
    return label_height(values[times < stretch.start + LABEL_WIDTH_MM / speed], gain=gain)


def _row_envelope(
    signal: np.ndarray, row: list[Stretch], *, sampling_rate: float, seconds: float, speed: float, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    cuts = [_cut_out(signal, stretch, sampling_rate) for stretch in row]
    labels = [
        (stretch.start, _label_height(*cut, stretch, speed, gain)) for stretch, cut in zip(row, cuts, strict=True)
    ]
    times = np.concatenate([times for times, _ in cuts])
    values = np.concatenate([values for _, values in cuts])
    return row_envelope(times, values, labels, page_seconds=seconds, speed=speed, gain=gain)
