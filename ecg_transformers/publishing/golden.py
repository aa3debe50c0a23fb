"""The golden file of a checkpoint: one recording, its `input_values`, its `pooler_output`.

Whoever opens the checkpoint can run the recording through it and compare: a difference in `input_values` is a
difference of preprocessing, one in `pooler_output` alone a difference of weights or arithmetic. The file names the
recording, its rate and its leads, and nothing about the patient.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import CheckpointError
from ..features.extractor import EcgFeatureExtractor
from ..signals.record import EcgRecord
from .clean_load import METADATA_KEY, golden_differences

__all__ = ["GOLDEN_FILE", "GoldenReport", "compare_golden", "describe_golden", "read_golden_record", "write_golden"]

GOLDEN_FILE = "golden.safetensors"

# Float32 through resampling and filtering, and through some ten layers, on other processors: measured differences are
# below 1e-6; a wrong filter, lead order or weight gives more than 1e-2.
INPUT_TOLERANCE = 1e-5
OUTPUT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class GoldenReport:
    """Result of a golden comparison; differences are relative to the largest stored value.

    Attributes:
        record: Name of the recording.
        input_difference: Of `input_values`.
        output_difference: Of `pooler_output`.
    """

    record: str
    input_difference: float
    output_difference: float

    @property
    def passed(self) -> bool:
        """Whether both differences are within the tolerances of float32 arithmetic."""
        return self.input_difference <= INPUT_TOLERANCE and self.output_difference <= OUTPUT_TOLERANCE

    def __str__(self) -> str:
        """One line for people."""
        verdict = "equal" if self.passed else "DIFFERENT"
        return (
            f"{verdict}: record {self.record}, input_values differ by {self.input_difference:.1e}, "
            f"pooler_output by {self.output_difference:.1e} of the largest value"
        )


def write_golden(
    folder: str | Path, record: EcgRecord, extractor: EcgFeatureExtractor, model: torch.nn.Module, *, source: str = ""
) -> Path:
    """Runs one recording through extractor and encoder and writes `golden.safetensors`.

    Args:
        folder: The checkpoint.
        record: One real recording; only its name, rate, leads and signal are stored.
        extractor: The checkpoint's feature extractor.
        model: The checkpoint's encoder, made from the weights as published, in eval mode.
        source: Corpus and license of the recording in words.

    Raises:
        CheckpointError: If the recording has no lead names.
    """
    if record.leads is None:
        raise CheckpointError(f"The golden record {record.name} has no lead names; give it leads=.")
    signal = torch.from_numpy(record.signal).clone()
    inputs = extractor(record.signal, sampling_rate=record.sampling_rate, leads=list(record.leads), return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs).pooler_output
    path = Path(folder) / GOLDEN_FILE
    tensors = {"signal": signal, "input_values": inputs["input_values"].contiguous(), "pooler_output": output.float()}
    recording = {
        "record": record.name,
        "sampling_rate": record.sampling_rate,
        "leads": list(record.leads),
        "units": "mV",
        "source": source,
    }
    # One entry: safetensors writes several in an order that changes from run to run, and with it the file's hash.
    metadata = {METADATA_KEY: json.dumps(recording)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(path), metadata=metadata)
    return path


def read_golden_record(folder: str | Path) -> tuple[EcgRecord, str] | None:
    """Gives the recording of a checkpoint's golden file and its source in words, or None where there is no such file.

    Raises:
        CheckpointError: If the file is damaged or incomplete.
    """
    path = Path(folder) / GOLDEN_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            recording = json.loads((file.metadata() or {})[METADATA_KEY])
            signal = file.get_tensor("signal").numpy()
        leads, rate = tuple(recording["leads"]), float(recording["sampling_rate"])
        name, source = str(recording["record"]), str(recording["source"])
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a golden file: {error}. Publish the checkpoint again.") from error
    return EcgRecord(signal, rate, leads=leads, name=name), source


def describe_golden(folder: str | Path) -> str:
    """Says in a few words which recording the golden file holds."""
    found = read_golden_record(folder)
    if found is None:
        return "none"
    record, source = found
    return f"{record.name}, {record.num_leads} leads, {record.sampling_rate:g} Hz{f' ({source})' if source else ''}"


def compare_golden(folder: str | Path, extractor: EcgFeatureExtractor, model: torch.nn.Module) -> GoldenReport:
    """Runs the golden recording again and compares.

    Args:
        folder: The checkpoint.
        extractor: Its feature extractor.
        model: Its encoder, in eval mode.

    Raises:
        CheckpointError: If there is no golden file or it is damaged.
    """
    found = read_golden_record(folder)
    if found is None:
        raise CheckpointError(f"{folder} has no {GOLDEN_FILE}; only published checkpoints have one.")
    try:
        differences = golden_differences(extractor, model, Path(folder) / GOLDEN_FILE)
    except SafetensorError as error:
        raise CheckpointError(f"{Path(folder) / GOLDEN_FILE} is incomplete: {error}.") from error
    return GoldenReport(found[0].name, differences["input_values"], differences["pooler_output"])
