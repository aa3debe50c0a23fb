"""The pipeline `ecg-classification`: recordings in, codes with names, probabilities and decisions out."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import logging

from ..errors import CheckpointError, SignalError
from ..features.extractor import EcgFeatureExtractor
from ..inference.aggregation import aggregate_windows
from ..inference.encode import probabilities
from .records import (
    READING,
    check_parts,
    model_inputs,
    prepare_windows,
    several_inputs,
    stored_steps,
    window_chunks,
)
from .streaming import stream_results
from .table_files import WrittenTable
from .tables import write_table

__all__ = ["EcgClassificationPipeline"]

logger = logging.get_logger(__name__)


class EcgClassificationPipeline(ChunkPipeline):
    """Classifies recordings with a fine-tuned checkpoint and its own preprocessing.

    Call arguments, which may also be given to the constructor:
        aggregate: `"mean"` (default) or `"max"` of the probabilities over a record's windows.
        top_k: How many labels are returned; all by default.
        windows: `True` for a result for each window instead of one for the record.
        as_array: `True` for the scores alone, in the order of `config.id2label`.
        window: `"slide"`, `"crop"`, `"center"`: what becomes of a record longer than the window.
        sampling_rate, units, leads: Of bare arrays, and of files that do not say; `gain`, `treat_as`, `key`, `index` as
            in `read_record`.

    A label of a multi-label checkpoint is positive where its probability reaches its threshold in `config.thresholds`
    (0.5 without them); of the classes of a single-label one the most probable is.

    Example:
        >>> classify = pipeline("ecg-classification", model="runs/af")  # doctest: +SKIP
        >>> classify("patient7.csv", sampling_rate=250, top_k=1)  # doctest: +SKIP
        [{'label': 'AFIB', 'name': 'atrial fibrillation', 'score': 0.97, 'positive': True}]
    """

    feature_extractor: EcgFeatureExtractor  # type: ignore[assignment]

    # the library declares these as None alone, although it means None, False or True
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _load_feature_extractor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_parts(self.model, self.feature_extractor)
        _check_labels(self.model.config)
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Labels of one record or several.

        Args:
            inputs: A path, EcgRecord, array `(leads, samples)` or mapping; or a list, generator or corpus of these.
            **kwargs: As the class says; `batch_size` windows go through the model at a time and change no result.

        Returns:
            `[{"label", "name", "score", "positive"}, ...]`, the most probable first; a list of such lists for a list,
            an iterator for other collections.
        """
        config = self.model.config
        logger.warning_once(f"{config.name_or_path or 'This checkpoint'}: {config.intended_use}")
        kwargs = {**stored_steps(inputs), **kwargs}
        inputs = several_inputs(inputs)
        return [] if isinstance(inputs, list) and not inputs else super().__call__(inputs, **kwargs)

    @property
    def codes(self) -> list[str]:
        """The label codes in the order of the outputs."""
        return [str(code) for _, code in sorted((self.model.config.id2label or {}).items())]

    def to_table(
        self,
        source: Any,
        output: str | Path = "labels.parquet",
        *,
        batch_size: int = 64,
        windows: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> WrittenTable:
        """Classifies a folder, a list of records or a corpus into a table, in order; goes on where it was stopped.

        The columns are `record`, `window` (its number), `start` (seconds), `checkpoint` (hash of weights and
        preprocessing), `label` and `score` of the most probable label, `positive` (the codes that reach their
        threshold, joined by `;`) and `score_CODE` for each label. Records that cannot be read or classified are listed
        with their reason beside the table, in `<name>.refused.csv`.

        Args:
            source: A folder (searched through), or a sequence of paths or EcgRecords.
            output: `.parquet` or `.csv`; appears when it is complete.
            batch_size: Windows per pass.
            windows: A row for each window instead of one for each record.
            overwrite: Replace a table or parts of another job.
            progress: Show a progress bar.
            **options: As in a call.
        """
        return write_table(
            self,
            source,
            output,
            rows=self._columns,
            options={**stored_steps(source), **options, "windows": windows, "as_array": True},
            batch_size=batch_size,
            overwrite=overwrite,
            progress=progress,
        )

    def stream(
        self,
        source: Any,
        *,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        batch_size: int = 64,
        start: float = 0.0,
        progress: bool = True,
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """Classifies a long recording window after window in bounded memory.

        Args:
            source: Path or EcgRecord.
            window_seconds: Only checked: the checkpoint's windows are as long as they are.
            stride_seconds: Distance of two windows; the extractor's by default.
            batch_size: Windows per pass.
            start: Second from which windows are wanted, on the same lattice: where an earlier stream stopped.
            progress: Show a progress bar.
            **options: As in a call.

        Yields:
            `{"record", "start", "end" (seconds), "time" (datetime, where the header has a date), "label", "name",
            "score", "positive" (codes), "scores" (float32, in the order of `config.id2label`), "note"}`; a window that
            cannot be classified (missing samples, no signal) has `None` for the label and the reason. `summarize` makes
            a day of them.
        """
        for row in stream_results(
            self,
            source,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            batch_size=batch_size,
            start=start,
            progress=progress,
            options={**options, "as_array": True},
        ):
            yield {**row.place, **self._window_labels(row.result), "note": row.note}

    def positive_codes(self, scores: np.ndarray) -> tuple[str, ...]:
        """The codes that count as present, given scores `(num_labels,)`."""
        return tuple(code for code, positive in zip(self.codes, self._decide(scores), strict=True) if positive)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and feature extractor; the stock method would add an entry that asks for remote code."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory)

    def _sanitize_parameters(
        self,
        aggregate: str | None = None,
        top_k: int | None = None,
        windows: bool | None = None,
        as_array: bool | None = None,
        window: str | None = None,
        **reading: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown := [name for name in reading if name not in (*READING, "preprocessed_by")]:
            raise SignalError(
                f"the pipeline has no argument {', '.join(unknown)}; expected aggregate, top_k, windows, as_array, "
                f"window, batch_size or {', '.join(READING)}."
            )
        if aggregate not in (None, "mean", "max"):
            raise SignalError(f'aggregate is {aggregate!r}; expected "mean" or "max".')
        if top_k is not None and top_k < 1:
            raise SignalError(f"top_k is {top_k}; expected at least 1, or None for all labels.")
        given = {"aggregate": aggregate, "top_k": top_k, "windows": windows, "as_array": as_array}
        reading = {**reading, **({} if window is None else {"window": window})}
        return reading, {}, {name: value for name, value in given.items() if value is not None}

    def preprocess(self, input_: Any, **reading: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """One dictionary of tensors for each window of a record."""
        yield from window_chunks(prepare_windows(input_, self.feature_extractor, **reading))

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        logits = self.model(**model_inputs(input_tensors, self.model), return_dict=True).logits
        return {"is_last": input_tensors["is_last"], "logits": logits.float()}

    def postprocess(  # type: ignore[override]
        self,
        model_outputs: list[dict[str, Any]],
        aggregate: Literal["mean", "max"] = "mean",
        top_k: int | None = None,
        windows: bool = False,
        as_array: bool = False,
    ) -> Any:
        """Scores of a record from the logits of its windows."""
        logits = torch.cat([output["logits"] for output in model_outputs])
        scores = probabilities(logits, self.model.config.problem_type).numpy()
        if not windows:
            scores = aggregate_windows(scores, np.zeros(len(scores), np.int64), aggregate=aggregate)
        if as_array:
            return scores if windows else scores[0]
        labels = [self._labels(row)[:top_k] for row in scores]
        return labels if windows else labels[0]

    def _labels(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """The labels of one record or window, the most probable first."""
        names, decided = self.model.config.label_names or self.codes, self._decide(scores)
        return [
            {
                "label": self.codes[index],
                "name": names[index],
                "score": float(scores[index]),
                "positive": bool(decided[index]),
            }
            for index in np.argsort(-scores, kind="stable")
        ]

    def _columns(self, scores: np.ndarray) -> dict[str, Any]:
        """The columns of a table for scores `(rows, num_labels)`."""
        return {
            "label": [self.codes[index] for index in scores.argmax(axis=1)],
            "score": scores.max(axis=1),
            "positive": [";".join(self.positive_codes(row)) for row in scores],
            **{f"score_{code}": scores[:, index] for index, code in enumerate(self.codes)},
        }

    def _window_labels(self, scores: np.ndarray | None) -> dict[str, Any]:
        """What a row of a stream says about its window."""
        if scores is None:
            return {"label": None, "name": None, "score": float("nan"), "positive": (), "scores": None}
        best = self._labels(scores)[0]
        return {**best, "positive": self.positive_codes(scores), "scores": scores.astype(np.float32)}

    def _decide(self, scores: np.ndarray) -> np.ndarray:
        """Which labels count as present, bool `(num_labels,)`; a regression decides nothing."""
        config = self.model.config
        if config.problem_type == "regression":
            return np.zeros(len(scores), dtype=bool)
        if config.problem_type == "single_label_classification":
            return np.arange(len(scores)) == scores.argmax()
        return scores >= np.asarray(0.5 if config.thresholds is None else config.thresholds)


def _check_labels(config: Any) -> None:
    """Stops before a head that was never trained, or whose outputs have no names, gives numbers.

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
            raise CheckpointError(f"config.{name} has {len(values)} entries for {config.num_labels} labels.")
