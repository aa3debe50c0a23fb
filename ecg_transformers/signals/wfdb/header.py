"""WFDB headers: a tolerant parser of `.hea` files that validates every field.

Grammar (WFDB Applications Guide, header(5)):

    name[/segments] signals rate[/...] [samples] [time] [date]
    file format[xN][:skew][+offset] [gain[(baseline)][/units]] [resolution] [zero] [initial] [checksum] [block] [name]

with one line per signal, and comments after `#`. Deviations that occur in published corpora and are unambiguous are
accepted (byte-order mark, Latin-1, any line ending, blank lines, date before time, `.mat` in the record name);
everything else is a RecordFileError with file and line.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ...errors import RecordFileError
from ..record import MAX_SAMPLING_RATE, MIN_SAMPLING_RATE

__all__ = ["WfdbHeader", "WfdbSegment", "WfdbSignal", "read_header", "refuse_lfs_pointer"]

# A header of a thousand segments has 30 kB; a larger file is not a header.
_MAX_HEADER_BYTES = 4 << 20
# WFDB: "gain 0 or missing: uncalibrated, 200 units per mV".
_UNCALIBRATED_GAIN = 200.0
_LFS_MARK = b"version https://git-lfs"

_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?")
_GAIN = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)(?:\(([-+]?\d{1,10})\))?(?:/(\S+))?")
_RATE = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)(?:/\S*)?")
_INTEGER = re.compile(r"[-+]?\d{1,15}")
_TIME = re.compile(r"\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d+)?)?")
# 16/05/2014 (WFDB), 2014-05-16 (CinC 2017), 12-May-2020 (Challenge 2020). Not strptime: its months follow the locale.
_DATES = (
    re.compile(r"(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{4})"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
    re.compile(r"(?P<day>\d{1,2})-(?P<month>[A-Za-z]{3})-(?P<year>\d{4})"),
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FACT = re.compile(r"(?<![A-Za-z])(age|sex|gender|dx)\s*>?\s*:\s*([^<]*)", re.IGNORECASE)
_AGE_SEX = re.compile(r"(-?\d{1,3}) ([MF?])\b")


class WfdbSignal(NamedTuple):
    """One signal line.

    Attributes:
        line: Line number in the file, for error messages.
        file_name: Name of the signal file.
        format: WFDB sample format (16, 212, ...).
        samples_per_frame: Samples of this signal per frame.
        skew: Delay of the signal in the file, in frames.
        byte_offset: Offset of the first sample in the file, in bytes.
        gain: Raw units per physical unit; 200 if the header has 0 or none (then `calibrated` is False).
        baseline: Raw value that corresponds to 0.
        units: Physical unit as written, or None.
        calibrated: Whether the header has a gain.
        initial_value: First sample according to the header, or None.
        checksum: 16-bit sum of all samples according to the header, or None.
        name: Lead name as written, or None.
    """

    line: int
    file_name: str
    format: int
    samples_per_frame: int
    skew: int
    byte_offset: int
    gain: float
    baseline: int
    units: str | None
    calibrated: bool
    initial_value: int | None
    checksum: int | None
    name: str | None


class WfdbSegment(NamedTuple):
    """One segment of a multi-segment record; `name` is None for a gap without samples."""

    name: str | None
    num_samples: int


@dataclass(frozen=True)
class WfdbHeader:
    """Validated content of a `.hea` file.

    Args:
        path: Header file.
        name: Name of the record, from the file name.
        written_name: Name of the record in the record line.
        sampling_rate: Frames per second (Hz).
        num_samples: Number of frames, or None if the header omits it or states 0.
        signals: Signals; empty for a multi-segment record.
        segments: Segments of a multi-segment record, otherwise empty.
        base_date: Date of the recording, or None.
        base_time: Time of day as written, or None.
        comments: Comments without `#`.
        age: Age in years, or None.
        sex: `"male"`, `"female"` or None.
        labels: Codes of a `Dx:` comment.
        notes: Repairs and suspicious findings.
    """

    path: Path
    name: str
    written_name: str
    sampling_rate: float
    num_samples: int | None
    signals: tuple[WfdbSignal, ...]
    segments: tuple[WfdbSegment, ...] = ()
    base_date: date | None = None
    base_time: str | None = None
    comments: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    labels: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def refuse_lfs_pointer(path: Path, start: bytes) -> None:
    """Raise RecordFileError if `start` is the beginning of a Git LFS pointer instead of the file itself."""
    if start.startswith(_LFS_MARK):
        found = re.search(rb"size (\d{1,18})", start)
        size = f" ({int(found[1])} bytes)" if found else ""
        raise RecordFileError(
            f"{path} is a Git LFS pointer, not the file itself{size}: the copy was made without its large files. "
            "Fetch them with `git lfs pull`, or download the file."
        )


def header_path(path: str | Path) -> Path:
    """The `.hea` file for the path of a record, its header or its signal file.

    Raises:
        RecordFileError: If there is none.
    """
    path = Path(path)
    if path.suffix.casefold() == ".hea":
        candidates = [path]
    else:
        candidates = [path.with_name(path.name + suffix) for suffix in (".HEA", ".hea")]
        candidates += [path.with_suffix(suffix) for suffix in (".HEA", ".hea")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise RecordFileError(f"there is no header {candidates[-1]}; a WFDB record needs it next to its signal file.")


def read_header(path: str | Path) -> WfdbHeader:
    """Read and validate the header of a WFDB record, without opening signal files.

    Args:
        path: `.hea` file, record path without suffix, or signal file.

    Raises:
        RecordFileError: If the header is missing, empty, truncated or invalid.
    """
    path = header_path(path)
    lines, comments = _split_lines(path)
    if not lines:
        raise RecordFileError(f"{path} is an empty header: no record line was found. Copy the file again.")
    number, line = lines[0]
    fields, notes = _record_line(path, number, line)
    segments_stated, signals_stated = fields.pop("num_segments"), fields.pop("num_signals")
    body = lines[1:]
    signals: tuple[WfdbSignal, ...] = ()
    segments: tuple[WfdbSegment, ...] = ()
    if segments_stated is None:
        _check_count(path, body, signals_stated, "signal")
        signals = tuple(_signal_line(path, number, line) for number, line in body)
    else:
        _check_count(path, body, segments_stated, "segment")
        segments = tuple(_segment_line(path, number, line) for number, line in body)
    # WFDB: 0 samples means that the number is not known. A layout segment, which names no file, really has none.
    files = {signal.file_name for signal in signals} - {"~"}
    if fields["num_samples"] == 0 and (segments or files):
        fields["num_samples"] = None
        if files and not any(_has_bytes(path.with_name(file)) for file in files):
            raise _fail(path, number, f"the record is empty: it states 0 samples, and {min(files)} holds none.")
    name = path.stem
    if fields["written_name"] != name:
        notes.append(f"the header names the record {fields['written_name']}, its file {name}")
    facts, fact_notes = _facts(comments)
    return WfdbHeader(
        path=path,
        name=name,
        signals=signals,
        segments=segments,
        comments=tuple(comments),
        notes=notes + fact_notes,
        **fields,
        **facts,
    )


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _split_lines(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """Numbered lines that are neither blank nor comments, and the comments."""
    size = path.stat().st_size
    if size > _MAX_HEADER_BYTES:
        raise RecordFileError(f"{path} has {size} bytes; expected a WFDB header, a text of a few kB.")
    content = path.read_bytes()
    refuse_lfs_pointer(path, content)
    if b"\0" in content:
        raise RecordFileError(f"{path} holds zero bytes; expected a WFDB header, which is text.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines, comments = [], []
    # str.splitlines would also split at U+0085, the second byte of a letter in wrongly decoded text.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped[1:].strip())
        elif stripped:
            lines.append((number, stripped))
    return lines, comments


def _fail(path: Path, number: int, problem: str) -> RecordFileError:
    return RecordFileError(f"{path}, line {number}: {problem}")


def _check_count(path: Path, body: list[tuple[int, str]], stated: int, what: str) -> None:
    """Reject a number of lines that differs from the record line."""
    if len(body) < stated:
        # The last line may be cut off in the middle; complete lines count.
        complete = len(body) if what == "segment" else sum(_is_complete(path, number, line) for number, line in body)
        raise RecordFileError(
            f"{path} is cut off: {complete} complete {what} lines of {stated} were found. Copy the file again."
        )
    if len(body) > stated:
        number, line = body[stated]
        raise _fail(path, number, f"{line[:60]!r} follows the {stated} {what} lines announced; expected a comment (#).")


def _record_line(path: Path, number: int, line: str) -> tuple[dict, list[str]]:
    """Fields of the record line, and notes."""
    # A renamed record may have blanks in its name.
    name = _leading_name(path.name, line) or line.split(maxsplit=1)[0]
    tokens = line[len(name) :].split()
    segments = None
    if found := re.fullmatch(r"(.+)/(\d{1,6})", name):
        name, segments = found[1], int(found[2])
    written = re.sub(r"\.(?:mat|hea|dat)$", "", name, flags=re.IGNORECASE)
    if not tokens or not re.fullmatch(r"\d{1,5}", tokens[0]):
        written = repr(tokens[0]) if tokens else "missing"
        raise _fail(
            path, number, f"the number of signals is {written}; expected a record line like 'name 12 500 5000'."
        )
    count = int(tokens.pop(0))
    if count == 0 or segments == 0:
        raise _fail(path, number, "the record has no signals; expected at least one.")
    if not tokens:
        raise _fail(path, number, "the sampling rate is missing; expected it after the number of signals.")
    match = _RATE.fullmatch(tokens[0])
    rate = float(match[1]) if match else math.nan
    if not MIN_SAMPLING_RATE <= rate <= MAX_SAMPLING_RATE:
        limits = f"{MIN_SAMPLING_RATE:g} to {MAX_SAMPLING_RATE:g}"
        raise _fail(path, number, f"the sampling rate is {tokens[0]!r}; expected a number of Hz from {limits}.")
    tokens.pop(0)
    samples = None
    if tokens and not _is_moment(tokens[0]):
        if not re.fullmatch(r"\d{1,15}", tokens[0]):
            raise _fail(path, number, f"the number of samples is {tokens[0]!r}; expected a whole number.")
        samples = int(tokens.pop(0))
    moment, notes = _moment(tokens)
    values: dict = {"written_name": written, "num_segments": segments, "num_signals": count, "num_samples": samples}
    values["sampling_rate"] = int(rate) if rate.is_integer() else rate
    return values | moment, notes


def _is_moment(token: str) -> bool:
    return bool(_TIME.fullmatch(token)) or any(pattern.fullmatch(token) for pattern in _DATES)


def _moment(tokens: list[str]) -> tuple[dict, list[str]]:
    """Time and date in either order, and a note on anything else."""
    moment: dict = {"base_time": None, "base_date": None}
    unknown = []
    for token in tokens:
        if _TIME.fullmatch(token):
            moment["base_time"] = token
        elif day := _date(token):
            moment["base_date"] = day
        else:
            unknown.append(token)
    notes = [f"the record line ends with {' '.join(unknown)[:60]!r}, which is not understood"] if unknown else []
    return moment, notes


def _date(token: str) -> date | None:
    """Date in a token, or None."""
    found = next(filter(None, (pattern.fullmatch(token) for pattern in _DATES)), None)
    if found is None:
        return None
    month = found["month"].casefold()
    try:
        return date(int(found["year"]), int(month) if month.isdigit() else _MONTHS.index(month) + 1, int(found["day"]))
    except ValueError:
        return None


def _segment_line(path: Path, number: int, line: str) -> WfdbSegment:
    tokens = line.split()
    if len(tokens) < 2 or not re.fullmatch(r"\d{1,15}", tokens[1]):
        raise _fail(path, number, f"{line[:60]!r} is no segment line; expected a segment's name and number of samples.")
    if tokens[0] != "~":
        _check_plain_name(path, number, tokens[0], what="segment")
    return WfdbSegment(None if tokens[0] == "~" else tokens[0], int(tokens[1]))


@lru_cache(maxsize=64)
def _is_plain_name(name: str) -> bool:
    """Whether a file name stays in its folder; in WFDB "-" is standard input and "~" is no file."""
    return not re.search(r'[/\\:*?"<>|\0]', name) and name not in (".", "..", "-", "~")


def _check_plain_name(path: Path, number: int, name: str, *, what: str = "signal file") -> None:
    if not _is_plain_name(name):
        raise _fail(path, number, f"the {what} is named {name[:80]!r}; expected a plain name in the header's folder.")


def _is_complete(path: Path, number: int, line: str) -> bool:
    """Whether a signal line is complete up to the lead name."""
    try:
        return _signal_line(path, number, line).name is not None
    except RecordFileError:
        return False


def _signal_line(path: Path, number: int, line: str) -> WfdbSignal:
    """Parse a signal line and validate every field."""
    tokens = line.split()
    # The file of a renamed record may have blanks in its name.
    blanks = _leading_name(path.name, line).count(" ") if " " in path.name else 0
    file_name = " ".join(tokens[: blanks + 1])
    tokens = tokens[blanks + 1 :]
    # "~" means no file, in the layout segment of a variable-layout record.
    if file_name != "~":
        _check_plain_name(path, number, file_name)
    layout = _format(tokens[0]) if tokens else None
    if not layout:
        found = repr(tokens[0]) if tokens else "missing"
        raise _fail(path, number, f"the format of {file_name} is {found}; expected a WFDB format such as 16 or 212.")
    if layout.samples_per_frame == 0:
        raise _fail(path, number, "the signal has 0 samples per frame; expected at least 1.")
    gain, baseline, units, fields_end = 0.0, None, None, 1
    if len(tokens) > 1:
        calibration = _gain(tokens[1])
        if calibration is None:
            raise _fail(path, number, f"the gain is {tokens[1]!r}; expected a finite number in a form like 1000(0)/mV.")
        (gain, baseline, units), fields_end = calibration, 2
    numbers = [_integer(token) for token in tokens[fields_end : fields_end + 5]]
    if None in numbers:
        # Trailing fields may be omitted before the name, but a name does not start like a number.
        del numbers[numbers.index(None) :]
        token = tokens[fields_end + len(numbers)]
        if token[0] in "+-0123456789":
            what = ("resolution", "zero level", "initial value", "checksum", "block size")[len(numbers)]
            raise _fail(path, number, f"the {what} is {token!r}; expected a whole number.")
    zero, initial, checksum = (*numbers, None, None, None, None)[1:4]
    return WfdbSignal(
        line=number,
        file_name=file_name,
        format=layout.format,
        samples_per_frame=layout.samples_per_frame,
        skew=layout.skew,
        byte_offset=layout.byte_offset,
        gain=gain or _UNCALIBRATED_GAIN,
        baseline=(zero or 0) if baseline is None else baseline,
        units=units,
        calibrated=gain != 0.0,
        initial_value=initial,
        checksum=checksum,
        name=" ".join(tokens[fields_end + len(numbers) :]) or None,
    )


class _Format(NamedTuple):
    format: int
    samples_per_frame: int
    skew: int
    byte_offset: int


# These fields repeat across lines and records of a corpus: caching halves the time per header.
@lru_cache(maxsize=256)
def _format(token: str) -> _Format | None:
    found = _FORMAT.fullmatch(token)
    return found and _Format(int(found[1]), int(found[2] or 1), int(found[3] or 0), int(found[4] or 0))


@lru_cache(maxsize=256)
def _gain(token: str) -> tuple[float, int | None, str | None] | None:
    """Gain, baseline and unit, or None for an invalid field."""
    found = _GAIN.fullmatch(token)
    if not found or not math.isfinite(float(found[1])):
        return None
    return float(found[1]), None if found[2] is None else int(found[2]), found[3]


@lru_cache(maxsize=4096)
def _integer(token: str) -> int | None:
    return int(token) if _INTEGER.fullmatch(token) else None


def _leading_name(header_name: str, line: str) -> str:
    """Prefix of a line that equals the name of the header, if that name contains blanks; otherwise ""."""
    stem = header_name[: -len(".hea")]
    return stem if " " in stem and line.startswith(stem) else ""


def _facts(comments: list[str]) -> tuple[dict, list[str]]:
    """Age, sex and diagnosis codes in the comments of Challenge, PTB, INCART and MIT-BIH headers."""
    facts: dict = {"age": None, "sex": None, "labels": ()}
    notes = []
    for comment in comments:
        for key, text in _FACT.findall(comment):
            text, key = text.strip(), key.casefold()
            if key == "age":
                facts["age"], note = _age(text)
                notes += note
            elif key in ("sex", "gender"):
                facts["sex"] = _sex(text)
            else:
                facts["labels"] = tuple(dict.fromkeys(code.strip() for code in text.split(",") if code.strip()))
                if not facts["labels"]:
                    notes.append("the diagnosis (Dx) is empty: labels unknown")
    if comments and (found := _AGE_SEX.match(comments[0])):
        facts["age"], facts["sex"] = _age(found[1])[0], _sex(found[2])
    return facts, notes


def _age(text: str) -> tuple[float | None, list[str]]:
    """Age in years; None for NaN, -1 and text; an implausible age is dropped with a note."""
    try:
        age = float(text)
    except ValueError:
        return None, []
    if not math.isfinite(age) or age == -1:
        return None, []
    return (age, []) if 0 <= age <= 130 else (None, [f"the age {text} is implausible and was dropped"])


def _sex(text: str) -> str | None:
    return {"m": "male", "f": "female"}.get(text[:1].casefold())
