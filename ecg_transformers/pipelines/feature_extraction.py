"""The pipeline `ecg-feature-extraction`: embeddings of recordings."""

from typing import Any

import numpy as np

from .embeddings import EmbeddingPipeline
from .files import EcgPipeline

__all__ = ["EcgFeatureExtractionPipeline"]


class EcgFeatureExtractionPipeline(EcgPipeline, EmbeddingPipeline):
    """Embeddings of recordings by the encoder and the preprocessing of a checkpoint.

    Call arguments, which the constructor takes too:
        pooling: `"cls"` (the encoder's `pooler_output`; default), `"mean"`, `"max"` (over the tokens with signal,
            without [CLS]) or `"cls_mean"` (both concatenated).
        layer: Layer whose tokens are pooled: -1 (default) the output of the encoder, 0 the input of the first layer, k
            the output of layer k, other negative numbers from the end; several layers as a list, whose vectors are
            concatenated.
        windows: `True` for one vector per window instead of their mean.
        window: `"slide"`, `"crop"`, `"center"`: how longer records are handled.
        sampling_rate, units, leads: Of arrays, and of files without them; `gain` and all other arguments as in
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
