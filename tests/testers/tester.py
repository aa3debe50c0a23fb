"""What the tests know of an architecture: a tiny configuration, and inputs with every draw fixed.

A family joins all conformance tests by one file, `tests/testers/<model_type>.py`, with the class `<Prefix>Tester`.
"""

import copy
import functools
import importlib
import json
from pathlib import Path
from typing import Any, ClassVar

import torch

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.auto import ARCHITECTURES, Architecture

from ..toys import TOYS

# Families of the table, and those that exist in the tests only.
ROWS: dict[str, Architecture] = {**ARCHITECTURES, **TOYS}


def missing_tester(row: Architecture) -> str | None:
    """What a family lacks to be tested, as a sentence for the contributor; None if it has a tester."""
    name = f"{row.prefix}Tester"
    file = Path(__file__).with_name(f"{row.model_type}.py")
    if not file.is_file():
        return f"{row.model_type!r} has no tester: add tests/testers/{file.name} with the class {name}(EcgModelTester)."
    if not hasattr(importlib.import_module(f"{__package__}.{row.model_type}"), name):
        return f"tests/testers/{file.name} has no class {name}; add it, as a subclass of EcgModelTester."
    return None


def find_tester(row: Architecture) -> "type[EcgModelTester]":
    """The tester of a family that has one."""
    return getattr(importlib.import_module(f"{__package__}.{row.model_type}"), f"{row.prefix}Tester")


def rows_with_tester() -> dict[str, Architecture]:
    """The families with a tester; `tests/auto` fails for those without, and says what to add."""
    return {name: row for name, row in ROWS.items() if missing_tester(row) is None}


def testers() -> "dict[str, type[EcgModelTester]]":
    """The testers of all families by name, with those that a family has for further backbones (`OTHERS`)."""
    found = {}
    for name, row in rows_with_tester().items():
        module = importlib.import_module(f"{__package__}.{row.model_type}")
        others = getattr(module, "OTHERS", {})
        found |= {name: find_tester(row), **{f"{name}-{other}": tester for other, tester in others.items()}}
    return found


class EcgModelTester:
    """A tiny instance of one architecture.

    Attributes (the library's names):
        config_fields: Fields of the tiny configuration.
        input_shape: Leads and samples of its input.
        num_hidden_layers: Layers whose hidden states the encoder returns (and their input).
        seq_length: Tokens of the output, [CLS] included; what the attention sees where there is one.
        hidden_size: Their width.
        num_attention_heads: Heads; 0 without attention.
        has_attentions: Whether there is attention.
        takes_attention_mask: Whether padded records are accepted; convolutions and LSTMs take none.
        takes_left_padding: Whether padding may precede the signal.
        takes_any_window: Whether windows of other lengths than the configuration's are accepted.
        shortest_window: The shortest of them, in samples.
        resizes_window: Whether `resize_window` adapts it to another window of the same kind.
        draws_change_the_loss: Whether the loss of pretraining depends on what is drawn.
        records_are_independent: Whether, in training mode too, a record's output is its own: not with BatchNorm.
        twins: Momentum encoders of the pretraining class: name, and name of what it follows.
        feature_extractor_fields: Non-default fields of the extractor.
    """

    model_type: ClassVar[str]
    config_fields: ClassVar[dict[str, Any]]
    input_shape: ClassVar[tuple[int, int]]
    num_hidden_layers: ClassVar[int]
    seq_length: ClassVar[int]
    hidden_size: ClassVar[int]
    num_attention_heads: ClassVar[int] = 0
    takes_attention_mask: ClassVar[bool] = True
    takes_left_padding: ClassVar[bool] = True
    takes_any_window: ClassVar[bool] = False
    shortest_window: ClassVar[int] = 1
    resizes_window: ClassVar[bool] = True
    draws_change_the_loss: ClassVar[bool] = True
    records_are_independent: ClassVar[bool] = True
    twins: ClassVar[dict[str, str]] = {}
    feature_extractor_fields: ClassVar[dict[str, Any]] = {}

    batch_size = 4
    is_training = True

    def __init__(self, parent: Any = None):
        self.parent = parent
        self.encoder_seq_length = self.key_length = self.seq_length
        self.base_model_class = self.architecture.encoder

    @property
    def architecture(self) -> Architecture:
        """The row of the table."""
        return ROWS[self.model_type]

    @property
    def has_attentions(self) -> bool:
        """Whether there is attention (the library's name)."""
        return self.num_attention_heads > 0

    @property
    def model_classes(self) -> tuple[type, ...]:
        """Every registered model class."""
        return tuple(self.architecture.models.values())

    @property
    def hidden_state_shapes(self) -> list[tuple[int, int]]:
        """Tokens and width of each hidden state of the encoder, that of the first layer's input in front."""
        return [(self.seq_length, self.hidden_size)] * (self.num_hidden_layers + 1)

    @property
    def attention_shapes(self) -> list[tuple[int, int, int, int]]:
        """Shape of the attention weights of each block."""
        shape = (self.batch_size, self.num_attention_heads, self.seq_length, self.seq_length)
        return [shape] * self.num_hidden_layers

    def get_config(self, **changes: Any) -> Any:
        """The tiny configuration."""
        return self.architecture.config(**{**self.config_fields, **changes})

    def input_values(self, seed: int = 0) -> torch.Tensor:
        """Random records `(batch, leads, samples)`."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.batch_size, *self.input_shape, generator=generator)

    def signal_inputs(self) -> dict[str, torch.Tensor]:
        """Random records, the last of them padded from the middle on where the architecture takes a mask."""
        inputs = {"input_values": self.input_values()}
        if self.takes_attention_mask:
            inputs["attention_mask"] = torch.ones(self.batch_size, self.input_shape[1], dtype=torch.long)
            inputs["attention_mask"][-1, self.input_shape[1] // 2 :] = 0
        return inputs

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        """The tiny configuration and the input that every class takes (the library's name for it)."""
        return self.get_config(), self.signal_inputs()

    def pretraining_draws(self, config: Any, input_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Everything that the pretraining class would otherwise draw, for a batch of any size and type."""
        model = _pretraining_model(self.architecture.pretraining, config.to_json_string(use_diff=False))
        draws = model.draw(RowGenerator(len(input_values), seed=1))
        keywords = model.apply_draws({"input_values": input_values.float()}, draws)
        return {
            name: value.to(input_values.dtype) if value.is_floating_point() else value
            for name, value in keywords.items()
        }

    def inputs_for(self, model_class: type) -> dict[str, torch.Tensor]:
        """Fixed keywords of `forward` for one class; heads get what they need for a loss."""
        inputs = self.signal_inputs()
        if model_class is self.architecture.pretraining:
            inputs.update(self.pretraining_draws(self.get_config(), inputs["input_values"]))
        elif model_class in (self.architecture.classifier, self.architecture.patient_identification):
            inputs["labels"] = torch.arange(self.batch_size) % 2
        return inputs

    def trained(self, model_class: type, **config_fields: Any) -> Any:
        """A model in evaluation mode whose tensors all differ from the initial ones, twins and buffers included.

        It is trained once; each call gets a copy of its own.
        """
        model = copy.deepcopy(_trained(type(self), model_class, json.dumps(config_fields)))
        torch.manual_seed(1)
        return model


@functools.cache
def _pretraining_model(model_class: type, config: str) -> Any:
    """A model that only draws."""
    return model_class(model_class.config_class.from_dict(json.loads(config)))


@functools.cache
def _trained(tester_class: type[EcgModelTester], model_class: type, config_fields: str) -> Any:
    tester = tester_class()
    torch.manual_seed(0)
    model = model_class(tester.get_config(**json.loads(config_fields))).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            model(**tester.inputs_for(model_class))
    return model.eval()
