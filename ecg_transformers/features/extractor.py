"""The feature extractor: converts recordings to model input according to the saved preprocessing."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import logging

from ..errors import LeadError, SignalError
from ..signals.leads import STANDARD_LEADS, canonical_lead
from ..signals.record import EcgRecord
from .batch import flat_places, make_batch
from .contract import CHOICES, FIELD_NAMES, POLICIES, STEPS, SignalContract
from .description import describe_contract
from .inputs import as_records
from .preparation import check_values, normalize, prepare_record
from .steps import FLAT_EPSILON, unpatchify

__all__ = ["EcgFeatureExtractor"]

logger = logging.get_logger(__name__)

# Keys that Transformers writes into preprocessor files. `auto_map` is dropped: it refers to source files in the folder
# it was read from, which do not exist elsewhere (publishing sets it again).
FOREIGN_KEYS = ("auto_map", "feature_extractor_type", "processor_class")


class EcgFeatureExtractor(FeatureExtractionMixin):
    """Converts recordings to model input.

    All arguments are attributes of the same name, are saved in `preprocessor_config.json` and are documented in
    `SignalContract`. The class of an architecture (such as `MaeMocoFeatureExtractor`) has other defaults.

    `normalization="constants"` subtracts the mean of each lead in the window (or `normalization_mean`, in mV per lead)
    and divides by `normalization_std`, a fixed standard deviation in mV per lead: unlike per-lead z-scoring, it
    preserves amplitude ratios between leads and between patients.

    Example:
        >>> extractor = EcgFeatureExtractor(sampling_rate=100, window_size=1000)
        >>> batch = extractor(np.random.default_rng(0).normal(size=(12, 12_500)), sampling_rate=500)
        >>> batch["input_values"].shape, batch["record_index"]
        ((3, 12, 1000), array([0, 0, 0]))
    """

    model_input_names = ["input_values"]

    lead_names: list[str]
    sampling_rate: float
    window_size: int
    window_stride: int
    samples_before: int | None
    samples_after: int | None
    reference: str
    patch_size: int | None
    normalization: str
    normalization_mean: list[float] | None
    normalization_std: list[float] | None
    normalization_epsilon: float
    used_leads: list[str] | None

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 500,
        window_size: int = 5000,
        window_stride: int | None = None,
        window_mode: str = "slide",
        samples_before: int | None = None,
        samples_after: int | None = None,
        reference: str = "none",
        allow_short: bool = False,
        min_window_seconds: float = 1.0,
        patch_size: int | None = None,
        return_patches: bool = False,
        return_attention_mask: bool = True,
        normalization: str = "record_lead",
        normalization_mean: Sequence[float] | None = None,
        normalization_std: Sequence[float] | None = None,
        normalization_epsilon: float = FLAT_EPSILON,
        resampling: str = "polyphase",
        bandpass: Sequence[float | None] | None = None,
        filter_order: int = 4,
        fir_taps: int | None = None,
        zero_phase: bool = True,
        notch: float | None = None,
        notch_quality: float = 30.0,
        derive_leads: bool = False,
        treat_as: Mapping[str, str] | None = None,
        missing_leads: str = "error",
        flat_lead: str = "mask",
        nan_policy: str = "error",
        max_gap_seconds: float = 0.1,
        implausible_amplitude: str = "error",
        electrode_offset: str = "error",
        used_leads: Sequence[str] | None = None,
        order: Sequence[str] = STEPS,
        padding_value: float = 0.0,
        **kwargs: Any,
    ):
        given = locals()
        _refuse_unknown(kwargs, FIELD_NAMES, allowed=FOREIGN_KEYS, where=type(self).__name__)
        super().__init__()
        contract = SignalContract(**{name: given[name] for name in FIELD_NAMES})
        for name in FIELD_NAMES:
            setattr(self, name, getattr(contract, name))

    @property
    def contract(self) -> SignalContract:
        """The attributes as one validated object; raises an error if an attribute was set to an invalid value."""
        values = _field_values(self)
        try:
            return _contract(tuple([value if type(value) in _HASHABLE else _hashable(value) for value in values]))
        except TypeError:  # an attribute was set to an array
            return _contract.__wrapped__(values)

    @property
    def num_leads(self) -> int:
        """Number of leads of the model input."""
        return len(self.lead_names)

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.window_size / self.sampling_rate

    @property
    def stride_seconds(self) -> float:
        """Stride between windows in seconds."""
        return (self.window_stride or self.window_size) / self.sampling_rate

    def with_policies(self, **policies: Any) -> "EcgFeatureExtractor":
        """This extractor, or a copy with other rules for unusual recordings.

        Args:
            **policies: `derive_leads`, `treat_as`, `missing_leads`, `flat_lead`, `nan_policy`, `max_gap_seconds`,
                `implausible_amplitude`, `electrode_offset`, `allow_short` (see `SignalContract`); None leaves a rule
                as it is.

        Raises:
            SignalError: If a name or value is unknown.
        """
        _refuse_unknown(policies, POLICIES, allowed=POLICIES, where=f"{type(self).__name__}.with_policies")
        changes = {name: value for name, value in policies.items() if value is not None}
        if not changes:
            return self
        other = copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        for name in changes:
            setattr(other, name, getattr(other.contract, name))
        return other

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Create an extractor from the saved fields; overridden fields are logged with their published values.

        Args:
            feature_extractor_dict: Content of `preprocessor_config.json`.
            **kwargs: Fields to override, and arguments of Transformers.

        Raises:
            SignalError: If a keyword looks like a misspelled field.
        """
        saved = dict(feature_extractor_dict)
        changes = {name: kwargs.pop(name) for name in FIELD_NAMES if name in kwargs}
        _refuse_misspelled(kwargs, where=f"{cls.__name__}.from_pretrained")
        if (
            "window_size" in changes
            and "window_stride" not in changes
            and saved.get("window_stride") == saved.get("window_size")
        ):
            saved.pop("window_stride", None)
        loaded = super().from_dict(saved | changes, **kwargs)
        extractor = loaded[0] if isinstance(loaded, tuple) else loaded
        changed = {
            name: getattr(extractor, name)
            for name in changes
            if _plain(feature_extractor_dict.get(name)) != getattr(extractor, name)
        }
        if changed:
            differences = "; ".join(
                f"{name} {feature_extractor_dict.get(name)!r} -> {value!r}" for name, value in changed.items()
            )
            logger.warning(f"The preprocessing differs from that of the published checkpoint: {differences}.")
        return loaded

    def __call__(
        self,
        records: EcgRecord | np.ndarray | torch.Tensor | dict[str, Any] | Sequence[Any],
        *,
        sampling_rate: float | Sequence[float] | None = None,
        leads: Sequence[str] | None = None,
        units: str = "mV",
        gain: float | None = None,
        window: str | None = None,
        peaks: np.ndarray | Sequence[Any] | None = None,
        reference_beat: np.ndarray | Sequence[np.ndarray] | None = None,
        lead_mask: Sequence[str] | Sequence[bool] | np.ndarray | torch.Tensor | None = None,
        random_lead_mask: float | None = None,
        generator: torch.Generator | None = None,
        return_tensors: str | None = None,
        return_patches: bool | None = None,
        preprocessed_by: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Convert one or several recordings of any length, rate, unit and lead order to model input.

        Args:
            records: An EcgRecord, an array or tensor `(leads, samples)` or `(records, leads, samples)`, a mapping
                with `signal` and `sampling_rate`, or a list of these.
            sampling_rate: Sampling rate of bare arrays in Hz: one number, or one per record.
            leads: Lead names of bare arrays. Default: the leads of the extractor, in its order.
            units: Unit of bare arrays: mV (default), uV, V or nV.
            gain: Raw units per mV (per `units`) of bare arrays with values of a converter. Default: None.
            window: `"slide"`, `"crop"`, `"center"`, `"random"` or `"beats"`. Default: the saved `window_mode`.
            peaks: R peaks for `"beats"`: ascending samples of one recording at its own rate, or a list with those of
                each. A beat that is not completely inside its recording is left out (`signals.windows.beat_starts`
                says which ones).
            reference_beat: With `reference`, the normalized beat that is subtracted `(leads, window_size)`, or a list
                with that of each recording. Default: the median of the recording's beats in this call.
            lead_mask: Leads to keep: names, or flags `(leads,)` or `(records, leads)` with 1 = present. The others
                become zero after normalization. Default: all.
            random_lead_mask: Probability of masking each lead of each window; one lead is always kept. Default: None.
            generator: Random generator for `window="random"` and `random_lead_mask`. Default: the global one.
            return_tensors: `"pt"` for tensors; `"np"` or None for arrays.
            return_patches: Overrides the attribute of that name.
            preprocessed_by: Steps that were already applied to the signals of a prepared corpus.
            **kwargs: Rules for unusual recordings, for this call, as in `with_policies`. Other names are rejected, with
                the closest known one.

        Returns:
            `input_values` float32 `(windows, leads, window_size)`; `attention_mask` int64 `(windows, window_size)`, 1 =
            signal, if the model takes one; `lead_mask` int64 `(windows, leads)`, 1 = present; `record_index` int64
            `(windows,)`, the record of each window. With patches: `patches` float32 `(windows, patches, leads *
            patch_size)`, sample-major, and `patch_attention_mask` int64 `(windows, patches)` instead of the first two.

        Raises:
            SignalError: If array, rate, unit, length or samples are invalid.
            LeadError: If leads are missing, unnamed, or all masked.
        """
        _refuse_unknown(kwargs, CALL_NAMES, allowed=POLICIES, where=f"{type(self).__name__}()")
        contract = self.with_policies(**kwargs).contract
        mode = _choice("window", window, contract.window_mode, CHOICES["window_mode"])
        if return_tensors not in (None, "np", "pt"):
            raise SignalError(f"return_tensors is {return_tensors!r}; expected 'pt', 'np' or None.")
        items = as_records(
            records,
            sampling_rate=sampling_rate,
            leads=leads,
            units=units,
            gain=gain,
            num_leads=len(contract.lead_names),
        )
        steps = contract.remaining_steps(preprocessed_by)
        marks = _per_record("peaks", peaks, len(items), axes=1)
        beats = _per_record("reference_beat", reference_beat, len(items), axes=2)
        prepared = [
            prepare_record(
                item, contract, steps=steps, window_mode=mode, peaks=own, reference_beat=beat, generator=generator
            )
            for item, own, beat in zip(items, marks, beats, strict=True)
        ]
        for item, one in zip(items, prepared, strict=True):
            check_values(item, one, contract, steps=steps)
        record_index = np.arange(len(items)).repeat([len(one.starts) for one in prepared])
        batch = make_batch(
            prepared,
            contract,
            record_index=record_index,
            kept=self._kept_leads(lead_mask, len(items)),
            random_lead_mask=random_lead_mask,
            generator=generator,
            steps=steps,
            patches=contract.return_patches if return_patches is None else return_patches,
        )
        batch["record_index"] = torch.from_numpy(record_index)
        return BatchFeature(batch if return_tensors == "pt" else {name: value.numpy() for name, value in batch.items()})

    def _kept_leads(self, lead_mask: Any, num_records: int) -> torch.Tensor | None:
        """The explicit lead mask as bool `(records, leads)`, or None."""
        if lead_mask is None:
            return None
        if isinstance(lead_mask, str) or (
            isinstance(lead_mask, Sequence) and any(isinstance(item, str) for item in lead_mask)
        ):
            names = [lead_mask] if isinstance(lead_mask, str) else lead_mask
            kept = [canonical_lead(name) for name in names]
            unknown = [name for name in kept if name not in self.lead_names]
            if unknown:
                raise LeadError(
                    f"lead_mask names {', '.join(unknown)}; expected leads among {', '.join(self.lead_names)}."
                )
            flags = torch.tensor([name in kept for name in self.lead_names])
        else:
            flags = torch.as_tensor(lead_mask).bool().cpu()
        if flags.shape not in ((self.num_leads,), (num_records, self.num_leads)):
            raise LeadError(
                f"lead_mask has shape {tuple(flags.shape)}; expected ({self.num_leads},) or ({num_records}, "
                f"{self.num_leads}): 1 for each lead to keep."
            )
        flags = flags.expand(num_records, self.num_leads)
        if not bool(flags.any(dim=1).all()):
            raise LeadError("lead_mask masks all leads of a record; expected at least one lead to keep.")
        return flags

    def normalize_batch(
        self,
        windows: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalize windows that are already cut and at the rate of the model, on their device.

        The call on records uses the same function.

        Args:
            windows: `(batch, leads, samples)` in mV.
            attention_mask: `(batch, samples)`, 1 = signal; None: all are.
            lead_mask: `(batch, leads)`, 1 = present; None: all are.
        """
        return normalize(windows, self.contract, attention_mask=attention_mask, lead_mask=lead_mask)

    def unpatchify(self, patches: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """Exact inverse of patching: `(batch, patches, leads * patch_size)` to `(batch, leads, samples)`."""
        if isinstance(patches, np.ndarray):
            return unpatchify(torch.from_numpy(patches), self.num_leads).numpy()
        return unpatchify(patches, self.num_leads)

    def contract_hash(self, steps: Iterable[str] = STEPS) -> str:
        """Hash (32 hexadecimal digits) that is equal for extractors with the same settings of these steps."""
        return self.contract.hash(steps)

    def stamp(self, steps: Iterable[str]) -> dict[str, Any]:
        """Value of `preprocessed_by` for a corpus that is stored after these steps."""
        steps = [step for step in STEPS if step in set(steps)]
        return {"steps": steps, "hash": self.contract_hash(steps)}

    def describe(self) -> str:
        """The contract as a numbered list in plain English."""
        return describe_contract(self.contract)

    def explain(self, records: Any, **kwargs: Any) -> str:
        """The effect of a call with the same arguments on each record, as a numbered list in plain English.

        Args:
            records: As for the call.
            **kwargs: `sampling_rate`, `leads`, `units`, `gain`, `window`, `peaks`, `preprocessed_by` and rules for
                unusual recordings as for the call.
        """
        _refuse_unknown(kwargs, EXPLAIN_NAMES, allowed=EXPLAIN_NAMES, where=f"{type(self).__name__}.explain")
        contract = self.with_policies(**{name: kwargs[name] for name in POLICIES if name in kwargs}).contract
        mode = _choice("window", kwargs.get("window"), contract.window_mode, CHOICES["window_mode"])
        items = as_records(
            records,
            sampling_rate=kwargs.get("sampling_rate"),
            leads=kwargs.get("leads"),
            units=kwargs.get("units", "mV"),
            gain=kwargs.get("gain"),
            num_leads=len(contract.lead_names),
        )
        steps = contract.remaining_steps(kwargs.get("preprocessed_by"))
        peaks = _per_record("peaks", kwargs.get("peaks"), len(items), axes=1)
        return "\n\n".join(
            _explain_one(item, contract, steps, mode, marks) for item, marks in zip(items, peaks, strict=True)
        )


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value


_field_values, _HASHABLE = attrgetter(*FIELD_NAMES), {int, float, str, bool, tuple, type(None)}


@lru_cache(maxsize=256)
def _contract(values: tuple) -> SignalContract:
    """Validated contract of these field values, cached since every call needs it."""
    return SignalContract(**dict(zip(FIELD_NAMES, values, strict=True)))


CALL_NAMES = (*tuple(signature(EcgFeatureExtractor.__call__).parameters)[2:-1], *POLICIES)
EXPLAIN_NAMES = ("sampling_rate", "leads", "units", "gain", "window", "peaks", "preprocessed_by", *POLICIES)


def _per_record(name: str, values: Any, count: int, *, axes: int) -> list[Any]:
    """One value for each record: that of a single record, or those of a list; None for each if there are none."""
    if values is None:
        return [None] * count
    if count == 1 and (len(values) == 0 or np.ndim(values[0]) == axes - 1):
        return [values]
    if not isinstance(values, list | tuple) or len(values) != count:
        raise SignalError(f"{name} has {len(values)} entries for {count} records; expected a list with one of each.")
    return list(values)


def _explain_one(
    record: EcgRecord, contract: SignalContract, steps: list[str], mode: str, peaks: np.ndarray | None
) -> str:
    """The processing of one record."""
    trace: list[str] = []
    prepared = prepare_record(record, contract, steps=steps, window_mode=mode, peaks=peaks, trace=trace)
    check_values(record, prepared, contract, steps=steps)
    trace = [*record.notes, *trace]
    for window, lead in flat_places(prepared, contract):
        result = {"mask": "zeros, 0 in lead_mask", "keep": "zeros", "error": "an error"}[contract.flat_lead]
        trace.append(f"{contract.lead_names[lead]} is flat in window {window}: {result}")
    if contract.normalization != "none" and contract.order_of("window") < contract.order_of("normalize"):
        trace.append(f"normalized each window ({contract.normalization})")
    if contract.reference != "none":
        trace.append("subtracted the median beat of the recording")
    title = (
        f"{record.name or 'record'}: {record.num_leads} leads, {record.duration:.4g} s at {record.sampling_rate:g} Hz"
    )
    return "\n".join([title, *(f"{number}. {line}" for number, line in enumerate(trace, start=1))])


def _choice(name: str, value: str | None, saved: str, choices: Sequence[str]) -> str:
    if value is None:
        return saved
    if value not in choices:
        raise SignalError(f"{name} is {value!r}; expected one of {', '.join(choices)}, or None for {saved!r}.")
    return value


def _plain(value: Any) -> Any:
    """A saved value as stored in the contract: lists for tuples and arrays."""
    return list(value) if isinstance(value, tuple | np.ndarray) else value


def _refuse_unknown(given: dict[str, Any], known: Sequence[str], *, allowed: Sequence[str], where: str) -> None:
    """Reject keywords that are not allowed, with the closest known name."""
    for name in given:
        if name not in allowed:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            raise SignalError(f"{where} has no argument {name!r}; expected a known name. {hint}")


def _refuse_misspelled(given: dict[str, Any], *, where: str) -> None:
    """Reject keywords that resemble a field; the keywords of Transformers do not."""
    for name in given:
        near = get_close_matches(name, FIELD_NAMES, n=1, cutoff=0.8)
        if near:
            raise SignalError(f"{where} has no argument {name!r}; expected a field. Did you mean {near[0]!r}?")
