"""One ECG recording: signal in mV, sampling rate, lead names and metadata."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeadError, RecordFileError, SignalError
from .digital import to_millivolts, without_marks
from .leads import canonical_leads, lead_indices, listed

__all__ = [
    "MAX_SAMPLING_RATE",
    "MIN_SAMPLING_RATE",
    "OTHER_QUANTITIES",
    "Annotations",
    "EcgRecord",
    "check_sampling_rate",
    "is_unit",
    "unit_scale",
]

# Hz; ten times the rate of the fastest research recorders. A larger number is a mistake (a sample count, a time in ms).
MAX_SAMPLING_RATE = 1e5
# Hz; below it no beat is resolved, and resampling from 1e-300 Hz would exhaust any memory.
MIN_SAMPLING_RATE = 1.0

_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_MILLIVOLTS |= {"nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3}
# "uV", "0.1 uV", "4.88 uV/LSB": how much one unit of the values is.
_UNIT = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)?\s*(?P<unit>[a-z]+)\s*(?:/\s*(?:lsb|bit|digit|count|adu))?"
)
# Lower-case units of the other signals that a file may hold in addition to the ECG; readers skip these signals.
OTHER_QUANTITIES = frozenset(
    ("mmhg", "cmh2o", "kpa", "bpm", "nu", "%", "pm", "degc", "degf", "deg", "ohm", "ohms", "l", "l/min")
)


def unit_scale(units: str) -> float:
    """Factor that converts values from `units` to mV.

    Args:
        units: `"nV"`, `"uV"`, `"mV"` or `"V"`, in any case, also spelled out; perhaps a multiple: `"4.88 uV/LSB"`.

    Raises:
        SignalError: If the unit is unknown.

    Example:
        >>> unit_scale("uV"), unit_scale("mV"), unit_scale("V")
        (0.001, 1.0, 1000.0)
    """
    scale = _scale(units) if isinstance(units, str) else None
    if scale is not None:
        return scale
    raise SignalError(f"the unit is {units!r}; expected 'mV', 'uV', 'V' or 'nV'. Set units=.")


def is_unit(text: str) -> bool:
    """Whether a text is a unit that `unit_scale` knows."""
    return _scale(text) is not None


@lru_cache(maxsize=64)
def _scale(units: str) -> float | None:
    # Two code points look like the micro sign.
    key = units.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u").casefold()
    found = _UNIT.fullmatch(key)
    scale = found and _MILLIVOLTS.get(found["unit"], _MILLIVOLTS.get(found["unit"].removesuffix("s")))
    number = float((found["number"] or "1").replace(",", ".")) if found else 0.0
    return scale * number if scale and 0 < number < math.inf else None


def check_sampling_rate(sampling_rate: float | None) -> float:
    """Validate a sampling rate in Hz and return it, as int where it is whole, else as float.

    Raises:
        SignalError: If the rate is missing, not a finite number, or not from 1 to 100,000 Hz.
    """
    if sampling_rate is None:
        raise SignalError("the sampling rate is missing; expected a number of Hz. Set sampling_rate=.")
    if isinstance(sampling_rate, bool | np.bool_) or not isinstance(sampling_rate, Real):
        raise SignalError(f"sampling_rate is {sampling_rate!r}; expected a number of Hz.")
    rate = float(sampling_rate)
    if not MIN_SAMPLING_RATE <= rate <= MAX_SAMPLING_RATE:
        limits = f"{MIN_SAMPLING_RATE:g} to {MAX_SAMPLING_RATE:g}"
        raise SignalError(f"sampling_rate is {rate:g} Hz; expected a number from {limits}.")
    return int(rate) if rate.is_integer() else rate


@dataclass(eq=False)
class Annotations:
    """Time-stamped annotations such as beats and rhythm changes.

    Args:
        samples: Sample index of each annotation, int64 `(annotations,)`, in the order of the file.
        symbols: Code of each annotation ("N", "V", "+", ...).
        aux: Text of each annotation ("(AFIB"), or None.
    """

    samples: np.ndarray
    symbols: list[str]
    aux: list[str] | None = None

    def __post_init__(self) -> None:
        """Convert the fields and check that their lengths agree."""
        self.samples = np.atleast_1d(np.asarray(self.samples, dtype=np.int64))
        self.symbols = list(self.symbols)
        self.aux = None if self.aux is None else list(self.aux)
        lengths = {len(self.samples), len(self.symbols), len(self.symbols if self.aux is None else self.aux)}
        if self.samples.ndim != 1 or len(lengths) != 1:
            raise SignalError(
                f"annotations have {self.samples.shape} samples, {len(self.symbols)} symbols and "
                f"{'no' if self.aux is None else len(self.aux)} aux texts; expected one of each per mark."
            )

    def __len__(self) -> int:
        """Number of annotations."""
        return len(self.samples)

    def __repr__(self) -> str:
        """Number of annotations and their symbols."""
        return f"Annotations({len(self)} marks: {' '.join(sorted(set(self.symbols)))})"

    def crop(self, start: int, stop: int) -> "Annotations":
        """Annotations in samples `[start, stop)`, relative to `start`."""
        inside = np.flatnonzero((self.samples >= start) & (self.samples < stop))
        return Annotations(
            self.samples[inside] - start,
            [self.symbols[index] for index in inside],
            None if self.aux is None else [self.aux[index] for index in inside],
        )


@dataclass(eq=False, repr=False)
class EcgRecord:
    """One recording of one patient.

    Args:
        signal: Real numbers `(leads, samples)` in `units`, stored as C-contiguous float32 in mV. A one-dimensional
            array is accepted with exactly one lead name. Missing samples are NaN, masked, or -32768 in 16-bit integers.
        sampling_rate: Hz.
        leads: Name of each lead, stored in canonical spelling; None if unknown.
        units: Unit of `signal`: mV (default), uV, V or nV. The record itself is always in mV.
        name: Name of the record.
        patient_id: Identifier of the patient within the corpus, or None.
        age: Age in years, or None.
        sex: `"male"`, `"female"`, another text, or None.
        labels: Codes of diagnoses, rhythms and other findings.
        annotations: Beats, rhythm changes and the like, or None.
        source: File that the record was read from, or None.
        notes: Repairs, conversions and suspicious findings, one sentence each.

    Raises:
        SignalError: If signal, sampling rate or unit is invalid.
        LeadError: If names are duplicated, or their number differs from the number of leads.

    Example:
        >>> EcgRecord(np.zeros((2, 500)), sampling_rate=250, leads=["I", "II"], units="uV", name="patient7")
        EcgRecord(patient7, 2 leads, 2.0 s at 250 Hz, mV; notes: converted uV -> mV)
    """

    signal: np.ndarray
    sampling_rate: float
    leads: tuple[str, ...] | None = None
    units: InitVar[str] = "mV"
    name: str = ""
    patient_id: str | int | None = None
    age: float | None = None
    sex: str | None = None
    labels: tuple[str, ...] = ()
    annotations: Annotations | None = None
    source: str | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self, units: str) -> None:
        """Check every field and convert the signal to float32 mV."""
        self.name = "" if self.name is None else str(self.name)
        self.notes = [self.notes] if isinstance(self.notes, str) else list(self.notes or ())
        self.labels = (self.labels,) if isinstance(self.labels, str) else tuple(self.labels or ())
        self.source = None if self.source is None else str(self.source)
        self.sampling_rate = check_sampling_rate(self.sampling_rate)
        self.age = _number_or_none(self.age, "age")
        self.sex = _clean_sex(self.sex)
        self.leads = None if self.leads is None else canonical_leads(self.leads)
        self.signal = self._checked_signal(unit_scale(units))
        if unit_scale(units) != 1.0:
            self.notes.append(f"converted {units} -> mV")

    def _checked_signal(self, scale: float) -> np.ndarray:
        """The validated signal as float32 `(leads, samples)` in mV."""
        try:
            signal = np.asanyarray(self.signal)
        # RuntimeError: a tensor on a device, or one that requires gradients.
        except (ValueError, TypeError, RuntimeError) as error:
            raise SignalError(
                f"the signal of {self._title} is not an array: {error}; expected (leads, samples)"
            ) from None
        if signal.dtype.kind not in "iuf":
            raise SignalError(
                f"{self._title} has a signal of type {signal.dtype} and shape {signal.shape}; "
                "expected real numbers of shape (leads, samples)."
            )
        if isinstance(signal, np.ma.MaskedArray):
            signal = np.ma.filled(signal.astype(np.float64), np.nan)
        signal, note = without_marks(signal)
        self.notes += [] if note is None else [note]
        if signal.ndim == 1 and self.leads is not None and len(self.leads) == 1:
            signal = signal[np.newaxis]
        if signal.ndim != 2 or 0 in signal.shape:
            raise SignalError(
                f"{self._title} has a signal of shape {signal.shape}; "
                "expected (leads, samples) with at least one lead and one sample."
            )
        if self.leads is not None and len(self.leads) != signal.shape[0]:
            turned = " The axes seem to be swapped: pass signal.T." if len(self.leads) == signal.shape[1] else ""
            raise LeadError(
                f"{self._title} has {len(self.leads)} lead names ({listed(self.leads)}) and a signal of shape "
                f"{signal.shape}; expected (leads, samples) with one name per lead.{turned}"
            )
        if self.leads is None and signal.shape[0] > signal.shape[1]:
            raise SignalError(
                f"{self._title} has a signal of shape {signal.shape} without lead names; expected (leads, samples), "
                "more samples than leads. Pass signal.T, or name the leads with leads=[...]."
            )
        # Values beyond the range of float32 become infinite; the extractor rejects them like any infinite sample.
        with np.errstate(over="ignore"):
            if scale != 1.0:
                signal = np.multiply(signal, scale, dtype=np.float64)
            return np.ascontiguousarray(signal, dtype=np.float32)

    @property
    def _title(self) -> str:
        return f"record {self.name}" if self.name else "the record"

    @property
    def num_leads(self) -> int:
        """Number of leads."""
        return self.signal.shape[0]

    @property
    def num_samples(self) -> int:
        """Number of samples per lead."""
        return self.signal.shape[1]

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.num_samples / self.sampling_rate

    def __repr__(self) -> str:
        """Name, leads, duration, sampling rate, unit and notes in one line."""
        leads = "1 lead" if self.num_leads == 1 else f"{self.num_leads} leads"
        text = f"{self.name or 'unnamed'}, {leads}, {self.duration:.1f} s at {self.sampling_rate:g} Hz, mV"
        if self.notes:
            text += f"; notes: {'; '.join(self.notes)}"
        return f"EcgRecord({text})"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EcgRecord":
        """Create a record from a mapping whose keys are the arguments of the constructor.

        `signal` and `sampling_rate` are required; None counts as missing. `annotations` may be a mapping with
        `samples`, `symbols` and `aux`. A row of a prepared corpus (`load_records(folder)[0]`), whose signal is flat and
        in the units of `gain` and `baseline`, is taken too.

        Raises:
            SignalError: If a key is unknown, or a required key is missing.
        """
        values = _without_row_columns(values) if {"gain", "baseline"} <= values.keys() else values
        known = [item.name for item in fields(cls)] + ["units"]
        for key in values:
            if key not in known:
                near = get_close_matches(str(key), known, n=1)
                raise SignalError(
                    f"a record has no field {key!r}; expected {', '.join(known)}."
                    + (f" Did you mean {near[0]!r}?" if near else "")
                )
        for key in ("signal", "sampling_rate"):
            if values.get(key) is None:
                keys = ", ".join(map(str, values)) or "none"
                raise SignalError(f"the mapping has no {key!r} (keys: {keys}); expected 'signal' and 'sampling_rate'.")
        arguments = {key: value for key, value in values.items() if value is not None}
        if isinstance(arguments.get("annotations"), Mapping):
            arguments["annotations"] = Annotations(**arguments["annotations"])
        return cls(**arguments)

    def to_dict(self) -> dict[str, object]:
        """All fields by the names of the constructor's arguments; the inverse of `from_dict`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"units": "mV", "notes": list(self.notes)}
        if self.annotations is not None:
            marks = self.annotations
            values["annotations"] = {"samples": marks.samples, "symbols": list(marks.symbols), "aux": marks.aux}
        return values

    def select(self, leads: Sequence[str]) -> "EcgRecord":
        """The record with these leads only, in this order.

        Raises:
            LeadError: If a lead is missing, or the leads of the record have no names.
        """
        if self.leads is None:
            raise LeadError(
                f"{self._title} has {self.num_leads} leads without names. Name them: EcgRecord(..., leads=[...])."
            )
        indices = lead_indices(self.leads, leads)
        return replace(self, signal=self.signal[indices], leads=tuple(self.leads[index] for index in indices))

    def crop(self, start_s: float = 0.0, end_s: float | None = None) -> "EcgRecord":
        """The record from `start_s` to `end_s` seconds, including its annotations.

        Args:
            start_s: Start in seconds.
            end_s: End in seconds; None: end of the record.

        Raises:
            SignalError: If the interval is empty or not inside the record.
        """
        start = round(start_s * self.sampling_rate)
        stop = self.num_samples if end_s is None else round(end_s * self.sampling_rate)
        if not 0 <= start < stop <= self.num_samples:
            end = self.duration if end_s is None else end_s
            raise SignalError(
                f"{self._title} lasts {self.duration:g} s; "
                f"the interval from {start_s:g} to {end:g} s is empty or not inside it."
            )
        annotations = None if self.annotations is None else self.annotations.crop(start, stop)
        return replace(self, signal=self.signal[:, start:stop], annotations=annotations)

    def require_annotations(self) -> Annotations:
        """The annotations, which must exist.

        Raises:
            RecordFileError: If there are none; the message names the file that would hold them.
        """
        if self.annotations is not None:
            return self.annotations
        if unread := [note for note in self.notes if note.startswith("annotations left out")]:
            raise RecordFileError(f"{self._title} has no annotations ({self.source}): {unread[0]}")
        if self.source is not None and self.source.endswith(".hea"):
            path = Path(self.source).with_suffix(".atr")
            raise RecordFileError(f"{self._title} has no annotations: {path} does not exist; copy it there.")
        raise RecordFileError(
            f"{self._title} has no annotations (source: {self.source}). Pass annotations=Annotations(samples, symbols)."
        )


# Columns of a prepared corpus that are no fields of a record.
_ROW_COLUMNS = frozenset(("gain", "baseline", "record_id", "parent_id", "start", "fold", "targets", "invalid_samples"))


def _without_row_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a record from a row of a prepared corpus: its signal as `(leads, samples)` in mV."""
    signal = np.asarray(row["signal"]).reshape(len(row["leads"]), -1)
    # In the formats of NumPy and torch, facts are arrays too.
    row = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in row.items() if key != "signal"}
    marks = {name: row.get(f"annotation_{name}") for name in ("samples", "symbols", "aux")}
    values = {key: value for key, value in row.items() if key not in _ROW_COLUMNS and not key.startswith("annotation_")}
    if unit_scale(values.pop("units", "mV")) != 1.0:
        raise SignalError(f"a row of a corpus is in mV by its gain and baseline, not in {row['units']}. Omit units.")
    if signal.dtype.kind == "i":
        gains, baselines = (np.asarray(row[name], np.float64) for name in ("gain", "baseline"))
        signal = to_millivolts(signal.astype(np.int16), gains, baselines)
    known = row.get("patient_id", -1) >= 0
    values |= {
        "signal": signal,
        "patient_id": row["patient_id"] if known else None,
        "source": row.get("source") or None,
    }
    return values | ({} if marks["samples"] is None else {"annotations": marks})


def _number_or_none(value: float | str | None, what: str) -> float | None:
    """A finite number, or None for a missing value and NaN."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SignalError(f"{what} is {value!r}; expected a number or None.") from None
    return number if math.isfinite(number) else None


def _clean_sex(value: str | None) -> str | None:
    """The sex in one spelling; None if unknown."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return None
    if not isinstance(value, str):
        raise SignalError(
            f"sex is {value!r}; expected 'male', 'female', another text or None (corpora number it differently)."
        )
    text = value.strip().casefold()
    if text in ("", "unknown", "unk", "nan", "none", "n/a", "u"):
        return None
    return {"m": "male", "f": "female"}.get(text, text)
