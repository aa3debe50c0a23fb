"""Base classes of all models: outputs, saving and loading, the encoder contract and the classification head."""

import copy
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, logging

from .errors import CheckpointError, SignalError
from .layers.heads import classification_layers
from .layers.pooling import LayerTokens, Pooling
from .layers.token_reductions import AttentionPooling
from .readout import Readout

__all__ = [
    "EcgClassifierOutput",
    "EcgForSequenceClassification",
    "EcgModelOutput",
    "EcgPreTrainedModel",
    "Encoder",
    "Encoding",
]

logger = logging.get_logger(__name__)


@dataclass
class EcgModelOutput(ModelOutput):
    """Output of an encoder.

    Args:
        last_hidden_state: Token vectors `(batch, tokens, hidden_size)`.
        pooler_output: Embedding of each window `(batch, pooled_size)`, as the architecture defines it.
        hidden_states: Input of the first layer and output of each layer that was run `(batch, tokens, width)`, if
            requested; before any final norm.
        attentions: Attention weights of each layer that was run `(batch, heads, tokens, tokens)`, if requested.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class EcgClassifierOutput(ModelOutput):
    """Output of a classifier.

    Args:
        loss: Mean loss over the batch, if labels were given.
        logits: Scores before softmax (single-label) or sigmoid (multi-label) `(batch, num_labels)`.
        hidden_states: As in `EcgModelOutput`.
        attentions: As in `EcgModelOutput`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class EcgPreTrainedModel(PreTrainedModel):
    """Base class of all models: name and check of the input, window length, loading and saving."""

    main_input_name = "input_values"
    input_modalities = "audio"
    # True for convolutional encoders, which take any number of samples; `config.window_size` is the training length.
    takes_any_window: bool = False
    supports_gradient_checkpointing = True
    # Losses are means over the micro-batch: the Trainer must divide by the accumulation steps itself.
    accepts_loss_kwargs = False
    # Outputs that `golden.safetensors` stores; a class that names none is checked by its encoder's `pooler_output`.
    golden_outputs: tuple[str, ...] = ()
    # A checkpoint may hold more than the class that opens it; an architecture adds the parts of its pretraining.
    _keys_to_ignore_on_load_unexpected = [r"^(classifier|pooling)\."]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, interpolate_positions: bool = False, **kwargs: Any
    ) -> Any:
        """Load a checkpoint, optionally for windows of another length.

        Args:
            pretrained_model_name_or_path: Folder or Hub name.
            *args: As in Transformers.
            interpolate_positions: With `window_size=...`: interpolate the position tables to the new number of tokens.
            **kwargs: As in Transformers; config fields can be overridden.

        Raises:
            CheckpointError: Another `window_size` without `interpolate_positions=True`, although the architecture has
                positions.
            SignalError: `interpolate_positions=True` without `window_size`.
        """
        load = super().from_pretrained
        path, config = pretrained_model_name_or_path, kwargs.get("config")
        window_size = kwargs.get("window_size", getattr(config, "window_size", None))
        if not interpolate_positions:
            try:
                return load(path, *args, **kwargs)
            except RuntimeError as error:
                stored = None if path is None else cls._stored_window(path, kwargs)
                if window_size in (None, stored):
                    raise
                raise CheckpointError(
                    f"{path} was trained on windows of {stored} samples, but window_size is {window_size}. Pass "
                    "interpolate_positions=True to interpolate its position tables."
                ) from error
        if window_size is None:
            raise SignalError("interpolate_positions=True needs the new length: pass window_size=... in samples.")
        kwargs.pop("window_size", None)
        if config is not None:
            kwargs["config"] = copy.deepcopy(config)
            kwargs["config"].window_size = cls._stored_window(path, kwargs)
        loaded = load(path, *args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).resize_window(window_size)
        return loaded

    @classmethod
    def _stored_window(cls, path: Any, kwargs: dict[str, Any]) -> int:
        """Window length of a checkpoint, whatever the caller overrides."""
        config_class: Any = cls.config_class
        values, _ = config_class.get_config_dict(path, **kwargs)
        return config_class.from_dict(values).window_size

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize the parts that every head may have; an architecture calls this and adds its own.

        The rule of Transformers is not used: it would replace the initialization of every convolution and linear layer.
        """
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.affine:
                init.ones_(module.weight)
                init.zeros_(module.bias)
            for buffer, start in (
                (module.running_mean, init.zeros_),
                (module.running_var, init.ones_),
                (module.num_batches_tracked, init.zeros_),
            ):
                if buffer is not None:
                    start(buffer)
        elif isinstance(module, AttentionPooling):
            init.zeros_(module.query)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        """As in Transformers; a layer that the architecture has no rule for is reset as in torch.

        Such layers come from heads outside the package. A tensor that their checkpoint lacks is uninitialized memory.
        """
        if getattr(module, "_is_hf_initialized", False):
            return
        new = [value for value in module.parameters(recurse=False) if not getattr(value, "_is_hf_initialized", False)]
        versions = [value._version for value in new]
        # Transformers leaves out loaded layers of custom code, but the tensors of a parametrized layer are in a child.
        super()._initialize_weights(module, is_custom_code and not parametrize.is_parametrized(module))
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if new and reset is not None and [value._version for value in new] == versions:
            reset()

    def card_sections(self) -> dict[str, str]:
        """Sections of the model card that only this model can write: placeholder of the template to Markdown.

        `summary` and `usage` replace those of every card. Any other name is a placeholder of its own (`{{name}}`); its
        text is added to the results where the template has no place for it.
        """
        return {}

    def output_option(self, name: str, value: bool | None) -> bool:
        """Return an argument of `forward`, or the config's value if it is `None`.

        Args:
            name: `"output_hidden_states"`, `"output_attentions"` or `"return_dict"`.
            value: The argument.
        """
        return getattr(self.config, name) if value is None else value

    def finish_output(
        self,
        output: Any,
        *,
        return_dict: bool | None,
        output_hidden_states: bool | None = True,
        output_attentions: bool | None = True,
    ) -> Any:
        """Return the output of `forward` as requested: without states that were not requested, as mapping or tuple.

        Args:
            output: The whole output; no attention weights, but `()`, where the attention kernel gives none.
            return_dict: Argument of `forward`.
            output_hidden_states: Argument of `forward`. Default: the hidden states in `output` are kept.
            output_attentions: Argument of `forward`. Default: the attention weights in `output` are kept.
        """
        wanted = {"hidden_states": output_hidden_states, "attentions": output_attentions}
        dropped = [name for name, value in wanted.items() if not self.output_option(f"output_{name}", value)]
        if "attentions" not in dropped and getattr(output, "attentions", None) == ():
            logger.warning_once(
                f"attn_implementation={self.config._attn_implementation!r} gives no attention weights: attentions is "
                "empty. Call model.set_attn_implementation('eager') first."
            )
        output = replace(output, **dict.fromkeys(dropped))
        return output if self.output_option("return_dict", return_dict) else output.to_tuple()

    def check_input(self, input_values: torch.Tensor) -> None:
        """Check the shape of the input.

        Args:
            input_values: Should be `(batch, num_leads, window_size)`; any number of samples if `takes_any_window`.

        Raises:
            SignalError: Another shape.
        """
        if self.takes_any_window:
            if input_values.ndim != 3 or input_values.shape[1] != self.config.num_leads or not input_values.shape[2]:
                raise SignalError(
                    f"{type(self).__name__} got input_values of shape {tuple(input_values.shape)}; expected (batch, "
                    f"{self.config.num_leads} leads, samples). Prepare records with the checkpoint's feature extractor."
                )
            return
        expected = (self.config.num_leads, self.config.window_size)
        if input_values.ndim != 3 or tuple(input_values.shape[1:]) != expected:
            raise SignalError(
                f"{type(self).__name__} got input_values of shape {tuple(input_values.shape)}; expected "
                f"(batch, {expected[0]} leads, {expected[1]} samples). Prepare records with the checkpoint's feature "
                "extractor, or load the model with window_size=..., interpolate_positions=True for another length."
            )

    def resize_window(self, window_size: int) -> None:
        """Adapt the model to windows of another length.

        Args:
            window_size: New length in samples.

        Raises:
            CheckpointError: The architecture cannot be adapted.
        """
        if not self.takes_any_window:
            raise CheckpointError(
                f"{type(self).__name__} takes windows of {self.config.window_size} samples only; got {window_size}. "
                "Keep the window of the checkpoint."
            )
        self.config.window_size = window_size

    def published_model(self) -> "EcgPreTrainedModel":
        """Return the model to publish: this one, unless it only wraps a backbone of another family."""
        return self

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Save weights and config, and the source files that were loaded with the checkpoint.

        `auto_map` and `custom_pipelines` in a config refer to source files in the same folder. A model that came from
        such files copies them and keeps the entries of `auto_map` that they serve; every other save drops both, and
        `ecg_transformers.publishing` bundles the sources again.

        Args:
            save_directory: Target folder.
            **kwargs: As in Transformers.
        """
        # Transformers puts classes into it when it opens the pipeline.
        vars(self.config).pop("custom_pipelines", None)
        super().save_pretrained(save_directory, **kwargs)
        if not (kwargs.get("is_main_process", True) and getattr(self.config, "auto_map", None)):
            return
        folder = Path(save_directory)
        kept = {}
        if type(self).__module__.startswith("transformers_modules."):
            source = Path(str(sys.modules[type(self).__module__].__file__)).parent
            for file in source.glob("*.py"):
                if file.name != "__init__.py":
                    shutil.copyfile(file, folder / file.name)
            kept = {
                auto_class: reference
                for auto_class, reference in self.config.auto_map.items()
                if (folder / f"{reference.partition('.')[0]}.py").is_file()
            }
        # The attribute is removed, not set to None: Transformers cannot read `"auto_map": null`.
        promised = vars(self.config).pop("auto_map")
        if kept:
            self.config.auto_map = kept
        self.config.save_pretrained(folder)
        self.config.auto_map = promised

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Push weights and config to the Hub, as in Transformers; logs what is not pushed.

        Args:
            *args: As in Transformers.
            **kwargs: As in Transformers.
        """
        logger.warning_once(
            "push_to_hub sends weights and config only. ecg_transformers.publishing.publish sends the preprocessing, "
            "the card and the code with them."
        )
        return super().push_to_hub(*args, **kwargs)


class Encoding(NamedTuple):
    """Result of `Encoder.encode`.

    Args:
        layers: Tokens of each requested layer, in the order requested.
        outputs: Output of the forward pass; hidden states and attentions up to the last layer that was run.
    """

    layers: tuple[LayerTokens, ...]
    outputs: EcgModelOutput


class Encoder(EcgPreTrainedModel):
    """Contract of the encoders (`XModel`), on which heads, probes, pipelines and fine-tuning rely.

    An architecture implements `num_layers`, `pool`, `layer_groups` and `_drop_layers`, and where they differ from the
    defaults `has_cls_token`, `takes_any_window`, `token_mask`, `resize_window`, `layer_size`, `pooled_layer_size` and
    `normalize_layer`.
    Its `forward` takes `input_values`, `attention_mask`, `lead_mask`, `record_index`, `output_hidden_states`,
    `output_attentions`, `return_dict` and `last_layer`: with `last_layer=k` the layers above k are not run, and the
    output is that of `truncate(k)`.

    Layers are numbered like the hidden states: 0 is the input of the first layer, k the output of layer k; negative
    numbers count from the end, so that -1 (and `num_layers`) is the output of the model.
    """

    # Whether the first token is a [CLS] token.
    has_cls_token: bool = False

    def resolved(self, readout: Readout) -> Readout:
        """Return a readout with the pooling of this encoder where it names none: `"cls_mean"` with [CLS], else `"cls"`.

        Args:
            readout: Of a head or a probe.
        """
        return readout if readout.pooling else replace(readout, pooling="cls_mean" if self.has_cls_token else "cls")

    @property
    def num_layers(self) -> int:
        """Number of layers (blocks or stages)."""
        raise NotImplementedError

    def token_mask(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Compute the mask over the tokens; an encoder that does not override this takes no padding.

        Args:
            attention_mask: `(batch, samples)`, 1 = signal.

        Returns:
            Bool `(batch, tokens)`, true = the token holds signal; `None` if all do.

        Raises:
            SignalError: The encoder takes no padding, and the mask hides samples.
        """
        # An exported graph cannot look at values; its caller has prepared windows.
        if attention_mask is None or torch.compiler.is_exporting():
            return None
        if not bool(attention_mask.all()):
            raise SignalError(
                f"{type(self).__name__} got an attention_mask that hides samples; it takes no padding. Pass whole "
                "windows (the checkpoint's feature extractor cuts them)."
            )
        return None

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool the tokens of any layer as the architecture does for its `pooler_output`.

        Args:
            tokens: `(batch, tokens, width)`.
            token_mask: As returned by `token_mask`.

        Returns:
            `(batch, pooled width)`.
        """
        raise NotImplementedError

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the submodules that share a learning rate, group by group from the input on."""
        raise NotImplementedError

    def layer_size(self, layer: int) -> int:
        """Return the width of the tokens of a layer.

        Args:
            layer: Number of the layer.
        """
        return self.config.hidden_size

    def pooled_layer_size(self, layer: int) -> int:
        """Return the width of what `pool` makes of the tokens of a layer; here in proportion to their width.

        Args:
            layer: Number of the layer.
        """
        return self.config.pooled_size * self.layer_size(layer) // self.config.hidden_size

    def normalize_layer(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalize the output of an inner layer before it is pooled; transformers use a parameter-free LayerNorm.

        Args:
            tokens: `(batch, tokens, width)`.
        """
        return tokens

    def _drop_layers(self, kept: int) -> None:
        """Remove the layers above `kept` and the final norm from this model and from its config."""
        raise NotImplementedError

    def prepare_input(self, input_values: torch.Tensor, lead_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Check the input, set absent leads to 0 and convert to the type of the weights.

        Args:
            input_values: `(batch, leads, samples)`.
            lead_mask: `(batch, leads)`, 1 = present.

        Raises:
            SignalError: Another shape, see `check_input`.
        """
        self.check_input(input_values)
        if lead_mask is not None:
            input_values = input_values * lead_mask[:, :, None].to(input_values.dtype)
        return input_values.to(self.dtype)

    def make_output(
        self,
        tokens: torch.Tensor,
        states: tuple[torch.Tensor, ...],
        attentions: tuple[torch.Tensor | None, ...] = (),
        *,
        token_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EcgModelOutput | tuple:
        """Pool the tokens and return what was requested, by argument or, where it is None, by the config.

        Args:
            tokens: `(batch, tokens, hidden_size)`, of the last layer that was run.
            states: Input of the first layer and output of each layer that was run.
            attentions: Attention weights of each layer, None where the kernel gives none; empty without attention.
            token_mask: As returned by `token_mask`.
            output_hidden_states: Return `states`.
            output_attentions: Return `attentions`.
            return_dict: Return a tuple if False.
        """
        weights = tuple(layer for layer in attentions if layer is not None)
        output = EcgModelOutput(
            last_hidden_state=tokens,
            pooler_output=self.pool(tokens, token_mask),
            hidden_states=states,
            attentions=weights if attentions else None,
        )
        return self.finish_output(
            output,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )

    def layer_numbers(self, layer: int | Sequence[int]) -> list[int]:
        """Resolve the setting `layer` to layer numbers from 0 to `num_layers`.

        Args:
            layer: One number or several; negative numbers count from the end.

        Raises:
            CheckpointError: There is no such layer, or one is named twice.
        """
        last = self.num_layers
        asked: list[Any] = list(layer) if isinstance(layer, list | tuple) else [layer]
        if not asked or not all(type(number) is int and -last - 1 <= number <= last for number in asked):
            raise CheckpointError(
                f"layer is {layer!r}; expected one number, or a list of numbers, from {-last - 1} to {last}: 0 is the "
                f"input of the first layer, {last} or -1 the output of the encoder."
            )
        numbers = [number % (last + 1) for number in asked]
        if len(set(numbers)) < len(numbers):
            raise CheckpointError(f"layer is {layer}, which names a layer twice; name each layer once.")
        return numbers

    def make_pooling(self, readout: Readout) -> Pooling:
        """Build the pooling module for the tokens of one or several layers.

        Args:
            readout: Pooling and layers.

        Raises:
            CheckpointError: There is no such layer, or attention over several layers.
        """
        readout = self.resolved(readout)
        numbers = self.layer_numbers(readout.layer)
        widths = [self.layer_size(number) for number in numbers]
        if readout.attentive and len(widths) > 1:
            raise CheckpointError(
                f"pooling is 'attention' and layer {readout.layer}; attention pools the tokens of one layer. Name one "
                "layer, or choose another pooling."
            )
        pooled = sum(self.pooled_layer_size(number) for number in numbers)
        return Pooling(str(readout.pooling), sum(widths), cls_token=self.has_cls_token, pooled_size=pooled)

    def encode(
        self, *, layer: int | Sequence[int] = -1, output_hidden_states: bool | None = None, **inputs: Any
    ) -> Encoding:
        """Compute the tokens of one or several layers; the layers above the last one named are not run.

        Everything that reads an encoder (classifier, probes, pipelines, probe curve) calls this method.

        Args:
            layer: One layer number or several.
            output_hidden_states: As in `forward`.
            **inputs: Tensors and further arguments for `forward`.
        """
        numbers = self.layer_numbers(layer)
        last = max(numbers)
        outputs = self(
            **inputs,
            output_hidden_states=True if len(numbers) > 1 else output_hidden_states,
            last_layer=None if last == self.num_layers else last,
            return_dict=True,
        )
        mask = self.token_mask(inputs.get("attention_mask"))
        layers = []
        for number in numbers:
            if number == last:
                layers.append(LayerTokens(outputs.last_hidden_state, mask, outputs.pooler_output))
            else:
                tokens = self.normalize_layer(outputs.hidden_states[number])
                layers.append(LayerTokens(tokens, mask, self.pool(tokens, mask)))
        return Encoding(tuple(layers), outputs)

    def truncate(self, layer: int) -> "Encoder":
        """Return a copy without the layers above `layer`; it saves and loads like any encoder.

        Its output is the one that `encode(layer=layer)` pools, at the cost of the layers that are left.

        Args:
            layer: Number of the last layer to keep, at least 1.

        Raises:
            CheckpointError: There is no such layer, or none would be left.
        """
        [kept] = self.layer_numbers(layer)
        if not kept:
            raise CheckpointError(f"layer is {layer}, and no layer would be left; keep at least layer 1.")
        model = copy.deepcopy(self)
        if kept < self.num_layers:
            model._drop_layers(kept)
        return model


class EcgForSequenceClassification(EcgPreTrainedModel):
    """Classifier of every architecture: encoder, pooling, linear layers.

    Subclasses set `encoder_class`. The encoder is the attribute `base_model_prefix`, so that an encoder checkpoint
    loads into a classifier and the other way round. There is one logit per entry of `config.id2label`. The head is a
    single linear layer unless the config has hidden layers, dropout or BatchNorm.
    """

    encoder_class: type[Encoder]

    def __init__(self, config: Any):
        super().__init__(config)
        self.num_labels = config.num_labels
        encoder = self.encoder_class(config)
        setattr(self, self.base_model_prefix, encoder)
        self.pooling = encoder.make_pooling(Readout().with_values_of(config))
        self.classifier = classification_layers(
            self.pooling.output_size,
            config.num_labels,
            hidden_sizes=config.head_hidden_sizes,
            dropout=config.head_dropout,
            batch_norm=config.head_batch_norm,
        )
        self.post_init()

    def take_head(self, other: "EcgForSequenceClassification") -> None:
        """Replace pooling and classification layers by those of another classifier of an encoder of the same width.

        Args:
            other: The classifier whose head is taken.
        """
        self.pooling, self.classifier = other.pooling, other.classifier

    def read(self, **inputs: Any) -> LayerTokens:
        """Compute what the head is given, for a probe: tokens of the last layer that is read, and the pooled vector.

        The vector has width 0 for the attention pooling, which a probe learns.

        Args:
            **inputs: As in `forward`.
        """
        encoder: Any = self.base_model
        layers = encoder.encode(layer=self.config.layer, **inputs).layers
        tokens, token_mask, _ = layers[-1]
        learned = self.pooling.kind == "attention"
        return LayerTokens(tokens, token_mask, tokens[:, 0, :0] if learned else self.pooling.join(layers))

    def classify(self, layers: Sequence[LayerTokens]) -> torch.Tensor:
        """Compute logits `(batch, num_labels)`.

        Args:
            layers: The layers `config.layer`, from `Encoder.encode`.
        """
        return self.classifier(self.pooling.join(layers))

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EcgClassifierOutput | tuple:
        """Classify windows.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal, 0 = padding.
            lead_mask: `(batch, leads)`, 1 = present.
            patches: `(batch, patches, leads * patch_size)` instead of `input_values`, for encoders with patches.
            labels: Class numbers `(batch,)`, 0/1 `(batch, num_labels)` for multi-label, or floats for regression.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the hidden states of the layers that are run.
            output_attentions: Return their attention weights (eager attention).
            return_dict: Return a tuple if False.
        """
        encoder: Any = self.base_model
        encoding = encoder.encode(
            layer=self.config.layer,
            input_values=input_values,
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            **({} if patches is None else {"patches": patches}),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        logits = self.classify(encoding.layers)
        loss = None if labels is None else self.classification_loss(logits, labels)
        result = EcgClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoding.outputs.hidden_states,
            attentions=encoding.outputs.attentions,
        )
        return self.finish_output(result, output_hidden_states=output_hidden_states, return_dict=return_dict)

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the mean loss for `config.problem_type`, which is inferred from the labels at first use if not set.

        Args:
            logits: `(batch, num_labels)`.
            labels: As in `forward`.
        """
        if self.config.problem_type is None:
            if self.num_labels == 1:
                self.config.problem_type = "regression"
            elif labels.dtype in (torch.int64, torch.int32) and labels.ndim == 1:
                self.config.problem_type = "single_label_classification"
            else:
                self.config.problem_type = "multi_label_classification"
        elif self.config.problem_type == "multi_label_classification" and labels.shape != logits.shape:
            raise CheckpointError(
                f"labels have the shape {tuple(labels.shape)}; a multi-label head needs 0 and 1 for each label, "
                f'{tuple(logits.shape)}. For class numbers set config.problem_type = "single_label_classification".'
            )
        # Float32 under autocast and for half precision; a float64 model keeps its own.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.config.problem_type == "regression":
            return functional.mse_loss(logits.squeeze(), labels.to(logits.dtype).squeeze())
        if self.config.problem_type == "single_label_classification":
            return functional.cross_entropy(logits.view(-1, self.num_labels), labels.view(-1).long())
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
