"""Piecewise access to recordings of any length."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from inspect import signature
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..errors import RecordFileError
from ..signals.formats.readers import read_record
from ..signals.record import EcgRecord
from ..signals.wfdb.read import WfdbHeader, read_header, read_wfdb

__all__ = ["LongRecording", "open_recording"]

logger = logging.get_logger(__name__)

# Arguments of `read_record` with which a WFDB record is read piece by piece.
_PIECEWISE = frozenset(signature(read_wfdb).parameters) - {"path", "start", "stop", "annotator"}


@dataclass(frozen=True)
class LongRecording:
    """A recording that is read piece by piece.

    Args:
        name: Name of the recording.
        sampling_rate: Sampling rate in Hz.
        num_samples: Samples per lead.
        start_time: Start, if the header has a date.
        piece: Reads the samples from the first number up to, not including, the second.
    """

    name: str
    sampling_rate: float
    num_samples: int
    start_time: datetime | None
    piece: Callable[[int, int], EcgRecord]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate

    def place(self, start: float, end: float) -> dict[str, Any]:
        """Return name, start, end and time of day of a window.

        Args:
            start: Start in seconds.
            end: End in seconds.
        """
        begin = None if self.start_time is None else self.start_time + timedelta(seconds=start)
        return {"record": self.name, "start": start, "end": end, "time": begin}


def open_recording(source: str | Path | EcgRecord, **reading: Any) -> LongRecording:
    """Open a recording for piecewise reading.

    WFDB records are read piece by piece; every other format is read into memory first.

    Args:
        source: Path of a recording, or an EcgRecord.
        **reading: As in `read_record`.

    Raises:
        RecordFileError: The file cannot be read.
    """
    if isinstance(source, EcgRecord):
        record = source
    elif (header := _wfdb_header(Path(source), reading)) is not None and header.num_samples is not None:
        return _wfdb_recording(header, header.num_samples, reading)
    else:
        record = read_record(source, **reading)
        logger.warning_once(f"{record.name} is read into memory: only WFDB records are read piece by piece.")

    def cut(start: int, stop: int) -> EcgRecord:
        return EcgRecord(record.signal[:, start:stop], record.sampling_rate, leads=record.leads, name=record.name)

    return LongRecording(record.name, record.sampling_rate, record.num_samples, None, cut)


def _wfdb_recording(header: WfdbHeader, num_frames: int, reading: dict[str, Any]) -> LongRecording:
    """A WFDB record; only its header is in memory."""
    reading = {name: value for name, value in reading.items() if value is not None}

    def read(start: int, stop: int) -> EcgRecord:
        return read_wfdb(header.path, start=start, stop=stop, annotator=None, **reading)

    probe = read(0, min(num_frames, 64))
    # A header states frames; a frame may hold several samples of a lead.
    factor = round(probe.sampling_rate / header.sampling_rate)
    began = _start_time(header.base_date, header.base_time)
    return LongRecording(header.name, probe.sampling_rate, num_frames * factor, began, read)


def _wfdb_header(path: Path, reading: dict[str, Any]) -> WfdbHeader | None:
    """Header of a WFDB record that can be read piece by piece; None for any other input."""
    if any(value is not None and name not in _PIECEWISE for name, value in reading.items()):
        return None
    if not (
        path.suffix == ".hea" or path.with_name(path.name + ".hea").is_file() or path.with_suffix(".hea").is_file()
    ):
        return None
    header = read_header(path)
    if header.num_samples is None:
        return None
    if header.num_samples < 1:
        raise RecordFileError(f"{header.path} states no samples; expected a recording.")
    return header


def _start_time(day: date | None, clock: str | None) -> datetime | None:
    """Start from date and time of a header; None without a date or with an invalid time."""
    if day is None:
        return None
    hours, minutes, seconds = (*(clock or "0:0:0").split(":"), "0")[:3]
    try:
        moment = datetime.combine(day, time(int(hours), int(minutes), int(float(seconds))))
    except ValueError:
        return None
    return moment + timedelta(seconds=float(seconds) % 1)
