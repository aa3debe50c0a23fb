"""Signal files of a WFDB record: located, checked against the header before reading, and decoded.

Formats 16 (also in the MATLAB v4 container of the PhysioNet Challenges), 61 (16 with swapped bytes) and 212 are decoded
here, all others by `wfdb`, with a validated header.
"""

import os
import shutil
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import RecordFileError
from .header import WfdbHeader, WfdbSignal, refuse_lfs_pointer

__all__ = ["INVALID_SAMPLE", "SignalFile", "check_signal_files", "decode"]

# Bytes per sample on disk as a fraction (WFDB signal(5)); formats 310 and 311 put three samples into four bytes.
_BYTES = {8: (1, 1), 16: (2, 1), 24: (3, 1), 32: (4, 1), 61: (2, 1), 80: (1, 1), 160: (2, 1), 212: (3, 2)}
_BYTES |= {310: (4, 3), 311: (4, 3)}
_DIRECT = (16, 61, 212)
_FLAC = (508, 516, 524)
# A FLAC frame of constant samples takes 14 bytes for up to 65,535 samples per channel: the maximum per byte.
_MAX_FLAC_SAMPLES_PER_BYTE = 65535 / 14
# Code of an invalid sample; format 8 has none.
INVALID_SAMPLE = {16: -(1 << 15), 24: -(1 << 23), 32: -(1 << 31), 61: -(1 << 15), 80: -(1 << 7), 160: -(1 << 15)}
INVALID_SAMPLE |= {212: -(1 << 11), 310: -(1 << 9), 311: -(1 << 9), 508: -(1 << 7), 516: -(1 << 15), 524: -(1 << 23)}


class SignalFile(NamedTuple):
    """A signal file that is consistent with its header.

    Attributes:
        path: File.
        signals: Interleaved signals, in order.
        columns: First column of each signal in a frame, followed by the width of a frame.
        num_frames: Number of frames to read.
        held_frames: Number of frames in the file; more than `num_frames` if the header describes fewer.
    """

    path: Path
    signals: tuple[WfdbSignal, ...]
    columns: tuple[int, ...]
    num_frames: int
    held_frames: int


def check_signal_files(header: WfdbHeader, *, allow_truncated: bool, notes: list[str]) -> list[SignalFile]:
    """Locate the signal files and check their sizes against the header.

    Args:
        header: Header of a record of one segment.
        allow_truncated: Whether to use the complete frames of a truncated file, with a note.
        notes: Receives notes on repairs.

    Raises:
        RecordFileError: If a file is missing, a Git LFS pointer, truncated, or inconsistent with the header.
    """
    groups: dict[str, list[WfdbSignal]] = {}
    for signal in header.signals:
        groups.setdefault(signal.file_name, []).append(signal)
    files = [_check_file(header, tuple(group), allow_truncated, notes) for group in groups.values()]
    if len({file.num_frames for file in files}) > 1:
        found = ", ".join(f"{file.path.name}: {file.num_frames}" for file in files)
        raise RecordFileError(f"{header.path}: its signal files hold different numbers of samples ({found}).")
    return files


def _check_file(
    header: WfdbHeader, group: tuple[WfdbSignal, ...], allow_truncated: bool, notes: list[str]
) -> SignalFile:
    first = group[0]
    layout = (first.format, first.byte_offset)
    for signal in group:
        if (signal.format, signal.byte_offset) != layout:
            raise RecordFileError(
                f"{header.path}, line {signal.line}: format {signal.format}+{signal.byte_offset} in a file of format "
                f"{layout[0]}+{layout[1]}; expected one format per signal file."
            )
    if first.format not in _BYTES and first.format not in _FLAC:
        known = ", ".join(map(str, sorted((*_BYTES, *_FLAC))))
        raise RecordFileError(
            f"{header.path}, line {first.line}: format {first.format} is unknown; expected one of {known}."
        )
    path = _find_file(header, first.file_name, notes)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(256)
    refuse_lfs_pointer(path, start)
    columns = [0]
    for signal in group:
        columns.append(columns[-1] + signal.samples_per_frame)
    if first.byte_offset and path.suffix.casefold() == ".mat":
        _check_container(header, path, start, rows=columns[-1])
    if first.format in _FLAC:
        held = _flac_frames(header, path, start, size, group)
    else:
        held = _held_frames(first.format, size - first.byte_offset, columns[-1], header.num_samples)
    stated = held if header.num_samples is None else header.num_samples
    if held == 0 and header.num_samples is None:
        raise RecordFileError(
            f"{header.path} is empty: it states no number of samples, and {path.name} holds 0 samples ({size} bytes)."
        )
    if held == 0 or (stated > held and not allow_truncated):
        expected = ""
        if first.format in _BYTES:
            expected = f" of {first.byte_offset + _num_bytes(first.format, stated * columns[-1])}"
        cure = "" if held == 0 else " Set allow_truncated=True to read the samples that are there."
        raise RecordFileError(
            f"{path} holds {size}{expected} bytes, {held} whole samples per lead; {header.path.name} states {stated}. "
            f"The copy is incomplete: copy it again.{cure}"
        )
    if header.num_samples is None:
        notes.append(f"the header states no number of samples: {held} by the size of {path.name}")
    if stated > held:
        notes.append(f"{path.name} is cut off: {held} of {stated} samples")
    elif held > stated:
        notes.append(f"{path.name} holds {held} samples, the header describes {stated}")
    return SignalFile(path, group, tuple(columns), min(stated, held), held)


def _num_bytes(format: int, num_samples: int) -> int:
    """Bytes of so many samples; an incomplete last group (212, 310, 311) is rounded up to bytes."""
    numerator, denominator = _BYTES[format]
    return -(-num_samples * numerator // denominator)


def _held_frames(format: int, num_bytes: int, width: int, stated: int | None) -> int:
    """Number of complete frames of `width` samples in so many bytes."""
    numerator, denominator = _BYTES[format]
    samples = max(num_bytes, 0) * denominator // numerator
    # Formats 212, 310, 311 pad the last group of samples, which does not add a frame.
    if stated is not None and stated * width <= samples and num_bytes <= -(-stated * width // denominator) * numerator:
        return stated
    return samples // width


def _find_file(header: WfdbHeader, name: str, notes: list[str]) -> Path:
    """The signal file under its name, or renamed together with the header, or in another letter case."""
    folder = header.path.parent
    path = folder / name
    if path.is_file():
        return path
    if path.exists():
        raise RecordFileError(f"{path} is not a regular file; expected the signal file of {header.path.name}.")
    renamed = folder / (header.name + path.suffix)
    if path.stem == header.written_name and renamed.is_file():
        notes.append(f"read {renamed.name} in place of {name}, which is not there")
        return renamed
    if folder.is_dir():
        for other in os.listdir(folder):
            if other.casefold() == name.casefold() and (folder / other).is_file():
                notes.append(f"read {other} in place of {name} (other letter case)")
                return folder / other
    raise RecordFileError(f"{header.path} names the signal file {name}, and {path} is not there. Copy it there.")


def _check_container(header: WfdbHeader, path: Path, start: bytes, *, rows: int) -> None:
    """Check the MATLAB v4 header before the samples against the WFDB header."""
    if start.startswith(b"MATLAB "):
        raise RecordFileError(
            f"{path} was saved again as a newer MATLAB file ({start[:10].decode('latin-1')}); {header.path.name} "
            "describes a version 4 file. Fetch the original, or read the .mat without the header."
        )
    if len(start) >= 20:
        kind, found_rows, _, imaginary, _ = struct.unpack("<5i", start[:20])
        # 30: little-endian, int16; the only kind whose samples are format 16.
        if kind != 30 or imaginary != 0 or found_rows != rows:
            raise RecordFileError(
                f"{path} is a MATLAB matrix of kind {kind} with {found_rows} rows; {header.path.name} describes 16-bit "
                f"samples (kind 30) of {rows} leads."
            )


def _flac_frames(header: WfdbHeader, path: Path, start: bytes, size: int, group: tuple[WfdbSignal, ...]) -> int:
    """Number of frames in a FLAC file, from its stream information, which must agree with the WFDB header."""
    if start[:4] != b"fLaC" or len(start) < 42:
        raise RecordFileError(f"{path} begins with {start[:4]!r}; expected a FLAC stream (format {group[0].format}).")
    # STREAMINFO: 20 bits rate, 3 bits channels - 1, 5 bits bits - 1, 36 bits samples, at byte 18.
    packed = int.from_bytes(start[18:26], "big")
    channels, samples = ((packed >> 41) & 7) + 1, packed & ((1 << 36) - 1)
    if channels != len(group):
        raise RecordFileError(f"{path} has {channels} channels; {header.path.name} describes {len(group)}.")
    if samples * channels > size * _MAX_FLAC_SAMPLES_PER_BYTE:
        raise RecordFileError(f"{path} states {channels} x {samples} samples, more than {size} bytes can hold.")
    return max(samples - group[0].byte_offset, 0) // group[0].samples_per_frame


def decode(file: SignalFile, signals: Sequence[WfdbSignal], start: int, stop: int, header: WfdbHeader) -> np.ndarray:
    """Raw samples `[start, stop)` of some signals of a file.

    Args:
        file: Checked file.
        signals: Signals to decode, all with the same `samples_per_frame`.
        start: First sample, at the rate of the signals.
        stop: End of the range (exclusive).
        header: Header of the record.

    Returns:
        Integers `(len(signals), stop - start)`, C-contiguous; int16 for formats 16, 61 and 212.
    """
    factor = signals[0].samples_per_frame
    first, last = start // factor, -(-stop // factor)
    if file.signals[0].format in _DIRECT and not any(signal.skew for signal in file.signals):
        frames = _decode_directly(file, first, last)
        columns = [file.columns[file.signals.index(signal)] for signal in signals]
        if factor == 1:
            chosen = frames if columns == list(range(file.columns[-1])) else frames[:, columns]
            return np.ascontiguousarray(chosen.T)
        rows = [frames[:, column : column + factor].reshape(-1) for column in columns]
    else:
        rows = _decode_with_wfdb(file, signals, first, last, header)
    return np.stack(rows)[:, start - first * factor : stop - first * factor]


def _decode_directly(file: SignalFile, first: int, last: int) -> np.ndarray:
    """Frames `[first, last)` of format 16, 61 or 212 as int16 `(frames, width)`."""
    width, format, offset = file.columns[-1], file.signals[0].format, file.signals[0].byte_offset
    begin, count = first * width, (last - first) * width
    with file.path.open("rb") as stream:
        if format in (16, 61):
            stream.seek(offset + 2 * begin)
            samples = np.fromfile(stream, dtype="<i2" if format == 16 else ">i2", count=count)
            samples = samples.astype(np.int16, copy=False)
        else:
            # Two samples in three bytes: low byte, high nibbles of both, low byte. A range may start within a pair.
            pairs = (begin + count + 1) // 2 - begin // 2
            stream.seek(offset + 3 * (begin // 2))
            packed = np.zeros(3 * pairs, dtype=np.uint8)
            content = np.fromfile(stream, dtype=np.uint8, count=3 * pairs)
            packed[: content.size] = content
            low, middle, high = packed.reshape(-1, 3).T.astype(np.int16)
            samples = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1).reshape(-1)
            samples = samples[begin % 2 : begin % 2 + count]
            samples = (samples ^ 0x800) - 0x800  # sign of the 12-bit number
    if samples.size != count:
        raise RecordFileError(f"{file.path} became shorter while it was read.")
    return samples.reshape(-1, width)


def _decode_with_wfdb(
    file: SignalFile, signals: Sequence[WfdbSignal], first: int, last: int, header: WfdbHeader
) -> list[np.ndarray]:
    """Frames `[first, last)` of the signals, decoded by wfdb, one array per signal."""
    import wfdb

    # wfdb reads the header from disk: write one with the validated fields only.
    lines = [f"record {len(file.signals)} {header.sampling_rate} {file.num_frames}"]
    for number, signal in enumerate(file.signals):
        layout = f"{signal.format}x{signal.samples_per_frame}:{signal.skew}+{signal.byte_offset}"
        lines.append(f"samples.dat {layout} 1(0)/mV 16 0 {signal.initial_value or 0} 0 0 s{number}")
    # Format 8 stores differences, so that a range needs everything before it.
    begin = 0 if file.signals[0].format == 8 else first
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "record.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
        samples = Path(folder, "samples.dat")
        try:
            samples.symlink_to(file.path.resolve())
        except OSError:
            shutil.copyfile(file.path, samples)
        try:
            record = wfdb.rdrecord(
                str(Path(folder, "record")),
                sampfrom=begin,
                sampto=last,
                channels=[file.signals.index(signal) for signal in signals],
                physical=False,
                smooth_frames=False,
            )
            rows = [np.asarray(row) for row in record.e_d_signal]
        # wfdb has no specific error class: damaged files raise IndexError, KeyError, LibsndfileError ...
        except Exception as error:
            raise RecordFileError(
                f"{file.path} (format {file.signals[0].format}) cannot be decoded: {type(error).__name__}: {error}"
            ) from error
    factor = signals[0].samples_per_frame
    if any(row.shape != ((last - begin) * factor,) for row in rows):
        raise RecordFileError(f"{file.path} holds fewer samples than {header.path} states.")
    return [row[(first - begin) * factor :] for row in rows]
