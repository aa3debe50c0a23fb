"""The graph of a model: named tensors in, named tensors out, for any batch and, where the model allows, any window."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from ..errors import CheckpointError
from ..files import replace_file
from ..modeling import EcgPreTrainedModel, Encoder

__all__ = ["FORMATS", "OUTPUTS", "TOLERANCE", "Signature", "largest_difference", "recurrent_layers", "trace_model"]

# Outputs of each head that is exported.
OUTPUTS = {
    "encoder": ("last_hidden_state", "pooler_output"),
    "classifier": ("logits",),
    "anomaly_detection": ("score", "error", "reconstruction"),
    "patient_identification": ("embeddings",),
}
# Largest difference from the model, relative to the largest value of an output.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of an exported model.

    Args:
        inputs: Shape of each input: numbers, and names of dynamic axes.
        outputs: Names of the outputs.
    """

    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: EcgPreTrainedModel, head: str) -> "Signature":
        """Derive the signature of a model from its config and its encoder.

        Args:
            model: The model.
            head: Its head, as in the registry.

        Raises:
            CheckpointError: The head has no outputs to export.
        """
        if head not in OUTPUTS:
            raise CheckpointError(f"a {type(model).__name__} is not exported; expected {', '.join(OUTPUTS)}.")
        config: Any = model.config
        samples: int | str = "samples" if model.takes_any_window else config.window_size
        inputs: dict[str, tuple[int | str, ...]] = {"input_values": ("batch", config.num_leads, samples)}
        # The innermost: a method on a backbone passes its masks on.
        encoder = [module for module in model.modules() if isinstance(module, Encoder)][-1]
        if type(encoder).token_mask is not Encoder.token_mask:  # others take no padding
            inputs["attention_mask"] = ("batch", samples)
        inputs["lead_mask"] = ("batch", config.num_leads)
        return cls(inputs, OUTPUTS[head])

    def example(self, batch: int, samples: int, seed: int = 0) -> dict[str, torch.Tensor]:
        """Draw noise with all leads present and no padding.

        Args:
            batch: Number of windows.
            samples: Length of a window, where it is dynamic.
            seed: Seed of the noise. Default: 0.
        """
        sizes = {"batch": batch, "samples": samples}
        shapes = {name: [sizes.get(axis, axis) for axis in shape] for name, shape in self.inputs.items()}  # type: ignore[arg-type, call-overload]
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn(shape, generator=generator)
            if name == "input_values"
            else torch.ones(shape, dtype=torch.int64)
            for name, shape in shapes.items()
        }


class _NamedOutputs(nn.Module):
    """A model with the inputs of a signature by position, and a tuple of its outputs."""

    def __init__(self, model: EcgPreTrainedModel, signature: Signature):
        super().__init__()
        self.model = model
        self.signature = signature

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the model."""
        output = self.model(**dict(zip(self.signature.inputs, inputs, strict=True)), return_dict=True)
        return tuple(output[name] for name in self.signature.outputs)


def trace_model(model: EcgPreTrainedModel, signature: Signature) -> ExportedProgram:
    """Export a model with `torch.export`.

    Args:
        model: The model, in eval mode.
        signature: Its inputs and outputs.

    Returns:
        The program; it takes the inputs by position and returns a tuple.
    """
    inputs = signature.example(2, model.config.window_size)
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, size in enumerate(shape) if isinstance(size, str)}
        for shape in signature.inputs.values()
    )
    with _quiet(), torch.no_grad(), recurrent_layers(model):
        return torch.export.export(
            _NamedOutputs(model, signature).eval(),
            tuple(inputs.values()),
            dynamic_shapes=(dynamic,),
            strict=False,
        )


@contextmanager
def recurrent_layers(model: nn.Module) -> Iterator[None]:
    """Trace recurrent layers for any number of tokens; torch's default rule unrolls them for one number.

    Args:
        model: The model that is traced inside the `with` block.
    """
    from torch.export import _patches

    with ExitStack() as stack:
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(_patches.register_lstm_while_loop_decomposition())
            stack.enter_context(_patches.register_gru_while_loop_decomposition())
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the remarks of the exporters on their own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


Run = Callable[[Mapping[str, torch.Tensor]], tuple[torch.Tensor, ...]]


def _write_torch(path: Path, model: EcgPreTrainedModel, signature: Signature) -> Run:
    """Write the program of `torch.export` and return what runs the file."""
    program = trace_model(model, signature)
    with replace_file(path) as temporary, _quiet():
        torch.export.save(program, temporary)
        # The guards of a recurrent layer exclude a single window, which the graph computes like any other.
        module = torch.export.load(temporary).module(check_guards=False)
    return lambda inputs: module(*inputs.values())


def _write_onnx(path: Path, model: EcgPreTrainedModel, signature: Signature) -> Run:
    """Write an ONNX file and return what runs it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; the ONNX format needs it. Install ecg_transformers[onnx]."
        ) from error
    program = trace_model(model, signature)
    with replace_file(path) as temporary, _quiet(), torch.no_grad(), recurrent_layers(model):
        exported: Any = torch.onnx.export(
            program,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamo=True,
            verbose=False,
            external_data=False,
        )
        _name_axes(exported.model.graph, signature)
        exported.save(temporary, external_data=False)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return tuple(torch.from_numpy(value) for value in outputs)

    return run


def _name_axes(graph: Any, signature: Signature) -> None:
    """Give the dynamic axes the names of the signature; the exporter numbers its symbols."""
    names: dict[str, str] = {}
    for value, shape in zip(graph.inputs, signature.inputs.values(), strict=True):
        for axis, size in enumerate(shape):
            if isinstance(size, str):
                names.setdefault(str(value.shape[axis]), size)
                value.shape[axis] = size
    for value in graph.outputs:
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                value.shape[axis] = names.get(str(size), "tokens" if axis == 1 else "samples")


# Format: name of the file, and what writes it.
FORMATS: dict[str, tuple[str, Callable[[Path, EcgPreTrainedModel, Signature], Run]]] = {
    "onnx": ("model.onnx", _write_onnx),
    "torch": ("model.pt2", _write_torch),
}


def largest_difference(run: Run, model: EcgPreTrainedModel, signature: Signature) -> float:
    """Compare an exported file with its model on batches and windows of several sizes, with padding and absent leads.

    Args:
        run: Runs the file.
        model: The model.
        signature: Its inputs and outputs.

    Returns:
        Largest difference of any output, relative to its largest value.
    """
    size = model.config.window_size
    found = 0.0
    for batch, samples in ((1, size), (3, size + 37)):
        inputs = signature.example(batch, samples, seed=batch)
        if model.config.num_leads > 1:
            inputs["lead_mask"][-1, 0] = 0
        if "attention_mask" in inputs and batch > 1:
            inputs["attention_mask"][-1, inputs["attention_mask"].shape[1] * 2 // 3 :] = 0
        with torch.no_grad():
            wanted = model(**inputs, return_dict=True)
            found_outputs = run(inputs)
        for name, value in zip(signature.outputs, found_outputs, strict=True):
            scale = wanted[name].abs().max().clamp(min=1e-30)
            found = max(found, ((value - wanted[name]).abs().max() / scale).item())
    return found
