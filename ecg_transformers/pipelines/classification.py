"""The pipeline `ecg-classification`: label codes with names, probabilities and decisions for recordings."""

from typing import Any

import numpy as np
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel

from ..auto import ARCHITECTURES, family_with
from ..modeling import EcgPreTrainedModel
from .files import EcgPipeline
from .labels import LabelPipeline
from .occlusion import Occlusion, occlude

__all__ = ["ClassifierLoader", "EcgClassificationPipeline"]


class ClassifierLoader:
    """The auto class of the task: `AutoModelForAudioClassification`, except for families without a classifier.

    What an auto class raises reaches the user inside a traceback of `transformers.pipeline`; for such a family the
    pipeline itself reports the reason.
    """

    @classmethod
    def from_pretrained(cls, checkpoint: str, **kwargs: Any) -> Any:
        """Load the classifier, or a model without a network if the family has none.

        Args:
            checkpoint: Folder or Hub name.
            **kwargs: As in Transformers.
        """
        try:
            return AutoModelForAudioClassification.from_pretrained(checkpoint, **kwargs)
        except ValueError:
            config = AutoConfig.from_pretrained(checkpoint)
            if _has_classifier(config):
                raise
            return EcgPreTrainedModel(config)


class EcgClassificationPipeline(EcgPipeline, LabelPipeline):
    """Classification of recordings by a fine-tuned checkpoint and its preprocessing.

    Call arguments, which the constructor takes too:
        aggregate: `"mean"` (default; the maximum for labels in `config.max_over_windows`) or `"max"` of the
            probabilities over the windows of a record.
        top_k: Number of labels returned; all by default.
        windows: `True` for one result per window instead of one per record.
        as_array: `True` for the scores only, in the order of `config.id2label`.
        window: `"slide"`, `"crop"`, `"center"`: how longer records are handled.
        sampling_rate, units, leads: Of arrays, and of files without them; `gain` and all other arguments as in
            `read_record`.

    The result is `[{"label", "name", "score", "positive"}, ...]`, the most probable first. A label of a multi-label
    checkpoint is positive if its probability reaches its threshold in `config.thresholds` (0.5 for a checkpoint without
    any); `positive` is None for a label that has no threshold, because too few positives were known. For a single-label
    checkpoint the most probable class is positive.

    `to_table` writes the columns `label` and `score` of the most probable label, `positive` (the positive codes, joined
    by `;`) and `score_CODE` for each label, with a row for each record. `stream` yields the fields `label`, `name`,
    `score`, `positive` (codes) and `scores` (float32, in the order of `config.id2label`); `summarize` condenses them.

    Example:
        >>> classify = pipeline("ecg-classification", model="runs/af")  # doctest: +SKIP
        >>> classify("patient7.csv", sampling_rate=250, top_k=1)  # doctest: +SKIP
        [{'label': 'AFIB', 'name': 'atrial fibrillation', 'score': 0.97, 'positive': True}]
    """

    table_name = "labels.parquet"
    table_windows = False
    array_options = {"as_array": True}

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        if not _has_classifier(model.config):
            hint = "Expected a classifier of another family; for embeddings use ecg-feature-extraction."
            family_with("classifier", model.config.model_type, "the checkpoint", hint)
        super().__init__(model, *args, **kwargs)

    def table_columns(self, values: np.ndarray) -> dict[str, Any]:
        """Return the columns for scores `(rows, num_labels)`."""
        known = ~np.isnan(values).any(axis=1)
        return {
            "label": [self.codes[row.argmax()] if there else "" for row, there in zip(values, known, strict=True)],
            "score": values.max(axis=1),
            "positive": [";".join(self.positive_codes(row)) for row in values],
            **{f"score_{code}": values[:, index] for index, code in enumerate(self.codes)},
        }

    def stream_fields(self, values: np.ndarray | None) -> dict[str, Any]:
        """Return the fields for the scores `(num_labels,)` of a window."""
        if values is None or np.isnan(values).any():
            return {"label": None, "name": None, "score": float("nan"), "positive": (), "scores": None}
        best = self._labels(values)[0]
        return {**best, "positive": self.positive_codes(values), "scores": values.astype(np.float32)}

    def occlude(self, record: Any, *, seconds: float = 0.5, **options: Any) -> Occlusion:
        """Measure which leads and times of a recording its scores depend on; see `pipelines.occlusion.occlude`.

        Args:
            record: One recording, as for a call.
            seconds: Length of the segments that are hidden. Default: 0.5.
            **options: `aggregate`, `batch_size` and the call arguments about reading and preparation.
        """
        return occlude(self, record, seconds=seconds, **options)


def _has_classifier(config: PreTrainedConfig) -> bool:
    """Whether the family of a config has a classifier; a family that is not registered here is taken to have one."""
    row = ARCHITECTURES.get(config.model_type)
    return row is None or "classifier" in row.heads
