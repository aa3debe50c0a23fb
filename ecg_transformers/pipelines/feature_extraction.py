"""The pipeline `ecg-feature-extraction`: embeddings of recordings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import SignalError
from ..inference.aggregation import aggregate_windows
from ..inference.encode import embed_windows
from .base import EcgPipeline
from .records import model_inputs, without_statement

__all__ = ["EcgFeatureExtractionPipeline"]

POOLINGS = ("cls", "mean", "max", "cls_mean")


class EcgFeatureExtractionPipeline(EcgPipeline):
    """Embeddings of recordings by the encoder and the preprocessing of a checkpoint.

    Call arguments, which the constructor takes too:
        pooling: `"cls"` (the encoder's `pooler_output`; default), `"mean"`, `"max"` (over the tokens with signal,
            without [CLS]) or `"cls_mean"` (both concatenated).
        layer: Layer whose tokens are pooled: -1 (default) the output of the encoder, 0 the input of the first layer, k
            the output of layer k, other negative numbers from the end; several layers as a list, whose vectors are
            concatenated.
        windows: `True` for one vector per window instead of their mean.
        window: `"slide"`, `"crop"`, `"center"`: how longer records are handled.
        sampling_rate, units, leads: Of arrays, and of files without them; `gain`, `treat_as`, `key`, `index` as in
            `read_record`.

    The result is float32 `(pooled,)`, or `(windows, pooled)` with `windows=True`. `to_table` writes the column
    `embedding` (in a CSV file `embedding_0`, ...) with a row for each window; `stream` yields the field `embedding`.

    Example:
        >>> embed = pipeline("ecg-feature-extraction", model="hub/mae-moco-ecg")  # doctest: +SKIP
        >>> embed("00001_hr").shape  # doctest: +SKIP
        (512,)
    """

    table_name = "embeddings.parquet"
    table_windows = True

    def table_columns(self, values: np.ndarray) -> dict[str, Any]:
        """Return the column of the embeddings `(rows, pooled)` of a record."""
        return {"embedding": values}

    def stream_fields(self, values: np.ndarray | None) -> dict[str, Any]:
        """Return the embedding of a window, or `None`."""
        return {"embedding": values}

    def _sanitize_parameters(
        self,
        pooling: str | None = None,
        layer: int | Sequence[int] | None = None,
        windows: bool | None = None,
        **reading: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        self._check_reading(reading, "pooling, layer, windows")
        if pooling is not None and pooling not in POOLINGS:
            raise SignalError(f"pooling is {pooling!r}; expected None or one of {', '.join(POOLINGS)}.")
        forward = {name: value for name, value in (("pooling", pooling), ("layer", layer)) if value is not None}
        return reading, forward, {} if windows is None else {"windows": windows}

    def _forward(  # type: ignore[override]
        self, input_tensors: dict[str, Any], pooling: str = "cls", layer: int | Sequence[int] = -1
    ) -> dict[str, Any]:
        model: Any = self.model
        vectors = embed_windows(model, model_inputs(input_tensors, model), pooling=pooling, layer=layer)
        return {"is_last": input_tensors["is_last"], "embedding": without_statement(vectors, input_tensors)}

    def postprocess(  # type: ignore[override]
        self, model_outputs: list[dict[str, Any]], windows: bool = False
    ) -> np.ndarray:
        """Return the embeddings of a record's windows, or their mean.

        Args:
            model_outputs: Embeddings of the windows in order.
            windows: As in a call.
        """
        vectors = torch.cat([output["embedding"] for output in model_outputs]).numpy()
        if windows:
            return vectors
        vectors = vectors[~np.isnan(vectors).any(axis=1)]
        return aggregate_windows(vectors, np.zeros(len(vectors), np.int64))[0].astype(np.float32)
