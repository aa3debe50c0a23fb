"""Configuration: validation shared by all families, fields shared by all encoders and by contrastive pretraining."""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import logging

from .errors import CheckpointError
from .readout import POOLINGS
from .signals.leads import STANDARD_LEADS

__all__ = ["EcgBaseConfig", "EcgConfig", "SelectionConfig"]

logger = logging.get_logger(__name__)

# Keys that Transformers and the Hub write into a config without declaring them as fields.
_LIBRARY_KEYS = frozenset(
    "auto_map custom_pipelines attn_implementation experts_implementation name_or_path transformers_version "
    "model_type num_labels torch_dtype dtype torchscript pruned_heads is_encoder_decoder task_specific_params "
    "tokenizer_class prefix bos_token_id pad_token_id eos_token_id sep_token_id decoder_start_token_id "
    "output_attentions use_cache tie_word_embeddings use_return_dict return_unused_kwargs".split()
)

# Fields that belong to the labels.
LABEL_FIELDS = ("label_names", "label_system", "thresholds", "thresholds_from", "max_over_windows")

# A config file is untrusted data: a typo or an attack must not exhaust memory or time.
_SIZE_FIELD = re.compile(r"(\w+_)?num_\w+|\w+_size")
_LARGEST_SIZE = 10_000_000
_LARGEST_DEPTH = 1_000


class EcgBaseConfig(PreTrainedConfig):
    """Validation of every configuration: names of fields, type of weights, sizes.

    Raises:
        CheckpointError: A keyword is a near miss of a field, or a size or the weight of a loss term is out of range.
    """

    # Sizes and counts that may be 0, which means: none.
    may_be_zero: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self, **kwargs: Any) -> None:
        self._refuse_near_misses(kwargs)
        if type(self.dtype).__name__ not in ("NoneType", "str", "dtype"):
            raise CheckpointError(f"dtype is {self.dtype!r}; expected the name of a type, 'float32' or 'bfloat16'.")
        super().__post_init__(**kwargs)
        self._check_numbers()
        # Label 10 precedes label 2 in a file sorted as text; whatever lists labels follows the order of the outputs.
        if self.id2label:
            self.id2label = dict(sorted(self.id2label.items()))  # type: ignore[arg-type, assignment]

    def own_fields(self) -> set[str]:
        """Return the names of the fields that Transformers does not declare."""
        return {field.name for field in fields(self)} - {field.name for field in fields(PreTrainedConfig)}

    def _check_numbers(self) -> None:
        """Refuse negative weights of loss terms, and counts and sizes that no model has, before anything is built."""
        for name in self.own_fields():
            value = getattr(self, name, None)
            if name.endswith("_weight") and isinstance(value, int | float) and not 0 <= value < math.inf:
                raise CheckpointError(f"{name} is {value}; the weight of a loss term must be at least 0 (0: left out).")
            if not isinstance(value, int) or not _SIZE_FIELD.fullmatch(name):
                continue
            largest = _LARGEST_DEPTH if name.endswith("_layers") else _LARGEST_SIZE
            least = 0 if name in self.may_be_zero else 1
            if not least <= value <= largest:
                wanted = "at least 0" if least == 0 else "positive"
                raise CheckpointError(f"{name} is {value:,}; it must be {wanted} and at most {largest:,}.")

    def _refuse_near_misses(self, unknown: Iterable[str]) -> None:
        """Refuse a misspelled field; log once a field that is neither ours nor the library's."""
        ours = self.own_fields()
        for key in unknown:
            if key in _LIBRARY_KEYS or key.startswith("_"):
                continue
            near = difflib.get_close_matches(key, ours, n=1, cutoff=0.8)
            if near:
                raise CheckpointError(f"{type(self).__name__} has no field {key!r}. Did you mean {near[0]!r}?")
            logger.warning_once(f"{type(self).__name__} does not know the field {key!r}; it is kept but has no effect.")


@strict
class EcgConfig(EcgBaseConfig):
    """Fields shared by all encoders: input, classification head, labels, card; each architecture adds its own.

    Args:
        num_leads (`int`, default 12): Number of leads of the input.
        lead_names (`list[str]`, *optional*): Lead names in input order. Default: the first `num_leads` of I, II, III,
            aVR, aVL, aVF, V1 to V6.
        sampling_rate (`int` or `float`, default 360): Sampling rate of the input in Hz.
        window_size (`int`, default 3600): Length of the input in samples.
        hidden_size (`int`, default 512): Width of the token vectors.
        pooling (`str`, default `"cls"`): Pooling before the classification head: `"cls"` (the encoder's
            `pooler_output`), `"mean"`, `"max"`, `"cls_mean"` or `"attention"` (one learned query over the tokens).
        layer (`int` or `list[int]`, default -1): Layer whose tokens are pooled. 0 is the input of the first layer, k
            the output of layer k; negative numbers count from the end, and -1 is the output of the model. The vectors
            of several layers are concatenated in the order given. Layers above the last one named are not run.
        head_hidden_sizes (`list[int]`, default `[]`): Widths of the hidden layers (Linear, ReLU) of the head; empty
            for a single linear layer.
        head_dropout (`float`, default 0.0): Dropout before the last linear layer of the head, half of it before each
            earlier one.
        head_batch_norm (`bool`, default `False`): BatchNorm before each linear layer of the head.
        label_names (`list[str]`, *optional*): Readable label names, in the order of `id2label` (which has the codes).
        label_system (`str`, *optional*): Source of the codes: `"scp"`, `"snomed-ct"`, `"aami"` or `"own"`.
        thresholds (`list[float | None]`, *optional*): Decision threshold of each label's probability; `None` for a
            label with too few positives to fit one (fewer than 10).
        thresholds_from (`dict`, *optional*): Corpus and folds of the records that the thresholds were fitted on.
        max_over_windows (`list[str]`, *optional*): Codes of labels whose score of a recording is the maximum over its
            windows where that of the others is the mean: what may be in one window only.
        supported_leads (`str` or `list[str]`, default `"all"`): Leads that a record must have: `"all"`, `"any"`, or a
            list of lead names that are sufficient.
        pretrained_by (`str`, *optional*): Pretraining method of a backbone that is published under its own model type.
        intended_use (`str`): Intended use of the checkpoint, in one sentence.
        license (`str`, default `"apache-2.0"`): License of the weights.

    Names, system and thresholds belong to the labels in `id2label`: they are reset when these change, in
    `from_pretrained(..., id2label=...)` or on the config, unless they are given too; `problem_type` is reset when the
    number of labels changes.

    Raises:
        CheckpointError: Fields contradict each other, or a keyword is a near miss of a field.
    """

    num_leads: int = 12
    lead_names: list[str] | tuple[str, ...] | None = None
    sampling_rate: int | float = 360
    window_size: int = 3600
    hidden_size: int = 512
    pooling: str = "cls"
    layer: int | list[int] | tuple[int, ...] = -1
    head_hidden_sizes: list[int] | tuple[int, ...] = ()
    head_dropout: float | int = 0.0
    head_batch_norm: bool = False
    label_names: list[str] | tuple[str, ...] | None = None
    label_system: str | None = None
    thresholds: list[float | None] | tuple[float | None, ...] | None = None
    thresholds_from: dict[str, Any] | None = None
    max_over_windows: list[str] | tuple[str, ...] | None = None
    supported_leads: str | list[str] | tuple[str, ...] = "all"
    pretrained_by: str | None = None
    intended_use: str = "Research on electrocardiograms. Not a medical device; not for diagnosis."
    license: str = "apache-2.0"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.lead_names is None:
            self.lead_names = list(STANDARD_LEADS[: self.num_leads])
        self.lead_names = list(self.lead_names)
        if len(self.lead_names) != self.num_leads:
            raise CheckpointError(
                f"lead_names has {len(self.lead_names)} names ({', '.join(self.lead_names)}) but num_leads is "
                f"{self.num_leads}. Set both to the same number of leads."
            )
        if not self.sampling_rate > 0:
            raise CheckpointError(f"sampling_rate is {self.sampling_rate}; it must be positive.")
        if self.pooling not in POOLINGS:
            raise CheckpointError(f"pooling is {self.pooling!r}; expected one of {', '.join(POOLINGS)}.")
        if not isinstance(self.layer, int):
            self.layer = list(self.layer)
        self.check_head()

    def start_from_random(self) -> None:
        """Set the fields that only pretrained weights make sense of, for a training from random weights.

        There are none, unless an architecture overrides this.
        """

    def check_head(self) -> None:
        """Check the fields of the classification head.

        Raises:
            CheckpointError: A width or the dropout is out of range.
        """
        self.head_hidden_sizes = list(self.head_hidden_sizes)
        if not all(0 < size <= _LARGEST_SIZE for size in self.head_hidden_sizes) or not 0 <= self.head_dropout < 1:
            raise CheckpointError(
                f"head_hidden_sizes is {self.head_hidden_sizes} and head_dropout {self.head_dropout}; expected "
                "positive widths and a probability from 0 up to, not including, 1."
            )

    def _check_window(self, unit: int, parts: str) -> None:
        """Refuse a window that is not a whole number of `unit` samples; the error names the nearest ones."""
        if self.window_size % unit:
            below = self.window_size // unit * unit
            near = f"{below} or {below + unit}" if below else f"{unit}"
            raise CheckpointError(f"window_size {self.window_size} is not a {parts}. Set window_size to {near}.")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in Transformers; new labels come first, so that names and thresholds given with them stay."""
        # Transformers would compare their number with that of the old labels, and warn.
        if kwargs.get("id2label") and kwargs.get("num_labels") == len(kwargs["id2label"]):
            del kwargs["num_labels"]
        return super().from_dict(config_dict, **{name: kwargs[name] for name in sorted(kwargs, key="id2label".__ne__)})

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get("id2label") if name == "id2label" else None
        if not (before and value) or _codes(before) == _codes(value):
            return super().__setattr__(name, value)
        super().__setattr__(name, dict(enumerate(_codes(value))))
        super().__setattr__("label2id", {code: number for number, code in enumerate(_codes(value))})
        for field in LABEL_FIELDS + (("problem_type",) if len(before) != len(value) else ()):
            super().__setattr__(field, None)

    @property
    def max_columns(self) -> list[int]:
        """Numbers of the outputs in `max_over_windows`."""
        return [int(number) for number, code in (self.id2label or {}).items() if code in (self.max_over_windows or ())]

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: `hidden_size`, unless an architecture concatenates several poolings."""
        return self.hidden_size

    @property
    def has_linear_head(self) -> bool:
        """Whether the classification head is a single linear layer."""
        return not (self.head_hidden_sizes or self.head_dropout or self.head_batch_norm)


@strict
class SelectionConfig(EcgBaseConfig):
    """Fields of the families that contrast queries with keys: which keys count as positives in addition to the own one.

    Their rule is `objectives.selection.SelectionRule`, which also validates the numbers.

    Args:
        sampling (`str`, default `"none"`): Which keys are positives in addition to the own one: `"none"`, `"srcl"`
            (Lenz et al. 2024), `"n_sam"` or `"ds"` (our definitions).
        num_extra_positives (`int`, default 5, Lenz et al.): Positives that `srcl` adds, and at most that `ds` adds.
        n_sam_drop (`int`, default 5, ours): Most similar candidates that `n_sam` removes.
        n_sam_keep (`int`, *optional*, ours): Number of the most similar remaining candidates that `n_sam` keeps.
        ds_mode (`str`, default `"threshold"`, ours): What limits the positives of `ds`: `"threshold"`, `"schedule"` or
            `"both"`.
        ds_threshold (`float`, default 0.8, ours): Cosine similarity from which `ds` counts a positive.
        reduction (`str`, default `"sum_in_log"`, Lenz et al.): Loss over several positives: `"sum_in_log"`,
            `"mean_of_logs"` or `"sum_of_logs"`.
        select_by (`str`, default `"query"`): Vector that candidates are compared with to choose
            positives: `"query"` or `"key"`.
        same_source (`str`, default `"ignore"`, as published): Keys of the same patient (or record): `"ignore"`,
            `"exclude"` or `"positive"`. `"exclude"` in our training configs.
        sampling_warmup (`float`, default 0.1, Lenz et al., 5 of 50 epochs): Share of the run without sampling.
        ds_end (`float`, default 0.5, ours): Share of the run at which the number of `ds` is complete.
    """

    may_be_zero: ClassVar[frozenset[str]] = frozenset({"queue_size", "num_extra_positives"})

    sampling: Literal["none", "srcl", "n_sam", "ds"] = "none"
    num_extra_positives: int = 5
    n_sam_drop: int = 5
    n_sam_keep: int | None = None
    ds_mode: Literal["threshold", "schedule", "both"] = "threshold"
    ds_threshold: float | int = 0.8
    reduction: Literal["sum_in_log", "mean_of_logs", "sum_of_logs"] = "sum_in_log"
    select_by: Literal["query", "key"] = "query"
    same_source: Literal["ignore", "exclude", "positive"] = "ignore"
    sampling_warmup: float | int = 0.1
    ds_end: float | int = 0.5


def _codes(id2label: dict[Any, str]) -> list[str]:
    """Label codes in the order of the outputs."""
    return [id2label[key] for key in sorted(id2label, key=int)]
