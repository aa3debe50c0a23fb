"""The saved preprocessing as one typed, validated object: fields, order of steps and hash.

The attributes of an extractor are exactly these fields, so that `preprocessor_config.json` fully defines the signal
processing. The fields are documented once, in `SignalContract`; see also `docs/contract.md`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

from ..errors import LeadError, SignalError
from ..signals.filters import bandpass_sections, fir_taps, notch_sections
from ..signals.leads import STANDARD_LEADS, canonical_lead, canonical_leads
from ..signals.record import check_sampling_rate
from .steps import FLAT_EPSILON, NORMALIZATIONS

__all__ = ["POLICIES", "STEPS", "SignalContract"]

STEPS = ("leads", "units", "resample", "filter", "window", "normalize", "pad")

# The fields that determine each step for a valid signal; a hash over them identifies the steps of a stored corpus. The
# policies for missing leads, flat leads, gaps and amplitude are not included.
STEP_FIELDS = {
    "leads": ("lead_names", "derive_leads", "treat_as"),
    "units": (),
    "resample": ("sampling_rate", "resampling"),
    "filter": ("bandpass", "filter_order", "fir_taps", "zero_phase", "notch", "notch_quality"),
    "window": ("window_size", "window_stride", "window_mode", "min_window_seconds", "samples_before", "samples_after"),
    # A signal that is stored before this step has all of its leads, whichever are used.
    "normalize": (
        "reference",
        "normalization",
        "normalization_mean",
        "normalization_std",
        "normalization_epsilon",
        "used_leads",
    ),
    "pad": ("allow_short", "padding_value"),
}

# Fields with the value that contracts from before them have: with it they do not enter the hash.
LATER_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("treat_as", "used_leads", "fir_taps", "samples_before", "samples_after")),
    "reference": "none",
}

# Five hours at 500 Hz; a longer window is a mistake, and padding to it would exhaust the memory.
MAX_WINDOW_SIZE = 10_000_000

CHOICES = {
    "window_mode": ("slide", "crop", "center", "random", "beats"),
    "reference": ("none", "record_median_beat"),
    "normalization": NORMALIZATIONS,
    "resampling": ("polyphase", "linear"),
    "missing_leads": ("error", "mask"),
    "flat_lead": ("mask", "keep", "error"),
    "nan_policy": ("error", "interpolate", "mask_lead"),
    "implausible_amplitude": ("error", "accept"),
    "electrode_offset": ("error", "remove"),
}

# Fields that say what is done with an unusual recording: they may be set in a call, too.
POLICIES = (
    "derive_leads",
    "treat_as",
    "missing_leads",
    "flat_lead",
    "nan_policy",
    "max_gap_seconds",
    "implausible_amplitude",
    "electrode_offset",
    "allow_short",
)


@dataclass(frozen=True)
class SignalContract:
    """All processing of a recording before it enters the model.

    Args:
        lead_names: Leads of the model in its order, as canonical names. Default: the 12 standard leads.
        sampling_rate: Sampling rate of the model input in Hz. Default: 500.
        window_size: Length of a window in samples at that rate. Default: 5000.
        window_stride: Samples between two windows of `"slide"`. Default: `window_size`.
        window_mode: How longer recordings are handled unless the call overrides it: `"slide"` (default; consecutive
            windows over the whole recording), `"crop"` (its start), `"center"`, `"random"`, or `"beats"`: one window
            per R peak given in the call (`peaks=`).
        samples_before: Samples of a window before the R peak for `"beats"`. Default: None.
        samples_after: Samples of a window from the R peak on for `"beats"`; both together are `window_size`. Default:
            None.
        reference: `"none"` (default), or `"record_median_beat"`: from each normalized beat the median of the normalized
            beats of its recording is subtracted, sample by sample.
        allow_short: Whether the model takes an attention mask, so that shorter recordings are padded with zeros at the
            end. Otherwise a shorter recording is an error, and the last of several windows ends with the recording.
            Default: False.
        min_window_seconds: A last window with less signal than this (s) ends with the recording, overlapping the
            previous one, instead of being padded. Default: 1.
        patch_size: Samples per patch; the window must be a multiple. Default: None (the model has no patches).
        return_patches: Whether to return `patches` and `patch_attention_mask` instead of `input_values` and
            `attention_mask`. Default: False.
        return_attention_mask: Whether to return the attention mask; False for models without one. Default: True.
        normalization: `"none"`, `"record_lead"` (default), `"record"`, `"constants"` or `"minmax_lead"`, as defined by
            `normalize_windows`.
        normalization_mean: Mean per lead in mV for `"constants"`. Default: the mean of the lead in the window.
        normalization_std: Standard deviation per lead in mV for `"constants"`.
        normalization_epsilon: A lead with a standard deviation (range for `"minmax_lead"`) below this value in mV is
            flat. Default: 1e-6.
        resampling: `"polyphase"` with anti-aliasing filter (default), or `"linear"`.
        bandpass: Edges `[low, high]` of a band-pass in Hz, either may be None. Default: None (no filter).
        filter_order: Order of the Butterworth band-pass. Default: 4.
        fir_taps: Number of coefficients (odd) of an FIR band-pass instead of the Butterworth one: designed with a
            Hamming window, applied in both directions. Default: None.
        zero_phase: Whether to filter in both directions (no delay) or causally. Default: True.
        notch: Power-line frequency to remove in Hz. Default: None.
        notch_quality: Quality factor of the notch (frequency divided by bandwidth). Default: 30.
        derive_leads: Whether to compute missing leads among III, aVR, aVL, aVF from I and II. Default: False.
        treat_as: Leads that stand for leads which the recording lacks, as in `{"ECG": "I", "MLII": "II"}`. Default:
            None.
        missing_leads: `"error"` (default), or `"mask"`: zeros after normalization and 0 in `lead_mask`.
        flat_lead: A constant lead is `"mask"` (default): zeros and 0 in `lead_mask`; `"keep"`: zeros, but counted as
            present; or `"error"`.
        nan_policy: Missing samples (NaN, infinite) are an `"error"` (default); `"interpolate"`: gaps up to
            `max_gap_seconds` are interpolated, longer ones an error; `"mask_lead"`: the lead counts as missing.
        max_gap_seconds: Longest gap in seconds that `"interpolate"` fills. Default: 0.1.
        implausible_amplitude: Values that cannot be an ECG in millivolts, such as microvolts without `units="uV"`,
            marks of missing samples (9999) and, where nothing removes it, an electrode offset, are an `"error"`
            (default), or are taken as they are (`"accept"`).
        electrode_offset: A lead far from 0 mV, where neither normalization nor a band-pass removes its offset, is an
            `"error"` (default); `"remove"`: the median of each lead of such a recording, or of the piece of it that is
            prepared at once, is subtracted.
        used_leads: The leads that are used, a subset of `lead_names`: a recording needs only these, and the others are
            zeros after normalization and 0 in `lead_mask`. Default: None (all).
        order: Steps in the order of execution.
        padding_value: Value of padded samples; always 0.

    Raises:
        SignalError: If a field has an invalid type or value, or two fields are inconsistent.
        LeadError: If a lead is named twice, or a used lead is none of the model.
    """

    lead_names: Sequence[str] = STANDARD_LEADS
    sampling_rate: float = 500
    window_size: int = 5000
    window_stride: int | None = None
    window_mode: str = "slide"
    samples_before: int | None = None
    samples_after: int | None = None
    reference: str = "none"
    allow_short: bool = False
    min_window_seconds: float = 1.0
    patch_size: int | None = None
    return_patches: bool = False
    return_attention_mask: bool = True
    normalization: str = "record_lead"
    normalization_mean: Sequence[float] | None = None
    normalization_std: Sequence[float] | None = None
    normalization_epsilon: float = FLAT_EPSILON
    resampling: Literal["polyphase", "linear"] = "polyphase"
    bandpass: Sequence[float | None] | None = None
    filter_order: int = 4
    fir_taps: int | None = None
    zero_phase: bool = True
    notch: float | None = None
    notch_quality: float = 30.0
    derive_leads: bool = False
    treat_as: Mapping[str, str] | None = None
    missing_leads: str = "error"
    flat_lead: str = "mask"
    nan_policy: str = "error"
    max_gap_seconds: float = 0.1
    implausible_amplitude: Literal["error", "accept"] = "error"
    electrode_offset: str = "error"
    used_leads: Sequence[str] | None = None
    order: Sequence[str] = field(default=STEPS)
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        """Validate each field and their combination; tuples and arrays become lists, as in JSON."""
        self._set("lead_names", list(canonical_leads(_sequence("lead_names", self.lead_names))))
        if not self.lead_names:
            raise LeadError("lead_names is empty; expected at least one lead such as ['I'].")
        self._set("used_leads", self._known_leads())
        self._set("sampling_rate", check_sampling_rate(self.sampling_rate))
        self._set("treat_as", _renaming(self.treat_as))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SignalError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}.")
        for name in ("allow_short", "return_patches", "return_attention_mask", "zero_phase", "derive_leads"):
            if not isinstance(getattr(self, name), bool):
                raise SignalError(f"{name} is {getattr(self, name)!r}; expected True or False.")
        self._check_sizes()
        self._check_beats()
        self._check_normalization()
        self._check_filters()
        self._check_order()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _known_leads(self) -> list[str] | None:
        """The used leads in the order of the model; None if all are used."""
        if self.used_leads is None:
            return None
        used = canonical_leads(_sequence("used_leads", self.used_leads))
        strange = [name for name in used if name not in self.lead_names]
        if strange or not used:
            raise LeadError(
                f"used_leads is {list(used)}; expected some of the leads of the model: {', '.join(self.lead_names)}."
            )
        return None if len(used) == len(self.lead_names) else [name for name in self.lead_names if name in used]

    def _check_sizes(self) -> None:
        for name in ("window_size", "filter_order"):
            self._set(name, _whole(name, getattr(self, name)))
        if self.window_size > MAX_WINDOW_SIZE:
            raise SignalError(f"window_size is {self.window_size:,} samples; expected at most {MAX_WINDOW_SIZE:,}.")
        self._set(
            "window_stride",
            self.window_size if self.window_stride is None else _whole("window_stride", self.window_stride),
        )
        if self.stride > self.window_size:
            raise SignalError(
                f"window_stride is {self.window_stride} samples and window_size {self.window_size}; expected a stride "
                "of at most the window, otherwise samples between two windows are lost. Set window_stride=."
            )
        if self.patch_size is not None:
            self._set("patch_size", _whole("patch_size", self.patch_size))
            below = self.window_size // self.patch_size * self.patch_size
            if below != self.window_size:
                near = " or ".join(str(length) for length in (below, below + self.patch_size) if length)
                raise SignalError(
                    f"window_size is {self.window_size} samples, no whole number of patches of {self.patch_size}; "
                    f"expected {near}. Set window_size= or patch_size=."
                )
        elif self.return_patches:
            raise SignalError(
                "return_patches is set without a patch_size; expected a number of samples. Set patch_size=."
            )
        if self.allow_short and not self.return_attention_mask:
            raise SignalError(
                "allow_short pads short recordings, but return_attention_mask is False; expected a model that takes an "
                "attention mask. Leave allow_short out."
            )
        for name in ("min_window_seconds", "max_gap_seconds"):
            self._set(name, _number(name, getattr(self, name), least=0.0))
        if self.padding_value != 0:
            raise SignalError(
                f"padding_value is {self.padding_value!r}; expected 0: padding is zero after normalization."
            )

    def _check_beats(self) -> None:
        given = [name for name in ("samples_before", "samples_after") if getattr(self, name) is not None]
        for name in given:
            self._set(name, _whole(name, getattr(self, name)))
        length = (self.samples_before or 0) + (self.samples_after or 0)
        if len(given) == 1 or (given and length != self.window_size):
            raise SignalError(
                f"samples_before is {self.samples_before} and samples_after {self.samples_after}; expected two numbers "
                f"with the sum window_size, {self.window_size}. Set both, and window_size to their sum."
            )
        if not given and (self.window_mode == "beats" or self.reference != "none"):
            what = "window_mode='beats'" if self.window_mode == "beats" else f"reference={self.reference!r}"
            raise SignalError(f"{what} is set without samples_before and samples_after; expected both. Set them.")
        if self.reference != "none" and self.order_of("normalize") < self.order_of("window"):
            raise SignalError("reference needs beats, but order normalizes before it cuts windows. Set another order.")

    def _check_normalization(self) -> None:
        self._set("normalization_epsilon", _number("normalization_epsilon", self.normalization_epsilon, least=0.0))
        for name in ("normalization_mean", "normalization_std"):
            values = getattr(self, name)
            if values is None:
                continue
            if self.normalization != "constants":
                raise SignalError(
                    f"{name} is set with normalization={self.normalization!r}; expected 'constants' with it."
                )
            values = [_number(name, value) for value in _sequence(name, values)]
            if len(values) != len(self.lead_names):
                raise SignalError(f"{name} has {len(values)} values; expected one per lead, {len(self.lead_names)}.")
            self._set(name, values)
        if self.normalization == "constants" and (self.normalization_std is None or min(self.normalization_std) <= 0):
            raise SignalError(
                f"normalization is 'constants' and normalization_std is {self.normalization_std}; expected one "
                "positive deviation in mV per lead. Set normalization_std=[...]."
            )

    def _check_filters(self) -> None:
        self._set("notch_quality", _number("notch_quality", self.notch_quality, least=1e-3))
        if self.bandpass is not None:
            edges = _sequence("bandpass", self.bandpass)
            if len(edges) != 2:
                raise SignalError(f"bandpass is {self.bandpass!r}; expected [low, high] in Hz. Set bandpass=[0.5, 40].")
            self._set("bandpass", [None if edge is None else _number("bandpass", edge) for edge in edges])
            if self.order_of("resample") < self.order_of("filter"):
                self._check_bandpass(edges[0], edges[1])
        if self.fir_taps is not None:
            self._set("fir_taps", _whole("fir_taps", self.fir_taps))
            if self.bandpass is None or not self.zero_phase:
                raise SignalError(
                    f"fir_taps is {self.fir_taps} with bandpass={self.bandpass} and zero_phase={self.zero_phase}; "
                    "expected a band-pass in both directions. Set bandpass=[low, high] and zero_phase=True."
                )
        if self.notch is not None:
            self._set("notch", _number("notch", self.notch))
            if self.order_of("resample") < self.order_of("filter"):
                notch_sections(self.notch, self.sampling_rate, quality=self.notch_quality)

    def _check_bandpass(self, low: float | None, high: float | None) -> None:
        if self.fir_taps is None:
            bandpass_sections(low, high, self.sampling_rate, order=self.filter_order)
        else:
            fir_taps(low, high, self.sampling_rate, taps=_whole("fir_taps", self.fir_taps))

    def _check_order(self) -> None:
        order = list(_sequence("order", self.order))
        rules = "leads and units first, pad last, window after resample and filter"
        if (
            sorted(order) != sorted(STEPS)
            or set(order[:2]) != {"leads", "units"}
            or order[-1] != "pad"
            or order.index("window") < max(order.index("resample"), order.index("filter"))
        ):
            raise SignalError(f"order is {order}; expected the steps {', '.join(STEPS)}, {rules}.")
        self._set("order", order)

    def for_whole(self, num_samples: int, **changes: Any) -> "SignalContract":
        """The contract with one window as long as a recording, for the steps before the window.

        Args:
            num_samples: Length of the recording after resampling.
            **changes: Other fields that differ.
        """
        changes |= {"window_size": num_samples, "window_stride": num_samples, "window_mode": "crop"}
        changes |= {"samples_before": None, "samples_after": None, "reference": "none"}
        return replace(self, patch_size=None, return_patches=False, **changes)

    def order_of(self, step: str) -> int:
        """Position of a step in the order; after all others if the order does not contain it."""
        return list(self.order).index(step) if step in self.order else len(STEPS)

    @property
    def keeps_offset(self) -> bool:
        """Whether the distance of a lead from 0 mV, that of the electrodes, reaches the model."""
        removed = self.bandpass is not None and bool(self.bandpass[0])
        return self.normalization in ("none", "constants") and not removed

    @property
    def removes_offset(self) -> bool:
        """Whether the median of each lead is subtracted where leads are far from 0 mV."""
        return self.keeps_offset and self.electrode_offset == "remove"

    @property
    def is_used(self) -> list[bool]:
        """Whether each lead of the model is used."""
        return [self.used_leads is None or name in self.used_leads for name in self.lead_names]

    @property
    def stride(self) -> int:
        """Stride between windows in samples."""
        return self.window_size if self.window_stride is None else self.window_stride

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.window_size / self.sampling_rate

    def hash(self, steps: Iterable[str] = STEPS) -> str:
        """Hash (32 hexadecimal digits) of the fields that determine the effect of these steps.

        The format of the result (patches, mask) is not included; the order is, if all steps are.

        Raises:
            SignalError: If a step is unknown.
        """
        steps = _known_steps(steps)
        values = {name: getattr(self, name) for step in steps for name in STEP_FIELDS[step]}
        values = {name: value for name, value in values.items() if LATER_FIELDS.get(name, ...) != value}
        values["steps"] = sorted(steps) if len(steps) < len(STEPS) else self.order
        values = {name: float(value) if isinstance(value, int) else value for name, value in values.items()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    def remaining_steps(self, preprocessed_by: dict[str, Any] | None) -> list[str]:
        """Remaining steps for a signal that was stored after some of them.

        Args:
            preprocessed_by: `{"steps": [...], "hash": hash(steps)}` of a prepared corpus, or None.

        Raises:
            SignalError: If the steps belong to another contract, or to an incompatible order.
        """
        if preprocessed_by is None:
            return list(self.order)
        done = _known_steps(preprocessed_by.get("steps", ()))
        if preprocessed_by.get("hash") != self.hash(done):
            raise SignalError(
                f"the signal was stored after the steps {', '.join(done)} of another contract (hash "
                f"{preprocessed_by.get('hash')}, this one {self.hash(done)}) and would be applied twice. Expected "
                "the original signal or a corpus prepared for this checkpoint. Prepare the corpus again."
            )
        idle = {"leads", "units"} | ({"filter"} if self.bandpass is None and self.notch is None else set())
        idle |= {"normalize"} if self.normalization == self.reference == "none" else set()
        last = max(map(self.order_of, done), default=-1)
        skipped = [step for step in self.order[: last + 1] if step not in done and step not in idle]
        if skipped:
            raise SignalError(
                f"the signal was stored after {', '.join(done)} but not {', '.join(skipped)}, which come earlier in "
                f"this contract; expected the order {', '.join(self.order)}. Prepare the corpus again."
            )
        return [step for step in self.order if step not in done]


FIELD_NAMES = tuple(item.name for item in fields(SignalContract))


def _known_steps(steps: Iterable[str]) -> list[str]:
    steps = list(steps)
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise SignalError(f"unknown steps {', '.join(map(str, unknown))}; expected some of {', '.join(STEPS)}.")
    return [step for step in STEPS if step in steps]


def _sequence(name: str, value: object) -> list:
    """Convert a list, tuple or array to a list."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SignalError(f"{name} is {value!r}; expected a list.")
    return list(value)


def _renaming(value: object) -> dict[str, str] | None:
    """Canonical lead names by lead names, or None for an empty mapping."""
    if value is None:
        return None
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        renamed = {canonical_lead(old): canonical_lead(new) for old, new in pairs}  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        if isinstance(error, LeadError):
            raise
        raise SignalError(f"treat_as is {value!r}; expected a mapping such as {{'MLII': 'II'}}.") from None
    return renamed or None


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SignalError(f"{name} is {value!r}; expected a whole number of at least 1.")
    return int(value)


def _number(name: str, value: object, *, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < least:
        raise SignalError(
            f"{name} is {value!r}; expected a number{f' of at least {least:g}' if least > -math.inf else ''}."
        )
    return float(value)
