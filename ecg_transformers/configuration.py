"""The configuration fields that every architecture of the package shares."""

import difflib
import re
from dataclasses import fields

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import logging

from .errors import CheckpointError
from .signals.leads import STANDARD_LEADS

__all__ = ["EcgConfig"]

logger = logging.get_logger(__name__)

# Keys that Transformers and the Hub write into a config without declaring them as fields.
_LIBRARY_KEYS = frozenset(
    "auto_map custom_pipelines attn_implementation experts_implementation name_or_path transformers_version "
    "model_type num_labels torch_dtype dtype torchscript pruned_heads is_encoder_decoder task_specific_params "
    "tokenizer_class prefix bos_token_id pad_token_id eos_token_id sep_token_id decoder_start_token_id "
    "output_attentions use_cache tie_word_embeddings use_return_dict return_unused_kwargs".split()
)

# A config file is data from somewhere else: a slip or an attack in it must not take all memory or all time.
_SIZE_FIELD = re.compile(r"(\w+_)?num_\w+|\w+_size")
_LARGEST_SIZE = 10_000_000
_LARGEST_DEPTH = 1_000


@strict
class EcgConfig(PreTrainedConfig):
    """Fields that every ECG model has; the architectures add their own.

    Args:
        num_leads: Leads of the input.
        lead_names: Their names in order; the first `num_leads` of I, II, III, aVR, aVL, aVF, V1-V6 if not given.
        sampling_rate: Rate of the input in Hz.
        window_size: Length of the input in samples.
        hidden_size: Width of the token vectors.
        pooling: What the classification head reads: `"cls"` (the model's `pooler_output`), `"mean"`, `"max"`,
            `"cls_mean"` or `"attention"` (one learned query over the tokens).
        layer: Whose tokens it reads: -1 is the model's output after its final norm, 0 the input of the first layer,
            k the output of layer k.
        head_hidden_sizes: Hidden layers (Linear, ReLU) of the classification head; none: one linear layer.
        head_dropout: Dropout before its last linear layer; half of it before each earlier one.
        head_batch_norm: BatchNorm before each of its linear layers.
        label_names: Readable names of the labels, in the order of `id2label` (which holds the codes).
        label_system: Where the codes come from: `"scp"`, `"snomed-ct"`, `"aami"` or `"own"`.
        thresholds: One decision threshold on the probability of each label, fitted on validation data.
        supported_leads: `"all"` (every lead must be there), `"any"`, or a list of names that suffice.
        intended_use: One sentence on what the checkpoint may be used for.
        license: License of the weights.

    Raises:
        CheckpointError: If fields contradict each other, or a keyword is a near miss of a field.
    """

    num_leads: int = 12
    lead_names: list[str] | tuple[str, ...] | None = None
    sampling_rate: int | float = 360
    window_size: int = 3600
    hidden_size: int = 512
    pooling: str = "cls"
    layer: int = -1
    head_hidden_sizes: list[int] | tuple[int, ...] = ()
    head_dropout: float | int = 0.0
    head_batch_norm: bool = False
    label_names: list[str] | tuple[str, ...] | None = None
    label_system: str | None = None
    thresholds: list[float] | tuple[float, ...] | None = None
    supported_leads: str | list[str] | tuple[str, ...] = "all"
    intended_use: str = "Research on electrocardiograms. Not a medical device; not for diagnosis."
    license: str = "apache-2.0"

    def __post_init__(self, **kwargs):
        self._refuse_near_misses(kwargs)
        if type(self.dtype).__name__ not in ("NoneType", "str", "dtype"):
            raise CheckpointError(f"dtype is {self.dtype!r}; expected the name of a type, 'float32' or 'bfloat16'.")
        super().__post_init__(**kwargs)
        if self.lead_names is None:
            self.lead_names = list(STANDARD_LEADS[: self.num_leads])
        self.lead_names = list(self.lead_names)
        if len(self.lead_names) != self.num_leads:
            raise CheckpointError(
                f"lead_names has {len(self.lead_names)} names ({', '.join(self.lead_names)}) but num_leads is "
                f"{self.num_leads}. Set both to the same number of leads."
            )
        self._check_sizes()
        if self.pooling not in ("cls", "mean", "max", "cls_mean", "attention"):
            raise CheckpointError(
                f"pooling is {self.pooling!r}; expected 'cls', 'mean', 'max', 'cls_mean' or 'attention'."
            )
        # A file sorted as text has label 10 before label 2; everything that lists labels goes by the outputs' order.
        if self.id2label:
            self.id2label = dict(sorted(self.id2label.items()))
        self.head_hidden_sizes = list(self.head_hidden_sizes)
        if not all(0 < size <= _LARGEST_SIZE for size in self.head_hidden_sizes) or not 0 <= self.head_dropout < 1:
            raise CheckpointError(
                f"head_hidden_sizes is {self.head_hidden_sizes} and head_dropout {self.head_dropout}; expected "
                "positive widths and a share from 0 up to, not including, 1."
            )

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: `hidden_size` unless a system joins several poolings."""
        return self.hidden_size

    def layer_size(self, layer: int) -> int:
        """Width of the tokens of a layer, numbered as `layer`: `hidden_size` unless a system's layers differ."""
        return self.hidden_size

    @property
    def has_linear_head(self) -> bool:
        """Whether the classification head is one linear layer and nothing else."""
        return not (self.head_hidden_sizes or self.head_dropout or self.head_batch_norm)

    def _check_sizes(self) -> None:
        """Stop on counts and sizes that no model has, before anything of that size is built."""
        if not self.sampling_rate > 0:
            raise CheckpointError(f"sampling_rate is {self.sampling_rate}; it must be positive.")
        for name in {field.name for field in fields(self)} - {field.name for field in fields(PreTrainedConfig)}:
            value = getattr(self, name)
            if not isinstance(value, int) or not _SIZE_FIELD.fullmatch(name):
                continue
            largest = _LARGEST_DEPTH if name.endswith("_layers") else _LARGEST_SIZE
            if not 0 < value <= largest:
                raise CheckpointError(f"{name} is {value:,}; it must be positive and at most {largest:,}.")

    def _refuse_near_misses(self, unknown: dict) -> None:
        """Stop on a misspelled field; note once what is neither ours nor the library's."""
        known = {field.name for field in fields(self)}
        ours = known - {field.name for field in fields(PreTrainedConfig)}
        for key in unknown:
            if key in _LIBRARY_KEYS or key.startswith("_"):
                continue
            near = difflib.get_close_matches(key, ours, n=1, cutoff=0.8)
            if near:
                raise CheckpointError(f"{type(self).__name__} has no field {key!r}. Did you mean {near[0]!r}?")
            logger.warning_once(f"{type(self).__name__} does not know the field {key!r}; it is kept but has no effect.")
