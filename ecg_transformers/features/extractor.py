"""The feature extractor: a saved contract that turns recordings into model input, the same way everywhere."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import logging

from ..errors import LeadError, SignalError
from ..signals.leads import STANDARD_LEADS, canonical_lead
from ..signals.record import EcgRecord
from .batch import flat_places, make_batch
from .contract import CHOICES, FIELD_NAMES, STEPS, SignalContract
from .inputs import as_records
from .preparation import normalize, prepare_record
from .steps import FLAT_EPSILON, unpatchify

__all__ = ["EcgFeatureExtractor"]

logger = logging.get_logger(__name__)

# Keys that Transformers writes into preprocessor files. `auto_map` is not kept: it names source files beside the file
# it was read from, and saving elsewhere would point at nothing (publishing sets it anew).
FOREIGN_KEYS = ("auto_map", "feature_extractor_type", "processor_class")


class EcgFeatureExtractor(FeatureExtractionMixin):
    """Recordings in, model input out, prepared as the checkpoint wants.

    All arguments are attributes of the same name, are saved in `preprocessor_config.json` and are explained in
    `SignalContract`; every one has a default. The class for one architecture
    (`MaeMocoFeatureExtractor`) differs in its defaults.

    `normalization="constants"` subtracts from each lead its own mean in the window (or `normalization_mean`, mV per
    lead, where it is set) and divides by `normalization_std`, one fixed deviation in mV per lead: amplitudes between
    leads and between patients survive, which per-lead z-scoring removes.

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
    patch_size: int | None
    normalization: str
    normalization_mean: list[float] | None
    normalization_std: list[float] | None
    normalization_epsilon: float

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 500,
        window_size: int = 5000,
        window_stride: int | None = None,
        window_mode: str = "slide",
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
        zero_phase: bool = True,
        notch: float | None = None,
        notch_quality: float = 30.0,
        derive_leads: bool = False,
        missing_leads: str = "error",
        flat_lead: str = "mask",
        nan_policy: str = "error",
        max_gap_seconds: float = 0.1,
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
        """The attributes as one checked object; raises if an attribute was set to something that does not fit."""
        values = tuple(getattr(self, name) for name in FIELD_NAMES)
        try:
            return _contract(tuple(tuple(value) if isinstance(value, list) else value for value in values))
        except TypeError:  # an attribute was set to an array
            return _contract.__wrapped__(values)

    @property
    def num_leads(self) -> int:
        """The number of leads of the model's input."""
        return len(self.lead_names)

    @property
    def window_seconds(self) -> float:
        """The length of a window in seconds."""
        return self.window_size / self.sampling_rate

    @property
    def stride_seconds(self) -> float:
        """The distance of two windows in seconds."""
        return (self.window_stride or self.window_size) / self.sampling_rate

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """An extractor from the saved fields; fields that the caller changes are logged beside their published value.

        Raises:
            SignalError: a keyword looks like a misspelled field.
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
            words = "; ".join(
                f"{name} {feature_extractor_dict.get(name)!r} -> {value!r}" for name, value in changed.items()
            )
            logger.warning(f"The preprocessing differs from the one that this checkpoint was published with: {words}.")
        return loaded

    def __call__(
        self,
        records: EcgRecord | np.ndarray | torch.Tensor | dict[str, Any] | Sequence[Any],
        *,
        sampling_rate: float | Sequence[float] | None = None,
        leads: Sequence[str] | None = None,
        units: str = "mV",
        window: str | None = None,
        lead_mask: Sequence[str] | Sequence[bool] | np.ndarray | torch.Tensor | None = None,
        random_lead_mask: float | None = None,
        generator: torch.Generator | None = None,
        return_tensors: str | None = None,
        return_patches: bool | None = None,
        preprocessed_by: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Model input from one recording or several of any length, rate, unit and lead order.

        Args:
            records: an EcgRecord, an array or tensor `(leads, samples)` or `(records, leads, samples)`, a mapping
                with `signal` and `sampling_rate`, or a list of these.
            sampling_rate: Hz of bare arrays: one number, or one per record.
            leads: lead names of bare arrays; without them an array must have exactly the extractor's leads in its
                order.
            units: unit of bare arrays: mV, uV, V or nV.
            window: `"slide"`, `"crop"`, `"center"` or `"random"`; None: the saved choice.
            lead_mask: the leads to keep: their names, or flags `(leads,)` or `(records, leads)` with 1 = present.
                The others become zero after normalization.
            random_lead_mask: probability with which each lead of each window becomes zero; one lead always stays.
            generator: source of every draw (window `"random"`, `random_lead_mask`); None: torch's own.
            return_tensors: `"pt"` for tensors; `"np"` or None for arrays.
            return_patches: as the attribute of that name, for this call.
            preprocessed_by: what a prepared corpus says about the steps that its signals already went through.
            **kwargs: nothing else is known; a misspelled name is refused.

        Returns:
            `input_values` float32 `(windows, leads, window_size)`; `attention_mask` int64 ``(windows,
            window_size)`, 1 = signal, if the model takes one; `lead_mask` int64 `(windows, leads)``, 1 = present;
            `record_index` int64 `(windows,)`, which record each window is of. With patches: `patches` float32
            `(windows, patches, leads * patch_size)`, sample-major, and `patch_attention_mask` int64 ``(windows,
            patches)`` in place of the first two.

        Raises:
            SignalError: array, rate, unit, length or samples cannot be used.
            LeadError: leads are missing, unnamed, or all masked.
        """
        _refuse_unknown(kwargs, CALL_NAMES, allowed=(), where=f"{type(self).__name__}()")
        contract = self.contract
        mode = _choice("window", window, contract.window_mode, CHOICES["window_mode"])
        if return_tensors not in (None, "np", "pt"):
            raise SignalError(f"return_tensors is {return_tensors!r}; expected 'pt', 'np' or None.")
        items = as_records(
            records, sampling_rate=sampling_rate, leads=leads, units=units, num_leads=len(contract.lead_names)
        )
        steps = contract.remaining_steps(preprocessed_by)
        prepared = [
            prepare_record(item, contract, steps=steps, window_mode=mode, generator=generator) for item in items
        ]
        record_index = np.repeat(np.arange(len(items)), [len(one.starts) for one in prepared])
        kept = self._kept_leads(lead_mask, len(items))
        batch = make_batch(
            prepared,
            contract,
            kept=None if kept is None else kept[record_index],
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
                    f"lead_mask names {', '.join(unknown)}; expected leads to keep out of {', '.join(self.lead_names)}."
                )
            flags = torch.tensor([name in kept for name in self.lead_names])
        else:
            flags = torch.as_tensor(lead_mask).bool().cpu()
        if flags.shape not in ((self.num_leads,), (num_records, self.num_leads)):
            raise LeadError(
                f"lead_mask has shape {tuple(flags.shape)}; expected ({self.num_leads},) or ({num_records}, "
                f"{self.num_leads}): 1 for each lead that stays."
            )
        flags = flags.expand(num_records, self.num_leads)
        if not bool(flags.any(dim=1).all()):
            raise LeadError("lead_mask takes all leads of a record away; expected at least one that stays.")
        return flags

    def normalize_batch(
        self,
        windows: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The contract's normalization on windows `(batch, leads, samples)` in mV, on whatever device they are.

        For data that is already cut and at the model's rate; the call on records uses the same function.

        Args:
            windows: mV.
            attention_mask: `(batch, samples)`, 1 = signal; None: all are.
            lead_mask: `(batch, leads)`, 1 = present; None: all are.
        """
        return normalize(windows, self.contract, attention_mask=attention_mask, lead_mask=lead_mask)

    def unpatchify(self, patches: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        """The windows `(batch, leads, samples)` of patches `(batch, patches, leads * patch_size)`, exactly."""
        if isinstance(patches, np.ndarray):
            return unpatchify(torch.from_numpy(patches), self.num_leads).numpy()
        return unpatchify(patches, self.num_leads)

    def contract_hash(self, steps: Iterable[str] = STEPS) -> str:
        """32 hexadecimal digits that two extractors share if they do these steps alike."""
        return self.contract.hash(steps)

    def stamp(self, steps: Iterable[str]) -> dict[str, Any]:
        """What a corpus stored after these steps has to carry as `preprocessed_by`."""
        steps = [step for step in STEPS if step in set(steps)]
        return {"steps": steps, "hash": self.contract_hash(steps)}

    def describe(self) -> str:
        """The contract as a numbered list in plain words."""
        return self.contract.describe()

    def explain(self, records: Any, **kwargs: Any) -> str:
        """What a call with the same arguments does to each record, as a numbered list in plain words.

        Args:
            records: as for the call.
            **kwargs: `sampling_rate`, `leads`, `units`, `window`, `preprocessed_by` as for the call.
        """
        _refuse_unknown(kwargs, EXPLAIN_NAMES, allowed=EXPLAIN_NAMES, where=f"{type(self).__name__}.explain")
        contract = self.contract
        mode = _choice("window", kwargs.get("window"), contract.window_mode, CHOICES["window_mode"])
        items = as_records(
            records,
            sampling_rate=kwargs.get("sampling_rate"),
            leads=kwargs.get("leads"),
            units=kwargs.get("units", "mV"),
            num_leads=len(contract.lead_names),
        )
        steps = contract.remaining_steps(kwargs.get("preprocessed_by"))
        return "\n\n".join(_explain_one(item, contract, steps, mode) for item in items)


@lru_cache(maxsize=256)
def _contract(values: tuple) -> SignalContract:
    """The checked contract of these field values; kept, because every call asks for it."""
    return SignalContract(**dict(zip(FIELD_NAMES, values, strict=True)))


CALL_NAMES = (
    "sampling_rate",
    "leads",
    "units",
    "window",
    "lead_mask",
    "random_lead_mask",
    "generator",
    "return_tensors",
    "return_patches",
    "preprocessed_by",
)
EXPLAIN_NAMES = ("sampling_rate", "leads", "units", "window", "preprocessed_by")


def _explain_one(record: EcgRecord, contract: SignalContract, steps: list[str], mode: str) -> str:
    """What is done to one record."""
    trace: list[str] = []
    prepared = prepare_record(record, contract, steps=steps, window_mode=mode, trace=trace)
    trace = [*record.notes, *trace]
    for window, lead in flat_places(prepared, contract):
        result = {"mask": "zeros, 0 in lead_mask", "keep": "zeros", "error": "an error"}[contract.flat_lead]
        trace.append(f"{contract.lead_names[lead]} is flat in window {window}: {result}")
    if contract.normalization != "none" and contract.order_of("window") < contract.order_of("normalize"):
        trace.append(f"normalized each window ({contract.normalization})")
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
    """A saved value as the contract would hold it: lists for tuples and arrays."""
    return list(value) if isinstance(value, tuple | np.ndarray) else value


def _refuse_unknown(given: dict[str, Any], known: Sequence[str], *, allowed: Sequence[str], where: str) -> None:
    """Raises for the first keyword that is not allowed, with the nearest name that is known."""
    for name in given:
        if name not in allowed:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            raise SignalError(f"{where} has no argument {name!r}; expected a known name. {hint}")


def _refuse_misspelled(given: dict[str, Any], *, where: str) -> None:
    """Raises for a keyword that nearly is a field; what Transformers passes on its own is far from every field."""
    for name in given:
        near = get_close_matches(name, FIELD_NAMES, n=1, cutoff=0.8)
        if near:
            raise SignalError(f"{where} has no argument {name!r}; expected a field. Did you mean {near[0]!r}?")
