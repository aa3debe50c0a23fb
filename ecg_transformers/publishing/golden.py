"""The golden file of a checkpoint: one recording, its `input_values`, and the outputs that the model declares.

Whoever opens the checkpoint can run the recording through it and compare: a difference in `input_values` is a
difference of preprocessing, one in the outputs alone a difference of weights or arithmetic. A model class names its
outputs in `golden_outputs`; a class that names none is checked by the `pooler_output` of its encoder. The file holds
the name of the recording, its rate and its leads, for a model of beats its R peaks, and nothing about the patient.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import CheckpointError
from ..features.extractor import EcgFeatureExtractor
from ..inference.loading import quiet_loading
from ..modeling import EcgPreTrainedModel
from ..signals.beats import annotated_peaks, detect_r_peaks
from ..signals.record import Annotations, EcgRecord
from .clean_load import METADATA_KEY, golden_differences, read_recording
from .folder import auto_classes, find_class, read_json

__all__ = ["GOLDEN_FILE", "GoldenReport", "compare_golden", "describe_golden", "read_golden_record", "write_golden"]

GOLDEN_FILE = "golden.safetensors"
ENCODER_OUTPUTS = ("pooler_output",)
# WFDB's symbol of a beat whose class is not stated.
_SOME_BEAT = "?"

# Float32 through resampling, filters and some ten layers, on other processors: measured differences are below 1e-6; a
# wrong filter, lead order or weight gives more than 1e-2.
INPUT_TOLERANCE = 1e-5
OUTPUT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class GoldenReport:
    """Result of a golden comparison.

    Attributes:
        record: Name of the recording.
        differences: Largest difference of `input_values` and of each stored output, relative to its largest value.
    """

    record: str
    differences: Mapping[str, float]

    @property
    def passed(self) -> bool:
        """Whether all differences are within the tolerances of float32 arithmetic."""
        bounds = {"input_values": INPUT_TOLERANCE}
        return all(value <= bounds.get(name, OUTPUT_TOLERANCE) for name, value in self.differences.items())

    def __str__(self) -> str:
        """One line for people."""
        first, *others = sorted(self.differences.items(), key=lambda one: one[0] != "input_values")
        parts = [f"{first[0]} differ by {first[1]:.1e}", *(f"{name} by {value:.1e}" for name, value in others)]
        return (
            f"{'equal' if self.passed else 'DIFFERENT'}: record {self.record}, {', '.join(parts)} of the largest value"
        )


def golden_head(folder: Path) -> tuple[type[EcgPreTrainedModel], str, Sequence[str]]:
    """Returns the model class that a checkpoint is checked by, its auto class, and the names of its outputs.

    Args:
        folder: The checkpoint.

    Raises:
        CheckpointError: If its class declares no golden outputs and its family has no encoder.
    """
    architecture, head = find_class(folder, read_json(folder / "config.json"))
    classes = architecture.models
    outputs = classes[head].golden_outputs
    if outputs:
        return classes[head], auto_classes(head, classes[head])[0], outputs
    if "encoder" not in classes:
        raise CheckpointError(
            f"{classes[head].__name__} declares no golden outputs and {architecture.model_type} has no encoder; set "
            "golden_outputs on the class."
        )
    return classes["encoder"], "AutoModel", ENCODER_OUTPUTS


def write_golden(folder: str | Path, record: EcgRecord, extractor: EcgFeatureExtractor, *, source: str = "") -> None:
    """Runs one recording through the checkpoint as it is stored and writes `golden.safetensors`.

    Args:
        folder: The checkpoint, its weights as published.
        record: One real recording; only its name, rate, leads and signal are stored, and for an extractor of beats its
            R peaks: those of its annotations, else detected ones.
        extractor: The checkpoint's feature extractor.
        source: Corpus and license of the recording, e.g. `"PTB-XL 1.0.3, CC BY 4.0"`.

    Raises:
        CheckpointError: If the recording has no lead names, or the model does not return what it declares.
    """
    if record.leads is None:
        raise CheckpointError(f"The golden record {record.name} has no lead names; give it leads=.")
    folder = Path(folder)
    model_class, auto_class, outputs = golden_head(folder)
    model = _load(folder, model_class)
    leads, peaks = list(record.leads), _peaks(record, extractor)
    beats: dict[str, Any] = {} if peaks is None else {"peaks": peaks}
    inputs = extractor(record.signal, sampling_rate=record.sampling_rate, leads=leads, return_tensors="pt", **beats)
    with torch.no_grad():
        found = model(**inputs)
    missing = [name for name in outputs if found.get(name) is None]
    if missing:
        raise CheckpointError(f"{model_class.__name__} declares the golden output {missing[0]} but returned none.")
    tensors = {name: found[name].float() for name in outputs}
    tensors |= {"signal": torch.from_numpy(record.signal).clone(), "input_values": inputs["input_values"]}
    tensors |= {name: torch.from_numpy(value).clone() for name, value in beats.items()}
    recording = {
        "record": record.name,
        "sampling_rate": record.sampling_rate,
        "leads": leads,
        "units": "mV",
        "source": source,
    } | ({} if auto_class == "AutoModel" else {"auto_class": auto_class})
    # One entry: safetensors writes several in an order that changes from run to run, and with it the file's hash.
    metadata = {METADATA_KEY: json.dumps(recording)}
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(stored, str(folder / GOLDEN_FILE), metadata=metadata)


def _peaks(record: EcgRecord, extractor: EcgFeatureExtractor) -> np.ndarray | None:
    """R peaks of the recording, where the extractor cuts beats."""
    if extractor.contract.window_mode != "beats":
        return None
    if record.annotations is not None and len(annotated := annotated_peaks(record)[0]):
        return annotated
    return detect_r_peaks(record)


def read_golden_record(folder: str | Path) -> tuple[EcgRecord, str] | None:
    """Returns the recording of a checkpoint's golden file and its source, or None where there is no such file.

    Its R peaks, if the file has them, are annotations.

    Args:
        folder: The checkpoint.

    Raises:
        CheckpointError: If the file is damaged or incomplete.
    """
    path = Path(folder) / GOLDEN_FILE
    if not path.is_file():
        return None
    try:
        recording = read_recording(path)
        with safe_open(str(path), framework="pt") as file:
            signal = file.get_tensor("signal").numpy()
            peaks = file.get_tensor("peaks").numpy() if "peaks" in file.keys() else None
        leads, rate = tuple(recording["leads"]), float(recording["sampling_rate"])
        name, source = str(recording["record"]), str(recording["source"])
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a golden file: {error}. Publish the checkpoint again.") from error
    marks = None if peaks is None else Annotations(peaks, [_SOME_BEAT] * len(peaks))
    return EcgRecord(signal, rate, leads=leads, name=name, annotations=marks), source


def describe_golden(folder: str | Path) -> str:
    """Describes the recording of the golden file: name, leads, rate, source."""
    found = read_golden_record(folder)
    if found is None:
        return "none"
    record, source = found
    return f"{record.name}, {record.num_leads} leads, {record.sampling_rate:g} Hz{f' ({source})' if source else ''}"


def compare_golden(folder: str | Path, extractor: EcgFeatureExtractor) -> GoldenReport:
    """Runs the golden recording through a checkpoint with the classes of this package and compares.

    Args:
        folder: The checkpoint.
        extractor: Its feature extractor.

    Raises:
        CheckpointError: If there is no golden file or it is damaged.
    """
    folder = Path(folder)
    found = read_golden_record(folder)
    if found is None:
        raise CheckpointError(f"{folder} has no {GOLDEN_FILE}; only published checkpoints have one.")
    model = _load(folder, golden_head(folder)[0])
    try:
        return GoldenReport(found[0].name, golden_differences(extractor, model, folder / GOLDEN_FILE))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / GOLDEN_FILE} is incomplete: {error}.") from error


def _load(folder: Path, model_class: type[EcgPreTrainedModel]) -> EcgPreTrainedModel:
    with quiet_loading():
        return model_class.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
