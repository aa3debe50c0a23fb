"""Inputs of the pipelines and their preparation by the feature extractor, window by window.

How files are read is an argument: a published folder holds this code without the readers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..errors import CheckpointError, SignalError
from ..features.agreement import check_contract
from ..features.contract import POLICIES
from ..features.extractor import EcgFeatureExtractor
from ..signals.record import EcgRecord
from ..signals.resample import resampled_length
from ..signals.windows import window_starts

__all__ = [
    "PREPARING",
    "READING",
    "PreparedWindows",
    "check_array_reading",
    "check_parts",
    "model_inputs",
    "prepare_windows",
    "several_inputs",
    "slide_starts",
    "stored_steps",
    "window_chunks",
    "without_statement",
]

# Arguments about a file; those about an array; those about an unusual recording of any kind.
READING = (
    "sampling_rate", "units", "gain", "leads", "treat_as", "key", "index", "decimal", "channels", "allow_truncated",
    "missing_value",
)  # fmt: skip
_ARRAY_READING = ("sampling_rate", "units", "gain", "leads")
PREPARING = tuple(dict.fromkeys((*READING, *POLICIES, "window", "preprocessed_by")))


@dataclass(frozen=True)
class PreparedWindows:
    """Prepared windows of one record.

    Args:
        features: Tensors of the feature extractor, each `(windows, ...)`.
        name: Name of the record.
        starts: Start of each window in seconds `(windows,)`; NaN for a random window.
        notes: What the reader of the file noted.
    """

    features: dict[str, torch.Tensor]
    name: str
    starts: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def has_signal(self) -> torch.Tensor:
        """Which windows have a signal in any lead, bool `(windows,)`."""
        return self.features["lead_mask"].any(dim=1) & self.features["input_values"].flatten(1).any(dim=1)

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return len(self.starts)


def check_parts(model: PreTrainedModel, extractor: EcgFeatureExtractor | None) -> None:
    """Check that model and feature extractor describe the same input.

    Args:
        model: The model.
        extractor: The feature extractor that was loaded with it.

    Raises:
        CheckpointError: There is no feature extractor, or rate, leads, window or patches differ.
    """
    if extractor is None:
        raise CheckpointError(
            "the pipeline has no feature extractor; expected the one that was saved with the model. "
            "Pass feature_extractor=AutoFeatureExtractor.from_pretrained(folder)."
        )
    check_contract(model.config, extractor)


def several_inputs(inputs: Any) -> Any:
    """Distinguish one record from several for `Pipeline.__call__`: lists stay lists, other collections are iterated.

    Args:
        inputs: Input of a pipeline. A stack `(records, leads, samples)` is a list of records; corpora, generators and
            other iterables are read lazily.
    """
    if isinstance(inputs, tuple):
        return list(inputs)
    if isinstance(inputs, np.ndarray | torch.Tensor):
        return list(inputs) if inputs.ndim == 3 else inputs
    if isinstance(inputs, list | str | bytes | Path | dict | EcgRecord | PreparedWindows):
        return inputs
    if isinstance(inputs, Iterable) or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
        return (item for item in inputs)
    return inputs


def stored_steps(source: Any) -> dict[str, Any]:
    """Return the preprocessing that a prepared corpus has stored, as a keyword; an empty dictionary without any.

    Args:
        source: Input of a pipeline.
    """
    info = getattr(source, "info", None)
    steps = info.get("preprocessed_by") if isinstance(info, dict) else None
    return {} if steps is None else {"preprocessed_by": steps}


def check_array_reading(item: Any, reading: Iterable[str]) -> None:
    """Refuse what concerns files only for a recording in memory.

    Args:
        item: The recording.
        reading: Names of the arguments that were given.

    Raises:
        SignalError: One of them is for files.
    """
    if unfit := [name for name in reading if name not in _ARRAY_READING]:
        raise SignalError(
            f"{', '.join(unfit)} is for files and the record is {type(item).__name__}; expected a path with it. "
            f"For arrays set {', '.join(_ARRAY_READING)}."
        )


def prepare_windows(
    item: Any,
    extractor: EcgFeatureExtractor,
    *,
    read: Callable[..., EcgRecord] | None = None,
    window: str | None = None,
    preprocessed_by: dict[str, Any] | None = None,
    **reading: Any,
) -> PreparedWindows:
    """Prepare the windows of one record.

    Args:
        item: Path of a recording, EcgRecord, array or tensor `(leads, samples)`, mapping with `signal` and
            `sampling_rate`, or a result of this function.
        extractor: The checkpoint's feature extractor.
        read: Reads the record of a path; `None` = there are no paths.
        window: As in the extractor's call.
        preprocessed_by: As in the extractor's call.
        **reading: For paths as in `read_record`; for arrays `sampling_rate`, `units`, `gain`, `leads`; rules for
            unusual recordings as in `EcgFeatureExtractor.with_policies`.

    Raises:
        SignalError: The item is no record, has no signal, or an argument does not apply to it.
    """
    if isinstance(item, PreparedWindows):
        return item
    reading = {name: value for name, value in reading.items() if value is not None}
    extractor = extractor.with_policies(**{name: reading[name] for name in POLICIES if name in reading})
    reading = {name: value for name, value in reading.items() if name not in POLICIES}
    if isinstance(item, str | Path):
        if read is None:
            raise SignalError(
                f"{item} is a file, and the code of a published folder reads none: pass an array (leads, samples) with "
                "sampling_rate=, or install the package ecg_transformers."
            )
        item, reading = read(item, **reading), {}
    check_array_reading(item, reading)
    # One item of the pipeline is one record; a list inside a list would be several.
    if isinstance(item, list | tuple) or getattr(item, "ndim", 2) != 2:
        raise SignalError(
            f"a record is {type(item).__name__} of shape {np.shape(item)}; expected a path, an EcgRecord, an array "
            "(leads, samples) or a mapping. Pass several records as one flat list."
        )
    features = dict(
        extractor(
            item,
            window=window,
            preprocessed_by=preprocessed_by,
            return_tensors="pt",
            return_patches=False,
            **reading,
        )
    )
    windows = len(features.pop("record_index"))
    name, samples, rate = _facts(item, reading.get("sampling_rate"))
    mode = extractor.contract.window_mode if window is None else window
    starts = _starts(extractor, mode, resampled_length(samples, rate, extractor.sampling_rate))
    if len(starts) != windows:
        raise SignalError(f"{name or 'the record'} gave {windows} windows where {len(starts)} were expected.")
    notes = tuple(item.notes) if isinstance(item, EcgRecord) else ()
    return PreparedWindows(features, name, starts, notes)


def slide_starts(extractor: EcgFeatureExtractor, num_samples: int) -> np.ndarray:
    """Return the first sample of each window of a recording.

    Args:
        extractor: The feature extractor.
        num_samples: Samples of the recording at the rate of the extractor.
    """
    contract = extractor.contract
    return window_starts(
        num_samples,
        contract.window_size,
        contract.window_stride,
        incomplete="pad" if contract.allow_short else "align",
        min_samples=int(np.ceil(contract.min_window_seconds * contract.sampling_rate)),
    )


def window_chunks(prepared: PreparedWindows) -> Iterator[dict[str, Any]]:
    """Iterate over windows in the form of `ChunkPipeline`: tensors `(1, ...)`, `has_signal (1,)` and `is_last`.

    Args:
        prepared: Windows of a record.
    """
    has_signal = prepared.has_signal
    for index in range(prepared.num_windows):
        rows = {name: values[index : index + 1] for name, values in prepared.features.items()}
        is_last = index == prepared.num_windows - 1
        yield {"is_last": is_last, "has_signal": has_signal[index : index + 1], **rows}


def model_inputs(batch: dict[str, Any], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch in the type of the model, without masks that mask nothing (attention is faster).

    Args:
        batch: Dictionary of a pipeline.
        model: The model.
    """
    tensors = {name: v for name, v in batch.items() if isinstance(v, torch.Tensor) and name != "has_signal"}
    return {
        name: value.to(model.dtype) if value.is_floating_point() else value
        for name, value in tensors.items()
        if not name.endswith("_mask") or not value.all()
    }


def without_statement(values: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
    """NaN for the windows without signal: they cannot be judged, and they do not count in their record.

    Args:
        values: Results of a model `(windows, ...)`.
        batch: Dictionary of a pipeline.
    """
    silent = ~batch["has_signal"].reshape(-1, *[1] * (values.ndim - 1))
    return values.float().masked_fill(silent, torch.nan)


def _facts(item: Any, sampling_rate: Any) -> tuple[str, int, Any]:
    """Name, samples and rate of a record that the extractor accepted."""
    if isinstance(item, EcgRecord):
        return item.name, item.num_samples, item.sampling_rate
    if isinstance(item, dict):
        known = item.get("sampling_rate")
        rate = sampling_rate if known is None else known
        return str(item.get("name") or ""), np.shape(item["signal"])[-1], rate
    return "", item.shape[-1], sampling_rate


def _starts(extractor: EcgFeatureExtractor, mode: str, num_samples: int) -> np.ndarray:
    """Start of each window in seconds."""
    surplus = max(0, num_samples - extractor.window_size)
    first = {"crop": 0.0, "center": float(surplus // 2), "random": np.nan if surplus else 0.0}
    starts = slide_starts(extractor, num_samples) if mode == "slide" else np.array([first[mode]])
    return starts / extractor.sampling_rate
