"""Base of the pipelines: recordings in, windows prepared by the checkpoint's feature extractor.

This module, `records`, `labels` and `embeddings` go into published folders, where they take arrays; `files` adds
files, tables and streams.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from transformers.pipelines.base import ChunkPipeline

from ..errors import SignalError
from ..features.extractor import EcgFeatureExtractor
from .records import PREPARING, check_parts, prepare_windows, several_inputs, stored_steps, window_chunks

__all__ = ["WindowPipeline"]


class WindowPipeline(ChunkPipeline):
    """Pipeline over the windows of recordings; its model comes with a feature extractor.

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

    # Reads the record of a path, where files are read at all.
    read: ClassVar[Callable[..., Any] | None] = None

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
        prepared = prepare_windows(input_, self.feature_extractor, read=type(self).read, **reading)
        yield from window_chunks(prepared)

    def _check_reading(self, reading: dict[str, Any], arguments: str) -> None:
        """Refuse arguments that neither the pipeline nor `read_record` nor the feature extractor takes."""
        if unknown := [name for name in reading if name not in PREPARING]:
            raise SignalError(
                f"the pipeline has no argument {', '.join(unknown)}; expected {arguments}, batch_size or "
                f"{', '.join(PREPARING)}."
            )
