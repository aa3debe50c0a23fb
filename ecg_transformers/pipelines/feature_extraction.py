"""The pipeline `ecg-feature-extraction`: recordings in, embeddings out."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline

from ..errors import CheckpointError, SignalError
from ..features.extractor import EcgFeatureExtractor
from ..inference.aggregation import aggregate_windows
from ..layers.pooling import Pooling
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

__all__ = ["EcgFeatureExtractionPipeline"]

POOLINGS = ("cls", "mean", "max", "cls_mean")


class EcgFeatureExtractionPipeline(ChunkPipeline):
    """Embeds recordings with a checkpoint's encoder and its own preprocessing.

    Call arguments, which may also be given to the constructor:
        pooling: `None` for the record embedding that the system defines (`pooler_output`), or `"cls"`, `"mean"`,
            `"max"` (over tokens with signal, without [CLS]) or `"cls_mean"` (both joined).
        layer: Which hidden state is pooled: -1 the encoder's output, -2 the layer before, ... or 0 (what enters the
            first layer) and up.
        windows: `False` for the mean over the record's windows, `True` for all of them.
        window: `"slide"`, `"crop"`, `"center"`: what becomes of a record longer than the window.
        sampling_rate, units, leads: Of bare arrays, and of files that do not say; `gain`, `treat_as`, `key`, `index` as
            in `read_record`.

    Example:
        >>> embed = pipeline("ecg-feature-extraction", model="hub/mae-moco-ecg")  # doctest: +SKIP
        >>> embed("00001_hr").shape  # doctest: +SKIP
        (128,)
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
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Embeddings of one record or several.

        Args:
            inputs: A path, EcgRecord, array `(leads, samples)` or mapping; or a list, generator or corpus of these.
            **kwargs: As the class says; `batch_size` windows go through the model at a time and change no result.

        Returns:
            float32 `(pooled,)`, or `(windows, pooled)` with `windows=True`; a list of them for a list, an iterator for
            other collections.
        """
        kwargs = {**stored_steps(inputs), **kwargs}
        inputs = several_inputs(inputs)
        return [] if isinstance(inputs, list) and not inputs else super().__call__(inputs, **kwargs)

    def to_table(
        self,
        source: Any,
        output: str | Path = "embeddings.parquet",
        *,
        batch_size: int = 64,
        windows: bool = True,
        overwrite: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> WrittenTable:
        """Embeds a folder, a list of records or a corpus into a table, in order; goes on where it was stopped.

        The columns are `record`, `window` (its number), `start` (seconds), `checkpoint` (hash of weights and
        preprocessing) and `embedding` (in a CSV file `embedding_0`, ...). Records that cannot be read or embedded are
        listed with their reason beside the table, in `<name>.refused.csv`.

        Args:
            source: A folder (searched through), or a sequence of paths or EcgRecords.
            output: `.parquet` or `.csv`; appears when it is complete.
            batch_size: Windows per pass.
            windows: A row for each window; `False`: one for each record, the mean.
            overwrite: Replace a table or parts of another job.
            progress: Show a progress bar.
            **options: As in a call.
        """
        return write_table(
            self,
            source,
            output,
            rows=lambda vectors: {"embedding": vectors},
            options={**stored_steps(source), **options, "windows": windows},
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
        """Embeds a long recording window after window in bounded memory.

        Args:
            source: Path or EcgRecord.
            window_seconds: Only checked: the checkpoint's windows are as long as they are.
            stride_seconds: Distance of two windows; the extractor's by default.
            batch_size: Windows per pass.
            start: Second from which windows are wanted, on the same lattice: where an earlier stream stopped.
            progress: Show a progress bar.
            **options: As in a call.

        Yields:
            `{"record", "start", "end" (seconds), "time" (datetime, where the header has a date), "embedding",
            "note"}`; a window that cannot be embedded (missing samples, no signal) has `None` and the reason.
        """
        for row in stream_results(
            self,
            source,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            batch_size=batch_size,
            start=start,
            progress=progress,
            options=options,
        ):
            yield {**row.place, "embedding": row.result, "note": row.note}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and feature extractor; the stock method would add an entry that asks for remote code."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory)

    def _sanitize_parameters(
        self,
        pooling: str | None = None,
        layer: int | None = None,
        windows: bool | None = None,
        window: str | None = None,
        **reading: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown := [name for name in reading if name not in (*READING, "preprocessed_by")]:
            raise SignalError(
                f"the pipeline has no argument {', '.join(unknown)}; expected pooling, layer, windows, window, "
                f"batch_size or {', '.join(READING)}."
            )
        if pooling is not None and pooling not in POOLINGS:
            raise SignalError(f"pooling is {pooling!r}; expected None or one of {', '.join(POOLINGS)}.")
        reading = {**reading, **({} if window is None else {"window": window})}
        forward = {name: value for name, value in (("pooling", pooling), ("layer", layer)) if value is not None}
        return reading, forward, {} if windows is None else {"windows": windows}

    def preprocess(self, input_: Any, **reading: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """One dictionary of tensors for each window of a record."""
        yield from window_chunks(prepare_windows(input_, self.feature_extractor, **reading))

    def _forward(  # type: ignore[override]
        self, input_tensors: dict[str, Any], pooling: str | None = None, layer: int = -1
    ) -> dict[str, Any]:
        inputs = model_inputs(input_tensors, self.model)
        outputs = self.model(**inputs, output_hidden_states=layer != -1, return_dict=True)
        vectors = outputs.pooler_output
        if layer != -1 or pooling not in (None, "cls"):
            vectors = self._pool(outputs, inputs.get("attention_mask"), pooling, layer)
        return {"is_last": input_tensors["is_last"], "embedding": vectors.float()}

    def _pool(self, outputs: Any, attention_mask: torch.Tensor | None, pooling: str | None, layer: int) -> torch.Tensor:
        """The tokens of a layer pooled; with no pooling named, [CLS] where there is one and the mean elsewhere."""
        encoder: Any = self.model
        tokens, pooled, has_cls = outputs.last_hidden_state, outputs.pooler_output, encoder.has_cls_token
        if layer != -1:
            states = outputs.hidden_states
            if not -len(states) <= layer < len(states):
                raise CheckpointError(
                    f"layer is {layer}; this encoder has the hidden states {-len(states)} to {len(states) - 1}."
                )
            tokens, pooled = states[layer], states[layer][:, 0] if has_cls else None
        kind = pooling or ("cls" if has_cls else "mean")
        if pooled is None and kind in ("cls", "cls_mean"):
            raise CheckpointError(
                f"pooling {kind!r} of layer {layer} needs a [CLS] token, which this encoder has not; "
                'expected "mean" or "max".'
            )
        config = encoder.config
        pool = Pooling(kind, config.hidden_size, cls_token=has_cls, pooled_size=config.pooled_size)
        return pool(tokens, encoder.token_mask(attention_mask), pooled)

    def postprocess(  # type: ignore[override]
        self, model_outputs: list[dict[str, Any]], windows: bool = False
    ) -> np.ndarray:
        """The embeddings of a record's windows, or their mean."""
        vectors = torch.cat([output["embedding"] for output in model_outputs]).numpy()
        if windows:
            return vectors
        return aggregate_windows(vectors, np.zeros(len(vectors), np.int64))[0].astype(np.float32)
