"""Embeddings of recordings from an encoder."""

from typing import Any

import numpy as np
import torch

from ..errors import SignalError
from ..inference.aggregation import aggregate_windows
from ..inference.outputs import embed_windows
from ..readout import FIXED_POOLINGS, FixedPooling, Readout
from .base import WindowPipeline
from .records import model_inputs, without_statement

__all__ = ["EmbeddingPipeline"]


class EmbeddingPipeline(WindowPipeline):
    """Embeddings of recordings by the encoder of a checkpoint; see `EcgFeatureExtractionPipeline` for arguments."""

    def _sanitize_parameters(
        self,
        pooling: FixedPooling | None = None,
        layer: int | list[int] | None = None,
        windows: bool | None = None,
        **reading: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        self._check_reading(reading, "pooling, layer, windows")
        if pooling is not None and pooling not in FIXED_POOLINGS:
            raise SignalError(f"pooling is {pooling!r}; expected None or one of {', '.join(FIXED_POOLINGS)}.")
        forward = {name: value for name, value in (("pooling", pooling), ("layer", layer)) if value is not None}
        return reading, forward, {} if windows is None else {"windows": windows}

    def _forward(  # type: ignore[override]
        self, input_tensors: dict[str, Any], pooling: FixedPooling = "cls", layer: int | list[int] = -1
    ) -> dict[str, Any]:
        model: Any = self.model
        vectors = embed_windows(model, model_inputs(input_tensors, model), Readout(pooling, layer))
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
