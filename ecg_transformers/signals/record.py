"""One recording of one patient: signal in mV, sampling rate, leads and what is known about it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeadError, RecordFileError, SignalError
from .leads import canonical_leads, lead_indices

__all__ = [
    "MAX_SAMPLING_RATE",
    "MIN_SAMPLING_RATE",
    "OTHER_QUANTITIES",
    "Annotations",
    "EcgRecord",
    "check_sampling_rate",
    "unit_scale",
]

# Hz; ten times the fastest research recorders. Above it a number is a slip (a count of samples, a time in ms).
MAX_SAMPLING_RATE = 1e5
# Hz; below it nothing of a beat is left, and what is resampled from 1e-300 Hz fills any memory.
MIN_SAMPLING_RATE = 1.0

_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_MILLIVOLTS |= {"nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3}
# Units, in small letters, of what files of several quantities hold beside the ECG: readers leave these signals out.
OTHER_QUANTITIES = frozenset(
    ("mmhg", "cmh2o", "kpa", "bpm", "nu", "%", "pm", "degc", "degf", "deg", "ohm", "ohms", "l", "l/min")
)


def unit_scale(units: str) -> float:
    """The factor that turns a value in these units into mV.

    Raises:
        SignalError: the unit is not one of nV, uV, mV, V.

    Example:
        >>> unit_scale("uV"), unit_scale("mV"), unit_scale("V")
        (0.001, 1.0, 1000.0)
    """
    scale = _scale(units) if isinstance(units, str) else None
    if scale is not None:
        return scale
    raise SignalError(f"the unit is {units!r}; expected 'mV', 'uV', 'V' or 'nV'. Set units=.")


@lru_cache(maxsize=64)
def _scale(units: str) -> float | None:
    # Two code points look like the micro sign.
    key = units.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u").casefold()
    return _MILLIVOLTS.get(key, _MILLIVOLTS.get(key.removesuffix("s")))


def check_sampling_rate(sampling_rate: float | None) -> float:
    """The sampling rate as a float (an int if it is whole), refused unless it is a number from 1 to 100000 Hz.

    Raises:
        SignalError: it is absent, no number, not finite or out of range.
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
    """Marks in time: beats, rhythm changes.

    Args:
        samples: sample index of each mark, int64 `(marks,)`, ascending as in the file.
        symbols: one code per mark ("N", "V", "+", ...).
        aux: one text per mark ("(AFIB"), or None.
    """

    samples: np.ndarray
    symbols: list[str]
    aux: list[str] | None = None

    def __post_init__(self) -> None:
        """Brings the fields into their types and checks that they are equally long."""
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
        """The number of marks."""
        return len(self.samples)

    def __repr__(self) -> str:
        """A short form: how many marks, with which symbols."""
        return f"Annotations({len(self)} marks: {' '.join(sorted(set(self.symbols)))})"

    def crop(self, start: int, stop: int) -> "Annotations":
        """The marks in samples `[start, stop)`, counted from `start`."""
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
        signal: `(leads, samples)`, real numbers, in `units`; kept as float32 in mV, C-contiguous.
            A one-dimensional array is accepted where exactly one lead is named. NaN marks missing samples.
        sampling_rate: Hz.
        leads: a name per lead; kept in canonical spelling. None: the names are not known.
        units: unit of `signal`: mV, uV, V or nV. The record itself is always in mV.
        name: name of the record.
        patient_id: whatever identifies the patient in its corpus.
        age: years, or None.
        sex: "male", "female", another text, or None.
        labels: codes of what the recording shows.
        annotations: marks in time, or None where there are none.
        source: the file it came from.
        notes: what was repaired, converted or looks wrong, one sentence each.

    Raises:
        SignalError: signal, rate or unit cannot be used.
        LeadError: names are doubled, or their number is not that of the leads.

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
        """Checks every field and brings the signal to float32 mV."""
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
        """The signal as float32 `(leads, samples)` in mV, or a SignalError or LeadError that says why not."""
        try:
            signal = np.asarray(self.signal)
        # RuntimeError: a tensor on a device, or one that requires gradients.
        except (ValueError, TypeError, RuntimeError) as error:
            raise SignalError(f"the signal of {self._title} is no array: {error}; expected (leads, samples)") from None
        if signal.dtype.kind not in "iuf":
            raise SignalError(
                f"{self._title} has a signal of type {signal.dtype} and shape {signal.shape}; "
                "expected real numbers of shape (leads, samples)."
            )
        if signal.ndim == 1 and self.leads is not None and len(self.leads) == 1:
            signal = signal[np.newaxis]
        if signal.ndim != 2 or 0 in signal.shape:
            raise SignalError(
                f"{self._title} has a signal of shape {signal.shape}; "
                "expected (leads, samples) with at least one lead and one sample."
            )
        if self.leads is not None and len(self.leads) != signal.shape[0]:
            turned = " The axes look exchanged: pass signal.T." if len(self.leads) == signal.shape[1] else ""
            raise LeadError(
                f"{self._title} has {len(self.leads)} lead names ({', '.join(self.leads)}) and a signal of shape "
                f"{signal.shape}; expected (leads, samples) with one name per lead.{turned}"
            )
        if self.leads is None and signal.shape[0] > signal.shape[1]:
            raise SignalError(
                f"{self._title} has a signal of shape {signal.shape} without lead names; expected (leads, samples), "
                "more samples than leads. Pass signal.T, or name the leads with leads=[...]."
            )
        # What is out of range becomes infinite; the extractor refuses it like any infinite sample.
        with np.errstate(over="ignore"):
            if scale != 1.0:
                signal = np.multiply(signal, scale, dtype=np.float64)
            return np.ascontiguousarray(signal, dtype=np.float32)

    @property
    def _title(self) -> str:
        return f"record {self.name}" if self.name else "the record"

    @property
    def num_leads(self) -> int:
        """The number of leads."""
        return self.signal.shape[0]

    @property
    def num_samples(self) -> int:
        """The number of samples of each lead."""
        return self.signal.shape[1]

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.num_samples / self.sampling_rate

    def __repr__(self) -> str:
        """Name, leads, length, rate, unit and notes in one line."""
        leads = "1 lead" if self.num_leads == 1 else f"{self.num_leads} leads"
        text = f"{self.name or 'unnamed'}, {leads}, {self.duration:.1f} s at {self.sampling_rate:g} Hz, mV"
        if self.notes:
            text += f"; notes: {'; '.join(self.notes)}"
        return f"EcgRecord({text})"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EcgRecord":
        """A record from a mapping whose keys are the constructor's arguments.

        `signal` and `sampling_rate` must be there; what is None counts as absent.
        `annotations` may be a mapping with `samples`, `symbols` and `aux`.

        Raises:
            SignalError: a key is unknown or one of the two is missing.
        """
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
        """All fields under the names of the constructor's arguments; `from_dict` gives the same record again."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"units": "mV", "notes": list(self.notes)}
        if self.annotations is not None:
            marks = self.annotations
            values["annotations"] = {"samples": marks.samples, "symbols": list(marks.symbols), "aux": marks.aux}
        return values

    def select(self, leads: Sequence[str]) -> "EcgRecord":
        """The same record with these leads only, in this order.

        Raises:
            LeadError: a lead is not there, or the record's leads have no names.
        """
        if self.leads is None:
            raise LeadError(
                f"{self._title} has {self.num_leads} leads without names. Name them: EcgRecord(..., leads=[...])."
            )
        indices = lead_indices(self.leads, leads)
        return replace(self, signal=self.signal[indices], leads=tuple(self.leads[index] for index in indices))

    def crop(self, start_s: float = 0.0, end_s: float | None = None) -> "EcgRecord":
        """The piece from `start_s` to `end_s` seconds (to the end without it), annotations with it.

        Raises:
            SignalError: the piece is empty or not inside the record.
        """
        start = round(start_s * self.sampling_rate)
        stop = self.num_samples if end_s is None else round(end_s * self.sampling_rate)
        if not 0 <= start < stop <= self.num_samples:
            end = self.duration if end_s is None else end_s
            raise SignalError(
                f"{self._title} lasts {self.duration:g} s; "
                f"the piece from {start_s:g} to {end:g} s is empty or not inside it."
            )
        annotations = None if self.annotations is None else self.annotations.crop(start, stop)
        return replace(self, signal=self.signal[:, start:stop], annotations=annotations)

    def require_annotations(self) -> Annotations:
        """The annotations.

        Raises:
            RecordFileError: there are none; the message names the file that would hold them.
        """
        if self.annotations is not None:
            return self.annotations
        if self.source is not None and self.source.endswith(".hea"):
            path = Path(self.source).with_suffix(".atr")
            raise RecordFileError(f"{self._title} has no annotations: {path} is not there; put it beside the header.")
        raise RecordFileError(
            f"{self._title} has no annotations (source: {self.source}). Pass annotations=Annotations(samples, symbols)."
        )


def _number_or_none(value: float | str | None, what: str) -> float | None:
    """A finite number, or None where it is absent or not a number."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SignalError(f"{what} is {value!r}; expected a number or None.") from None
    return number if math.isfinite(number) else None


def _clean_sex(value: str | None) -> str | None:
    """Male and female under one spelling each; what is not known becomes None."""
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
