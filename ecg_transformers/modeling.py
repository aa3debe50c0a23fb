"""What every model of the package has in common: outputs, the base class and the one classification head."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, logging

from .errors import CheckpointError, SignalError
from .layers.heads import classification_layers
from .layers.pooling import AttentionPooling, Pooling

__all__ = ["EcgClassifierOutput", "EcgForSequenceClassification", "EcgModelOutput", "EcgPreTrainedModel"]

logger = logging.get_logger(__name__)


@dataclass
class EcgModelOutput(ModelOutput):
    """Output of an encoder.

    Args:
        last_hidden_state: Token vectors `(batch, tokens, hidden_size)`.
        pooler_output: The record embedding of the system `(batch, pooled_size)`.
        hidden_states: Input of the first layer and output of each `(batch, tokens, hidden_size)`, if asked for.
        attentions: Attention weights of each layer `(batch, heads, tokens, tokens)`, if asked for.
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
    """Base of every model: what the input is called, and how a checkpoint is saved."""

    main_input_name = "input_values"
    input_modalities = "audio"
    has_cls_token: bool = False
    # Convolutional encoders take any number of samples; `config.window_size` is then what they were trained on.
    takes_any_window: bool = False
    supports_gradient_checkpointing = True
    # Losses are means over the micro-batch: the Trainer must divide by the accumulation steps itself.
    accepts_loss_kwargs = False
    # Outputs that `golden.safetensors` stores; a class that names none is checked by its encoder's `pooler_output`.
    golden_outputs: tuple[str, ...] = ()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start values of what every head may have; an architecture calls this and adds its own.

        Not those of Transformers: its rule would replace every convolution's and every linear layer's start.
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

    def card_sections(self) -> dict[str, str]:
        """Sections of the model card that only this model can write: placeholder of the template to Markdown.

        `summary` and `usage` replace those of every card. Any other name is a placeholder of its own (`{{name}}`); its
        text is added to the results where the template has no place for it.
        """
        return {}

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise `SignalError` unless the input is `(batch, num_leads, window_size)`, or any length where that fits."""
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
        """Make the model take windows of `window_size` samples.

        Raises:
            CheckpointError: This architecture cannot.
        """
        if not self.takes_any_window:
            raise CheckpointError(
                f"{type(self).__name__} takes windows of {self.config.window_size} samples and no others; got "
                f"{window_size}. Leave the window as the checkpoint has it."
            )
        self.config.window_size = window_size

    def save_pretrained(self, save_directory, **kwargs):
        """Save weights and config; code that was loaded with the checkpoint is saved with it, else `auto_map` goes.

        `auto_map` in a config promises source files beside it. A model that came from such files copies them and
        promises only what is there; every other save drops the entry (`ecg_transformers.publishing` bundles anew).
        """
        super().save_pretrained(save_directory, **kwargs)
        if not (kwargs.get("is_main_process", True) and getattr(self.config, "auto_map", None)):
            return
        folder = Path(save_directory)
        kept = {}
        if type(self).__module__.startswith("transformers_modules."):
            source = Path(sys.modules[type(self).__module__].__file__).parent
            for file in source.glob("*.py"):
                if file.name != "__init__.py":
                    shutil.copyfile(file, folder / file.name)
            kept = {
                auto_class: reference
                for auto_class, reference in self.config.auto_map.items()
                if (folder / f"{reference.partition('.')[0]}.py").is_file()
            }
        # The attribute is taken away, not set to None: Transformers cannot read `"auto_map": null`.
        promised = vars(self.config).pop("auto_map")
        if kept:
            self.config.auto_map = kept
        self.config.save_pretrained(folder)
        self.config.auto_map = promised

    def push_to_hub(self, *args, **kwargs):
        """Send weights and config to the Hub, as in Transformers; says what that leaves out."""
        logger.warning_once(
            "push_to_hub sends weights and config only. ecg_transformers.publishing.publish sends the preprocessing, "
            "the card and the code with them."
        )
        return super().push_to_hub(*args, **kwargs)


class EcgForSequenceClassification(EcgPreTrainedModel):
    """An encoder, a pooling and linear layers: the head of every architecture.

    Subclasses set `encoder_class`; the encoder stands under `base_model_prefix`, so that an encoder checkpoint loads
    into a classifier and back. The output is one logit per entry of `config.id2label`. The head is one linear layer
    unless the config asks for hidden layers, dropout or BatchNorm.

    An encoder offers `token_mask(attention_mask)`, the mask over its tokens, and `pool(tokens)`, its own pooled vector
    of the tokens of any layer.
    """

    encoder_class: type[EcgPreTrainedModel]

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        setattr(self, self.base_model_prefix, self.encoder_class(config))
        width = config.layer_size(config.layer)
        self.pooling = Pooling(
            config.pooling,
            width,
            cls_token=self.encoder_class.has_cls_token,
            pooled_size=config.pooled_size * width // config.hidden_size,
        )
        self.classifier = classification_layers(
            self.pooling.output_size,
            config.num_labels,
            hidden_sizes=config.head_hidden_sizes,
            dropout=config.head_dropout,
            batch_norm=config.head_batch_norm,
        )
        self.post_init()

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
        """Score records.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal, 0 = padding.
            lead_mask: `(batch, leads)`, 1 = present.
            patches: `(batch, patches, leads * patch_size)` instead of `input_values`, where the encoder has patches.
            labels: `(batch,)` class numbers, `(batch, num_labels)` 0/1 for multi-label, or floats for regression.
            record_index: Accepted and ignored, so that an extractor's whole output can be passed.
            output_hidden_states: Return the hidden states of every layer.
            output_attentions: Return the attention weights of every layer (eager attention).
            return_dict: Return a tuple if False.
        """
        encoder: Any = self.base_model
        outputs = encoder(
            input_values=input_values,
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            **({} if patches is None else {"patches": patches}),
            output_hidden_states=output_hidden_states if self.config.layer == -1 else True,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(self.pooling(*self.pooling_input(outputs, attention_mask)))
        loss = None if labels is None else self.classification_loss(logits, labels)
        want_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        result = EcgClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states if want_states else None,
            attentions=outputs.attentions,
        )
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return result if use_dict else result.to_tuple()

    def pooling_input(
        self, outputs: EcgModelOutput, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Tokens, their mask and the encoder's own pooled vector at the layer that `config.layer` names."""
        encoder: Any = self.base_model
        token_mask = encoder.token_mask(attention_mask)
        layer = self.config.layer
        if layer == -1:
            return outputs["last_hidden_state"], token_mask, outputs.pooler_output
        states = outputs["hidden_states"]
        if not 0 <= layer < len(states):
            raise CheckpointError(
                f"layer is {layer}; this encoder has the hidden states 0 to {len(states) - 1}, and -1 is its output. "
                "Set config.layer to one of them."
            )
        return states[layer], token_mask, encoder.pool(states[layer])

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss by `config.problem_type`, found from the labels at first use if it is not set."""
        if self.config.problem_type is None:
            if self.num_labels == 1:
                self.config.problem_type = "regression"
            elif labels.dtype in (torch.int64, torch.int32) and labels.ndim == 1:
                self.config.problem_type = "single_label_classification"
            else:
                self.config.problem_type = "multi_label_classification"
        # Float32 under autocast and for half precision; a float64 model keeps its own.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.config.problem_type == "regression":
            return functional.mse_loss(logits.squeeze(), labels.to(logits.dtype).squeeze())
        if self.config.problem_type == "single_label_classification":
            return functional.cross_entropy(logits.view(-1, self.num_labels), labels.view(-1).long())
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
