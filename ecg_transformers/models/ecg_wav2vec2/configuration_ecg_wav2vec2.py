"""Configuration of Wav2Vec 2.0 with CMSC and random lead masking."""

import math
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["EcgWav2vec2Config"]

_SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "small": {"num_hidden_layers": 8},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
_PROBABILITIES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "activation_dropout_prob",
    "feat_proj_dropout",
    "feat_quantizer_dropout",
    "mask_time_prob",
    "lead_mask_apply_prob",
    "lead_mask_prob",
    "feature_grad_mult",
)


@strict
class EcgWav2vec2Config(EcgConfig):
    """Configuration of Wav2Vec 2.0 with CMSC and random lead masking. Defaults: the published base model.

    Shared fields (leads, rate, window, labels, head) are described in `EcgConfig` and `EcgBaseConfig`; "published" is
    the code fairseq-signals (Oh et al. 2022).

    Args:
        conv_dim (`list[int]`, default `[256] * 4`, published): Channels of each convolution over the samples.
        conv_kernel (`list[int]`, default `[2] * 4`, published): Samples of each kernel; no padding.
        conv_stride (`list[int]`, default `[2] * 4`, published): Strides; the product is the samples per frame.
        conv_bias (`bool`, default `False`, published): Biases of these convolutions.
        feat_extract_norm (`str`, default `"group"`, published): `"group"`: one norm over time per channel after the
            first convolution; `"layer"`: a LayerNorm over the channels after each.
        feat_extract_activation (`str`, default `"gelu"`, published): Activation of these and the position convolution.
        feat_proj_dropout (`float`, default 0.1, published): Dropout after the projection to `hidden_size`.
        hidden_size (`int`, default 768, published): Width of the transformer.
        num_hidden_layers (`int`, default 12, published): Number of transformer layers.
        num_attention_heads (`int`, default 12, published): Attention heads.
        intermediate_size (`int`, default 3072, published): Width of the MLP.
        hidden_act (`str`, default `"gelu"`, published): Activation of the MLP.
        qkv_bias (`bool`, default `True`, published): Biases of query, key and value.
        norm_first (`bool`, default `False`, published): Norms before attention and MLP, and the encoder's norm after
            the last layer instead of before the first.
        final_norm (`bool`, default `True`): `False` for a truncated encoder, whose output passes a parameter-free
            LayerNorm.
        layer_norm_eps (`float`, default 1e-5, published): Epsilon of every LayerNorm.
        hidden_dropout_prob (`float`, default 0.1, published): Dropout of the transformer's input, after attention and
            after the MLP.
        attention_probs_dropout_prob (`float`, default 0.1, published): Dropout of attention weights.
        activation_dropout_prob (`float`, default 0, published; 0.1 in fine-tuning): Dropout within the MLP.
        num_conv_pos_embeddings (`int`, default 128, published): Frames of the position convolution.
        num_conv_pos_embedding_groups (`int`, default 16, published): Groups of the position convolution.
        zero_padding_before_pos_conv (`bool`, default `False`, published since 2025): Whether padded frames are set to 0
            before the position convolution (the state of 2022) or after it.
        initializer_range (`float`, default 0.02, published): Standard deviation of the transformer's linear layers.
        num_segments (`int`, default 2, published): Adjacent windows of a recording that form one row of a batch; CMSC
            compares two.
        lead_mask_apply_prob (`float`, default 1.0, published): Probability that leads of a window are masked at all.
        lead_mask_prob (`float`, default 0.5, published): Probability of masking a lead. 0: no random lead masking.
        min_leads_kept (`int`, default 0, published): Leads of a window that are kept at least.
        mask_time_prob (`float`, default 0.65, published): Sum of the lengths of masked spans, as a share of the frames;
            spans overlap.
        mask_time_length (`int`, default 10, published): Frames of a masked span.
        mask_time_min_masks (`int`, default 2, published): Spans of a window at least.
        feat_quantizer_dropout (`float`, default 0.1, published): Dropout of the quantizer's input.
        num_codevectors_per_group (`int`, default 320, published): Codes of a group.
        num_codevector_groups (`int`, default 2, published): Groups of the quantizer.
        codevector_size (`int`, default 256, published): Width of a quantized frame, all groups together.
        projection_size (`int`, default 256, published): Width in which contexts and targets are compared.
        gumbel_temperature_start (`float`, default 2.0, published): Temperature of the Gumbel softmax at the first step.
        gumbel_temperature_end (`float`, default 0.5, published): Lowest temperature.
        gumbel_temperature_decay (`float`, default 0.999995, published): Factor on the temperature
            per optimizer step.
        temperature (`float`, default 0.1, published): Temperature of the local contrast.
        num_negatives (`int`, default 100, published): Negatives of a masked frame.
        cmsc_temperature (`float`, default 0.1, published): Temperature of CMSC.
        cmsc_positives (`str`, default `"record"`, published): Windows of the other role that count as positives: of the
            same `"record"`, or of the same `"patient"` where it is known.
        contrastive_weight (`float`, default 1.0, published): Weight of the local contrast. 0: no time masks, no
            quantizer, no feature penalty (CMSC alone).
        diversity_weight (`float`, default 0.1, published): Weight of the diversity of codes.
        feature_penalty_weight (`float`, default 10.0, published): Weight of the mean square of the features.
        cmsc_weight (`float`, default 1.0, published): Weight of CMSC. 0: Wav2Vec 2.0 alone.
        feature_grad_mult (`float`, default 0.1, published): Factor of the gradient of the convolutions in pretraining.
        gather_batch (`bool`, default `True`, ours): Number of masked frames, code probabilities and CMSC span the batch
            of all processes; `False`: that of each process (published).
        freeze_stem (`bool`, default `True`, published): Whether heads leave the convolutions as they are. Training from
            random weights sets it to `False`.
        num_patients (`int`, default 2): Patients that the identification head is trained on.
        arcface_scale (`float`, default 192.0, published): Scale of its logits.
        arcface_margin (`float`, default 1.0, published): Angle (rad) by which an embedding must be closer to its own
            patient.

    Raises:
        CheckpointError: The fields contradict each other, or a number is out of range.
    """

    model_type = "ecg_wav2vec2"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"min_leads_kept"})

    sampling_rate: int | float = 500
    window_size: int = 2500
    conv_dim: list[int] | tuple[int, ...] = (256, 256, 256, 256)
    conv_kernel: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: str = "gelu"
    feat_proj_dropout: float | int = 0.1
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    norm_first: bool = False
    final_norm: bool = True
    layer_norm_eps: float = 1e-5
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    activation_dropout_prob: float | int = 0.0
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    zero_padding_before_pos_conv: bool = False
    initializer_range: float = 0.02
    num_segments: int = 2
    lead_mask_apply_prob: float | int = 1.0
    lead_mask_prob: float | int = 0.5
    min_leads_kept: int = 0
    mask_time_prob: float | int = 0.65
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    feat_quantizer_dropout: float | int = 0.1
    num_codevectors_per_group: int = 320
    num_codevector_groups: int = 2
    codevector_size: int = 256
    projection_size: int = 256
    gumbel_temperature_start: float | int = 2.0
    gumbel_temperature_end: float | int = 0.5
    gumbel_temperature_decay: float | int = 0.999995
    temperature: float | int = 0.1
    num_negatives: int = 100
    cmsc_temperature: float | int = 0.1
    cmsc_positives: Literal["record", "patient"] = "record"
    contrastive_weight: float | int = 1.0
    diversity_weight: float | int = 0.1
    feature_penalty_weight: float | int = 10.0
    cmsc_weight: float | int = 1.0
    feature_grad_mult: float | int = 0.1
    gather_batch: bool = True
    freeze_stem: bool = True
    num_patients: int = 2
    arcface_scale: float | int = 192.0
    arcface_margin: float | int = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_convolutions()
        for name in _PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise CheckpointError(f"{name} is {getattr(self, name)}; expected a number from 0 to 1.")
        for name, parts in (
            ("hidden_size", "num_attention_heads"),
            ("hidden_size", "num_conv_pos_embedding_groups"),
            ("codevector_size", "num_codevector_groups"),
        ):
            if getattr(self, name) % getattr(self, parts):
                raise CheckpointError(
                    f"{name} {getattr(self, name)} is not divisible by {parts} {getattr(self, parts)}."
                )
        self._check_objective()

    def start_from_random(self) -> None:
        """Train the convolutions: random ones that stay as they are would have learned nothing."""
        self.freeze_stem = False

    def _check_convolutions(self) -> None:
        names = ("conv_dim", "conv_kernel", "conv_stride")
        for name in names:
            values = list(getattr(self, name))
            setattr(self, name, values)
            if not values or not all(0 < value <= 100_000 for value in values):
                raise CheckpointError(f"{name} is {values}; expected one or more positive numbers up to 100,000.")
        if len({len(getattr(self, name)) for name in names}) > 1:
            raise CheckpointError(
                f"{', '.join(f'{name} has {len(getattr(self, name))}' for name in names)} entries; expected one of "
                "each per convolution."
            )

    def _check_objective(self) -> None:
        if not (self.arcface_scale > 0 and 0 <= self.arcface_margin < math.pi):
            raise CheckpointError(
                f"arcface_scale is {self.arcface_scale} and arcface_margin {self.arcface_margin}; expected a positive "
                "scale and an angle from 0 up to, not including, pi."
            )
        temperatures = ("temperature", "cmsc_temperature", "gumbel_temperature_start", "gumbel_temperature_end")
        for name in temperatures:
            if not getattr(self, name) > 0:
                raise CheckpointError(f"{name} is {getattr(self, name)}; expected a positive number.")
        if not 0 < self.gumbel_temperature_decay <= 1:
            raise CheckpointError(
                f"gumbel_temperature_decay is {self.gumbel_temperature_decay}; expected a factor from 0 to 1."
            )
        if min(self.mask_time_length, self.mask_time_min_masks, self.num_segments) < 1:
            raise CheckpointError(
                f"mask_time_length is {self.mask_time_length}, mask_time_min_masks {self.mask_time_min_masks} and "
                f"num_segments {self.num_segments}; expected at least 1 of each."
            )
        if not self.contrastive_weight:
            # Parts of the local contrast.
            self.diversity_weight = self.feature_penalty_weight = 0.0
        if not self.contrastive_weight and not self.cmsc_weight:
            raise CheckpointError(
                "contrastive_weight and cmsc_weight are 0: nothing would be learned. Set one above 0."
            )
        if self.cmsc_weight and self.num_segments != 2:
            raise CheckpointError(
                f"num_segments is {self.num_segments}, but CMSC compares two adjacent windows of a recording. Set "
                "num_segments to 2, or cmsc_weight to 0."
            )

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "EcgWav2vec2Config":
        """Return the configuration of a published size.

        Args:
            size: `"base"` (12 layers of 768), `"small"` (8 layers) or `"large"` (24 layers of 1024).
            **fields: Further config fields.

        Raises:
            CheckpointError: Another size.

        Example:
            >>> EcgWav2vec2Config.of_size("small").num_hidden_layers
            8
        """
        if size not in _SIZES:
            raise CheckpointError(f"size is {size!r}; expected one of {', '.join(_SIZES)}.")
        return cls(**{**_SIZES[size], **fields})
