"""A checkpoint as a folder for other runtimes: graph, contract as JSON, and an example that needs neither torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import CheckpointError, check_names
from ..files import write_text
from ..inference.loading import checkpoint_errors
from ..publishing.export import Opened, open_checkpoint
from .example import example_program
from .graph import FORMATS, TOLERANCE, Signature, largest_difference

__all__ = ["CONTRACT_FILE", "EXAMPLE_FILE", "Exported", "export_checkpoint"]

CONTRACT_FILE = "contract.json"
EXAMPLE_FILE = "score_recording.py"


@dataclass(frozen=True)
class Exported:
    """An exported checkpoint.

    Attributes:
        file: The graph, `model.onnx` or `model.pt2`.
        signature: Its inputs and outputs.
        difference: Largest difference of its outputs from those of the model, relative to their largest value.
        example: The program that prepares and scores a recording without torch; None with `model.pt2`, and for a
            contract with a step that such programs do not know.
    """

    file: Path
    signature: Signature
    difference: float
    example: Path | None


def export_checkpoint(
    checkpoint: str | Path, output_dir: str | Path, *, format: Literal["onnx", "torch"] = "onnx"
) -> Exported:
    """Export the encoder, classifier or anomaly detector of a checkpoint, and compare the file with it.

    The folder receives the graph, `contract.json` (inputs, outputs, preprocessing, labels and thresholds) and, with
    `model.onnx`, `score_recording.py`, which prepares and scores a recording with NumPy, SciPy and ONNX Runtime alone:
    the steps of this contract, and no others.
    Of a pretraining checkpoint the model that `publish` would publish is exported.

    Args:
        checkpoint: Folder of a checkpoint.
        output_dir: Folder to write to; files of another format in it are kept.
        format: `"onnx"` (extra `[onnx]`; default) or `"torch"`, a program of `torch.export`.

    Raises:
        CheckpointError: Parts of the checkpoint are missing, or the exported outputs differ from those of the model.
        ArgumentsError: An unknown format.
    """
    check_names([format], FORMATS, where="format")
    with checkpoint_errors(checkpoint):
        opened = open_checkpoint(Path(checkpoint), with_pretraining_state=False)
    signature = Signature.of(opened.model, opened.head)
    folder, (name, write) = Path(output_dir), FORMATS[format]
    difference = largest_difference(write(folder / name, opened.model, signature), opened.model, signature)
    if not difference <= TOLERANCE:
        (folder / name).unlink()
        raise CheckpointError(
            f"{checkpoint} as {format} differs from the model by {difference:.1e} of the largest value; expected at "
            f"most {TOLERANCE:.0e}. Nothing was exported."
        )
    facts = _contract(opened, signature)
    write_text(folder / CONTRACT_FILE, json.dumps(facts, indent=2) + "\n")
    if format != "onnx":
        return Exported(folder / name, signature, difference, example=None)
    example = folder / EXAMPLE_FILE
    program = example_program(facts, Path(checkpoint).resolve().name)
    if program is None:
        example.unlink(missing_ok=True)
        return Exported(folder / name, signature, difference, example=None)
    write_text(example, program)
    return Exported(folder / name, signature, difference, example)


def _contract(opened: Opened, signature: Signature) -> dict[str, Any]:
    """What a program needs to know to prepare recordings and to read the outputs."""
    config: Any = opened.model.config
    facts = {
        "model": type(opened.model).__name__,
        "model_type": config.model_type,
        "license": config.license,
        "intended_use": config.intended_use,
        "inputs": {
            name: {"type": "float32" if name == "input_values" else "int64", "shape": list(shape)}
            for name, shape in signature.inputs.items()
        },
        "outputs": list(signature.outputs),
        "preprocessing": asdict(opened.extractor.contract),
    }
    if opened.head == "anomaly_detection":
        facts["anomaly_threshold"] = config.anomaly_threshold
    if opened.head != "classifier":
        return facts
    activations = {"single_label_classification": "softmax", "regression": "none"}
    activation = activations.get(config.problem_type, "sigmoid")
    codes = [config.id2label[number] for number in range(config.num_labels)]
    over_windows = ["max" if number in config.max_columns else "mean" for number in range(len(codes))]
    columns = zip(
        codes,
        config.label_names or codes,
        config.thresholds or [0.5 if activation == "sigmoid" else None] * len(codes),
        over_windows,
        strict=True,
    )
    facts["activation"] = activation
    facts["labels"] = [
        dict(zip(("code", "name", "threshold", "over_windows"), column, strict=True)) for column in columns
    ]
    return facts
