"""The saved preprocessing as one typed, checked object: its fields, its order of steps, its words, its hash.

An extractor's attributes are these fields and nothing else, so that `preprocessor_config.json` is the whole truth
about the signal. What each field means stands once, in `SignalContract`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal

from ..errors import LeadError, SignalError
from ..signals.filters import bandpass_sections, notch_sections
from ..signals.leads import STANDARD_LEADS, canonical_leads
from ..signals.record import check_sampling_rate
from .steps import FLAT_EPSILON, NORMALIZATIONS

__all__ = ["STEPS", "SignalContract"]

STEPS = ("leads", "units", "resample", "filter", "window", "normalize", "pad")

# The fields that decide what each step does to a sound signal; a hash over them tells whether a stored corpus went
# through the same step. What happens to absent leads, flat leads and gaps is a policy of the moment and does not count.
STEP_FIELDS = {
    "leads": ("lead_names", "derive_leads"),
    "units": (),
    "resample": ("sampling_rate", "resampling"),
    "filter": ("bandpass", "filter_order", "zero_phase", "notch", "notch_quality"),
    "window": ("window_size", "window_stride", "window_mode", "min_window_seconds"),
    "normalize": ("normalization", "normalization_mean", "normalization_std", "normalization_epsilon"),
    "pad": ("allow_short", "padding_value"),
}

# Five hours at 500 Hz: a longer window in a preprocessor file is a slip, and padding to it would take all memory.
MAX_WINDOW_SIZE = 10_000_000

CHOICES = {
    "window_mode": ("slide", "crop", "center", "random"),
    "normalization": NORMALIZATIONS,
    "resampling": ("polyphase", "linear"),
    "missing_leads": ("error", "mask"),
    "flat_lead": ("mask", "keep", "error"),
    "nan_policy": ("error", "interpolate", "mask_lead"),
}


@dataclass(frozen=True)
class SignalContract:
    """Everything that is done to a recording before the model sees it.

    Args:
        lead_names: the model's leads in its order, canonical names.
        sampling_rate: Hz of the model's input.
        window_size: samples of one window at that rate.
        window_stride: distance of two windows of `"slide"` in samples.
        window_mode: what becomes of a recording longer than a window, unless the call says otherwise: `"slide"` (all
            of it, window after window), `"crop"` (its start), `"center"`, `"random"`.
        allow_short: the model takes an attention mask, so that what is shorter than a window is padded at the right
            with zeros. Otherwise a shorter recording is an error, and the last of several windows ends with the
            recording.
        min_window_seconds: a last window that would hold less signal than this ends with the recording (overlapping its
            neighbor) instead of being padded.
        patch_size: samples of a patch, of which a window must be a whole number; None: the model has no patches.
        return_patches: hand out `patches` and `patch_attention_mask` in place of `input_values` and
            `attention_mask`.
        return_attention_mask: hand out the attention mask; False for models that take none.
        normalization: `"none"`, `"record_lead"`, `"record"`, `"constants"` or `"minmax_lead"`, as
            `normalize_windows` defines them.
        normalization_mean: for `"constants"`: mV per lead to subtract; None: the window's own lead mean is
            subtracted.
        normalization_std: for `"constants"`: mV per lead to divide by.
        normalization_epsilon: mV; a lead whose deviation (range for `"minmax_lead"`) is below it is flat.
        resampling: `"polyphase"` with an anti-alias filter, or `"linear"`.
        bandpass: `[low, high]` in Hz, either may be None; None: no filter. Butterworth.
        filter_order: order of that design.
        zero_phase: filter forwards and backwards (no delay), or forwards alone.
        notch: mains frequency in Hz to remove, or None.
        notch_quality: frequency over width of the notch.
        derive_leads: compute III, aVR, aVL, aVF from I and II where they are absent.
        missing_leads: `"error"`, or `"mask"`: zeros after normalization and 0 in `lead_mask`.
        flat_lead: a constant lead is `"mask"`: zeros and 0 in `lead_mask`; `"keep"`: zeros, but counted as
            present; `"error"`.
        nan_policy: missing samples (NaN, infinite) are an `"error"`; `"interpolate"`: gaps up to
            `max_gap_seconds` are bridged, longer ones an error; `"mask_lead"`: the lead counts as absent.
        max_gap_seconds: the longest gap that `"interpolate"` bridges.
        order: the steps in the order in which they are done.
        padding_value: what padding holds; always 0.

    Raises:
        SignalError: a field has a wrong type or value, or two fields contradict one another.
        LeadError: a lead is named twice.
    """

    lead_names: Sequence[str] = STANDARD_LEADS
    sampling_rate: float = 500
    window_size: int = 5000
    window_stride: int | None = None
    window_mode: str = "slide"
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
    zero_phase: bool = True
    notch: float | None = None
    notch_quality: float = 30.0
    derive_leads: bool = False
    missing_leads: str = "error"
    flat_lead: str = "mask"
    nan_policy: str = "error"
    max_gap_seconds: float = 0.1
    order: Sequence[str] = field(default=STEPS)
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        """Checks each field, then what they say together; lists replace tuples and arrays, so that JSON keeps them."""
        self._set("lead_names", list(canonical_leads(_sequence("lead_names", self.lead_names))))
        if not self.lead_names:
            raise LeadError("lead_names is empty; expected at least one lead such as ['I'].")
        self._set("sampling_rate", check_sampling_rate(self.sampling_rate))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SignalError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}.")
        for name in ("allow_short", "return_patches", "return_attention_mask", "zero_phase", "derive_leads"):
            if not isinstance(getattr(self, name), bool):
                raise SignalError(f"{name} is {getattr(self, name)!r}; expected True or False.")
        self._check_sizes()
        self._check_normalization()
        self._check_filters()
        self._check_order()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

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
                "not above the window, else samples between two windows are lost. Set window_stride=."
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
                "allow_short pads what is short, but return_attention_mask is False; expected a model that takes the "
                "mask. Set allow_short=False or return_attention_mask=True."
            )
        for name in ("min_window_seconds", "max_gap_seconds"):
            self._set(name, _number(name, getattr(self, name), least=0.0))
        if self.padding_value != 0:
            raise SignalError(
                f"padding_value is {self.padding_value!r}; expected 0: padding is zero after normalization."
            )

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
                bandpass_sections(edges[0], edges[1], self.sampling_rate, order=self.filter_order)
        if self.notch is not None:
            self._set("notch", _number("notch", self.notch))
            if self.order_of("resample") < self.order_of("filter"):
                notch_sections(self.notch, self.sampling_rate, quality=self.notch_quality)

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

    def order_of(self, step: str) -> int:
        """The place of a step in the order; behind all others where the order lacks it."""
        return list(self.order).index(step) if step in self.order else len(STEPS)

    @property
    def stride(self) -> int:
        """The distance of two windows in samples."""
        return self.window_size if self.window_stride is None else self.window_stride

    @property
    def window_seconds(self) -> float:
        """The length of a window in seconds."""
        return self.window_size / self.sampling_rate

    def hash(self, steps: Iterable[str] = STEPS) -> str:
        """32 hexadecimal digits over the fields that decide what these steps do to a signal.

        How the result is handed out (patches or not, mask or not) does not count; the order counts where all steps do.

        Raises:
            SignalError: a step is unknown.
        """
        steps = _known_steps(steps)
        values = {name: getattr(self, name) for step in steps for name in STEP_FIELDS[step]}
        values["steps"] = sorted(steps) if len(steps) < len(STEPS) else self.order
        values = {name: float(value) if isinstance(value, int) else value for name, value in values.items()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    def remaining_steps(self, preprocessed_by: dict[str, Any] | None) -> list[str]:
        """The steps still to do on a signal that was stored after some of them.

        Args:
            preprocessed_by: `{"steps": [...], "hash": hash(steps)}` as a prepared corpus carries it, or None.

        Raises:
            SignalError: the steps were done under another contract, or in an order that cannot be taken up.
        """
        if preprocessed_by is None:
            return list(self.order)
        done = _known_steps(preprocessed_by.get("steps", ()))
        if preprocessed_by.get("hash") != self.hash(done):
            raise SignalError(
                f"the signal was stored after the steps {', '.join(done)} of another contract (hash "
                f"{preprocessed_by.get('hash')}, this one {self.hash(done)}); doing them again would do them twice. "
                "Expected the original signal or a corpus prepared for this checkpoint. Prepare the corpus again."
            )
        idle = {"leads", "units"} | ({"filter"} if self.bandpass is None and self.notch is None else set())
        idle |= {"normalize"} if self.normalization == "none" else set()
        last = max(map(self.order_of, done), default=-1)
        skipped = [step for step in self.order[: last + 1] if step not in done and step not in idle]
        if skipped:
            raise SignalError(
                f"the signal was stored after {', '.join(done)} but not {', '.join(skipped)}, which this contract does "
                f"before; expected the order {', '.join(self.order)}. Prepare the corpus again."
            )
        return [step for step in self.order if step not in done]

    def describe(self) -> str:
        """The contract as a numbered list in plain words, in the order of the steps."""
        words = {
            "leads": ("leads", self._lead_words()),
            "units": ("unit", "mV (uV, V and nV are converted)"),
            "resample": ("resample", f"to {self.sampling_rate:g} Hz, {self._resampling_words()}"),
            "filter": ("filter", self._filter_words()),
            "window": ("window", self._window_words()),
            "normalize": ("normalize", self._normalization_words()),
            "pad": ("pad", self._pad_words()),
        }
        lines = [f"{number}. {words[step][0]:<10} {words[step][1]}" for number, step in enumerate(self.order, start=1)]
        lines.append(f"{len(lines) + 1}. {'missing':<10} {self._missing_words()}")
        return "\n".join(lines)

    def _lead_words(self) -> str:
        text = ", ".join(self.lead_names).replace("V1, V2, V3, V4, V5, V6", "V1-V6")
        text += f" (by name; an array without names must have exactly {len(self.lead_names)} leads in this order)"
        if self.derive_leads:
            text += "; III, aVR, aVL, aVF are computed from I and II where absent"
        absent = "an error" if self.missing_leads == "error" else "zeros after normalization and 0 in lead_mask"
        return f"{text}; an absent lead is {absent}"

    def _resampling_words(self) -> str:
        return "polyphase with anti-alias filter" if self.resampling == "polyphase" else "linear, no anti-alias filter"

    def _filter_words(self) -> str:
        parts = []
        if self.bandpass is not None:
            low, high = ("none" if edge is None else f"{edge:g} Hz" for edge in self.bandpass)
            parts.append(f"Butterworth of order {self.filter_order}, {low} to {high}")
        if self.notch is not None:
            parts.append(f"notch at {self.notch:g} Hz (quality {self.notch_quality:g})")
        if not parts:
            return "none"
        return " and ".join(parts) + (", zero-phase" if self.zero_phase else ", causal")

    def _window_words(self) -> str:
        seconds = f"{self.window_seconds:.4g} s at {self.sampling_rate:g} Hz"
        text = f"{self.window_size} samples ({seconds})"
        if self.window_mode == "slide":
            text += f", stride {self.stride} ({self.stride / self.sampling_rate:.4g} s), all of a recording"
        else:
            pieces = {"crop": "the start", "center": "the middle", "random": "a random piece"}
            text += f", {pieces[self.window_mode]} of a longer recording"
        if self.patch_size is not None:
            text += f"; {self.window_size // self.patch_size} patches of {self.patch_size} samples"
        return text

    def _normalization_words(self) -> str:
        epsilon = f"eps {self.normalization_epsilon:g} mV"
        unit = "window" if self.order_of("window") < self.order_of("normalize") else "whole recording"
        if self.normalization == "none":
            return "none (mV)"
        if self.normalization == "constants":
            center = f"minus the lead's mean in the {unit}"
            if self.normalization_mean is not None:
                center = f"minus fixed means {_listed(self.normalization_mean)} mV"
            deviations = _listed(self.normalization_std)
            return f"{center}, divided by fixed deviations {deviations} mV; flat leads zero ({epsilon})"
        manner = {
            "record_lead": f"each lead of each {unit} to mean 0 and deviation 1",
            "record": f"each {unit} to mean 0 and deviation 1 over all its leads together",
            "minmax_lead": f"each lead of each {unit} from -1 to 1",
        }
        return f"{manner[self.normalization]} (population deviation, {epsilon}; flat leads zero)"

    def _pad_words(self) -> str:
        if not self.allow_short:
            return (
                f"never: a recording below {self.window_seconds:.4g} s is an error, a last incomplete window ends with "
                "the recording"
            )
        return (
            "right, with 0, marked in attention_mask; a last window of less than "
            f"{self.min_window_seconds:g} s ends with the recording instead"
        )

    def _missing_words(self) -> str:
        gaps = {
            "error": "an error",
            "interpolate": f"interpolated up to {self.max_gap_seconds:g} s, else an error",
            "mask_lead": "the end of its lead: zeros, 0 in lead_mask",
        }
        flat = {"error": "an error", "keep": "zeros", "mask": "zeros and 0 in lead_mask"}
        return f"a missing sample (NaN) is {gaps[self.nan_policy]}; a flat lead is {flat[self.flat_lead]}"


FIELD_NAMES = tuple(item.name for item in fields(SignalContract))


def _listed(values: Sequence[float] | None) -> str:
    values = list(values or ())
    if len(values) > 1 and len(set(values)) == 1:
        return f"{values[0]:.3g} (every lead)"
    return ", ".join(f"{value:.3g}" for value in values)


def _known_steps(steps: Iterable[str]) -> list[str]:
    steps = list(steps)
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise SignalError(f"unknown steps {', '.join(map(str, unknown))}; expected some of {', '.join(STEPS)}.")
    return [step for step in STEPS if step in steps]


def _sequence(name: str, value: object) -> list:
    """A list from a list, tuple or array."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SignalError(f"{name} is {value!r}; expected a list.")
    return list(value)


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
