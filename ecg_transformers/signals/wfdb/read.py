"""Reader of WFDB records: validates header and files before allocating memory, and checksums afterwards.

A raw sample becomes `(value - baseline) / gain` mV; the WFDB code for an invalid sample becomes NaN.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import RecordFileError, SignalError
from ..assembly import assemble_record, check_gaps, settle_sampling_rate
from ..digital import to_millivolts
from ..leads import canonical_lead
from ..record import Annotations, EcgRecord
from .channels import calibrate, choose_channels
from .header import (
    WfdbHeader,
    WfdbSegment,
    WfdbSignal,
    read_header,
    refuse_lfs_pointer,
)
from .signal import INVALID_SAMPLE, SignalFile, check_signal_files, decode
from .write import write_wfdb

__all__ = ["WfdbHeader", "WfdbSegment", "WfdbSignal", "read_header", "read_with_integers", "read_wfdb", "write_wfdb"]

_MAX_SEGMENT_NOTES = 20


class _Piece(NamedTuple):
    """Signals of a record or a segment.

    Args:
        signal: float32 mV `(signals, samples)`.
        names: Names as written.
        sampling_rate: Hz.
        factor: Samples per frame.
        digital: Raw samples as int16, if they were asked for.
    """

    signal: np.ndarray
    names: list[str | None]
    sampling_rate: float
    factor: int
    digital: np.ndarray | None = None


class _Request(NamedTuple):
    """The signals and samples to read, and the options for every segment."""

    channels: Sequence[int | str] | None = None
    start: int = 0
    stop: int | None = None
    units: str | None = None
    gain: float | None = None
    strict: bool = False
    allow_truncated: bool = False
    keep_digital: bool = False

    def range_in(self, header: WfdbHeader, total: int) -> tuple[int, int]:
        """Start and end of the range, which must lie inside the record."""
        end = total if self.stop is None else self.stop
        if not 0 <= self.start < end <= total:
            raise SignalError(
                f"{header.path} has {total} samples; the range {self.start} to {end} is empty or not inside it."
            )
        return self.start, end


def read_wfdb(
    path: str | Path | WfdbHeader,
    *,
    channels: Sequence[int | str] | None = None,
    start: int = 0,
    stop: int | None = None,
    sampling_rate: float | None = None,
    units: str | None = None,
    gain: float | None = None,
    leads: Sequence[str] | None = None,
    strict: bool = False,
    allow_truncated: bool = False,
    annotator: str | None = "atr",
) -> EcgRecord:
    """Read a WFDB record.

    Args:
        path: `.hea` file, record path without suffix, signal file, or a header from `read_header`.
        channels: Signals to read, by position in the header or by name. Default: all voltages.
        start: First sample to read.
        stop: End of the range (exclusive). Default: end of the record. Only this range is loaded.
        sampling_rate: Sampling rate in Hz; only compared with that of the header.
        units: Unit, if the header has none.
        gain: Raw units per mV (per `units` if given), instead of that of the header.
        leads: Lead names, if the header has none or has duplicates.
        strict: Whether a wrong checksum is an error instead of a note.
        allow_truncated: Whether to read the complete frames of a truncated signal file, with a note.
        annotator: Suffix of the annotation file, which is read if it exists; None: no annotations.

    Raises:
        RecordFileError: If header or signal files are missing, damaged or inconsistent.
        SignalError: If sample range, unit or gain is invalid.
        LeadError: If a channel is missing, or two leads have the same name.

    Example:
        >>> record = read_wfdb("tests/data/mitdb/100", start=3600, stop=7200)
        >>> record.leads, record.duration
        (('MLII', 'V5'), 10.0)
    """
    header = path if isinstance(path, WfdbHeader) else read_header(path)
    notes = list(header.notes)
    request = _Request(channels, start, stop, units, gain, strict, allow_truncated)
    piece = (_read_segments if header.segments else _read_single)(header, request, notes)
    return _assembled(
        header, piece, request, notes=notes, annotator=annotator, sampling_rate=sampling_rate, leads=leads
    )


def read_with_integers(header: WfdbHeader) -> tuple[EcgRecord, np.ndarray, list[WfdbSignal]]:
    """A record of one segment and its raw samples, for a corpus that keeps integers.

    Args:
        header: Header; all its signals have names and at most 16 bits.

    Returns:
        The record, as `read_wfdb` gives it; its raw samples int16 `(leads, samples)`, -32768 where a sample is missing;
        the signal line of each lead.
    """
    notes = list(header.notes)
    request = _Request(keep_digital=True)
    piece = _read_single(header, request, notes)
    record = _assembled(header, piece, request, notes=notes, annotator="atr")
    rows = {canonical_lead(name): row for row, name in enumerate(piece.names) if name}
    order = [rows[lead] for lead in record.leads or ()]
    named = {signal.name: signal for signal in header.signals}
    assert piece.digital is not None
    return record, piece.digital[order], [named[piece.names[row]] for row in order]


def _assembled(
    header: WfdbHeader,
    piece: _Piece,
    request: _Request,
    *,
    notes: list[str],
    annotator: str | None,
    sampling_rate: float | None = None,
    leads: Sequence[str] | None = None,
) -> EcgRecord:
    """The record of a signal that was read, with its annotations."""
    where, start = str(header.path), request.start
    annotations = None
    if annotator is not None:
        whole = start == 0 and request.stop is None
        stop = start + piece.signal.shape[1]
        annotations = _read_annotations(header, annotator, piece.factor, start, stop, whole=whole, notes=notes)
    return assemble_record(
        piece.signal,
        sampling_rate=settle_sampling_rate(piece.sampling_rate, sampling_rate, where=where),
        file_leads=piece.names,
        leads=leads,
        where=where,
        name=header.name,
        age=header.age,
        sex=header.sex,
        labels=header.labels,
        annotations=annotations,
        notes=notes,
    )


def _read_single(header: WfdbHeader, request: _Request, notes: list[str]) -> _Piece:
    """Read a record of one segment."""
    wanted = choose_channels(header, request.channels, notes=notes)
    signals = [header.signals[index] for index in wanted]
    factor = signals[0].samples_per_frame
    if any(signal.samples_per_frame != factor for signal in signals):
        rates = ", ".join(f"{s.name} {s.samples_per_frame * header.sampling_rate:g} Hz" for s in signals)
        raise RecordFileError(
            f"{header.path} has several rates ({rates}). Set channels= to the names of signals of one rate."
        )
    gains = calibrate(header, wanted, units=request.units, gain=request.gain, notes=notes)
    files = check_signal_files(header, allow_truncated=request.allow_truncated, notes=notes)
    total = files[0].num_frames * factor
    start, stop = request.range_in(header, total)
    result = np.empty((len(signals), stop - start), dtype=np.float32)
    kept = np.empty(result.shape, dtype=np.int16) if request.keep_digital else None
    # Checksums apply to the whole signal, and not to a truncated file.
    whole = stop - start == total and header.num_samples in (None, files[0].num_frames)
    sums: dict[int, int] = {}
    for file in files:
        rows = [row for row, signal in enumerate(signals) if signal in file.signals]
        if not rows:
            continue
        chosen = [signals[row] for row in rows]
        digital = decode(file, chosen, start, stop, header)
        if whole:
            # The 16-bit sum wraps around to the value in the header.
            totals = digital.astype(np.int16, copy=False).sum(axis=1, dtype=np.int16)
            sums |= dict(zip(rows, totals.tolist(), strict=True))
        mark = INVALID_SAMPLE.get(chosen[0].format)
        baselines = np.array([signal.baseline for signal in chosen])
        values = to_millivolts(digital, np.array([gains[row] for row in rows]), baselines, mark)
        if kept is not None:
            common = mark in (None, INVALID_SAMPLE[16])
            kept[rows] = digital if common else np.where(digital == mark, INVALID_SAMPLE[16], digital)
        if len(rows) == len(signals):
            result = values
        else:
            result[rows] = values
    sums = {wanted[row]: total for row, total in sums.items()}
    _compare_checksums(header, files, sums, request.strict, notes=notes)
    return _Piece(result, [signal.name for signal in signals], header.sampling_rate * factor, factor, kept)


def _read_segments(header: WfdbHeader, request: _Request, notes: list[str]) -> _Piece:
    """Read a record of several segments; gaps and leads missing from a segment are NaN."""
    total = sum(segment.num_samples for segment in header.segments)
    if header.num_samples not in (None, total):
        raise RecordFileError(f"{header.path} states {header.num_samples} samples; its segments add up to {total}.")
    start, stop = request.range_in(header, total)
    # With a variable layout the first segment is empty and lists all signals; with a fixed one all segments are alike.
    pattern = next((segment.name for segment in header.segments if segment.name is not None), None)
    if pattern is None:
        raise RecordFileError(f"{header.path} consists of gaps; expected at least one segment with samples.")
    layout = _segment_header(header, pattern)
    names = [layout.signals[index].name for index in choose_channels(layout, request.channels, notes=notes)]
    keys = [canonical_lead(name) if name else "" for name in names]
    pieces: list[tuple[int, _Piece]] = []
    segment_notes: list[str] = []
    without_leads: list[str] = []
    begin = 0
    for segment in header.segments:
        first, last = max(start - begin, 0), min(stop - begin, segment.num_samples)
        if segment.name is not None and first < last:
            part = layout if segment.name == pattern else _segment_header(header, segment.name)
            if part.num_samples not in (None, segment.num_samples) or part.sampling_rate != header.sampling_rate:
                raise RecordFileError(
                    f"{part.path} has {part.num_samples} samples at {part.sampling_rate:g} Hz; {header.path.name} "
                    f"states {segment.num_samples} at {header.sampling_rate:g} Hz."
                )
            here = [i for i, one in enumerate(part.signals) if one.name and canonical_lead(one.name) in keys]
            if here:
                wanted = request._replace(channels=here, start=first, stop=last)
                pieces.append((begin + first - start, _read_single(part, wanted, segment_notes)))
            else:
                without_leads.append(f"{segment.name} ({', '.join(str(one.name) for one in part.signals)})")
        begin += segment.num_samples
    if without_leads:
        notes.append(f"segments without these leads, missing samples there: {', '.join(without_leads)}")
    signal = _joined(header, keys, pieces, stop - start)
    distinct = list(dict.fromkeys(segment_notes))
    notes += distinct[:_MAX_SEGMENT_NOTES]
    if len(distinct) > _MAX_SEGMENT_NOTES:
        notes.append(f"{len(distinct) - _MAX_SEGMENT_NOTES} more notes on segments")
    return _Piece(signal, names, header.sampling_rate, 1)


def _joined(header: WfdbHeader, keys: list[str], pieces: list[tuple[int, _Piece]], length: int) -> np.ndarray:
    """Pieces at their offsets as `(leads, length)`; NaN where no segment has the lead."""
    strange = next((piece for _, piece in pieces if piece.factor != 1), None)
    if strange is not None:
        raise RecordFileError(f"{header.path} has {strange.factor} samples per frame in a segment; expected 1.")
    held = sum(piece.signal.shape[1] for _, piece in pieces)
    check_gaps(held, length, leads=len(keys), where=str(header.path), cure="Read its segments one by one.")
    signal = np.full((len(keys), length), np.nan, dtype=np.float32)
    for offset, piece in pieces:
        for row, name in enumerate(piece.names):
            signal[keys.index(canonical_lead(str(name))), offset : offset + piece.signal.shape[1]] = piece.signal[row]
    return signal


def _segment_header(header: WfdbHeader, name: str) -> WfdbHeader:
    """Header of a segment, which must not have segments itself."""
    segment = read_header(header.path.with_name(name + ".hea"))
    if segment.segments:
        raise RecordFileError(f"{segment.path} is a segment of {header.path.name}; expected no segments inside it.")
    return segment


def _compare_checksums(
    header: WfdbHeader, files: list[SignalFile], sums: dict[int, int], strict: bool, *, notes: list[str]
) -> None:
    """Note signals whose sum modulo 65536 differs from the header, or reject them if `strict`.

    A checksum of 0 is not compared: all headers of CinC 2017 have it.
    """
    stated = {index: header.signals[index].checksum for index in sums}
    name = {index: header.signals[index].name or str(index) for index in sums}
    unset = [name[index] for index, total in sums.items() if stated[index] == 0 and total != 0]
    compared = [index for index in sums if stated[index] not in (None, 0)]
    wrong = [index for index in compared if ((stated[index] or 0) - sums[index]) & 0xFFFF]
    if unset:
        notes.append(f"checksum 0 in the header, not compared: {', '.join(unset)}")
    if not wrong:
        return
    held = max(file.held_frames for file in files)
    if held > files[0].num_frames and len(wrong) == len(compared):
        raise RecordFileError(
            f"{header.path} describes {files[0].num_frames} samples, {files[0].path.name} holds {held}, and no "
            "checksum fits: the header's number of samples or signals is wrong."
        )
    text = f"checksum differs from the header: {', '.join(name[index] for index in wrong)}"
    if strict:
        raise RecordFileError(f"{header.path}: {text}. The signal file is damaged or was changed; copy it again.")
    notes.append(text)


def _read_annotations(
    header: WfdbHeader, annotator: str, factor: int, start: int, stop: int, *, whole: bool, notes: list[str]
) -> Annotations | None:
    """Annotations in a range of samples, or None if there is no file of them next to the header, or none to read.

    The signal does not depend on its annotations: what is wrong with them is noted.
    """
    path = header.path.with_suffix("." + annotator)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        refuse_lfs_pointer(path, file.read(256))
    try:
        every = _decode_annotations(path, factor, notes=notes)
    except RecordFileError as error:
        notes.append(f"annotations left out: {error}")
        return None
    beyond = int((every.samples >= stop).sum()) if whole else 0
    if beyond:
        notes.append(f"{beyond} annotations beyond the end of the signal left out ({path.name})")
    return every.crop(start, stop)


def _decode_annotations(path: Path, factor: int, *, notes: list[str]) -> Annotations:
    """All annotations of a file.

    Raises:
        RecordFileError: If it is no file of annotations, or is damaged.
    """
    content = path.read_bytes()
    if b"\0" not in content:
        raise RecordFileError(f"{path.name} is no WFDB annotation file: it holds text.")
    import wfdb

    try:
        marks = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
    # wfdb has no specific error class: damaged files raise IndexError, KeyError, ValueError ...
    except Exception as error:
        raise RecordFileError(f"{path.name} cannot be read ({type(error).__name__}: {error}).") from error
    if not content.endswith(b"\0\0"):
        notes.append(f"{path.name} does not end as an annotation file does: it may be cut off")
    aux = [text.rstrip("\0") for text in marks.aux_note]
    return Annotations(np.asarray(marks.sample, dtype=np.int64) * factor, marks.symbol, aux)
