"""Labels of recordings from a classifier: codes with names, probabilities and decisions."""

import re
from typing import Any, Literal

import numpy as np
import torch
from transformers.utils import logging

from ..errors import CheckpointError, SignalError
from ..inference.aggregation import aggregate_windows
from ..inference.outputs import probabilities
from .base import WindowPipeline
from .records import model_inputs, without_statement

__all__ = ["LabelPipeline", "check_labels"]

logger = logging.get_logger(__name__)


class LabelPipeline(WindowPipeline):
    """Classification of recordings by a fine-tuned checkpoint; arguments and result: see `EcgClassificationPipeline`.

    Raises:
        CheckpointError: The checkpoint is an encoder alone, or a label has no code.
    """

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        check_labels(model.config)
        super().__init__(model, *args, **kwargs)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Classify one record or several; for the arguments see this class."""
        config = self.model.config
        logger.warning_once(f"{config.name_or_path or 'This checkpoint'}: {config.intended_use}")
        return super().__call__(inputs, **kwargs)

    @property
    def codes(self) -> list[str]:
        """Label codes in the order of the outputs."""
        return [str(code) for _, code in sorted((self.model.config.id2label or {}).items())]

    def positive_codes(self, scores: np.ndarray) -> tuple[str, ...]:
        """Return the codes that are positive.

        Args:
            scores: Probabilities `(num_labels,)`.
        """
        return tuple(code for code, positive in zip(self.codes, self._decide(scores), strict=True) if positive is True)

    def _sanitize_parameters(
        self,
        aggregate: str | None = None,
        top_k: int | None = None,
        windows: bool | None = None,
        as_array: bool | None = None,
        **reading: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        self._check_reading(reading, "aggregate, top_k, windows, as_array")
        if aggregate not in (None, "mean", "max"):
            raise SignalError(f'aggregate is {aggregate!r}; expected "mean" or "max".')
        if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
            raise SignalError(f"top_k is {top_k!r}; expected a whole number of at least 1, or None for all labels.")
        given = {"aggregate": aggregate, "top_k": top_k, "windows": windows, "as_array": as_array}
        return reading, {}, {name: value for name, value in given.items() if value is not None}

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        logits = self.model(**model_inputs(input_tensors, self.model), return_dict=True).logits
        return {"is_last": input_tensors["is_last"], "logits": without_statement(logits, input_tensors)}

    def postprocess(  # type: ignore[override]
        self,
        model_outputs: list[dict[str, Any]],
        aggregate: Literal["mean", "max"] = "mean",
        top_k: int | None = None,
        windows: bool = False,
        as_array: bool = False,
    ) -> Any:
        """Return the labels or scores of a record from the logits of its windows.

        Args:
            model_outputs: Logits of the windows in order.
            aggregate: As in a call, like the others.
            top_k: Number of labels.
            windows: One result per window.
            as_array: Scores only.
        """
        logits = torch.cat([output["logits"] for output in model_outputs])
        scores = probabilities(logits, self.model.config.problem_type).numpy()
        if not windows:
            scores = scores[~np.isnan(scores).any(axis=1)]
            columns = self.model.config.max_columns
            one_record = np.zeros(len(scores), np.int64)
            scores = aggregate_windows(scores, one_record, aggregate=aggregate, max_columns=columns)
        if as_array:
            return scores if windows else scores[0]
        labels = [self._labels(row)[:top_k] for row in scores]
        return labels if windows else labels[0]

    def _labels(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Labels of one record or window, the most probable first; none for a window without signal."""
        if np.isnan(scores).any():
            return []
        names, decided = self.model.config.label_names or self.codes, self._decide(scores)
        return [
            {
                "label": self.codes[index],
                "name": names[index],
                "score": float(scores[index]),
                "positive": decided[index],
            }
            for index in np.argsort(-scores, kind="stable")
        ]

    def _decide(self, scores: np.ndarray) -> list[bool | None]:
        """Whether each label is positive; None for a label without a threshold, no label for a regression."""
        config = self.model.config
        if config.problem_type == "regression":
            return [False] * len(scores)
        if config.problem_type == "single_label_classification":
            return (np.arange(len(scores)) == scores.argmax()).tolist()
        thresholds = [0.5] * len(scores) if config.thresholds is None else config.thresholds
        return [None if cut is None else bool(score >= cut) for score, cut in zip(scores, thresholds, strict=True)]


def check_labels(config: Any) -> None:
    """Refuse a head that was never trained, or one whose outputs have no codes.

    Args:
        config: Of the checkpoint.

    Raises:
        CheckpointError: The checkpoint is an encoder alone, or a label has no code.
    """
    architectures = config.architectures or []
    if architectures and not any(name.endswith("Classification") for name in architectures):
        raise CheckpointError(
            f"the checkpoint holds {', '.join(architectures)}: its classification head would be random. Expected a "
            "fine-tuned checkpoint; make one with training/finetune.py, or use ecg-feature-extraction."
        )
    unnamed = [code for code in config.id2label.values() if re.fullmatch(r"LABEL_\d+", str(code))]
    if unnamed:
        raise CheckpointError(
            f"{len(unnamed)} outputs have no code ({', '.join(unnamed[:3])}); expected one for each. "
            "Set config.id2label and config.label2id (and label_names)."
        )
    for name in ("thresholds", "label_names"):
        values = getattr(config, name)
        if values is not None and len(values) != config.num_labels:
            raise CheckpointError(
                f"config.{name} has {len(values)} entries for {config.num_labels} labels; expected one each. Where "
                f"they are of other labels, set config.{name} = None and save the checkpoint again."
            )
