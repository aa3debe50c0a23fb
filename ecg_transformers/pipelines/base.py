"""Base of the two pipelines: recordings in, windows prepared by the checkpoint's feature extractor."""

import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers.pipelines.base import ChunkPipeline

from ..errors import SignalError
from ..features.extractor import EcgFeatureExtractor
from .records import PREPARING, check_parts, prepare_windows, several_inputs, stored_steps, window_chunks
from .streaming import stream_results
from .table_files import WrittenTable
from .tables import write_table

__all__ = ["EcgPipeline"]


class EcgPipeline(ChunkPipeline):
    """Pipeline over the windows of recordings; its model comes with a feature extractor.

    Subclasses define what a result becomes in a table (`table_columns`) and in a stream (`stream_fields`).

    Args:
        *args: As for `transformers.Pipeline`.
        **kwargs: As for `transformers.Pipeline`, and arguments of the call.

    Raises:
        CheckpointError: There is no feature extractor, or it describes another input than the config.
    """

    feature_extractor: EcgFeatureExtractor  # type: ignore[assignment]

    # The library annotates these as None, although it means None, False or True.
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _load_feature_extractor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    # Default name of a table, whether it has a row for each window, and call arguments that give arrays.
    table_name: ClassVar[str]
    table_windows: ClassVar[bool]
    array_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_parts(self.model, self.feature_extractor)
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run the pipeline on one record or several.

        Args:
            inputs: Path, EcgRecord, array `(leads, samples)` or mapping; or a list, generator or corpus of these.
            **kwargs: Call arguments of the pipeline. `batch_size` is the number of windows per pass; it does not change
                the result.

        Returns:
            The result of a single record; a list of results for a list, an iterator for other collections.
        """
        kwargs = {**stored_steps(inputs), **kwargs}
        inputs = several_inputs(inputs)
        return [] if isinstance(inputs, list) and not inputs else super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model and feature extractor; the stock method would add an entry that requires remote code.

        Args:
            save_directory: Target folder.
            **kwargs: As for the model's `save_pretrained`.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory)

    def preprocess(self, input_: Any, **reading: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Prepare a record: one dictionary of tensors for each window.

        Args:
            input_: The record.
            **reading: As in `prepare_windows`.
        """
        yield from window_chunks(prepare_windows(input_, self.feature_extractor, **reading))

    def _check_reading(self, reading: dict[str, Any], arguments: str) -> None:
        """Refuse arguments that neither the pipeline nor `read_record` nor the feature extractor takes."""
        if unknown := [name for name in reading if name not in PREPARING]:
            raise SignalError(
                f"the pipeline has no argument {', '.join(unknown)}; expected {arguments}, batch_size or "
                f"{', '.join(PREPARING)}."
            )

    @abstractmethod
    def table_columns(self, values: np.ndarray) -> dict[str, Any]:
        """Return the columns of a table for the results `(rows, ...)` of a record."""

    @abstractmethod
    def stream_fields(self, values: np.ndarray | None) -> dict[str, Any]:
        """Return the fields of a streamed window for its result; `None`: the window could not be used."""

    def to_table(
        self,
        source: Any,
        output: str | Path | None = None,
        *,
        batch_size: int = 64,
        windows: bool | None = None,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> WrittenTable:
        """Process a folder, a list of records or a corpus into a table, in order; resumes where it left off.

        Every row has `record`, `window` (its number), `start` (seconds), `checkpoint` (hash of weights and
        preprocessing), `notes` (of the reader) and the columns that the class describes. Records that cannot be used
        are listed with the reason in `<name>.refused.csv` in the same folder.

        Args:
            source: Folder (searched recursively), or a sequence of paths or EcgRecords.
            output: Path of the table, `.parquet` or `.csv`; written atomically. Default: see the class.
            batch_size: Inference batch size in windows. Default: 64.
            windows: One row per window instead of one per record. Default: see the class.
            overwrite: Replace a table or parts of another job. Default: no.
            progress: Show a progress bar. Default: yes.
            **options: Call arguments; those about files hold where a file does not state it.
        """
        return write_table(
            self,
            source,
            self.table_name if output is None else output,
            rows=self.table_columns,
            options={
                **stored_steps(source),
                **options,
                "windows": self.table_windows if windows is None else windows,
                **self.array_options,
            },
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
        """Process a long recording window by window in bounded memory.

        Args:
            source: Path or EcgRecord.
            window_seconds: Window length (s); only checked, since the checkpoint's window is fixed.
            stride_seconds: Stride between windows (s). Default: the stride of the extractor.
            batch_size: Inference batch size in windows. Default: 64.
            start: Position (s) of the first window, on the same grid: where an earlier stream stopped. Default: 0.
            progress: Show a progress bar. Default: yes.
            **options: Call arguments.

        Yields:
            `{"record", "start", "end" (seconds), "time" (datetime, if the header has a date), "note"}` and the fields
            that the class describes; a window that cannot be used (missing samples, no signal) has the reason in
            `note`.
        """
        for row in stream_results(
            self,
            source,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            batch_size=batch_size,
            start=start,
            progress=progress,
            options={**options, **self.array_options},
        ):
            yield {**row.place, **self.stream_fields(row.result), "note": row.note}
