"""xresnet1d: one-dimensional residual network with an xresnet stem, and its classifier.

Source: He et al. 2019 ("Bag of tricks"), in one dimension and with one width for all stages as in the PTB-XL benchmark
(Strodthoff et al. 2021, ecg_ptbxl_benchmarking) and in ecg-selfsupervised (Mehari & Strodthoff 2022). See
`docs/systems/xresnet1d.md`.
"""

import math
from itertools import islice

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from ...errors import SignalError
from ...layers.token_reductions import masked_max, masked_mean
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel, Encoder
from .configuration_xresnet1d import Xresnet1dConfig

__all__ = ["Xresnet1dForSequenceClassification", "Xresnet1dModel", "Xresnet1dPreTrainedModel"]


class ConvLayer(nn.Module):
    """Convolution, BatchNorm and optional ReLU on `(batch, channels, 1, samples)`.

    The network and its weights are one-dimensional. It is computed with an additional axis of length 1: libraries
    support the channels-last layout for images only, and it is up to 1.5 times as fast.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: Kernel in samples, odd; the signal is padded so that stride 1 keeps its length.
        stride: Stride of the convolution in samples. Default: 1.
        bias: Bias of the convolution. Default: none.
        activation: ReLU after the norm. Default: yes.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = False,
        activation: bool = True,
    ):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map `(batch, inputs, 1, samples)` to `(batch, outputs, 1, ceil(samples / stride))`."""
        conv = self.conv
        stride, padding = (1, *conv.stride), (0, *conv.padding)
        signal = self.norm(functional.conv2d(signal, conv.weight.unsqueeze(2), conv.bias, stride, padding))
        return functional.relu(signal, inplace=True) if self.activation else signal


class ResidualBlock(nn.Module):
    """Convolutional branch with a shortcut.

    With stride 2 the shortcut averages pairs of samples (a single last sample is kept); a 1x1 convolution follows if
    the number of channels changes.

    Args:
        config: Configuration of the model: kind of block and kernel.
        inputs: Input channels.
        width: Channels inside the branch.
        outputs: Output channels.
        stride: 1 or 2.
    """

    def __init__(self, config: Xresnet1dConfig, *, inputs: int, width: int, outputs: int, stride: int):
        super().__init__()
        kernel = config.kernel_size
        if config.block == "basic":
            layers = [
                ConvLayer(inputs, width, kernel, stride=stride),
                ConvLayer(width, outputs, kernel, activation=False),
            ]
        else:
            layers = [
                ConvLayer(inputs, width, 1),
                ConvLayer(width, width, kernel, stride=stride),
                ConvLayer(width, outputs, 1, activation=False),
            ]
        layers[-1].norm.starts_at_zero = config.zero_init_residual  # type: ignore[assignment]
        self.convs = nn.ModuleList(layers)
        self.stride = stride
        self.shortcut = None if inputs == outputs else ConvLayer(inputs, outputs, 1, activation=False)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map `(batch, inputs, 1, samples)` to `(batch, outputs, 1, ceil(samples / stride))`."""
        branch = signal
        for layer in self.convs:
            branch = layer(branch)
        if self.stride > 1:
            signal = average_pairs(signal)
        if self.shortcut is not None:
            signal = self.shortcut(signal)
        return functional.relu(branch + signal, inplace=True)


def average_pairs(signal: torch.Tensor) -> torch.Tensor:
    """Average neighboring samples; a single last sample is kept.

    Args:
        signal: `(batch, channels, 1, samples)`.

    Returns:
        `(batch, channels, 1, ceil(samples / 2))`.
    """
    if torch.compiler.is_exporting():
        # Rounding up fixes whether the number of samples is odd. With the last sample twice, rounding down has the same
        # result: of an even number of samples it leaves the additional one out.
        return functional.avg_pool2d(torch.cat([signal, signal[..., -1:]], dim=3), (1, 2))
    return functional.avg_pool2d(signal, (1, 2), ceil_mode=True)


class Xresnet1dPreTrainedModel(EcgPreTrainedModel):
    """Base of the xresnet1d family: initialization; windows of any length."""

    config_class = Xresnet1dConfig
    base_model_prefix = "xresnet1d"
    takes_any_window = True
    # A recomputed forward pass would update the BatchNorm statistics twice.
    supports_gradient_checkpointing = False
    _no_split_modules = ["ResidualBlock"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d) and getattr(module, "starts_as_torch", False):
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Conv1d | nn.Linear):
            init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and getattr(module, "starts_at_zero", False):
            init.zeros_(module.weight)


class Xresnet1dModel(Encoder, Xresnet1dPreTrainedModel):
    """Convolutional encoder: stem, strided maximum, residual stages.

    Tokens are time steps: `last_hidden_state` is the last stage `(batch, steps, hidden_size)`, one step per 320 ms at
    100 Hz. `pooler_output (batch, 2 * hidden_size)` is the maximum over time followed by the mean.
    """

    def __init__(self, config: Xresnet1dConfig):
        super().__init__(config)
        sizes = [config.num_leads, *config.stem_sizes]
        stem = [
            ConvLayer(
                sizes[number],
                sizes[number + 1],
                config.stem_kernel_size,
                stride=1 if number else 2,
                bias=config.stem_bias and not number,
            )
            for number in range(len(config.stem_sizes))
        ]
        stem[0].conv.starts_as_torch = config.stem_initialization == "torch"  # type: ignore[assignment]
        self.stem = nn.ModuleList(stem)
        self.stages = nn.ModuleList()
        inputs = config.stem_sizes[-1]
        plan = zip(config.depths, config.stage_widths, config.stage_sizes, strict=True)
        for number, (depth, width, outputs) in enumerate(plan):
            blocks = []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(ResidualBlock(config, inputs=inputs, width=width, outputs=outputs, stride=stride))
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the first layer."""
        return self.stem[0]

    @property
    def num_layers(self) -> int:
        """Number of stages."""
        return len(self.config.depths)

    def layer_size(self, layer: int) -> int:
        """Return the channels of the stem (layer 0) or of a stage.

        Args:
            layer: Number of the layer.
        """
        [number] = self.layer_numbers(layer)
        return [self.config.stem_sizes[-1], *self.config.stage_sizes][number]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Name the parts that share a learning rate: first convolution, rest of the stem, pairs of stages.

        With a factor of 0.25 per group these are the discriminative rates of ecg-selfsupervised.
        """
        count = len(self.stages)
        first = count % 2
        pairs = [tuple(f"stages.{stage}" for stage in range(start, start + 2)) for start in range(first, count, 2)]
        stem = tuple(f"stem.{number}" for number in range(1, len(self.stem)))
        return [("stem.0",), stem + (("stages.0",) if first else ()), *pairs]

    def pool(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Concatenate maximum and mean over time: `(batch, steps, width)` to `(batch, 2 * width)`."""
        return torch.cat([masked_max(tokens, token_mask), masked_mean(tokens, token_mask)], dim=1)

    def _drop_layers(self, kept: int) -> None:
        self.config.hidden_size = self.layer_size(kept)
        self.config.depths = self.config.depths[:kept]
        self.stages = self.stages[:kept]

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        last_layer: int | None = None,
    ) -> EcgModelOutput | tuple:
        """Encode windows of any length.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: Not needed; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            record_index: Accepted and ignored, so that the whole output of an extractor can be passed.
            output_hidden_states: Return the output of the stem and of each stage that is run, `(batch, steps,
                channels)` each.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.
            last_layer: Last stage to run; all by default.
        """
        if input_values is None:
            raise SignalError(f"{type(self).__name__} got no input_values; expected (batch, leads, samples).")
        signal = self.prepare_input(input_values, lead_mask)
        self.token_mask(attention_mask)
        signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for layer in self.stem:
            signal = layer(signal)
        signal = functional.max_pool2d(signal, (1, 3), stride=(1, 2), padding=(0, 1))
        states = [signal.squeeze(2).transpose(1, 2)]
        for stage in islice(self.stages, last_layer):
            # Through the hidden state itself (views, no copies): its gradient can be kept.
            signal = stage(states[-1].transpose(1, 2).unsqueeze(2))
            states.append(signal.squeeze(2).transpose(1, 2))
        return self.make_output(
            states[-1], tuple(states), output_hidden_states=output_hidden_states, return_dict=return_dict
        )


class Xresnet1dForSequenceClassification(EcgForSequenceClassification, Xresnet1dPreTrainedModel):
    """xresnet1d with the head of the PTB-XL benchmark on maximum and mean over time, or on another vector."""

    encoder_class = Xresnet1dModel
