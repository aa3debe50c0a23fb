"""What the pipelines of the package add to those of a published folder: files, tables of folders, streams."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ..signals.formats.readers import read_record
from .base import WindowPipeline
from .memory import fit_batch
from .records import PREPARING, stored_steps
from .streaming import stream_results
from .table_files import WrittenTable
from .tables import write_table

__all__ = ["EcgPipeline"]


class EcgPipeline(WindowPipeline):
    """Pipeline over recordings in files, folders, corpora and arrays.

    Subclasses define what a result becomes in a table (`table_columns`) and in a stream (`stream_fields`).
    """

    read = staticmethod(read_record)

    # Default name of a table, whether it has a row for each window, and call arguments that give arrays.
    table_name: ClassVar[str]
    table_windows: ClassVar[bool]
    array_options: ClassVar[dict[str, Any]] = {}

    def __call__(  # type: ignore[override]
        self, inputs: Any, *, max_memory: str | int | None = None, **kwargs: Any
    ) -> Any:
        """Run the pipeline on one record or several.

        Args:
            inputs: As in `WindowPipeline`.
            max_memory: Bound for the memory of the process, such as `"2GB"`: `batch_size` (then 64 by default) is
                reduced until a pass fits. Default: no bound.
            **kwargs: Call arguments of the pipeline.
        """
        if max_memory is not None:
            kwargs["batch_size"] = self._windows_per_pass(kwargs.get("batch_size", 64), max_memory, kwargs)
        return super().__call__(inputs, **kwargs)

    def _windows_per_pass(self, at_most: int, max_memory: str | int | None, options: dict[str, Any]) -> int:
        """Windows per pass that fit."""
        passes = {name: value for name, value in options.items() if name not in ("batch_size", *PREPARING)}
        settings = self._forward_params | self._sanitize_parameters(**passes)[1]

        def run(features: dict[str, torch.Tensor]) -> None:
            signal = torch.ones(len(features["input_values"]), dtype=torch.bool)
            self.forward({"is_last": True, "has_signal": signal, **features}, **settings)

        return fit_batch(self, self.feature_extractor, run, max_memory, at_most=at_most)

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
        max_memory: str | int | None = None,
        windows: bool | None = None,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> WrittenTable:
        """Process a folder, a list of records or a corpus into a table, in order; resumes where it left off.

        Every row has `record`, `window` (its number), `start` (seconds), `checkpoint` (hash of weights and
        preprocessing), `notes` (of the reader) and the columns that the class describes. Records that cannot be used
        are listed with the reason in `<name>.refused.csv` in the same folder; the same call tries them again, for which
        the parts of the table stay next to it (`<output>.parts`). The job of a CSV is in `<output>.job.json`.

        Args:
            source: Folder (searched recursively), or a sequence of paths or EcgRecords.
            output: Path of the table, `.parquet` or `.csv`; written atomically. Default: see the class.
            batch_size: Inference batch size in windows. Default: 64.
            max_memory: Bound for the memory of the process, such as `"2GB"`: `batch_size` is reduced until a pass fits.
                Every recording is read whole; very long ones need `stream`. Default: no bound.
            windows: One row per window instead of one per record. Default: see the class.
            overwrite: Replace a table or parts of another job. Default: no.
            progress: Show a progress bar. Default: yes.
            **options: Call arguments; those about files hold where a file does not state it.

        Raises:
            ArgumentsError: A pass of one window needs more than `max_memory`; it says how much.
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
            batch_size=self._windows_per_pass(batch_size, max_memory, options),
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
        max_memory: str | int | None = None,
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
            max_memory: Bound for the memory of the process, as in `to_table`. Default: no bound.
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
            batch_size=self._windows_per_pass(batch_size, max_memory, options),
            start=start,
            progress=progress,
            options={**options, **self.array_options},
        ):
            yield {**row.place, **self.stream_fields(row.result), "note": row.note}
